/* SPDX-License-Identifier: MIT */
/* The time of one host: CLOCK_MONOTONIC, between its readings from the processor's counter (clock.c). */
#ifndef BW_CLOCK_H
#define BW_CLOCK_H

#include <stdint.h>

struct clock {
    uint8_t
        counts; /* the kernel itself keeps time by the counter, so it is the same on all cores, at any speed */
    uint64_t at;    /* the counter at the kernel's last reading, ... */
    int64_t now;    /* ... which was this */
    uint64_t ahead; /* counts that the reading serves for; 0: none */
    uint64_t scale; /* ns a count, in 2^-32; 0: not known */
    int64_t latest; /* given out last: time does not go back */
};

int64_t monotonic(void); /* the kernel's reading, ns */
void clock_init(struct clock *c);
/* The time, ns. The caller holds what guards c. */
int64_t clock_read(struct clock *c);
/* The kernel said `now` when the counter was there. */
void clock_anchor(struct clock *c, uint64_t count, int64_t now);
/* The time at that count; -1: ask the kernel. */
static inline int64_t clock_at(const struct clock *c, uint64_t count)
{
    uint64_t since = count - c->at;
    return since < c->ahead ? c->now + (int64_t)(since * c->scale >> 32) : -1;
}

#endif
