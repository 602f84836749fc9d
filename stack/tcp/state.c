/* SPDX-License-Identifier: MIT */
/* The state machine's edges, and how a connection is born and dies (RFC 9293 section 3.3.2).
 * Every state change goes through tcp_set_state, which checks it against the table, counts and
 * traces. A control block lives until it is CLOSED and its user has let go. */
#include "tcp.h"

#define TO(state) (1u << BW_TCP_##state)
static const uint16_t allowed[] = {
    [BW_TCP_CLOSED] = TO(SYN_SENT) | TO(SYN_RCVD) | TO(LISTEN),
    [BW_TCP_LISTEN] = TO(CLOSED),
    [BW_TCP_SYN_SENT] = TO(SYN_RCVD) | TO(ESTABLISHED) | TO(CLOSED),
    [BW_TCP_SYN_RCVD] = TO(ESTABLISHED) | TO(FIN_WAIT_1) | TO(CLOSED),
    [BW_TCP_ESTABLISHED] = TO(FIN_WAIT_1) | TO(CLOSE_WAIT) | TO(CLOSED),
    [BW_TCP_FIN_WAIT_1] = TO(FIN_WAIT_2) | TO(CLOSING) | TO(TIME_WAIT) | TO(CLOSED),
    [BW_TCP_FIN_WAIT_2] = TO(TIME_WAIT) | TO(CLOSED),
    [BW_TCP_CLOSE_WAIT] = TO(LAST_ACK) | TO(CLOSED),
    [BW_TCP_CLOSING] = TO(TIME_WAIT) | TO(CLOSED),
    [BW_TCP_LAST_ACK] = TO(CLOSED),
    [BW_TCP_TIME_WAIT] = TO(CLOSED),
};

void tcp_set_state(struct tcb *t, int state)
{
    struct bw_stack *st = t->base.st;
    if (!(allowed[t->state] & 1u << state))
        count(st, COUNT_TCP_BAD_TRANSITION);
    int old = t->state;
    t->state = (uint8_t)state;
    if (unlikely(st->trace.all) || traced(t))
        tcp_trace_state(t, old);
    if (unlikely(tcp_is_early(t)))
        tfo_settled(t, state);
    if (unlikely(t->orphan)) {
        st->tcp->finished -= old == BW_TCP_FIN_WAIT_2;
        st->tcp->finished += state == BW_TCP_FIN_WAIT_2;
        t->orphan = state != BW_TCP_TIME_WAIT && state != BW_TCP_CLOSED;
        st->tcp->orphans -= !t->orphan;
    }
    sock_changed(&t->base);
}

/* The state of one connection as it is before there is one: the whole of it, whatever it was. What it held
 * has been given back (tcp_shed). */
void tcp_renew(struct tcb *t)
{
    enum { CONNECTION = offsetof(struct tcb, snd_una) };
    memset((char *)t + CONNECTION, 0, sizeof *t - CONNECTION);
    byteq_init(&t->sndq);
    byteq_init(&t->rcvq);
    for (int i = 0; i < TCP_TIMERS; i++)
        t->deadline[i] = NEVER;
    t->rto = TCP_RTO_INITIAL;
    t->min_rtt = NEVER;
    t->peer_mss = t->mss = TCP_DEFAULT_MSS;
    t->ssthresh = UINT32_MAX;
    t->reordering = TCP_DUP_THRESH;
    t->in_quickack = TCP_QUICKACKS;
}

/* A new socket: the defaults of what the user may set, and no connection. */
void tcp_init(struct tcb *t)
{
    t->state = BW_TCP_CLOSED;
    t->offer_ts = t->offer_sack = t->offer_wscale = 1;
    t->syn_retries = TCP_SYN_RETRIES;
    t->keep_idle = 7200;
    t->keep_intvl = 75;
    t->keep_count = 9;
    t->ecn_option = t->base.st->cfg.ecn;
    t->base.sndbuf = t->base.st->cfg.sndbuf.standard;
    t->base.rcvbuf = t->base.st->cfg.rcvbuf.standard;
    t->base.linger = -1;
    tcp_renew(t);
}

/* A FIN, and what stands before it, is still to be delivered. */
int tcp_draining(const struct tcb *t)
{
    return t->fin_queued && !t->fin_acked && t->state != BW_TCP_CLOSED && t->state != BW_TCP_TIME_WAIT &&
           t->state != BW_TCP_LISTEN;
}

uint32_t bw_draining(const struct bw_stack *st)
{
    return st->tcp->orphans - st->tcp->finished;
}

void bw_reset(struct bw_sock *s, int err)
{
    if (s->kind != KIND_TCP || tcb_of(s)->state == BW_TCP_CLOSED) {
        s->so_error = err;
        sock_changed(s);
        return;
    }
    /* Not where all was acknowledged: a reset might take from the peer what it has not read. */
    if (tcb_of(s)->state != BW_TCP_TIME_WAIT && tcb_of(s)->state != BW_TCP_FIN_WAIT_2)
        tcp_abort_rst(tcb_of(s));
    tcp_drop(tcb_of(s), err);
}

