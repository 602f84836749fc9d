/* SPDX-License-Identifier: MIT */
/* Pollers: interests that last. Adding, changing and removing one is O(1), for sockets by a table of slabs;
 * descriptors of the kernel are in an epoll descriptor of the poller's own, and their interests are the kernel's.
 * poller.h has the locks, ready.c the ready list. */
#include "poller.h"
#include "../../nic_drivers/memory.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTE UINT64_MAX /* the cookie of note_fd in kernel_fd */
enum { ALIVE = 0x706f6c6c };

/* ---- life ------------------------------------------------------------------------------------------ */

void poller_init(struct poller *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_mutex_init(&p->lock, NULL);
    p->tail = &p->head;
    p->kernel_fd = p->note_fd = -1;
}

void poller_clear(struct poller *p)
{
    pthread_mutex_destroy(&p->mutex);
    pthread_mutex_destroy(&p->lock);
}

struct poller *poller_new(uint32_t most)
{
    struct poller *p = malloc(sizeof *p);
    if (!p)
        return NULL;
    poller_init(p);
    p->most = most;
    int rc = memory_map(&p->life, (size_t)sysconf(_SC_PAGESIZE), MEMORY_WIPED);
    int fd = rc ? -1 : epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        errno = rc ? -rc : errno;
        memory_unmap(&p->life);
        poller_clear(p);
        free(p);
        return NULL;
    }
    p->kernel_fd = fd_high(fd);
    *(uint32_t *)p->life.base = ALIVE;
    return p;
}

static int is_foreign(const struct poller *p)
{
    return *(const uint32_t *)p->life.base != ALIVE;
}

/* Takes the mutex of one that is open. */
static int enter(struct poller *p)
{
    if (is_foreign(p))
        return -BW_FOREIGN;
    pthread_mutex_lock(&p->mutex);
    if (!atomic_load(&p->closed))
        return 0;
    pthread_mutex_unlock(&p->mutex);
    return -EBADF;
}

static void leave(struct poller *p)
{
    pthread_mutex_unlock(&p->mutex);
}

/* ---- interests; with the mutex --------------------------------------------------------------------- */

static struct interest *at(const struct poller *p, uint32_t index)
{
    return &p->slabs[index / INTEREST_SLAB][index % INTEREST_SLAB];
}

static struct interest *find(const struct poller *p, int64_t id)
{
    uint32_t index = (uint32_t)id;
    struct interest *i = id > 0 && index < p->touched ? at(p, index) : NULL;
    return i && i->used && i->generation == (uint64_t)id >> 32 ? i : NULL;
}

static struct interest *take(struct poller *p)
{
    if (p->used >= p->most) {
        p->stats.refused++;
        return NULL;
    }
    if (!p->free) {
        uint32_t slab = p->touched / INTEREST_SLAB;
        if (p->touched % INTEREST_SLAB == 0) {
            struct interest **slabs = p->slabs;
            if (!(slab & (slab - 1))) /* the table doubles */
                slabs = realloc(slabs, (slab ? 2 * (size_t)slab : 1) * sizeof *slabs);
            if (!slabs)
                return NULL;
            p->slabs = slabs;
            if (!(slabs[slab] = calloc(INTEREST_SLAB, sizeof **slabs)))
                return NULL;
        }
        at(p, p->touched)->index = p->free;
        p->free = ++p->touched;
    }
    uint32_t index = p->free - 1;
    struct interest *i = at(p, index);
    p->free = i->index;
    i->index = index;
    i->used = 1;
    i->generation = i->generation >= INT32_MAX ? 1 : i->generation + 1;
    p->used++;
    return i;
}

static void give_back(struct poller *p, struct interest *i)
{
    uint32_t index = i->index;
    i->used = 0;
    i->index = p->free;
    p->free = index + 1;
    p->used--;
}

/* The poller has one more socket of this host. The host's lock is taken too. */
static int enter_place(struct poller *p, struct host *h)
{
    for (int k = 0; k < p->places_n; k++) {
        if (p->places[k].host == h) {
            p->places[k].interests++;
            return 0;
        }
    }
    if (grow((void **)&p->places, &p->places_cap, p->places_n + 1, sizeof *p->places))
        return -ENOMEM;
    p->places[p->places_n++] = (struct place){.host = h, .interests = 1};
    h->held++;
    return 0;
}

/* And one less, with the host's lock, which is given up here. */
static void leave_place(struct poller *p, struct host *h)
{
    for (int k = 0; k < p->places_n; k++) {
        if (p->places[k].host == h && !--p->places[k].interests) {
            p->places[k] = p->places[--p->places_n];
            h->held--;
        }
    }
    host_unlock_last(h);
}

