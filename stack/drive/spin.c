/* SPDX-License-Identifier: MIT */
/* How long a thread spins, and whom it lets run meanwhile.
 *
 * Who spins holds its core, and the program that it has just answered may wait for that very core: the scheduler
 * often wakes a thread where its waker runs. So a thread that has found nothing for YIELD_NS lets others run, which
 * costs a fraction of a microsecond where nobody waits. Where it did not get its core back soon somebody computes
 * there: then spinning is no use for a while, and a sleeping thread is woken sooner than one that yields.
 *
 * A yield does not always help: of two groups of tasks (sessions, containers) the scheduler may take the same again.
 * The sign of it is a spin that found nothing, and a device that woke its thread as soon as that slept. After two
 * such in a row spins are short for a while too, twice as long each time until a long one finds something. */
#include "host.h"

#include <sched.h>

enum {
    VAIN = 2,             /* spins in a row whose sleep ended within ... */
    SOON_NS = 100000,     /* ... so long */
    YIELD_NS = 20000,     /* of finding nothing */
    CROWDED_NS = 400000,  /* a yield that takes so long, ... */
    SLEEPY_NS = 20000000, /* ... and no long spins for so long */
    SHY_NS = 1000000,     /* the same after spins in vain, at first, ... */
    SHY_MOST_NS = 32000000,
};

struct spin spin_begin(int64_t now, int64_t spin_ns, int64_t crowded)
{
    int64_t most = now < crowded ? YIELD_NS : SPIN_MAX_NS, length = spin_ns < most ? spin_ns : most;
    return (struct spin){.end = now + length, .yield_at = now + YIELD_NS, .is_long = length > YIELD_NS};
}

int spin_just_ended(int64_t ended, int64_t now)
{
    return now - ended < SOON_NS;
}

void spin_judge(struct host *h, int64_t slept_at, int by_device)
{
    h->vain = by_device && h->now - slept_at < SOON_NS ? h->vain + 1 : 0;
    if (h->vain < VAIN)
        return;
    h->vain = 0;
    h->stats.spins_in_vain++;
    h->shy = h->shy ? 2 * h->shy : SHY_NS;
    h->shy = h->shy < SHY_MOST_NS ? h->shy : SHY_MOST_NS;
    h->crowded = h->now + h->shy;
}

void spin_ended(struct host *h, const struct spin *s, int found)
{
    if (!s->is_long)
        return;
    if (found)
        h->shy = h->vain = 0;
    else
        h->spun_out = h->now;
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
