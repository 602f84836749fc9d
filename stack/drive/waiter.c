/* SPDX-License-Identifier: MIT */
/* A thread that waits: it enlists on hosts, drives where the role is free, spins, and sleeps. What it waits for
 * is its poller's business.
 *
 * Signals are blocked while it sleeps and opened only inside ppoll, so that one that comes at the wrong moment is
 * pending, not lost. What came between the interpreter's last look and the block the interpreter itself knows of
 * (`tripped`). A signal for the whole process may be given to another thread while ours drives with signals
 * blocked; therefore a wait that drove goes back to the interpreter within SIGNAL_GAP_NS. */
#include "poller.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- life ---------------------------------------------------------------------------------------- */
struct waiter *waiter_new(int (*tripped)(void))
{
    struct waiter *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->tripped = tripped;
    w->muted_fd = -1;
    w->list = malloc(sizeof *w->list);
    w->event_fd = event_open();
    if (w->event_fd < 0 || !w->list) {
        if (w->event_fd >= 0)
            close(w->event_fd);
        free(w->list);
        free(w);
        return NULL;
    }
    poller_init(w->list);
    return w;
}

void waiter_free(struct waiter *w)
{
    if (!w)
        return;
    wait_end(w);
    close(w->event_fd);
    poller_clear(w->list);
    free(w->list);
    free(w->enlists);
    free(w->interests);
    free(w->polls);
    free(w);
}

void waiter_wake(struct waiter *w)
{
    if (atomic_exchange(&w->state, WAITER_WOKEN) == WAITER_SLEEPING)
        event_write(w->event_fd);
}

void waiter_interrupt(struct waiter *w)
{
    atomic_store(&w->interrupted, 1);
    waiter_wake(w);
}

int grow(void **array, int *cap, int need, size_t size)
{
    if (need <= *cap)
        return 0;
    int n = need < 8 ? 8 : need > INT_MAX / 2 ? need : need * 2;
    void *p = realloc(*array, (size_t)n * size);
    if (!p)
        return -ENOMEM;
    *array = p;
    *cap = n;
    return 0;
}

/* ---- enlisting ------------------------------------------------------------------------------------ */
void waiter_begin(struct waiter *w, struct poller *p, int64_t deadline)
{
    w->poller = p;
    w->deadline = deadline;
    w->hosts = w->fds = w->virtual_time = 0;
    w->fds_at = NEVER;
    atomic_store(&w->state, WAITER_IDLE);
    atomic_store(&w->interrupted, 0);
}

int waiter_meet(struct waiter *w, struct host *h)
{
    for (int i = w->hosts - 1; i >= 0; i--)
        if (w->enlists[i].host == h)
            return 0;
    if (grow((void **)&w->enlists, &w->hosts_cap, w->hosts + 1, sizeof *w->enlists))
        return -ENOMEM;
    if (h->virtual_time)
        w->virtual_time = 1;
    w->enlists[w->hosts++] = (struct enlist){.host = h, .waiter = w};
    return 0;
}

int waiter_reserve(struct waiter *w)
{
    int polls = 2 + w->fds + w->hosts * HOST_NETDEVS;
    return grow((void **)&w->polls, &w->polls_cap, polls, sizeof *w->polls);
}

void waiter_enlist(struct enlist *e)
{
    struct host *h = e->host;
    e->link = h->enlisted_tail;
    e->next = NULL;
    *h->enlisted_tail = e;
    h->enlisted_tail = &e->next;
    e->present = e->listed = 1;
    h->held++;
}

void waiter_delist(struct enlist *e)
{
    struct host *h = e->host;
    if (!e->listed) {
        host_unlock(h);
        return;
    }
    *e->link = e->next;
    if (e->next)
        e->next->link = e->link;
    else
        h->enlisted_tail = e->link;
    e->listed = 0;
    if (role_is_mine(h, e->waiter))
        role_release(h);
    else if (!h->virtual_time)
        role_leaves(h);
    h->held--;
    host_unlock_last(h);
}

