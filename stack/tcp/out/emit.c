/* SPDX-License-Identifier: MIT */
/* One segment of a connection out: header, options, gather list. */
#include "../tcp.h"

int tcp_has_sack(const struct tcb *t)
{
    return t->use_sack && (t->ooo.n || t->ooo_fin || t->dsack_start != t->dsack_end);
}

/* Where a range of data ends for the peer: a FIN behind it has arrived, too. */
static uint32_t with_fin(const struct tcb *t, uint32_t end)
{
    return end + (t->ooo_fin && end == t->ooo_fin_seq);
}

/* A FIN has arrived, and what is right before it has not. */
static int lone_fin(const struct tcb *t)
{
    for (uint32_t i = 0; t->ooo_fin && i < t->ooo.n; i++)
        if (t->ooo.r[i].end == t->ooo_fin_seq)
            return 0;
    return t->ooo_fin != 0;
}

/* Where ends what has arrived out of order. */
uint32_t tcp_sack_edge(const struct tcb *t)
{
    return t->ooo_fin ? t->ooo_fin_seq + 1 : ranges_end(&t->ooo, t->rcv_nxt);
}

static uint32_t sack_blocks(const struct tcb *t)
{
    return t->ooo.n + (t->dsack_start != t->dsack_end) + (uint32_t)lone_fin(t);
}

/* RFC 2018, newest block first; before them what was seen twice (RFC 2883). At p, where two blocks or more fit: the
 * place behind. */
static uint8_t *put_sack(struct tcb *t, uint8_t *p, uint32_t room)
{
    uint32_t n = 0, most = th_sack_room(room), lone = lone_fin(t) ? t->ooo_fin : 0, fin = t->ooo_fin_seq;
    if (t->dsack_start != t->dsack_end) {
        th_put_sack_block(p, n++, t->dsack_start, t->dsack_end);
        t->dsack_start = t->dsack_end;
        count(t->base.st, COUNT_TCP_DSACKS);
    }
    if (lone == OOO_FIN_NEWEST && n < most)
        th_put_sack_block(p, n++, fin, fin + 1);
    for (uint32_t i = 0; i < t->ooo.n && n < most; i++)
        th_put_sack_block(p, n++, t->ooo.r[i].start, with_fin(t, t->ooo.r[i].end));
    if (lone == OOO_FIN && n < most)
        th_put_sack_block(p, n++, fin, fin + 1);
    return th_put_sack(p, n);
}

/* RFC 7323 appendix A layout; returns the bytes written (a multiple of 4). */
static uint32_t put_options(struct tcb *t, uint8_t *p, const struct tcp_emit *e)
{
    const uint8_t *start = p, *end = p + TCP_OPTIONS_MAX;
    int syn = e->flags & TCP_SYN, answer = t->state == BW_TCP_SYN_RCVD;
    int ts = syn && !answer ? t->offer_ts : t->use_ts, sack_ok = 0;
    if (syn) {
        p = th_put_mss(p, tcp_mss_by(&t->base.path, t->base.path.link_mtu, t->user_mss, TCP_MIN_SND_MSS));
        sack_ok = answer ? t->use_sack : t->offer_sack;
        if (sack_ok && !ts)
            p = th_put_sack_ok(p);
        if (answer ? t->use_wscale : t->offer_wscale)
            p = th_put_wscale(p, t->rcv_wscale);
    }
    if (ts)
        p = th_put_timestamps(p, sack_ok, tcp_ts_now(t), t->ts_recent);
    if (syn)
        p = tfo_put_option(t, p, (uint32_t)(end - p));
    uint32_t sacks = !syn && !e->len && tcp_has_sack(t) ? sack_blocks(t) : 0;
    if (unlikely(t->ecn.mode == ECN_ACCURATE) && accecn_room(t, e)) {
        uint32_t kept = th_sack_len(sacks < 2 ? sacks : 2); /* RFC 9768 3.2.3.3: two blocks go first */
        p = accecn_put(t, p, (uint32_t)(end - p) - kept, e);
    }
    if (sacks)
        p = put_sack(t, p, (uint32_t)(end - p));
    return (uint32_t)(p - start);
}

/* What an acknowledgment on the wire settles. */
static void acknowledged(struct tcb *t)
{
    t->last_ack_sent = t->rcv_nxt;
    t->unacked = 0;
    t->ack_now = t->pushed = 0;
    tcp_timer_cancel(t, TIMER_DELACK);
}

