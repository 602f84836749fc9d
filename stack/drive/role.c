/* SPDX-License-Identifier: MIT */
/* The driver role: who wakes up for a host's devices and timers.
 *
 * A thread holds the role only while it is inside a C call; every way back to Python gives it up.
 * It goes to another waiter that is present, at once (a write that wakes it), else to nobody, which
 * is a store: the background thread in its naps sees it. Only when that thread sleeps deeper than a
 * nap it is kicked. So request/response programs, whose next wait comes within a nap, make no
 * system call for the role. */
#include "host.h"

static void changed(struct host *h)
{
    h->sleep_until = AWAKE;
    h->sleep_full = 0;
    step_on(&h->role_count);
}

int role_is_mine(const struct host *h, const struct waiter *w)
{
    return h->role == ROLE_WAITER && h->driver == w;
}

int role_is_free(const struct host *h)
{
    return h->role == ROLE_NOBODY || h->role == ROLE_BACKGROUND;
}

int role_claim(struct host *h, enum role role, struct waiter *w)
{
    if (w && role_is_mine(h, w)) {
        h->sleep_until = AWAKE;
        return 1;
    }
    if (h->bound || h->draining || h->virtual_time || !role_is_free(h))
        return 0;
    h->role = role;
    h->driver = w;
    changed(h);
    return 1;
}

void role_release(struct host *h)
{
    struct waiter *before = h->role == ROLE_WAITER ? h->driver : NULL;
    changed(h);
    h->driver = NULL;
    for (struct enlist *e = h->enlisted; e; e = e->next) {
        if (e->present && e->waiter != before) {
            h->role = ROLE_WAITER;
            h->driver = e->waiter;
            h->stats.handoffs++;
            waiter_wake(e->waiter);
            return;
        }
    }
    h->role = ROLE_NOBODY;
    if (h->thread_runs && h->thread_asleep)
        thread_kick(h);
}

void role_wake(struct host *h)
{
    if (h->role == ROLE_WAITER)
        waiter_wake(h->driver);
    else if (h->role == ROLE_BACKGROUND && h->thread_asleep)
        thread_kick(h);
    h->sleep_until = AWAKE;
}
