/* SPDX-License-Identifier: MIT */
/* The clock of a host. The kernel's reading costs a third of a look at an empty queue, so between two of them,
 * CLOCK_ANCHOR apart at most, the processor's counter tells the time: where the kernel uses it for its own clock
 * and so vouches that it is stable. The speed comes from the readings, and follows what NTP does to them. What may
 * go wrong (the counter was reset, the kernel has found another clock) is over with the next reading. */
#include "clock.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

#define CLOCK_ANCHOR 1000000ll    /* ns that a reading of the kernel's serves for */
#define CLOCK_LONGEST 500000000ll /* ns between two readings that tell of the counter's speed, at most */
#define CLOCK_APART 1000u         /* counts around a reading, at most: else something came between */

int64_t monotonic(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static inline uint64_t counter(void)
{
#ifdef __x86_64__
    return __rdtsc();
#else
    return 0;
#endif
}

static int kernel_counts(void)
{
#ifdef __x86_64__
    char name[8] = "";
    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, name, sizeof name - 1);
    close(fd);
    return n == 4 && !memcmp(name, "tsc\n", 4);
#else
    return 0;
#endif
}

void clock_init(struct clock *c)
{
    *c = (struct clock){.counts = (uint8_t)kernel_counts()};
}

void clock_anchor(struct clock *c, uint64_t count, int64_t now)
{
    int64_t spent = now - c->now;
    uint64_t counts = count - c->at;
    if (c->at && !c->scale && spent < CLOCK_ANCHOR)
        return; /* too short to tell the speed by */
    if (c->at && spent >= CLOCK_ANCHOR && spent <= CLOCK_LONGEST) {
        uint64_t scale = counts && counts <= UINT32_MAX ? ((uint64_t)spent << 32) / counts : 0;
        if (!scale || (c->scale && (scale < c->scale / 8 * 7 || scale > c->scale / 8 * 9)))
            c->counts = 0; /* no clock to go by: the kernel's from now on */
        c->scale = scale;
    }
    c->at = count;
    c->now = now;
    c->ahead = c->scale ? ((uint64_t)CLOCK_ANCHOR << 32) / c->scale : 0;
}

/* Time does not go back, where the counter was a little fast. */
static int64_t now_after(struct clock *c, int64_t now)
{
    return c->latest = now > c->latest ? now : c->latest;
}

int64_t clock_read(struct clock *c)
{
    if (!c->counts)
        return now_after(c, monotonic());
    uint64_t count = counter();
    int64_t now = clock_at(c, count);
    if (now < 0) {
        now = monotonic();
        uint64_t spent = counter() - count;
        if (spent <= CLOCK_APART)
            clock_anchor(c, count + spent / 2, now);
    }
    return now_after(c, now);
}
