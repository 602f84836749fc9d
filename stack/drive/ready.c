/* SPDX-License-Identifier: MIT */
/* The ready list of a poller: who puts a socket on it, who takes it off, and who is woken (poller.h has the locks).
 *
 * A socket stands on the list once, so the list is as long as there are interests at most. As with epoll(7), what is
 * level-triggered goes back to the end of the list when it was told, and leaves it when it is looked at and not
 * ready any more; what is edge-triggered comes back when something arrives or a bit rises. A socket that is closed
 * is told once (POLLNVAL). */
#include "poller.h"

#include <unistd.h>

/* ---- the ready list; each with the host's lock ----------------------------------------------------- */

static void wake_one(struct poller *p) /* the poller's lock */
{
    struct waiter *w = p->waiters;
    for (struct waiter *other = w; other; other = other->sleep_next)
        if (atomic_load(&other->state) != WAITER_SLEEPING)
            w = other; /* it looks once more anyway */
    if (w)
        waiter_wake(w);
}

/* 1: somebody slept on the poller, and one is woken. */
static int append(struct interest *i, int wake)
{
    struct poller *p = i->poller;
    pthread_mutex_lock(&p->lock);
    i->queued = 1;
    i->ready_next = NULL;
    i->ready_link = p->tail;
    *p->tail = i;
    p->tail = &i->ready_next;
    atomic_fetch_add(&p->ready, 1);
    if (p->note_fd >= 0 && !p->noted) {
        p->noted = 1;
        i->host->noted_at = i->host->now;
        event_write(p->note_fd);
    }
    int sleeps = p->waiters != NULL;
    if (wake)
        wake_one(p);
    pthread_mutex_unlock(&p->lock);
    return sleeps;
}

static void dequeue(struct interest *i)
{
    struct poller *p = i->poller;
    if (!i->queued)
        return;
    pthread_mutex_lock(&p->lock);
    i->queued = 0;
    *i->ready_link = i->ready_next;
    if (i->ready_next)
        i->ready_next->ready_link = i->ready_link;
    else
        p->tail = i->ready_link;
    atomic_fetch_sub(&p->ready, 1);
    pthread_mutex_unlock(&p->lock);
}

/* Of what is asked for, what readiness says. */
static uint32_t matches(const struct interest *i, uint32_t ready)
{
    return (ready | (ready & (BW_IN | BW_OUT)) << 6) & i->events; /* POLLRDNORM, POLLWRNORM */
}

void interests_notify(struct record *r, uint32_t ready, uint32_t news)
{
    int told = 0;
    for (struct interest *i = r->interests; i; i = i->next) {
        uint32_t exclusive = i->events & EPOLLEXCLUSIVE;
        if (i->queued || (exclusive && told) || !matches(i, i->events & EPOLLET ? news : ready))
            continue;
        if (append(i, 1) && exclusive)
            told = 1;
    }
}

void interests_closed(struct record *r)
{
    while (r->interests) {
        struct interest *i = r->interests;
        r->interests = i->next;
        if (i->next)
            i->next->link = &r->interests;
        i->record = NULL;
        if (!i->queued)
            append(i, 1);
    }
}

void record_observe(struct record *r)
{
    bw_observe(r->sock, r->interests || r->own_fd >= 0);
}

static int want(struct interest *i, uint32_t events, uint32_t ready)
{
    i->events = events;
    if (!i->queued && matches(i, ready))
        append(i, 1);
    return bw_await(i->record->sock, events);
}

int interest_want(struct interest *i, uint32_t events)
{
    return want(i, events, bw_readiness(i->record->sock));
}

int interest_link(struct interest *i, struct record *r, uint32_t events)
{
    uint32_t ready = bw_readiness(r->sock);
    i->record = r;
    i->next = r->interests;
    i->link = &r->interests;
    if (i->next)
        i->next->link = &i->next;
    else
        r->seen = ready;
    r->interests = i;
    record_observe(r);
    return want(i, events, ready);
}