void bw_abort_all(struct bw_stack *st)
{
    while (tcp_time_wait_end_oldest(st))
        ;
    uint32_t at = 0;
    for (struct bw_sock *s; (s = sock_next(st, &at, KIND_TCP));)
        if (tcb_of(s)->state != BW_TCP_CLOSED)
            bw_reset(s, ECONNABORTED);
}

/* Above max_orphans an orphan is reset at once instead of served to its end. */
void tcp_orphan(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    if (t->state == BW_TCP_TIME_WAIT) {
        tcp_want_output(t); /* and shrinks then */
        return;
    }
    t->orphan = 1;
    st->tcp->finished += t->state == BW_TCP_FIN_WAIT_2;
    if (++st->tcp->orphans > st->cfg.max_orphans) {
        count(st, COUNT_TCP_ORPHANS_RESET);
        tcp_abort_rst(t);
        tcp_drop(t, 0);
    }
}

/* ---- TIME-WAIT: a queue by age ------------------------------------------------------------------------- */

static void time_wait_enter(struct tcb *t)
{
    struct tcp_globals *g = t->base.st->tcp;
    tailq_add(&g->time_wait_tail, t, queue_next, queue_pprev);
}

static void time_wait_leave(struct tcb *t)
{
    struct tcp_globals *g = t->base.st->tcp;
    tailq_remove(&g->time_wait_tail, t, queue_next, queue_pprev);
}

/* Everything the connection holds but the control block itself. */
static void tcp_shed(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    tcp_ready_remove(t);
    cc_stop(t);
    for (int i = 0; i < TCP_TIMERS; i++)
        t->deadline[i] = NEVER;
    timer_cancel(&st->wheel, &t->timer);
    byteq_free(&t->sndq, &st->chunks);
    ranges_free(&t->sacked);
    ranges_free(&t->lost);
    tcp_ooo_forget(t);
    ranges_free(&t->undo_resent);
    txlog_clear(&t->sent);
    txlog_clear(&t->resent);
}

void tcp_release(struct tcb *t)
{
    if (t->state != BW_TCP_CLOSED || (t->base.flags & SOCK_OPEN) || t->listener)
        return;
    tcp_shed(t);
    byteq_free(&t->rcvq, &t->base.st->chunks);
    tfo_release(t);
    flow_del(&t->base);
    bind_del(&t->base);
    sock_free(&t->base);
}

/* The tables have the record already. */
void tcp_time_wait_leave(struct tcb *t)
{
    time_wait_leave(t);
    t->state = BW_TCP_CLOSED;
    tcp_release(t);
}

void tcp_drop(struct tcb *t, int err)
{
    if (err)
        t->base.so_error = err;
    if (t->state == BW_TCP_CLOSED) {
        tcp_release(t);
        return;
    }
    int never_connected = t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD;
    if (t->state == BW_TCP_TIME_WAIT)
        time_wait_leave(t);
    tcp_set_state(t, BW_TCP_CLOSED);
    tcp_shed(t);
    if (!t->was_connected) /* in the accept queue it stays, with its data and its error, as on Linux */
        tcp_child_leaves(t);
    flow_del(&t->base);
    if (never_connected && !(t->base.flags & SOCK_PORT_BOUND))
        bind_del(&t->base);
    tcp_release(t);
}

void tcp_established(struct tcb *t)
{
    int early = tcp_is_early(t); /* it stands in the accept queue */
    t->was_connected = 1;
    t->last_sent = t->stats.last_data_received = t->base.st->now; /* ages begin here, as on Linux */
    tcp_timer_cancel(t, TIMER_STATE);
    tcp_set_state(t, BW_TCP_ESTABLISHED);
    tcp_arm_keepalive(t);
    tcp_tuning_begin(t);
    if (t->listener && !early)
        tcp_child_established(t);
    if (t->fin_queued) /* shut down before it was open */
        tcp_set_state(t, BW_TCP_FIN_WAIT_1);
}

int tcp_recycle_time_wait(struct bw_stack *st)
{
    if (tcp_time_wait_end_oldest(st)) {
        count(st, COUNT_TCP_TIMEWAIT_RECYCLED);
        return 1;
    }
    struct tcb *t = st->tcp->time_wait;
    while (t && (t->base.flags & SOCK_OPEN))
        t = t->queue_next;
    if (!t)
        return 0;
    count(st, COUNT_TCP_TIMEWAIT_RECYCLED);
    tcp_drop(t, 0);
    return 1;
}

/* Both FINs are done: keep the name for twice the maximum segment lifetime. */
void tcp_time_wait(struct tcb *t)
{
    if (t->state != BW_TCP_TIME_WAIT) {
        tcp_set_state(t, BW_TCP_TIME_WAIT);
        time_wait_enter(t);
    }
    for (int i = 0; i < TCP_TIMERS; i++)
        tcp_timer_cancel(t, (enum tcp_timer)i);
    tcp_timer_set(t, TIMER_STATE, t->base.st->now + TCP_MSL_2);
    tcp_ooo_forget(t);
    if (!(t->base.flags & SOCK_OPEN)) {
        byteq_free(&t->rcvq, &t->base.st->chunks);
        tcp_want_output(t); /* behind its last ACK a record goes on for it */
    }
}