void waiter_step(struct waiter *w, int present)
{
    for (int i = 0; i < w->hosts; i++) {
        struct host *h = w->enlists[i].host;
        if (host_look(h))
            continue;
        w->enlists[i].present = present;
        if (!present && role_is_mine(h, w))
            role_release(h);
        host_unlock(h);
    }
}

/* ---- driving -------------------------------------------------------------------------------------- */
/* One burst on each host whose role is ours or free. 1: some role is ours. */
static int drive(struct waiter *w)
{
    int mine = 0;
    w->moved = QUIET;
    w->now = 0;
    for (int i = 0; i < w->hosts; i++) {
        struct host *h = w->enlists[i].host;
        if (host_enter(h))
            continue;
        if (role_claim(h, ROLE_WAITER, w)) {
            mine = 1;
            if (w->slept_at)
                spin_judge(h, w->slept_at, w->by_device);
            if (h->crowded > w->crowded)
                w->crowded = h->crowded;
            enum moved moved = burst(h, 0);
            w->moved = moved > w->moved ? moved : w->moved;
            publish(h);
        }
        if (!h->virtual_time)
            w->now = h->now;
        host_unlock(h);
    }
    w->slept_at = 0;
    if (!w->now)
        w->now = monotonic();
    return mine;
}

/* 1: the deadline is over, in the time of the first virtual stack if there is one. */
static int over(const struct waiter *w)
{
    int64_t now = w->now;
    if (w->deadline == NEVER)
        return 0;
    for (int i = 0; w->virtual_time && i < w->hosts; i++) {
        if (w->enlists[i].host->virtual_time) {
            now = host_now(w->enlists[i].host);
            break;
        }
    }
    return now >= w->deadline;
}

/* After driving: > 0 ready, -ETIMEDOUT, -ECANCELED (poller_wake), -EBADF, or 0 to go on waiting. */
static int verdict(struct waiter *w)
{
    struct poller *p = w->poller;
    int rc = 0, fds = w->now >= w->fds_at;
    if (fds || w->fds_at == NEVER) /* the wait began with a look */
        w->fds_at = w->now + FDS_NS;
    if (fds || atomic_load(&p->ready))
        rc = p == w->list ? list_collect(w, fds) : poller_look_at(p, w->out, w->max, fds);
    if (rc)
        return rc;
    if (atomic_load(&p->closed))
        return -EBADF;
    if (atomic_load(&p->woken) && atomic_exchange(&p->woken, 0))
        return -ECANCELED;
    return over(w) ? -ETIMEDOUT : 0;
}

int waiter_spin(struct waiter *w, int64_t spin_ns)
{
    struct spin s = {0};
    int mine, rc;
    do {
        mine = drive(w);
        if (!s.end)
            s = spin_begin(w->now, spin_ns, w->crowded);
        rc = verdict(w);
        if (!rc && mine && w->now >= s.yield_at) {
            int64_t crowded = spin_yield(&s);
            w->crowded = crowded ? crowded : w->crowded;
        }
    } while (!rc && mine && w->now < s.end);
    if (!rc && mine && s.is_long)
        w->spun_out = w->now;
    return rc;
}

/* ---- sleeping ------------------------------------------------------------------------------------- */
/* Arms the devices of the hosts we drive; 1: do not sleep. */
static int arm(struct waiter *w, int *n, int64_t *until)
{
    int busy = 0;
    for (int i = 0; i < w->hosts && !busy; i++) {
        struct host *h = w->enlists[i].host;
        int64_t deadline = NEVER;
        if (host_enter(h))
            continue; /* closed: its sockets are ready */
        if (role_is_mine(h, w)) {
            busy = arm_devices(h, 0, w->polls, n, &deadline);
            role_sleeps(h, busy ? AWAKE : deadline);
            if (!busy && (spin_just_ended(h->spun_out, h->now) || spin_just_ended(w->spun_out, h->now)))
                w->slept_at = h->now;
            h->stats.driver_sleeps++;
        } else if (role_claim(h, ROLE_WAITER, w)) {
            busy = 1; /* it became free since we drove */
        } else {
            h->stats.follower_sleeps++;
        }
        host_unlock(h);
        if (deadline < *until)
            *until = deadline;
    }
    return busy;
}

