/* SPDX-License-Identifier: MIT */
/* The two waits: for a batch of events of a poller, and for a list of sockets and descriptors, once.
 *
 * A list is a poller of the waiter's own whose interests live for one wait. It takes two C calls with Python
 * between: wait_begin spins; back in the interpreter handlers of what came before run, with the program's own
 * mask; wait_sleep sleeps. A wait on a poller is one call: handlers run when it comes back with -EINTR. */
#include "poller.h"

#include <unistd.h>

enum {
    AHEAD = 8,      /* items of a list that are fetched before their turn comes */
    AHEAD_LINES = 5 /* of a socket: where its readiness is */
};

/* ---- a poller -------------------------------------------------------------------------------------- */
static void leave(struct waiter *w);

int poller_wait(struct waiter *w, struct poller *p, struct poller_event *out, int max, int64_t deadline,
                int64_t spin_ns)
{
    wait_end(w);
    int rc = poller_look_first(p, out, max);
    if (rc)
        return rc;
    waiter_begin(w, p, deadline);
    w->fds_at = atomic_load(&p->fds_at); /* at what that look has left out */
    w->out = out;
    w->max = max;
    rc = poller_enlist(p, w);
    if (!rc)
        rc = waiter_spin(w, spin_ns);
    if (!rc) {
        rc = waiter_sleep(w);
        rc = rc ? rc : -EINTR;
    }
    leave(w);
    poller_pass_on(p);
    return rc == -ETIMEDOUT || rc == -ECANCELED ? 0 : rc;
}

/* ---- a list: what of it is ready -------------------------------------------------------------------- */
static uint32_t wanted(const struct wait_item *item)
{
    uint32_t events = item->events & ~(uint32_t)BW_EXACT;
    int exact = item->events & BW_EXACT || events == BW_DRAINED; /* who lingers waits for nothing else */
    return exact ? events : events | BW_ERR | BW_HUP;
}

int list_append_fds(struct waiter *w, struct pollfd *polls)
{
    for (int i = 0; i < w->n; i++)
        if (!w->items[i].host)
            *polls++ = (struct pollfd){.fd = w->items[i].muted ? -1 : w->items[i].fd,
                                       .events = (short)w->items[i].events};
    if (w->muted_fd < 0)
        return w->fds;
    *polls = (struct pollfd){.fd = w->muted_fd, .events = POLLIN};
    return w->fds + 1;
}

/* poll(2) always tells POLLHUP, select(2) only where it was asked. Such a descriptor would end each sleep at once, so
 * it is asked for changes instead, by an epoll descriptor of this wait's. */
static void mute(struct waiter *w, struct wait_item *item)
{
    struct epoll_event all = {.events = EPOLLIN | EPOLLOUT | EPOLLPRI | (uint32_t)EPOLLET};
    if (w->muted_fd < 0 && (w->muted_fd = epoll_create1(EPOLL_CLOEXEC)) >= 0)
        w->muted_fd = fd_high(w->muted_fd);
    item->muted = w->muted_fd >= 0 && (!epoll_ctl(w->muted_fd, EPOLL_CTL_ADD, item->fd, &all) ||
                                       errno == EEXIST); /* it is in two lists */
}

static void take_changes(const struct waiter *w)
{
    struct epoll_event some[16];
    while (w->muted_fd >= 0 && epoll_wait(w->muted_fd, some, 16, 0) == 16)
        ;
}

static void unmute(struct waiter *w)
{
    if (w->muted_fd >= 0)
        close(w->muted_fd);
    w->muted_fd = -1;
}

static int look_at_fds(struct waiter *w)
{
    int ready = 0;
    const struct pollfd *polls = w->polls;
    take_changes(w);
    for (int i = 0; i < w->n; i++)
        w->items[i].muted = 0;
    list_append_fds(w, w->polls);
    if (poll(w->polls, (nfds_t)w->fds, 0) <= 0)
        return 0;
    for (int i = 0; i < w->n; i++) {
        struct wait_item *item = &w->items[i];
        if (item->host)
            continue;
        uint32_t said = (uint32_t)(unsigned short)polls++->revents;
        item->revents = item->events & BW_EXACT ? said & (item->events | POLLNVAL) : said;
        ready += item->revents != 0;
        if (said && !item->revents)
            mute(w, item);
    }
    return ready;
}

int list_collect(struct waiter *w, int fds)
{
    struct poller_event found[EVENT_YIELD];
    int ready = fds && w->fds ? look_at_fds(w) : 0, n = 0;
    do {
        n = atomic_load(&w->list->ready) ? poller_collect(w->list, found, EVENT_YIELD, 0) : 0;
        for (int k = 0; k < n; k++)
            w->items[found[k].cookie].revents = found[k].events;
        ready += n;
    } while (n == EVENT_YIELD);
    return ready;
}

static const struct record *place_of(const struct host *h, const struct wait_item *item)
{
    uint32_t index = (uint32_t)(uintptr_t)item->sock;
    return &h->records[index < h->records_touched ? index : 0];
}

