/* SPDX-License-Identifier: MIT */
/* CUBIC (RFC 9438), with HyStart++ for its first slow start. */
#include "../tcp.h"

/* The curve of the present congestion avoidance stage. Windows in bytes, K in ms. */
struct cubic_curve {
    uint32_t w_max, w_est, cwnd_prior, k;
    int64_t epoch; /* its beginning, less what does not count; 0: none */
};
struct cubic {
    struct cubic_curve now, before; /* before: the last reduction, for its undoing */
    int64_t last_ack;
    uint32_t reno_acked; /* bytes acknowledged towards w_est's next segment */
    uint32_t grow_acked; /* remainder of cwnd's growth */
    struct hystart hystart;
};
_Static_assert(sizeof(struct cubic) <= sizeof(((struct tcb *)0)->cc_state), "cubic fits");

static struct cubic *cubic_of(struct tcb *t)
{
    return (struct cubic *)t->cc_state;
}

static void cubic_init(struct tcb *t)
{
    hystart_init(t, &cubic_of(t)->hystart);
}

static uint64_t cube_root(uint64_t x)
{
    uint64_t root = 0;
    for (int bit = 20; bit >= 0; bit--) {
        uint64_t next = root | 1ull << bit;
        if (next * next * next <= x)
            root = next;
    }
    return root;
}

/* Section 4.2: K = cbrt((W_max - cwnd_epoch) / C), C = 0.4, windows in segments. In ms: cbrt(segments *
 * 2.5e9). Without a W_max to come back to (after HyStart++ or a time-out, sections 4.10 and 4.8) or
 * above it the curve begins at its plateau. */
static void begin_epoch(struct tcb *t, struct cubic *c)
{
    struct cubic_curve *w = &c->now;
    w->epoch = t->base.st->now ? t->base.st->now : 1;
    w->w_est = t->cwnd;
    c->reno_acked = c->grow_acked = 0;
    if (w->w_max < t->cwnd)
        w->w_max = t->cwnd;
    if (!w->cwnd_prior)
        w->cwnd_prior = t->cwnd;
    w->k = (uint32_t)cube_root((uint64_t)(w->w_max - t->cwnd) * 2500000000ull / t->mss);
}

/* W_cubic(t) = C * (t - K)^3 + W_max, in bytes. */
static int64_t w_cubic(const struct tcb *t, const struct cubic_curve *w, int64_t ms)
{
    int64_t d = ms - w->k;
    if (d > 1000000)
        d = 1000000;
    int64_t cube = d * d / 1000 * d / 1000; /* (seconds * 1000)^3 / 1e6 = s^3 * 1e3 */
    return (int64_t)w->w_max + cube * 4 / 10000 * t->mss + (cube * 4 % 10000) * (int64_t)t->mss / 10000;
}

/* Section 4.3: what Reno would have. alpha = 9/17 until the window is back at what it was, then 1. */
static void grow_w_est(const struct tcb *t, struct cubic *c, uint32_t acked)
{
    uint64_t sum = (uint64_t)c->reno_acked + acked;
    uint64_t need = c->now.w_est < c->now.cwnd_prior ? (uint64_t)t->cwnd * 17 / 9 : t->cwnd;
    c->now.w_est += (uint32_t)(sum / need) * t->mss;
    c->reno_acked = (uint32_t)(sum % need);
}

/* Section 4.2: time in which the program, not the window, limits sending is no part of t (5.8). */
static void pass_over_idle_time(const struct tcb *t, struct cubic *c, int limited)
{
    int64_t gap = t->base.st->now - c->last_ack;
    c->last_ack = t->base.st->now;
    if (!c->now.epoch)
        return;
    if (!limited)
        c->now.epoch += gap;
    else if (gap > 2 * t->srtt)
        c->now.epoch += gap - t->srtt;
}

/* Sections 4.2 to 4.5. */
static void avoid_congestion(struct tcb *t, struct cubic *c, uint32_t acked)
{
    int64_t ms = (t->base.st->now - c->now.epoch) / MS, cwnd = t->cwnd;
    grow_w_est(t, c, acked);
    if (w_cubic(t, &c->now, ms) < (int64_t)c->now.w_est) { /* the Reno-friendly region */
        if (t->cwnd < c->now.w_est)
            t->cwnd = c->now.w_est;
        return;
    }
    int64_t target = w_cubic(t, &c->now, ms + t->srtt / MS);
    if (target > cwnd + cwnd / 2)
        target = cwnd + cwnd / 2;
    if (target <= cwnd)
        return;
    /* (target - cwnd) / cwnd for each segment acknowledged. */
    uint64_t sum = c->grow_acked + (uint64_t)(target - cwnd) * acked;
    cc_grow(t, sum / (uint64_t)cwnd);
    c->grow_acked = (uint32_t)(sum % (uint64_t)cwnd);
}

static void cubic_ack(struct tcb *t, const struct cc_ack *ack)
{
    struct cubic *c = cubic_of(t);
    pass_over_idle_time(t, c, ack->limited);
    if (ack->in_recovery == RECOVERY_FAST || ack->ece) /* RFC 3168 6.1.2 */
        return;
    if (t->ssthresh == UINT32_MAX) {
        hystart_ack(t, &c->hystart, ack);
        return;
    }
    uint32_t acked = ack->limited ? ack->delivered : 0;
    if (t->cwnd < t->ssthresh) {
        c->now.epoch = 0; /* a stage begins where slow start ends */
        acked = cc_slow_start(t, acked);
    }
    if (t->cwnd < t->ssthresh)
        return;
    if (!c->now.epoch)
        begin_epoch(t, c);
    if (acked)
        avoid_congestion(t, c, acked);
}

/* Section 4.7, fast convergence; and what section 4.9 wants back if the reduction was wrong. */
static void remember_w_max(struct tcb *t)
{
    struct cubic *c = cubic_of(t);
    c->before = c->now;
    c->now.epoch = 0;
    c->now.cwnd_prior = t->cwnd;
    c->now.w_max = t->cwnd < c->now.w_max ? (uint32_t)((uint64_t)t->cwnd * 17 / 20) : t->cwnd;
}

/* Section 4.6: beta = 0.7. */
static uint32_t cubic_ssthresh(struct tcb *t)
{
    uint32_t window = cc_used_window(t);
    remember_w_max(t);
    return cc_two_segments(t, (uint64_t)window * 7 / 10);
}

/* ABE (RFC 8511 section 3.1): for a mark beta is 0.85. */
static uint32_t cubic_ecn_ssthresh(struct tcb *t)
{
    remember_w_max(t);
    return cc_two_segments(t, (uint64_t)cc_used_window(t) * 85 / 100);
}

/* Section 4.8: the first stage after it begins at its plateau. */
static void cubic_timeout(struct tcb *t)
{
    cubic_of(t)->now.w_max = 0;
}

/* Section 4.9: not if the window has grown beyond what it was. */
static void cubic_undo(struct tcb *t)
{
    if (t->cwnd <= t->undo_cwnd)
        cubic_of(t)->now = cubic_of(t)->before;
}

const struct tcp_cc tcp_cc_cubic = {
    .name = "cubic",
    .init = cubic_init,
    .ack = cubic_ack,
    .ssthresh = cubic_ssthresh,
    .timeout = cubic_timeout,
    .undo = cubic_undo,
    .ecn_ssthresh = cubic_ecn_ssthresh,
};
