/* SPDX-License-Identifier: MIT */
/* Segments that need no connection: resets, and SYN,ACKs that carry a cookie. They are never longer
 * than what they answer by more than its options, at most one for each segment, and answers to
 * strangers have a bounded share of the transmit queue: floods are not amplified and crowd nobody out. */
#include "../tcp.h"

int tcp_emit_bare(struct bw_stack *st, const struct tcp_bare *b, struct ip_path *path, int answer)
{
    uint32_t l4_len = TCP_HLEN + b->optlen;
    uint8_t *hdr;
    struct iface *out = &st->iface[path->ifindex];
    struct tx_frame *f = answer ? tx_begin_stateless(st, out, &hdr) : tx_begin(st, out, &hdr);
    if (!f)
        return 0;
    uint8_t *ip = hdr + HDR_IP, *tcp = ip + path->hlen;
    const struct ip_send head = {
        .src = b->src, .dst = b->dst, .proto = 6, .ttl = b->ttl, .tos = b->tos, .df = !b->may_fragment};
    ip_header(st, ip, &head, l4_len);
    const struct tcp_header fields = {.sport = b->sport,
                                      .dport = b->dport,
                                      .seq = b->seq,
                                      .ack = b->ack,
                                      .hlen = l4_len,
                                      .flags = b->flags,
                                      .ace = b->ace,
                                      .window = b->wnd};
    th_put(tcp, &fields);
    if (b->optlen)
        memcpy(tcp + TCP_HLEN, b->opt, b->optlen);
    th_put_partial(tcp, f, ip_pseudo_sum(b->src, b->dst, 6, l4_len), path->hlen);
    path->sender = answer ? PATH_ANSWER : PATH_CONNECTED;
    tx_end(st, out, f, path->hlen + l4_len, path);
    return 1;
}

/* RFC 9293 3.10.7.1: the answer to a segment that belongs to nobody. */
void tcp_send_rst(struct bw_stack *st, const struct tcp_seg *seg)
{
    const struct packet *pkt = seg->pkt;
    struct tcp_bare b = {
        .src = pkt->dst, .dst = pkt->src, .sport = seg->dport, .dport = seg->sport, .ttl = 64};
    b.tos = pkt->tos & 0xfc; /* as Linux; an answer is not ECN-capable */
    struct ip_path path = {0};
    if ((seg->flags & TCP_RST) || flow_of_others(st, pkt->src, seg->sport, pkt->dst, seg->dport) ||
        ip_path_copy(st, b.dst, pkt->zone, &path))
        return;
    if (seg->flags & TCP_ACK) {
        b.seq = seg->ack;
        b.flags = TCP_RST;
    } else {
        b.ack = seg->seq + seg->len + !!(seg->flags & TCP_SYN) + !!(seg->flags & TCP_FIN);
        b.flags = TCP_RST | TCP_ACK;
    }
    if (tcp_emit_bare(st, &b, &path, 1))
        count(st, COUNT_TCP_RST_SENT);
}

/* We give the connection up: <SEQ=SND.NXT><CTL=RST> (RFC 9293 3.10.5), with timestamps if they were agreed
 * on (RFC 7323 3.2). */
void tcp_abort_rst(struct tcb *t)
{
    const struct bw_sock *s = &t->base;
    uint8_t opt[TCP_TS_LEN];
    th_put_timestamps(opt, 0, tcp_ts_now(t), t->ts_recent);
    struct tcp_bare b = {.src = s->laddr,
                         .dst = s->raddr,
                         .sport = s->lport,
                         .dport = s->rport,
                         .seq = t->snd_nxt,
                         .ack = t->rcv_nxt,
                         .flags = TCP_RST | TCP_ACK,
                         .ttl = s->ttl,
                         .tos = s->tos,
                         .opt = opt,
                         .optlen = t->use_ts ? sizeof opt : 0};
    struct ip_path path = {0};
    if (t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_CLOSED || t->state == BW_TCP_TIME_WAIT)
        return;
    if (ip_path_copy(s->st, b.dst, sock_interface(s), &path))
        return;
    b.may_fragment = !sock_dont_fragment(s, &path);
    if (!tcp_emit_bare(s->st, &b, &path, 0))
        return;
    count(s->st, COUNT_TCP_RST_SENT);
    if (traced(t))
        tcp_trace_reset(t);
}