static void drop(struct poller *p, struct interest *i)
{
    struct host *h = i->host;
    host_lock(h);
    interest_unlink(i);
    give_back(p, i);
    leave_place(p, h);
}

/* As Linux: ERR and HUP are told always; what is exclusive is so for good, and takes no other flags. */
static int asked(uint32_t *events, int changes)
{
    const uint32_t fit = POLLER_FLAGS ^ (uint32_t)EPOLLONESHOT;
    if (*events & EPOLLEXCLUSIVE && (changes || *events & ~(fit | POLLIN | POLLOUT | POLLERR | POLLHUP)))
        return -EINVAL;
    *events = (*events & (POLLER_FLAGS | BW_POLL_EVENTS)) | POLLERR | POLLHUP;
    return 0;
}

static int64_t add(struct poller *p, struct host *h, struct bw_sock *s, uint32_t events, uint64_t cookie)
{
    int64_t rc = host_enter(h);
    if (rc)
        return rc;
    struct record *r = record_find(h, s);
    struct interest *i = r ? take(p) : NULL;
    if (!i) {
        host_unlock(h);
        return !r ? -EBADF : p->used >= p->most ? -ENOSPC : -ENOMEM;
    }
    if (enter_place(p, h)) {
        give_back(p, i);
        host_unlock(h);
        return -ENOMEM;
    }
    i->poller = p;
    i->host = h;
    i->cookie = cookie;
    if (interest_link(i, r, events))
        host_leave(h);
    else
        host_unlock(h);
    return (int64_t)((uint64_t)i->generation << 32 | i->index);
}

int64_t poller_add(struct poller *p, struct host *h, struct bw_sock *s, uint32_t events, uint64_t cookie)
{
    int64_t rc = enter(p);
    if (rc)
        return rc;
    rc = asked(&events, 0);
    if (!rc)
        rc = add(p, h, s, events, cookie);
    leave(p);
    return rc;
}

int poller_modify(struct poller *p, int64_t id, uint32_t events)
{
    int rc = enter(p);
    if (rc)
        return rc;
    struct interest *i = find(p, id);
    if (!i) {
        leave(p);
        return -ENOENT;
    }
    struct host *h = i->host;
    host_lock(h);
    int sends = 0;
    rc = !i->record ? -ENOENT : i->events & EPOLLEXCLUSIVE ? -EINVAL : asked(&events, 1);
    if (!rc)
        sends = interest_want(i, events);
    if (sends) {
        host_tick(h);
        host_leave(h);
    } else {
        host_unlock(h);
    }
    leave(p);
    return rc;
}

int poller_remove(struct poller *p, int64_t id)
{
    int rc = enter(p);
    if (rc)
        return rc;
    struct interest *i = find(p, id);
    if (i)
        drop(p, i);
    leave(p);
    return i ? 0 : -ENOENT;
}

int poller_has(struct poller *p, int64_t id)
{
    int rc = enter(p);
    if (rc)
        return rc;
    struct interest *i = find(p, id);
    if (i) {
        host_lock(i->host);
        rc = i->record != NULL;
        host_unlock(i->host);
    }
    leave(p);
    return rc;
}

/* ---- descriptors of the kernel ---------------------------------------------------------------------- */

static void wake_all(struct poller *p)
{
    pthread_mutex_lock(&p->lock);
    for (struct waiter *w = p->waiters; w; w = w->sleep_next)
        waiter_wake(w);
    pthread_mutex_unlock(&p->lock);
}

int poller_control(struct poller *p, int op, int fd, uint32_t events, uint64_t cookie)
{
    struct epoll_event event = {.events = events, .data.u64 = cookie};
    int rc = enter(p);
    if (rc)
        return rc;
    if (epoll_ctl(p->kernel_fd, op, fd, &event))
        rc = -errno;
    if (!rc)
        p->fds += op == EPOLL_CTL_ADD ? 1 : op == EPOLL_CTL_DEL ? -1 : 0;
    leave(p);
    return rc;
}

static int open_note(struct poller *p)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = NOTE};
    int fd = event_open();
    if (fd < 0)
        return fd;
    if (epoll_ctl(p->kernel_fd, EPOLL_CTL_ADD, fd, &event)) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    pthread_mutex_lock(&p->lock);
    p->note_fd = fd;
    p->noted = atomic_load(&p->ready) != 0;
    if (p->noted)
        event_write(fd);
    pthread_mutex_unlock(&p->lock);
    return 0;
}

