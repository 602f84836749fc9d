/* SPDX-License-Identifier: MIT */
/* How long a thread spins, and whom it lets run meanwhile.
 *
 * Who spins holds its core, and the program that it has just answered may wait for that very core: the scheduler
 * often wakes a thread where its waker runs. So a thread that has found nothing for YIELD_NS lets others run, which
 * costs a fraction of a microsecond where nobody waits. Where it did not get its core back soon somebody computes
 * there: then spinning is no use for a while, and a sleeping thread is woken sooner than one that yields. */
#include "host.h"

#include <sched.h>

enum {
    YIELD_NS = 20000,     /* of finding nothing */
    CROWDED_NS = 400000,  /* a yield that takes so long, ... */
    SLEEPY_NS = 20000000, /* ... and no long spins for so long */
};

struct spin spin_begin(int64_t now, int64_t spin_ns, int64_t crowded)
{
    int64_t most = now < crowded ? YIELD_NS : SPIN_MAX_NS;
    return (struct spin){.end = now + (spin_ns < most ? spin_ns : most), .yield_at = now + YIELD_NS};
}

int64_t spin_yield(struct spin *s)
{
    int64_t before = monotonic();
    sched_yield();
    int64_t now = monotonic();
    s->yield_at = now + YIELD_NS;
    if (now - before < CROWDED_NS)
        return 0;
    s->end = now;
    return now + SLEEPY_NS;
}
