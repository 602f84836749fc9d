/* SPDX-License-Identifier: MIT */
/* What a traced connection tells (trace.h). Every function here is called behind traced(t), the one
 * branch that a connection nobody traces pays. */
#include "tcp.h"

static struct bw_trace_record *record(struct tcb *t, int kind)
{
    struct bw_trace_record *r = trace_add(t->base.st, kind, t->trace_id);
    r->cwnd = t->cwnd;
    r->ssthresh = t->ssthresh;
    r->pipe = tcp_pipe(t);
    r->snd_wnd = t->snd_wnd;
    return r;
}

/* Each connection has a number of its own, a socket that connects again a new one. */
void tcp_trace_state(struct tcb *t, int old)
{
    const struct bw_sock *s = &t->base;
    if (old == BW_TCP_LISTEN || t->state == BW_TCP_LISTEN || (old != BW_TCP_CLOSED && !t->trace_id))
        return;
    if (old == BW_TCP_CLOSED || t->trace_id == TRACE_WANTED)
        t->trace_id = ++s->st->trace.conns;
    struct bw_trace_record *r = record(t, BW_TRACE_STATE);
    r->code = (uint16_t)(old << 8 | t->state);
    memcpy(r->addr, s->laddr, 16);
    memcpy(r->addr + 16, s->raddr, 16);
    r->seq = s->lport;
    r->ack = s->rport;
}

static void put_blocks(struct bw_trace_record *r, const struct tcp_seg *seg, uint32_t base)
{
    for (int i = 0; i < seg->sacks; i++) {
        r->sack[2 * i] = seg->sack[i].start - base;
        r->sack[2 * i + 1] = seg->sack[i].end - base;
    }
}

/* tcp: the header as it goes out. */
void tcp_trace_sent(struct tcb *t, const struct tcp_emit *e, const uint8_t *tcp, uint32_t hdr_len)
{
    struct bw_trace_record *r = record(t, BW_TRACE_SENT);
    struct tcp_seg said;
    int again = (e->len || (e->flags & (TCP_SYN | TCP_FIN))) && seq_lt(e->seq, t->snd_nxt);
    said.sacks = 0;
    tcp_parse_options(&said, tcp, hdr_len);
    put_blocks(r, &said, t->irs);
    r->flags = th_flags(tcp);
    r->code = e->probe ? BW_SENT_PROBE : again ? BW_SENT_AGAIN : BW_SENT_NEW;
    r->seq = e->seq - t->iss;
    r->ack = e->flags & TCP_ACK ? t->rcv_nxt - t->irs : 0;
    r->len = e->len;
    r->wnd = (uint32_t)th_window(tcp) << (e->flags & TCP_SYN ? 0 : t->rcv_wscale);
}

void tcp_trace_reset(struct tcb *t)
{
    struct bw_trace_record *r = record(t, BW_TRACE_SENT);
    r->flags = TCP_RST | TCP_ACK;
    r->seq = t->snd_nxt - t->iss;
    r->ack = t->rcv_nxt - t->irs;
}

/* Before it is processed: in SYN-SENT the peer's numbers begin with this segment. */
void tcp_trace_received(struct tcb *t, const struct tcp_seg *seg)
{
    struct bw_trace_record *r = record(t, BW_TRACE_RECEIVED);
    int syn = seg->flags & TCP_SYN;
    put_blocks(r, seg, t->iss);
    r->flags = seg->flags;
    r->code = (uint16_t)(seg->segments < UINT16_MAX ? seg->segments : UINT16_MAX);
    r->seq = t->state == BW_TCP_SYN_SENT && syn ? 0 : seg->seq - t->irs;
    r->ack = seg->flags & TCP_ACK ? seg->ack - t->iss : 0;
    r->len = seg->len;
    r->wnd = seg->wnd << (syn ? 0 : t->snd_wscale);
}

void tcp_trace_window(struct tcb *t)
{
    record(t, BW_TRACE_WINDOW);
}

void tcp_trace_rtt(struct tcb *t, int64_t sample)
{
    struct bw_trace_record *r = record(t, BW_TRACE_RTT);
    r->time[0] = sample;
    r->time[1] = t->srtt;
    r->time[2] = t->rto;
}

void tcp_trace_recovery(struct tcb *t, int what)
{
    struct bw_trace_record *r = record(t, BW_TRACE_RECOVERY);
    r->code = (uint16_t)what;
    r->seq = t->recover - t->iss;
}

void tcp_trace_lost(struct tcb *t, uint32_t start, uint32_t end)
{
    struct bw_trace_record *r = record(t, BW_TRACE_LOST);
    r->seq = start - t->iss;
    r->len = end - start;
}

void tcp_trace_timer(struct tcb *t, enum tcp_timer which)
{
    static const uint8_t names[TCP_TIMERS] = {[TIMER_REXMT] = BW_TIMER_REXMT,
                                              [TIMER_PROBE] = BW_TIMER_REORDER,
                                              [TIMER_DELACK] = BW_TIMER_DELACK,
                                              [TIMER_KEEP] = BW_TIMER_KEEP,
                                              [TIMER_STATE] = BW_TIMER_STATE};
    int what = names[which];
    if (!what)
        return;
    if (which == TIMER_REXMT && t->persisting)
        what = BW_TIMER_PERSIST;
    if (which == TIMER_PROBE && t->probing == PROBE_TAIL)
        what = BW_TIMER_TAIL;
    record(t, BW_TRACE_TIMER)->code = (uint16_t)what;
}

/* ---- on and off ---------------------------------------------------------------------------------------- */

/* BW_OPT_TRACE: of a listener, its children; of a connection, from here on, and its name at once. */
void tcp_trace_set(struct tcb *t, int on)
{
    if (!on) {
        t->trace_id = 0;
    } else if (!t->trace_id) {
        t->trace_id = TRACE_WANTED;
        if (t->state != BW_TCP_CLOSED)
            tcp_trace_state(t, t->state);
    }
}

void bw_trace_all(struct bw_stack *st, int on)
{
    st->trace.all = on != 0;
    uint32_t at = 0;
    for (struct bw_sock *s; (s = sock_next(st, &at, KIND_TCP));)
        if (tcb_of(s)->state != BW_TCP_CLOSED)
            tcp_trace_set(tcb_of(s), on);
}
