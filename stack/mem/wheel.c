/* SPDX-License-Identifier: MIT */
/* The timer wheel (see wheel.h). Level 0 holds the next 256 ticks, level n slots of 256^n ticks.
 * w->tick is the tick being worked on: its level-0 slot may still hold timers of later
 * nanoseconds of that tick. */
#include "wheel.h"

#include <string.h>

#include "list.h"

enum {
    LEVELS = 4,
    CASCADE = 1024, /* timers moved to a lower level in one call */
    CROWD = 64,     /* timers of one slot that are looked at for their nanoseconds */
};

void wheel_init(struct wheel *w, int64_t now)
{
    memset(w, 0, sizeof *w);
    w->tick = now >> TICK_SHIFT;
}

static void link_timer(struct wheel *w, struct timer *t)
{
    int64_t tick = t->when >> TICK_SHIFT;
    if (tick < w->tick)
        tick = w->tick;
    int level = 0;
    while (level < LEVELS - 1 && (tick >> (8 * level)) - (w->tick >> (8 * level)) >= 256)
        level++;
    int64_t limit = (w->tick >> (8 * level)) + 255; /* beyond the last level: parked at its end */
    int64_t at = tick >> (8 * level);
    int slot = (int)((at > limit ? limit : at) & 255);
    struct timer **head = &w->slot[level][slot];
    list_push(head, t, next, pprev);
    w->busy[level][slot >> 6] |= 1ull << (slot & 63);
}

static void unlink_timer(struct wheel *w, struct timer *t)
{
    uintptr_t base = (uintptr_t)w->slot, at = (uintptr_t)t->pprev;
    list_remove(t, next, pprev);
    if (!t->next && at >= base && at < base + sizeof w->slot) { /* the slot is empty now */
        size_t index = (at - base) / sizeof(struct timer *);
        w->busy[index >> 8][(index & 255) >> 6] &= ~(1ull << (index & 63));
    }
}

void timer_set(struct wheel *w, struct timer *t, int64_t when)
{
    if (timer_is_set(t)) {
        if (t->when == when)
            return;
        unlink_timer(w, t);
    } else {
        w->count++;
    }
    t->when = when;
    link_timer(w, t);
}

void timer_cancel(struct wheel *w, struct timer *t)
{
    if (!timer_is_set(t))
        return;
    unlink_timer(w, t);
    w->count--;
}

/* Distance (0..255) from `from` to the next busy slot of a level, or -1. */
static int next_busy(const struct wheel *w, int level, int from)
{
    for (int step = 0; step < 5; step++) {
        int word = ((from >> 6) + step) & 3;
        uint64_t bits = w->busy[level][word];
        if (step == 0)
            bits &= ~0ull << (from & 63);
        else if (step == 4)
            bits &= ~(~0ull << (from & 63));
        if (bits)
            return ((word << 6) + __builtin_ctzll(bits) - from) & 255;
    }
    return -1;
}

/* Moves the timers of the upper levels' current slots down: w->tick has entered them, and nothing is
 * linked there any more. 1: all of them; 0: it goes on in the next call. */
static int cascade(struct wheel *w)
{
    int left = CASCADE;
    for (int level = LEVELS - 1; level >= 1; level--) {
        struct timer **head = &w->slot[level][(w->tick >> (8 * level)) & 255];
        for (struct timer *t; (t = *head); left--) {
            if (!left)
                return 0;
            unlink_timer(w, t);
            link_timer(w, t);
        }
    }
    w->cascaded = 1;
    return 1;
}

/* A timer of the current tick that is due, or NULL. Of a crowd the first ones are looked at; the others
 * are due when the tick is over. */
static struct timer *due_now(const struct wheel *w, int64_t now)
{
    int looks = w->tick < now >> TICK_SHIFT ? 1 : CROWD;
    for (struct timer *t = w->slot[0][w->tick & 255]; t && looks; t = t->next, looks--)
        if (t->when <= now)
            return t;
    return NULL;
}

/* The next tick at which something happens in levels [lowest, LEVELS): a busy level-0 slot, or a
 * busy upper slot to cascade; INT64_MAX: nothing. */
static int64_t next_tick(const struct wheel *w, int lowest)
{
    int64_t best = INT64_MAX;
    for (int level = lowest; level < LEVELS; level++) {
        int64_t at = w->tick >> (8 * level);
        int distance = next_busy(w, level, (int)(at & 255));
        if (distance < 0)
            continue;
        int64_t tick = (at + distance) << (8 * level);
        if (tick < best)
            best = tick;
    }
    return best < w->tick ? w->tick : best;
}

struct timer *wheel_pop(struct wheel *w, int64_t now)
{
    int64_t last = now >> TICK_SHIFT;
    if (w->count == 0) {
        if (w->tick < last)
            w->tick = last;
        w->cascaded = 1;
        return NULL;
    }
    while (w->cascaded || cascade(w)) {
        struct timer *t = due_now(w, now);
        if (t) {
            timer_cancel(w, t);
            return t;
        }
        if (w->tick >= last)
            return NULL;
        int64_t next = next_tick(w, 0);
        w->tick = next > last ? last : next <= w->tick ? w->tick + 1 : next;
        w->cascaded = 0;
    }
    return NULL;
}

int64_t wheel_next(const struct wheel *w)
{
    if (w->count == 0)
        return NEVER;
    int64_t tick = next_tick(w, 0), upper = next_tick(w, 1), best = (tick + 1) << TICK_SHIFT;
    if (upper <= tick) /* wake at the start of that slot, to cascade */
        return upper << TICK_SHIFT;
    int looks = CROWD;
    for (const struct timer *t = w->slot[0][tick & 255]; t && looks; t = t->next, looks--)
        if (t->when < best)
            best = t->when;
    return best;
}
