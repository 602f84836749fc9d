/* SPDX-License-Identifier: MIT */
/* CUBIC (RFC 9438). */
#include "../tcp.h"

/* What CUBIC keeps in cc_state. Windows in bytes, K and times in ms. */
struct cubic {
    uint32_t w_max, w_est;
    uint32_t cwnd_epoch, k;
    int64_t epoch;         /* start of the avoidance epoch; 0: none */
    uint64_t reno_acked;   /* towards w_est's growth */
    uint64_t grow_acked;   /* towards cwnd's growth */
    uint32_t w_max_before; /* of the last reduction, for its undoing */
};
_Static_assert(sizeof(struct cubic) <= sizeof(((struct tcb *)0)->cc_state), "cubic fits");

static struct cubic *cubic_of(struct tcb *t)
{
    return (struct cubic *)t->cc_state;
}

static void cubic_init(struct tcb *t)
{
    *cubic_of(t) = (struct cubic){0};
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

/* RFC 9438 section 4.2: K = cbrt((W_max - cwnd_epoch) / C), C = 0.4, windows in segments. In ms:
 * cbrt(segments * 2.5e9). */
static void begin_epoch(struct tcb *t, struct cubic *c)
{
    c->epoch = t->base.st->now ? t->base.st->now : 1;
    c->cwnd_epoch = c->w_est = t->cwnd;
    c->reno_acked = c->grow_acked = 0;
    if (c->w_max < t->cwnd)
        c->w_max = t->cwnd;
    c->k = (uint32_t)cube_root((uint64_t)(c->w_max - t->cwnd) * 2500000000ull / t->mss);
}

/* W_cubic(t) = C * (t - K)^3 + W_max, in bytes. */
static int64_t w_cubic(const struct tcb *t, const struct cubic *c, int64_t ms)
{
    int64_t d = ms - c->k;
    if (d > 1000000)
        d = 1000000;
    int64_t cube = d * d / 1000 * d / 1000; /* (seconds * 1000)^3 / 1e6 = s^3 * 1e3 */
    return (int64_t)c->w_max + cube * 4 / 10000 * t->mss + (cube * 4 % 10000) * (int64_t)t->mss / 10000;
}

/* RFC 9438 section 4.3: what Reno with the same loss rate would have; alpha = 9/17 up to W_max. */
static void grow_w_est(const struct tcb *t, struct cubic *c, uint32_t acked)
{
    c->reno_acked += acked;
    uint64_t need = c->w_est < c->w_max ? (uint64_t)t->cwnd * 17 / 9 : t->cwnd;
    while (need && c->reno_acked >= need) {
        c->reno_acked -= need;
        c->w_est += t->mss;
    }
}

static void cubic_ack(struct tcb *t, const struct cc_ack *ack)
{
    struct cubic *c = cubic_of(t);
    if (!ack->limited || ack->in_recovery == RECOVERY_FAST || ack->ece) /* RFC 3168 6.1.2 */
        return;
    uint32_t acked = t->cwnd < t->ssthresh ? cc_slow_start(t, ack->delivered) : ack->delivered;
    if (!acked || t->cwnd < t->ssthresh)
        return;
    if (!c->epoch)
        begin_epoch(t, c);
    int64_t ms = (t->base.st->now - c->epoch) / MS, rtt = t->srtt / MS;
    grow_w_est(t, c, acked);
    if (w_cubic(t, c, ms) < (int64_t)c->w_est) { /* the Reno-friendly region */
        if (t->cwnd < c->w_est)
            t->cwnd = c->w_est;
        return;
    }
    int64_t target = w_cubic(t, c, ms + rtt), cwnd = t->cwnd;
    if (target > cwnd + cwnd / 2)
        target = cwnd + cwnd / 2;
    if (target <= cwnd)
        return;
    /* (target - cwnd) / cwnd for each segment acknowledged (section 4.4). */
    c->grow_acked += (uint64_t)(target - cwnd) * acked;
    cc_grow(t, c->grow_acked / (uint64_t)cwnd);
    c->grow_acked %= (uint64_t)cwnd;
}

/* Section 4.7, fast convergence. */
static void remember_w_max(struct tcb *t)
{
    struct cubic *c = cubic_of(t);
    c->epoch = 0;
    c->w_max_before = c->w_max;
    c->w_max = t->cwnd < c->w_max ? (uint32_t)((uint64_t)t->cwnd * 17 / 20) : t->cwnd;
}

/* Section 4.6: beta = 0.7. */
static uint32_t cubic_ssthresh(struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una, window = flight < t->cwnd ? flight : t->cwnd;
    remember_w_max(t);
    return cc_two_segments(t, (uint64_t)window * 7 / 10);
}

/* ABE (RFC 8511 section 3.1): for a mark beta is 0.85. */
static uint32_t cubic_ecn_ssthresh(struct tcb *t)
{
    remember_w_max(t);
    return cc_two_segments(t, (uint64_t)cc_used_window(t) * 85 / 100);
}

static void cubic_timeout(struct tcb *t)
{
    cubic_of(t)->epoch = 0;
}

static void cubic_undo(struct tcb *t)
{
    cubic_of(t)->w_max = cubic_of(t)->w_max_before;
    cubic_of(t)->epoch = 0;
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
