/* SPDX-License-Identifier: MIT */
/* The clock of a host against a kernel and a counter of our own making, and against the real ones. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#ifdef __x86_64__
#include <x86intrin.h>
#endif

static int64_t fake_ns;      /* what the kernel says */
static double fake_count;    /* what the processor has counted */
static double speed;         /* counts a ns */
static int64_t jitter;       /* ns that a reading of the kernel's takes */
static int faked;

static void pass(double ns)
{
    fake_ns += (int64_t)ns;
    fake_count += (double)(int64_t)ns * speed;
}

static int reading(clockid_t id, struct timespec *ts)
{
    if (!faked)
        return clock_gettime(id, ts);
    *ts = (struct timespec){fake_ns / 1000000000, fake_ns % 1000000000};
    pass((double)jitter);
    return 0;
}

static uint64_t count_now(void)
{
#ifdef __x86_64__
    if (!faked)
        return __rdtsc();
#endif
    return (uint64_t)fake_count;
}

#define clock_gettime reading
#define __rdtsc count_now
#include "../../stack/drive/clock.c"

#define MUST(what) \
    do { \
        if (!(what)) { \
            printf("line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

static double chance(void)
{
    return rand() / (RAND_MAX + 1.0);
}

static struct clock begin(double counts_a_ns)
{
    struct clock c = {.counts = 1};
    faked = 1;
    jitter = 30;
    fake_ns = 5000000000;
    fake_count = 1e9;
    speed = counts_a_ns;
    return c;
}

/* How far the clock is from the kernel's, at worst, over n readings with such gaps; it never goes back. */
static int64_t worst(struct clock *c, int n, double gap)
{
    int64_t last = 0, far = 0;
    for (int i = 0; i < n; i++) {
        pass(chance() < 0.001 ? gap * 1000 * chance() : gap * chance());
        int64_t now = clock_read(c), off = llabs(now - fake_ns);
        MUST(now >= last);
        last = now;
        far = off > far ? off : far;
    }
    return far;
}

/* NTP moves the kernel's speed by up to 500 ppm, and back. */
static void follows_the_kernel(void)
{
    static const double speeds[] = {0.6, 1, 2.9, 4.5};
    for (int i = 0; i < 4; i++) {
        struct clock c = begin(speeds[i]);
        MUST(worst(&c, 200000, 200) < 500);
        MUST(c.counts && c.ahead);
        for (int turn = 0; turn < 20; turn++) {
            speed = speeds[i] * (1 + (turn % 2 ? 500e-6 : -500e-6));
            MUST(worst(&c, 20000, turn < 10 ? 200 : 20000) < 1500);
        }
        MUST(c.counts);
    }
}

/* A reading that somebody came between is no anchor: the kernel's word is given and nothing learned. */
static void is_not_misled_by_a_pause(void)
{
    struct clock c = begin(3);
    worst(&c, 100000, 200);
    const struct clock before = c;
    jitter = 400000;
    pass(2e6);
    clock_read(&c);
    MUST(c.scale == before.scale && c.at == before.at);
    jitter = 30;
    MUST(worst(&c, 100000, 200) < 1500);
}

/* The counter begins anew, or runs at another speed: the kernel's clock is the clock, at the latest after 1 ms. */
static void gives_up_what_is_no_clock(void)
{
    struct clock c = begin(3);
    worst(&c, 100000, 200);
    speed = 1.5;
    worst(&c, 20000, 200);
    MUST(!c.counts);
    MUST(worst(&c, 1000, 200) <= jitter);
    c = begin(3);
    worst(&c, 100000, 200);
    fake_count = 17;
    pass(2e6);
    MUST(llabs(clock_read(&c) - fake_ns) <= jitter);
}

/* Nobody looked for long: no count serves, and nothing is learned of so long a time. */
static void asks_after_a_long_rest(void)
{
    struct clock c = begin(3);
    worst(&c, 100000, 200);
    for (int i = 0; i < 20; i++) {
        pass(3e9 * chance());
        MUST(llabs(clock_read(&c) - fake_ns) <= jitter);
        MUST(worst(&c, 1000, 200) < 1500);
    }
    MUST(c.counts);
}

/* The real ones: each reading lies between two of the kernel's. */
static void agrees_with_the_kernel_here(void)
{
    struct clock c;
    faked = 0;
    clock_init(&c);
    for (int i = 0; i < 200000; i++) {
        int64_t before = monotonic(), now = clock_read(&c), after = monotonic();
        MUST(now >= before - 5000 && now <= after + 5000);
    }
}

int main(void)
{
    follows_the_kernel();
    is_not_misled_by_a_pause();
    gives_up_what_is_no_clock();
    asks_after_a_long_rest();
    agrees_with_the_kernel_here();
    printf("well\n");
    return 0;
}