/* As on Linux it goes with DF whatever the socket wants: it fits everywhere. */
static int is_syn_ack(const struct tcp_emit *e)
{
    return (e->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK);
}

static uint16_t window_field(struct tcb *t, int syn)
{
    uint32_t wnd = tcp_receive_window(t);
    if (syn) { /* never scaled, RFC 7323 2.2 */
        wnd = wnd > 65535 ? 65535 : wnd;
        t->rcv_adv = t->rcv_nxt + wnd;
        return (uint16_t)wnd;
    }
    uint32_t field = wnd >> t->rcv_wscale;
    if (field > 65535)
        field = 65535;
    t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt + (field << t->rcv_wscale));
    return (uint16_t)field;
}

void tcp_add_payload(struct tcb *t, struct tx_frame *f, const struct tcp_emit *e)
{
    struct tx_piece piece[BW_TX_PIECES - 1];
    uint32_t chunk[BW_TX_PIECES - 1], covered;
    uint32_t first = t->snd_una + (!t->syn_acked && !(e->flags & TCP_SYN)); /* of the queue; after the SYN */
    int n = byteq_pieces(&t->sndq, &t->base.st->chunks, e->seq - first, e->len, piece, chunk,
                         BW_TX_PIECES - 1, &covered);
    for (int i = 0; i < n; i++)
        tx_add(t->base.st, f, piece[i].data, piece[i].len, chunk[i]);
}

/* Whoever emits goes the path that the routes say now. 0; -1: there is none, or the interface's queue is
 * full: it waits, nothing is lost. */
int tcp_emit(struct tcb *t, const struct tcp_emit *e)
{
    struct bw_stack *st = t->base.st;
    uint8_t *hdr;
    if (!tcp_path_ready(t))
        return -1;
    struct iface *out = &st->iface[t->base.path.ifindex];
    struct tx_frame *f = tx_room(st, out) > 0 ? tx_begin(st, out, &hdr) : NULL;
    if (!f)
        return -1;
    uint8_t *ip = hdr + HDR_IP, *tcp = ip + t->base.path.hlen;
    const struct ecn_bits ecn = tcp_ecn_stamp(t, e);
    const uint32_t hdr_len = TCP_HLEN + put_options(t, tcp + TCP_HLEN, e), l4_len = hdr_len + e->len;
    const struct ip_send head = {.src = t->base.laddr,
                                 .dst = t->base.raddr,
                                 .proto = 6,
                                 .ttl = t->base.ttl,
                                 .tos = (uint8_t)(t->base.tos | ecn.ip),
                                 .df = sock_dont_fragment(&t->base, &t->base.path) || is_syn_ack(e) ||
                                       e->whole};
    ip_header(st, ip, &head, l4_len);
    const uint16_t urgent = unlikely(t->snd_urgent) ? tcp_urgent_pointer(t, e->seq) : 0;
    const struct tcp_header fields = {.sport = t->base.lport,
                                      .dport = t->base.rport,
                                      .seq = e->seq,
                                      .ack = e->flags & TCP_ACK ? t->rcv_nxt : 0,
                                      .hlen = hdr_len,
                                      .flags = (uint8_t)(e->flags | (urgent ? TCP_URG : 0)),
                                      .ace = ecn.ace,
                                      .window = window_field(t, e->flags & TCP_SYN),
                                      .urgent = urgent};
    th_put(tcp, &fields);
    if (traced(t))
        tcp_trace_sent(t, e, tcp, hdr_len);
    th_put_partial(tcp, f, ip_pseudo_sum(t->base.laddr, t->base.raddr, 6, l4_len), t->base.path.hlen);
    uint32_t segments = 1;
    if (e->len) {
        tcp_add_payload(t, f, e);
        if (e->len > t->mss && !e->whole) {
            f->gso_size = (uint16_t)t->mss;
            segments = (e->len + t->mss - 1) / t->mss;
        }
        t->stats.bytes_sent += e->len;
        t->stats.data_segs_out += segments;
    }
    t->stats.segs_out += segments;
    t->base.path.sender = (e->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) ? PATH_ANSWER
                                                                                  : PATH_CONNECTED;
    tx_end(st, out, f, t->base.path.hlen + hdr_len, &t->base.path);
    count(st, COUNT_TCP_TX_SEGMENTS);
    if (e->flags & TCP_ACK)
        acknowledged(t);
    if (e->len || (e->flags & (TCP_SYN | TCP_FIN)))
        t->last_sent = st->now;
    return 0;
}