void interest_unlink(struct interest *i)
{
    dequeue(i);
    if (!i->record)
        return;
    *i->link = i->next;
    if (i->next)
        i->next->link = i->link;
    record_observe(i->record);
    i->record = NULL;
}

/* ---- collecting -------------------------------------------------------------------------------------- */

/* One of the ready list, with the host's lock; 1: it is told. */
static int tell(struct interest *i, struct poller_event *out, int *sends)
{
    dequeue(i);
    if (!i->record) {
        *out = (struct poller_event){.cookie = i->cookie, .events = POLLNVAL};
        return 1;
    }
    uint32_t ready = matches(i, bw_readiness(i->record->sock));
    if (!ready) {
        *sends |= bw_await(i->record->sock, i->events); /* it was read: somebody waits for more */
        return 0;
    }
    *out = (struct poller_event){.cookie = i->cookie, .events = ready};
    if (i->events & (uint32_t)EPOLLONESHOT)
        i->events &= POLLER_FLAGS;
    else if (!(i->events & EPOLLET))
        append(i, 0);
    return 1;
}

/* The end of a look at this host's sockets. */
static void looked(struct host *h, int sends)
{
    if (!h)
        return;
    if (!sends || h->closed) {
        host_unlock(h);
        return;
    }
    host_tick(h);
    host_leave(h);
}

static int collect_sockets(struct poller *p, struct poller_event *out, int max)
{
    unsigned todo = atomic_load(&p->ready), looks = 0;
    struct host *h = NULL;
    int n = 0, sends = 0;
    for (; todo && n < max; todo--, looks++) {
        struct interest *i = p->head; /* only the owner of the mutex takes from the list */
        if (i->host != h || looks % EVENT_YIELD == EVENT_YIELD - 1) {
            looked(h, sends);
            sends = 0;
            h = i->host;
            host_lock(h);
        }
        n += tell(i, &out[n], &sends);
    }
    looked(h, sends);
    return n;
}

static void settle_note(struct poller *p)
{
    if (p->note_fd < 0)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->noted && !p->head) {
        p->noted = 0;
        event_drain(p->note_fd);
    }
    pthread_mutex_unlock(&p->lock);
}

int poller_collect(struct poller *p, struct poller_event *out, int max, int fds)
{
    int n = 0, first = fds && p->fds && p->fds_first;
    if (first)
        n = poller_collect_fds(p, out, max);
    if (n >= 0 && atomic_load(&p->ready))
        n += collect_sockets(p, out + n, max - n);
    if (fds && p->fds && !first) {
        int more = poller_collect_fds(p, out + n, max - n);
        n = more < 0 && !n ? more : n + (more > 0 ? more : 0);
    }
    if (fds)
        p->fds_first ^= 1;
    settle_note(p);
    p->stats.events += n > 0 ? (unsigned)n : 0;
    return n;
}

/* ---- sleeping ---------------------------------------------------------------------------------------- */

int poller_sleep(struct poller *p, struct waiter *w)
{
    pthread_mutex_lock(&p->lock);
    int empty = !p->head && !atomic_load(&p->woken) && !atomic_load(&p->closed);
    if (empty) {
        w->sleep_next = p->waiters;
        w->sleep_link = &p->waiters;
        if (p->waiters)
            p->waiters->sleep_link = &w->sleep_next;
        p->waiters = w;
    }
    pthread_mutex_unlock(&p->lock);
    return empty;
}

void poller_slept(struct poller *p, struct waiter *w)
{
    pthread_mutex_lock(&p->lock);
    *w->sleep_link = w->sleep_next;
    if (w->sleep_next)
        w->sleep_next->sleep_link = w->sleep_link;
    pthread_mutex_unlock(&p->lock);
}

void poller_pass_on(struct poller *p)
{
    if (!atomic_load(&p->ready))
        return;
    pthread_mutex_lock(&p->lock);
    if (p->head)
        wake_one(p);
    pthread_mutex_unlock(&p->lock);
}
