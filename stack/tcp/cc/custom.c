/* SPDX-License-Identifier: MIT */
/* An algorithm written in Python (stack/congestion.py): it gets one report for each round trip and
 * answers with a window and a pacing rate. In between, and until its first answer, C does what Reno
 * does: slow start, and half of the window at a loss.
 *
 * A report is no record in a queue: the counters of a round stand in the connection, and connections
 * with a finished round stand in a list. So nothing can overflow: a round that Python does not fetch in
 * time becomes one with the next (counted). An answer names the connection by its number and a
 * generation, because the connection may be gone; and one to a report from before a loss comes too
 * late: the back-off stands. */
#include "../tcp.h"

struct custom {
    uint64_t reno;                /* reno.c's, while it is in charge */
    struct custom *next, **pprev; /* the list of finished rounds; pprev NULL: not in it */
    uint64_t acked, lost, ce, rate;
    int64_t rtt; /* the smallest of the round; NEVER: none */
    uint32_t generation, round_end, rounds, flight;
    uint8_t open;      /* a round has begun: its end is known */
    uint8_t in_charge; /* Python has answered */
    uint8_t asked;     /* a report is out, and no loss came since */
    uint8_t limited;
};
_Static_assert(sizeof(struct custom) <= sizeof(((struct tcb *)0)->cc_state), "custom fits");

static struct custom *custom_of(struct tcb *t)
{
    return (struct custom *)t->cc_state;
}

static void begin_round(struct tcb *t)
{
    struct custom *c = custom_of(t);
    c->acked = c->lost = c->ce = c->rate = 0;
    c->rtt = NEVER;
    c->rounds = c->flight = 0;
    c->limited = 0;
}

static void report_withdraw(struct tcb *t)
{
    struct custom *c = custom_of(t);
    if (c->pprev)
        tailq_remove(&t->base.st->tcp->reports_tail, c, next, pprev);
}

static void custom_init(struct tcb *t)
{
    custom_of(t)->generation = ++t->base.st->tcp->cc_generation;
    begin_round(t);
}

/* A round ends when what was in flight at its beginning is acknowledged; one that would begin with
 * nothing in flight begins with the next ACK. */
static int round_over(struct tcb *t, struct custom *c)
{
    if (!c->open)
        c->round_end = t->snd_nxt;
    c->open = 1;
    if (seq_lt(t->snd_una, c->round_end))
        return 0;
    c->round_end = t->snd_nxt;
    c->open = t->snd_una != t->snd_nxt;
    return 1;
}

static void custom_ack(struct tcb *t, const struct cc_ack *ack)
{
    struct custom *c = custom_of(t);
    if (t->snd_una == t->iss + 1) /* the handshake tells nothing yet */
        return;
    c->acked += ack->delivered;
    c->lost += ack->lost;
    c->ce += ack->ce;
    c->limited |= ack->limited;
    if (ack->flight > c->flight)
        c->flight = ack->flight;
    if (ack->rtt >= 0 && ack->rtt < c->rtt)
        c->rtt = ack->rtt;
    if (ack->rate.valid && ack->rate.interval > 0) {
        uint64_t rate = ack->rate.delivered * SECOND / (uint64_t)ack->rate.interval;
        c->rate = rate > c->rate ? rate : c->rate;
    }
    if (!c->in_charge || ack->in_recovery == RECOVERY_TIMEOUT)
        tcp_cc_newreno.ack(t, ack);
    if (!round_over(t, c))
        return;
    if (c->rounds++)
        count(t->base.st, COUNT_TCP_CC_REPORTS_MERGED);
    if (!c->pprev)
        tailq_add(&t->base.st->tcp->reports_tail, c, next, pprev);
}

static uint32_t custom_ssthresh(struct tcb *t)
{
    custom_of(t)->asked = 0;
    return tcp_cc_newreno.ssthresh(t);
}

static void custom_timeout(struct tcb *t)
{
    custom_of(t)->asked = 0;
    tcp_cc_newreno.timeout(t);
}

const struct tcp_cc tcp_cc_custom = {
    .name = "python",
    .flags = CC_PACED,
    .init = custom_init,
    .ack = custom_ack,
    .ssthresh = custom_ssthresh,
    .timeout = custom_timeout,
    .stop = report_withdraw,
};

/* ---- towards Python -------------------------------------------------------------------------------------- */

int bw_cc_reports(const struct bw_stack *st)
{
    return st->tcp->reports != NULL;
}

int bw_cc_report_pop(struct bw_stack *st, struct bw_cc_report *out)
{
    struct custom *c = st->tcp->reports;
    if (!c)
        return 0;
    struct tcb *t = container_of(c, struct tcb, cc_state);
    *out = (struct bw_cc_report){.now = st->now,
                                 .rtt = c->rtt == NEVER ? -1 : c->rtt,
                                 .min_rtt = t->min_rtt == NEVER ? -1 : t->min_rtt,
                                 .acked = c->acked,
                                 .lost = c->lost,
                                 .ce = c->ce,
                                 .delivery_rate = c->rate,
                                 .sock = t->base.id,
                                 .generation = c->generation,
                                 .algorithm = t->congestion,
                                 .rounds = c->rounds,
                                 .in_flight = c->flight,
                                 .cwnd = t->cwnd,
                                 .mss = t->mss,
                                 .app_limited = !c->limited};
    report_withdraw(t);
    begin_round(t);
    c->asked = 1;
    return 1;
}

/* The connection that a report was about, or NULL: it is gone. */
static struct tcb *reporter(struct bw_stack *st, uint32_t sock, uint32_t generation)
{
    if (sock >= st->slab_touched)
        return NULL;
    struct bw_sock *s = sock_at(st, sock);
    struct tcb *t = tcb_of(s);
    if (s->kind != KIND_TCP || t->state == BW_TCP_CLOSED || t->cc != &tcp_cc_custom)
        return NULL;
    return custom_of(t)->generation == generation ? t : NULL;
}

int bw_cc_answer(struct bw_stack *st, uint32_t sock, uint32_t generation, uint64_t window, uint64_t rate)
{
    struct tcb *t = reporter(st, sock, generation);
    if (!t)
        return -ESTALE;
    struct custom *c = custom_of(t);
    if (!c->asked)
        return -EAGAIN;
    c->asked = 0;
    c->in_charge = 1;
    pace_set(t, rate);
    t->ssthresh = cc_two_segments(t, window < CC_WINDOW_MAX ? window : CC_WINDOW_MAX);
    if (!t->recovering) /* else PRR, or slow start after a time-out, leads there */
        t->cwnd = t->ssthresh;
    tcp_want_output(t);
    sock_changed(&t->base);
    return 0;
}

int bw_cc_give_up(struct bw_stack *st, uint32_t sock, uint32_t generation)
{
    struct tcb *t = reporter(st, sock, generation);
    if (!t)
        return -ESTALE;
    t->congestion = 0;
    cc_start(t);
    return 0;
}
