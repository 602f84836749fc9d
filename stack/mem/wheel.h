/* SPDX-License-Identifier: MIT */
/* A hierarchical timer wheel (Varghese and Lauck): constant time to set and cancel, exact deadlines.
 * Four levels of 256 slots; one tick is 2^16 ns. A timer fires at the first run with now >= when; where
 * more than 64 are set for one tick some wait for its end. */
#ifndef BW_WHEEL_H
#define BW_WHEEL_H

#include <stdint.h>

#define NEVER INT64_MAX
enum { TICK_SHIFT = 16 };

struct timer {
    struct timer *next, **pprev; /* pprev NULL: not set */
    int64_t when;
};

struct wheel {
    struct timer *slot[4][256];
    uint64_t busy[4][4]; /* bitmap of non-empty slots */
    int64_t tick;        /* ticks done */
    uint32_t count;
    int cascaded; /* the upper levels' slots of this tick are empty */
};

void wheel_init(struct wheel *w, int64_t now);
void timer_set(struct wheel *w, struct timer *t, int64_t when);
void timer_cancel(struct wheel *w, struct timer *t);
static inline int timer_is_set(const struct timer *t)
{
    return t->pprev != 0;
}
/* Takes one due timer off the wheel, in the order of their ticks; NULL: none is due at `now`, or much is
 * to be sorted first, and wheel_next says that it goes on at once. */
struct timer *wheel_pop(struct wheel *w, int64_t now);
/* wheel_pop would find nothing and change nothing: it is the same tick still, and it has no timer. */
static inline int wheel_rests(const struct wheel *w, int64_t now)
{
    return w->cascaded && w->tick == now >> TICK_SHIFT && !w->slot[0][w->tick & 255];
}
/* Earliest deadline, exact or (for far timers) at most one cascade early; NEVER: none. */
int64_t wheel_next(const struct wheel *w);

#endif
