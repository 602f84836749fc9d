/* SPDX-License-Identifier: MIT */
/* The driver role: who wakes up for a host's devices and timers.
 *
 * A thread has the role only while it is inside a C call; every way back to Python gives it up. It goes to another
 * waiter that is present, at once (a write that wakes it), else to nobody, which is a store: the background thread
 * in its naps sees it. Only when that thread sleeps deeper than a nap it is kicked. So request/response programs,
 * whose next wait comes within a nap, make no system call for the role.
 *
 * A thread whose calls follow each other at once keeps the role between them, although others wait: it would be
 * back before they woke. And it takes the role from a driver that sleeps, so that it can spin; else one idle
 * thread in accept() would have each message of the others go through two wake-ups. If it does not come back,
 * the background thread hands the role on, within a nap. Where something had come for them meanwhile, the
 * next to keep the role has to come back twice as often first: who often stays away costs the others little. */
#include "poller.h"

enum {
    KEEP_AFTER = 4, /* returns at once, in a row; twice as many with each time that others were late, ... */
    KEEP_AFTER_MOST = 4096, /* ... up to this, ... */
    FORGIVEN_AFTER = 4096,  /* ... and half as many with each so many in a row */
};

static void changed(struct host *h)
{
    h->sleep_until = AWAKE;
    h->sleep_full = 0;
    atomic_store_explicit(&h->role_kept, 0, memory_order_relaxed);
    step_on(&h->role_count);
}

void role_init(struct host *h)
{
    h->sleep_until = AWAKE;
    h->keep_after = KEEP_AFTER;
}

int role_is_mine(const struct host *h, const struct waiter *w)
{
    return h->role == ROLE_WAITER && h->driver == w;
}

int role_is_free(const struct host *h)
{
    return h->role == ROLE_BACKGROUND || role_is_idle(h);
}

int role_is_idle(const struct host *h)
{
    return h->role == ROLE_NOBODY || h->role == ROLE_KEPT;
}

void role_returns(struct host *h)
{
    int again = pthread_equal(h->caller, pthread_self()) && h->now - h->left_at < AT_ONCE_NS;
    h->returns = again ? h->returns + 1 : 0;
    if (h->returns == h->keep_after + FORGIVEN_AFTER) {
        h->keep_after = h->keep_after > KEEP_AFTER ? h->keep_after / 2 : KEEP_AFTER;
        h->returns = h->keep_after;
    }
    role_leaves(h);
}

void role_leaves(struct host *h)
{
    if (!pthread_equal(h->caller, pthread_self()))
        h->returns = 0;
    h->caller = pthread_self();
    h->left_at = h->now;
}

static int comes_back(const struct host *h)
{
    return h->returns >= h->keep_after && pthread_equal(h->caller, pthread_self());
}

/* The driver sleeps, and the caller will spin. */
static int can_take(const struct host *h, enum role role)
{
    return role == ROLE_CALL && h->role == ROLE_WAITER && h->sleep_until != AWAKE && comes_back(h);
}

int role_claim(struct host *h, enum role role, struct waiter *w)
{
    if (w && role_is_mine(h, w)) {
        h->sleep_until = AWAKE;
        return 1;
    }
    if (h->bound || h->draining || h->virtual_time || (!role_is_free(h) && !can_take(h, role)))
        return 0;
    h->role = role;
    h->driver = w;
    changed(h);
    return 1;
}

static struct waiter *other_waiter(const struct host *h, const struct waiter *than)
{
    for (struct enlist *e = h->enlisted; e; e = e->next)
        if (e->present && e->waiter != than)
            return e->waiter;
    return NULL;
}

void role_release(struct host *h)
{
    struct waiter *next = other_waiter(h, h->role == ROLE_WAITER ? h->driver : NULL);
    int keeps = next && h->thread_runs && comes_back(h);
    role_leaves(h);
    changed(h);
    h->driver = NULL;
    h->role = keeps ? ROLE_KEPT : next ? ROLE_WAITER : ROLE_NOBODY;
    if (h->role == ROLE_WAITER) {
        h->driver = next;
        h->stats.handoffs++;
        waiter_wake(next);
    } else if (h->thread_runs && h->thread_asleep) {
        thread_kick(h); /* to look whether the role is taken again */
    }
    atomic_store_explicit(&h->role_kept, keeps, memory_order_relaxed);
}

/* Something has come for one that waits. */
static int somebody_is_late(const struct host *h)
{
    for (const struct enlist *e = h->enlisted; e; e = e->next)
        if (e->present && atomic_load(&e->waiter->poller->ready))
            return 1;
    return 0;
}

void role_lapse(struct host *h)
{
    h->returns = 0;
    h->stats.lapses++;
    if (somebody_is_late(h)) {
        h->keep_after = h->keep_after < KEEP_AFTER_MOST ? 2 * h->keep_after : KEEP_AFTER_MOST;
        h->stats.late_lapses++;
    }
    role_release(h);
}

void role_sleeps(struct host *h, int64_t until)
{
    h->sleep_until = until;
    h->sleep_full = until == AWAKE ? 0 : h->full;
}

void role_background(struct host *h)
{
    h->role = ROLE_BACKGROUND;
    h->sleep_until = AWAKE;
}

void role_stand_by(struct host *h)
{
    if (h->role == ROLE_BACKGROUND)
        h->role = ROLE_NOBODY;
    h->sleep_until = AWAKE;
}

void role_drain(struct host *h)
{
    h->role = ROLE_CALL;
    h->sleep_until = AWAKE;
}

void role_wake(struct host *h)
{
    if (h->role == ROLE_WAITER)
        waiter_wake(h->driver);
    else if (h->role == ROLE_BACKGROUND && h->thread_asleep)
        thread_kick(h);
    h->sleep_until = AWAKE;
}
