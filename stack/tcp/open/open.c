/* SPDX-License-Identifier: MIT */
/* Opening: what a SYN teaches, LISTEN and SYN-SENT (RFC 9293 3.10.7.2, 3.10.7.3), and a listener's
 * two bounded queues. A child in SYN-RECEIVED is a whole control block: one code path for
 * retransmission and simultaneous open; how many there may be is bounded for each listener and for the
 * stack, and beyond that SYNs are answered with cookies (cookies.c). */
#include "../tcp.h"

/* F(connection, secret) of RFC 6528 section 3, for the flow and one number more. */
uint64_t tcp_flow_hash(const uint8_t key[16], const uint8_t *laddr, uint16_t lport, const uint8_t *raddr,
                       uint16_t rport, uint32_t number)
{
    uint8_t id[40];
    memcpy(id, laddr, 16);
    memcpy(id + 16, raddr, 16);
    put16(id + 32, lport);
    put16(id + 34, rport);
    put32(id + 36, number);
    return siphash(key, id, sizeof id);
}

/* RFC 6528: ISN = M + F(connection, secret), M a clock of about 4 microseconds. */
uint32_t tcp_make_isn(struct tcb *t)
{
    const struct bw_sock *s = &t->base;
    uint64_t h = tcp_flow_hash(s->st->isn_key, s->laddr, s->lport, s->raddr, s->rport, 0);
    t->ts_offset = (uint32_t)(h >> 32);
    return (uint32_t)h + (uint32_t)((uint64_t)s->st->now >> 12);
}

/* Options and numbers of the peer's SYN (or SYN,ACK). */
void tcp_learn_syn(struct tcb *t, const struct tcp_seg *seg)
{
    uint32_t announced = t->rcv_adv - t->rcv_nxt;
    t->irs = seg->seq;
    t->rcv_nxt = t->last_ack_sent = seg->seq + 1;
    t->rcv_adv = t->rcv_nxt + announced;
    t->peer_mss = seg->mss ? seg->mss : TCP_DEFAULT_MSS;
    t->rcv_mss = TCP_DEFAULT_MSS;
    t->use_sack = t->offer_sack && seg->has_sack_ok;
    t->use_ts = t->offer_ts && seg->has_ts;
    if (t->use_ts) {
        t->ts_recent = seg->tsval;
        t->ts_recent_age = t->base.st->now;
    }
    t->use_wscale = t->offer_wscale && seg->has_wscale;
    t->snd_wscale = t->use_wscale ? seg->wscale : 0;
    t->rcv_wscale = !t->use_wscale ? 0 : t->state == BW_TCP_SYN_SENT ? t->rcv_wscale : tcp_window_scale(t);
    t->snd_wnd = t->max_snd_wnd = seg->wnd; /* never scaled in a SYN */
    t->snd_wl1 = seg->seq;
    t->snd_wl2 = seg->ack;
    tcp_update_mss(t);
    tcp_mtu_open(t);
    t->cwnd = tcp_initial_window(t->mss);
    cc_start(t);
}

/* ---- LISTEN -------------------------------------------------------------------------------------------- */

/* Options a child takes from its listener, which is the template. */
static void copy_template(struct tcb *t, const struct tcb *from)
{
    enum { AT = offsetof(struct tcb, max_pacing_rate), END = offsetof(struct tcb, state) };
    memcpy((char *)t + AT, (const char *)from + AT, END - AT);
    t->trace_id = from->trace_id;
    t->base.ttl = from->base.ttl;
    t->base.tos = from->base.tos;
    t->base.mtu_discover = from->base.mtu_discover;
    t->base.recverr = from->base.recverr;
    t->base.linger = from->base.linger;
    t->base.rcvtimeo = from->base.rcvtimeo;
    t->base.sndtimeo = from->base.sndtimeo;
    t->base.timestamp = from->base.timestamp;
    t->base.tells = from->base.tells;
    t->base.sndbuf = from->base.sndbuf;
    t->base.rcvbuf = from->base.rcvbuf;
    t->base.flags |= from->base.flags & (SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);
    t->base.reuseaddr = from->base.reuseaddr;
    t->base.bound_if = from->base.bound_if;
}

