/* SPDX-License-Identifier: MIT */
/* Pacing: data leaves at t->pacing_rate, a quantum at a time. A quantum is what the rate carries in a
 * millisecond, at least two segments, at most 64 KiB: small enough for the queues on the path, large
 * enough for super-segments. A connection with rate 0 is not paced and pays nothing. */
#include "../tcp.h"

/* The rate an algorithm wants, in bytes a second, within SO_MAX_PACING_RATE. */
void pace_set(struct tcb *t, uint64_t rate)
{
    t->pacing_rate = t->max_pacing_rate && (!rate || rate > t->max_pacing_rate) ? t->max_pacing_rate : rate;
}

uint32_t pace_quantum(const struct tcb *t)
{
    uint64_t n = t->pacing_rate / 1000;
    n = n < 2 * t->mss ? 2 * t->mss : n > TCP_TURN_BYTES ? TCP_TURN_BYTES : n;
    return (uint32_t)(n - n % t->mss);
}

/* How much may leave now, whole segments; 0: nothing before TIMER_PACE. Only for paced connections. */
uint32_t pace_budget(struct tcb *t)
{
    if (t->base.st->now >= t->pace_next)
        t->pace_left = pace_quantum(t);
    uint32_t whole = t->pace_left - t->pace_left % t->mss;
    if (!whole)
        tcp_timer_set(t, TIMER_PACE, t->pace_next);
    return whole;
}

/* n bytes have left. A late start is made up for, by half of the interval at most. */
void pace_sent(struct tcb *t, uint32_t n)
{
    int64_t now = t->base.st->now, late = now - t->pace_next;
    int64_t span = (int64_t)((uint64_t)n * SECOND / t->pacing_rate);
    if (late > 0) {
        t->pace_next = now;
        span -= late < span / 2 ? late : span / 2;
    }
    t->pace_next += span;
    t->pace_left = t->pace_left >= n + t->mss ? t->pace_left - n : 0;
}