/* One ppoll, or none if there is something to do. 0, or -errno: -EINTR. */
static int sleep_once(struct waiter *w, int64_t until)
{
    struct poller *p = w->poller;
    w->by_device = 0;
    int n = 1, expected = WAITER_IDLE, rc = 0;
    if (arm(w, &n, &until))
        return 0;
    w->polls[0] = (struct pollfd){.fd = w->event_fd, .events = POLLIN};
    int fds = n, kernel_fd = atomic_load(&p->kernel_fd);
    if (kernel_fd >= 0)
        w->polls[n++] = (struct pollfd){.fd = kernel_fd, .events = POLLIN};
    else if (p == w->list)
        n += list_append_fds(w, w->polls + n);
    if (!poller_sleep(p, w))
        return 0;
    if (atomic_compare_exchange_strong(&w->state, &expected, WAITER_SLEEPING)) {
        int64_t left = until == NEVER ? 0 : until - monotonic();
        struct timespec ts = {left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 0};
        rc = ppoll(w->polls, (nfds_t)n, until == NEVER ? NULL : &ts, &w->open_signals) < 0 ? -errno : 0;
        expected = WAITER_SLEEPING; /* WOKEN stays: the loop looks */
        atomic_compare_exchange_strong(&w->state, &expected, WAITER_IDLE);
        if (!rc && w->polls[0].revents)
            event_drain(w->event_fd);
        for (int i = 1; !rc && i < fds; i++)
            w->by_device |= w->polls[i].revents != 0;
        for (; !rc && fds < n; fds++)
            if (w->polls[fds].revents)
                w->fds_at = INT64_MIN;
    }
    poller_slept(p, w);
    return rc;
}

static int tripped(const struct waiter *w)
{
    return w->tripped && w->tripped();
}

/* ppoll reports descriptors before signals: under steady traffic only this lets a signal through. */
static int signal_pending(struct waiter *w)
{
    struct timespec zero = {0, 0};
    return ppoll(NULL, 0, &zero, &w->open_signals) < 0 && errno == EINTR;
}

/* Until something is ready or the interpreter has to run; with signals blocked. */
static int drive_and_sleep(struct waiter *w)
{
    int64_t entered = 0, checked = 0;
    for (int drove = 0, rc;;) {
        atomic_store(&w->state, WAITER_IDLE);
        drive(w);
        rc = verdict(w);
        if (rc)
            return rc;
        if (tripped(w))
            return -EINTR;
        if (!entered)
            entered = checked = w->now;
        drove |= w->moved != QUIET;
        if (atomic_exchange(&w->interrupted, 0) || (drove && w->now - entered >= SIGNAL_GAP_NS))
            return 0;
        if (w->now - checked >= NAP_NS) {
            checked = w->now;
            if (signal_pending(w))
                return -EINTR;
        }
        if (w->moved == MORE)
            continue;
        int64_t until = w->virtual_time ? NEVER : w->deadline;
        if (drove && entered + SIGNAL_GAP_NS < until)
            until = entered + SIGNAL_GAP_NS;
        rc = sleep_once(w, until);
        if (rc)
            return rc;
    }
}

int waiter_sleep(struct waiter *w)
{
    block_all_signals(&w->open_signals);
    int rc = drive_and_sleep(w);
    pthread_sigmask(SIG_SETMASK, &w->open_signals, NULL);
    return rc;
}