/* The child that a SYN makes, half open; its SYN,ACK is not sent yet, or (iss) had that number. */
struct tcb *tcp_child_new(struct listener *l, const struct tcp_seg *seg, const uint32_t *iss)
{
    struct bw_stack *st = l->tmpl.base.st;
    const struct packet *pkt = seg->pkt;
    struct bw_sock *s = sock_alloc(st, KIND_TCP);
    if (!s)
        return NULL;
    struct tcb *t = tcb_of(s);
    tcp_init(t);
    copy_template(t, &l->tmpl);
    memcpy(s->laddr, pkt->dst, 16);
    memcpy(s->raddr, pkt->src, 16);
    s->zone = pkt->zone;
    s->lport = seg->dport;
    s->rport = seg->sport;
    if (ip_path_find(st, s->raddr, sock_interface(s), &s->path)) {
        sock_free(s);
        return NULL;
    }
    flow_add(s);
    t->iss = tcp_make_isn(t);
    if (iss)
        t->iss = *iss;
    else if (seg->reopens && seq_le(t->iss, seg->old_snd_nxt))
        t->iss = seg->old_snd_nxt + 65537; /* as Linux: a largest unscaled window further */
    t->snd_una = t->snd_nxt = t->snd_sml = t->recover = t->rack_fack = t->iss;
    tcp_learn_syn(t, seg);
    tcp_ecn_on_syn(t, seg);
    tcp_set_state(t, BW_TCP_SYN_RCVD);
    t->listener = l;
    list_push(&l->half_open, t, queue_next, queue_pprev);
    l->half_open_len++;
    st->tcp->half_open++;
    count(st, COUNT_TCP_PASSIVE_OPENS);
    return t;
}

/* Half-open children are bounded for each listener, and for all of them to a quarter of the sockets,
 * so that a flood leaves the rest to others. */
static int half_open_full(const struct listener *l)
{
    const struct bw_stack *st = l->tmpl.base.st;
    return l->half_open_len >= (l->backlog < 64 ? 128 : 2 * l->backlog) ||
           st->tcp->half_open > st->cfg.max_socks / 4;
}

static void on_syn(struct listener *l, struct tcp_seg *seg)
{
    struct bw_stack *st = l->tmpl.base.st;
    int cookies = st->cfg.syn_cookies;
    if (l->accept_len > l->backlog) {
        drop(st, DROP_TCP_BACKLOG, 0);
        return;
    }
    if (cookies == 2 || (cookies && half_open_full(l))) {
        tcp_cookie_answer(l, seg);
        return;
    }
    if (half_open_full(l)) {
        drop(st, DROP_TCP_SYN_QUEUE, 0);
        return;
    }
    struct tcb *t = tcp_child_new(l, seg, NULL);
    if (!t) {
        drop(st, DROP_TCP_NO_MEMORY, 0);
        return;
    }
    if (traced(t))
        tcp_trace_received(t, seg);
    tfo_on_syn(l, t, seg);
    tcp_want_output(t);
}

void tcp_on_listen(struct listener *l, struct tcp_seg *seg)
{
    struct bw_stack *st = l->tmpl.base.st;
    if (seg->flags & TCP_RST)
        return;
    if (seg->flags & TCP_ACK) {
        if (tcp_cookie_accepts(l, seg))
            return;
        drop(st, DROP_TCP_NO_SOCKET, seg->len);
        tcp_send_rst(st, seg);
    } else if ((seg->flags & (TCP_SYN | TCP_FIN)) == (TCP_SYN | TCP_FIN)) {
        drop(st, DROP_TCP_SYN_FIN, seg->len); /* as Linux: no connection begins and ends at once */
    } else if (seg->flags & TCP_SYN) {
        on_syn(l, seg);
    } else {
        drop(st, DROP_TCP_NO_ACK, seg->len);
    }
}