int poller_fileno(struct poller *p)
{
    int rc = enter(p);
    if (rc)
        return rc;
    if (p->note_fd < 0)
        rc = open_note(p);
    if (!rc)
        rc = p->kernel_fd;
    leave(p);
    return rc;
}

int poller_collect_fds(struct poller *p, struct poller_event *out, int max)
{
    struct epoll_event events[POLLER_BATCH];
    int found = 0, n = max > 0 ? epoll_wait(p->kernel_fd, events, max, 0) : 0;
    for (int k = 0; k < n; k++)
        if (events[k].data.u64 != NOTE)
            out[found++] = (struct poller_event){.cookie = events[k].data.u64, .events = events[k].events};
    return n < 0 && errno != EINTR ? -errno : found;
}

int poller_look_at(struct poller *p, struct poller_event *out, int max, int fds)
{
    int rc = enter(p);
    if (rc)
        return rc;
    rc = poller_collect(p, out, max < POLLER_BATCH ? max : POLLER_BATCH, fds);
    leave(p);
    return rc;
}

/* One burst of every host where the program drives and the last was so long ago; how many moved. */
static int drive_places(struct poller *p, int64_t ago)
{
    int moved = 0;
    for (int k = 0; k < p->places_n; k++) {
        struct host *h = p->places[k].host;
        if (host_enter(h))
            continue;
        if (h->virtual_time || !role_is_free(h) || h->now - h->burst_at < ago) {
            host_unlock(h);
            continue;
        }
        moved += call_burst(h) != QUIET;
        host_leave(h);
    }
    return moved;
}

static int look(struct poller *p, struct poller_event *out, int max, int fds)
{
    if (max < 1)
        return -EINVAL;
    int rc = enter(p);
    if (rc)
        return rc;
    max = max < POLLER_BATCH ? max : POLLER_BATCH;
    rc = poller_collect(p, out, max, fds);
    if (rc >= 0 && drive_places(p, rc ? FDS_NS : 0) && !rc)
        rc = poller_collect(p, out, max, 0);
    leave(p);
    return rc;
}

int poller_look(struct poller *p, struct poller_event *out, int max)
{
    return look(p, out, max, 1);
}

int poller_look_first(struct poller *p, struct poller_event *out, int max)
{
    int64_t now = monotonic();
    int fds = now >= atomic_load(&p->fds_at);
    if (fds)
        atomic_store(&p->fds_at, now + FDS_NS);
    return look(p, out, max, fds);
}

int poller_enlist(struct poller *p, struct waiter *w)
{
    int rc = enter(p);
    if (rc)
        return rc;
    for (int i = 0; !rc && i < p->places_n; i++)
        rc = waiter_meet(w, p->places[i].host);
    if (!rc)
        rc = waiter_reserve(w);
    for (int i = 0; !rc && i < w->hosts; i++) { /* the array has its final place now */
        host_lock(w->enlists[i].host);
        waiter_enlist(&w->enlists[i]);
        host_unlock(w->enlists[i].host);
    }
    leave(p);
    return rc;
}

void poller_wake(struct poller *p)
{
    if (is_foreign(p))
        return;
    atomic_store(&p->woken, 1);
    wake_all(p);
}

/* ---- the end ------------------------------------------------------------------------------------------ */

void poller_close(struct poller *p)
{
    if (enter(p))
        return;
    for (uint32_t k = 0; k < p->touched; k++)
        if (at(p, k)->used)
            drop(p, at(p, k));
    atomic_store(&p->closed, 1);
    wake_all(p);
    int fds[] = {p->kernel_fd, p->note_fd};
    atomic_store(&p->kernel_fd, -1);
    p->note_fd = -1;
    for (int k = 0; k < 2; k++)
        if (fds[k] >= 0)
            close(fds[k]);
    leave(p);
}

void poller_free(struct poller *p)
{
    if (!p)
        return;
    if (is_foreign(p)) { /* a forked child's copy: of it, only the descriptors are the child's */
        if (p->kernel_fd >= 0)
            close(p->kernel_fd);
        if (p->note_fd >= 0)
            close(p->note_fd);
    }
    poller_close(p);
    for (uint32_t k = 0; k < (p->touched + INTEREST_SLAB - 1) / INTEREST_SLAB; k++)
        free(p->slabs[k]);
    free(p->slabs);
    free(p->places);
    memory_unmap(&p->life);
    poller_clear(p);
    free(p);
}

int poller_get_stats(struct poller *p, struct poller_stats *out)
{
    int rc = enter(p);
    if (rc)
        return rc;
    *out = p->stats;
    out->interests = p->used;
    out->ready = atomic_load(&p->ready);
    leave(p);
    return 0;
}