/* Of a long list, what is looked at soon comes into the cache meanwhile: records, then what they lead to. */
static void fetch_ahead(const struct host *h, const struct wait_item *item, int left)
{
    if (left > 2 * AHEAD && item[2 * AHEAD].host == h)
        __builtin_prefetch(place_of(h, &item[2 * AHEAD]));
    if (left > AHEAD && item[AHEAD].host == h) {
        const char *s = (const char *)place_of(h, &item[AHEAD])->sock;
        for (int line = 0; s && line < AHEAD_LINES; line++)
            __builtin_prefetch(s + line * 64);
    }
}

/* All sockets of a long list, before anything is enlisted: often one of them is ready already. */
static int look_first(struct waiter *w)
{
    int ready = 0;
    for (int e = 0; e < w->hosts; e++) {
        struct host *h = w->enlists[e].host;
        int rc = host_look(h);
        if (rc)
            return rc;
        for (int i = 0; i < w->n; i++) {
            struct wait_item *item = &w->items[i];
            if (item->host != h)
                continue;
            fetch_ahead(h, item, w->n - i);
            struct record *r = record_find(h, item->sock);
            item->revents = r ? bw_readiness(r->sock) & wanted(item) : POLLNVAL;
            ready += item->revents != 0;
        }
        host_unlock(h);
    }
    return ready;
}

/* One look, and another after a burst of driving if nothing was ready. */
static int look_once(struct waiter *w)
{
    int fds = w->fds ? look_at_fds(w) : 0, ready = look_first(w), moved = 0;
    for (int e = 0; !ready && !fds && e < w->hosts; e++)
        moved |= host_burst(w->enlists[e].host) > 0;
    if (moved)
        ready = look_first(w);
    return ready < 0 ? ready : ready + fds ? ready + fds : -ETIMEDOUT;
}

/* ---- a list: enlisting ------------------------------------------------------------------------------ */
static int meet(struct waiter *w)
{
    const struct host *last = NULL;
    for (int i = 0; i < w->n; i++) {
        struct wait_item *item = &w->items[i];
        item->revents = 0;
        item->muted = 0;
        if (!item->host)
            w->fds++;
        else if (item->host != last && waiter_meet(w, item->host))
            return -ENOMEM;
        last = item->host;
    }
    return waiter_reserve(w);
}

/* Enters the host's list of waiters and the lists of its sockets that are waited for. */
static int enlist(struct waiter *w, struct enlist *e)
{
    struct host *h = e->host;
    int sends = 0, rc = host_enter(h);
    if (rc)
        return rc;
    waiter_enlist(e);
    for (int i = 0; i < w->n; i++) {
        struct wait_item *item = &w->items[i];
        struct record *r = item->host == h ? record_find(h, item->sock) : NULL;
        struct interest *in = &w->interests[i];
        if (item->host == h && !r)
            item->revents = POLLNVAL;
        if (!r)
            continue;
        *in = (struct interest){.poller = w->list, .host = h, .cookie = (uint64_t)i};
        sends |= interest_link(in, r, wanted(item) | (uint32_t)EPOLLONESHOT);
    }
    if (sends)
        host_leave(h);
    else
        host_unlock(h);
    return 0;
}

static int enlist_all(struct waiter *w)
{
    int closed = 0;
    if (grow((void **)&w->interests, &w->interests_cap, w->n, sizeof *w->interests))
        return -ENOMEM;
    for (int i = 0; i < w->n; i++)
        w->interests[i].host = NULL; /* not linked yet */
    for (int i = 0; i < w->hosts; i++) {
        int rc = enlist(w, &w->enlists[i]);
        if (rc)
            return rc;
    }
    for (int i = 0; i < w->n; i++)
        closed += w->items[i].revents != 0;
    int ready = list_collect(w, 1);
    return ready + closed;
}

/* Out of every list, roles handed on. The waiter can be used again. */
static void leave(struct waiter *w)
{
    for (int e = 0; e < w->hosts; e++) {
        struct host *h = w->enlists[e].host;
        if (!w->enlists[e].listed || host_foreign(h))
            continue;
        host_lock(h);
        for (int i = 0; w->poller == w->list && i < w->n; i++)
            if (w->interests[i].host == h)
                interest_unlink(&w->interests[i]);
        waiter_delist(&w->enlists[e]);
    }
    unmute(w);
    w->hosts = 0;
    w->active = 0;
}

/* ---- a list: waiting --------------------------------------------------------------------------------- */
int wait_begin(struct waiter *w, struct wait_item *items, int n, int64_t deadline, int64_t spin_ns)
{
    wait_end(w);
    if (n < 0)
        return -EINVAL;
    waiter_begin(w, w->list, deadline);
    w->items = items;
    w->n = n;
    w->active = 1;
    int rc = meet(w);
    if (!rc && deadline <= 0)
        rc = look_once(w);
    if (!rc && n > 1)
        rc = look_first(w);
    if (!rc)
        rc = enlist_all(w);
    else if (rc > 0 && w->fds && deadline > 0)
        rc += look_at_fds(w);
    if (!rc)
        rc = waiter_spin(w, spin_ns);
    if (rc)
        leave(w);
    else
        waiter_step(w, 0);
    return rc;
}

int wait_sleep(struct waiter *w)
{
    if (!w->active)
        return -EINVAL;
    waiter_step(w, 1);
    int rc = waiter_sleep(w);
    if (rc == 0 || rc == -EINTR)
        waiter_step(w, 0);
    else
        leave(w);
    return rc;
}

void wait_end(struct waiter *w)
{
    if (w->active || w->hosts)
        leave(w);
}