/* Out of its listener's accept queue, or of the half-open children. */
static void leave_queue(struct tcb *child, int accepts)
{
    struct listener *l = child->listener;
    if (accepts) {
        tailq_remove(&l->accept_tail, child, queue_next, queue_pprev);
        l->accept_len--;
    } else {
        list_remove(child, queue_next, queue_pprev);
        l->half_open_len--;
        l->tmpl.base.st->tcp->half_open--;
    }
}

void tcp_child_leaves(struct tcb *child)
{
    if (!child->listener)
        return;
    leave_queue(child, child->was_connected);
    child->listener = NULL;
}

/* From the half-open children to the end of the accept queue. */
void tcp_child_established(struct tcb *child)
{
    struct listener *l = child->listener;
    leave_queue(child, 0);
    child->was_connected = 1;
    tailq_add(&l->accept_tail, child, queue_next, queue_pprev);
    l->accept_len++;
    sock_arrived(&l->tmpl.base);
}

/* RFC 9293 3.10.4. What waits to be accepted is reset; what is half open hears so when it speaks again, as on
 * Linux. */
void tcp_listener_close(struct listener *l)
{
    struct tcb *child;
    while ((child = l->half_open))
        tcp_drop(child, 0);
    while ((child = l->accept_head)) {
        tcp_child_leaves(child);
        tcp_abort_rst(child);
        tcp_drop(child, 0);
    }
}

/* ---- SYN-SENT ------------------------------------------------------------------------------------------ */

void tcp_on_syn_sent(struct tcb *t, struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    int acks = seg->flags & TCP_ACK;
    if (acks && (seq_le(seg->ack, t->iss) || seq_gt(seg->ack, t->snd_nxt))) {
        drop(st, DROP_TCP_ACK, seg->len);
        tcp_send_rst(st, seg);
        if (t->retries == 0) /* an old connection of the peer's is gone now: no need to wait (Linux) */
            tcp_timer_set(t, TIMER_REXMT, st->now + TCP_SYN_AGAIN);
        return;
    }
    if (acks && t->offer_ts && !tcp_echo_is_ours(t, seg)) {
        drop(st, DROP_TCP_PAWS, seg->len);
        tcp_send_rst(st, seg);
        return;
    }
    if (seg->flags & TCP_RST) {
        if (acks) {
            count(st, COUNT_TCP_RST_RECEIVED);
            tcp_drop(t, ECONNREFUSED);
        } else {
            drop(st, DROP_TCP_RST, 0);
        }
        return;
    }
    if (!(seg->flags & TCP_SYN)) {
        drop(st, DROP_TCP_NO_ACK, seg->len);
        return;
    }
    tcp_learn_syn(t, seg);
    t->last_received = st->now;
    if (!acks) { /* simultaneous open */
        tcp_ecn_on_syn(t, seg);
        tcp_set_state(t, BW_TCP_SYN_RCVD);
        t->syn_again = 1;
        tcp_want_output(t);
        return;
    }
    tcp_ecn_on_synack(t, seg);
    struct delivery d = tcp_delivery(t);
    int again = t->retries;
    tcp_ack_advances(t, seg, &d);
    tfo_on_syn_ack(t, seg, again);
    tcp_established(t);
    tcp_send_ack(t);
    seg->seq++;
    seg->flags &= (uint8_t)~TCP_SYN;
    if (seg->flags & TCP_URG)
        tcp_check_urg(t, seg);
    tcp_trim(t, seg);
    if (seg->len)
        tcp_segment_text(t, seg);
    if (t->base.kind != KIND_FREE && t->state != BW_TCP_CLOSED)
        tcp_check_fin(t, seg);
}
