/* SPDX-License-Identifier: MIT */
/* Waiting: a thread enlists on sockets of any hosts and on descriptors, and drives while it waits.
 *
 * Two C calls with Python between: wait_begin spins; back in the interpreter handlers of what came
 * before run, with the program's own mask; wait_sleep blocks signals and opens them only inside ppoll,
 * so that one that comes at the wrong moment is pending, not lost. What came between the interpreter's
 * last look and the block the interpreter itself knows of (`tripped`). A signal for the whole process may
 * be given to another thread while ours drives with signals blocked; therefore a wait that drove goes
 * back to the interpreter within SIGNAL_GAP_NS. */
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- a waiter and the sockets it watches --------------------------------------------------------- */
struct waiter *waiter_new(int (*tripped)(void))
{
    struct waiter *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->tripped = tripped;
    w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->event_fd < 0) {
        free(w);
        return NULL;
    }
    return w;
}

void waiter_free(struct waiter *w)
{
    if (!w)
        return;
    wait_end(w);
    close(w->event_fd);
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

static void hit(struct waiter *w)
{
    atomic_store(&w->hit, 1);
    waiter_wake(w);
}

void waiters_notify(struct host *h, struct record *r, uint32_t ready)
{
    for (struct interest *i = r->interests; i; i = i->next)
        if (ready & i->events)
            hit(i->waiter);
}

void record_observe(struct record *r)
{
    bw_observe(r->sock, r->interests || r->user_fd >= 0);
}

static void unlink_interest(struct interest *i)
{
    *i->link = i->next;
    if (i->next)
        i->next->link = i->link;
    i->record = NULL;
}

void waiters_closed(struct host *h, struct record *r)
{
    while (r->interests) {
        hit(r->interests->waiter);
        unlink_interest(r->interests);
    }
}

/* ---- enlisting --------------------------------------------------------------------------------- */
static int grow(void **array, int *cap, int need, size_t size)
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

static int add_host(struct waiter *w, struct host *h)
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

/* Enters the host's list of waiters and the lists of its sockets that are waited for. */
static int enlist(struct waiter *w, struct enlist *e)
{
    struct host *h = e->host;
    int rc = host_enter(h);
    if (rc)
        return rc;
    e->link = h->enlisted_tail;
    e->next = NULL;
    *h->enlisted_tail = e;
    h->enlisted_tail = &e->next;
    e->present = e->listed = 1;
    int sends = 0;
    for (int i = 0; i < w->n; i++) {
        struct interest *in = &w->interests[i];
        struct record *r = w->items[i].host == h ? record_find(h, w->items[i].sock) : NULL;
        if (!r)
            continue;
        *in = (struct interest){.next = r->interests, .link = &r->interests, .waiter = w, .record = r};
        in->events = w->items[i].events;
        if (in->events != BW_DRAINED) /* who lingers waits for nothing else */
            in->events |= BW_ERR | BW_HUP;
        sends |= bw_await(r->sock, in->events);
        if (r->interests)
            r->interests->link = &in->next;
        r->interests = in;
        record_observe(r);
    }
    if (sends)
        host_leave(h);
    else
        host_unlock(h);
    return 0;
}

static void delist(struct waiter *w, struct enlist *e)
{
    struct host *h = e->host;
    if (!e->listed || host_look(h))
        return;
    for (int i = 0; i < w->n; i++) {
        struct record *r = w->items[i].host == h ? w->interests[i].record : NULL;
        if (!r)
            continue;
        unlink_interest(&w->interests[i]);
        record_observe(r);
    }
    *e->link = e->next;
    if (e->next)
        e->next->link = e->link;
    else
        h->enlisted_tail = e->link;
    e->listed = 0;
    if (role_is_mine(h, w))
        role_release(h);
    host_unlock(h);
}

/* Out of every list, roles handed on. The waiter can be used again. */
static void leave(struct waiter *w)
{
    for (int i = 0; i < w->hosts; i++)
        delist(w, &w->enlists[i]);
    w->hosts = 0;
    w->active = 0;
}

static int enter_all(struct waiter *w)
{
    if (grow((void **)&w->interests, &w->interests_cap, w->n, sizeof *w->interests))
        return -ENOMEM;
    for (int i = 0; i < w->n; i++) {
        struct wait_item *item = &w->items[i];
        item->revents = 0;
        w->interests[i].record = NULL;
        if (!item->host)
            w->fds++;
        else if (add_host(w, item->host))
            return -ENOMEM;
    }
    int polls = 1 + w->fds + w->hosts * HOST_NETDEVS;
    if (grow((void **)&w->polls, &w->polls_cap, polls, sizeof *w->polls))
        return -ENOMEM;
    for (int i = 0; i < w->hosts; i++) { /* the array has its final place now */
        int rc = enlist(w, &w->enlists[i]);
        if (rc)
            return rc;
    }
    return 0;
}

/* In Python (present 0) a thread must not be given the role, and gives up what it has. */
static void step(struct waiter *w, int present)
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

/* ---- looking ----------------------------------------------------------------------------------- */
static int collect_fds(struct waiter *w, const struct pollfd *polls)
{
    int ready = 0;
    for (int i = 0; i < w->n; i++) {
        if (w->items[i].host)
            continue;
        w->items[i].revents = (uint32_t)(unsigned short)polls->revents;
        ready += polls->revents != 0;
        polls++;
    }
    return ready;
}

static void append_fds(struct waiter *w, struct pollfd *polls)
{
    for (int i = 0; i < w->n; i++)
        if (!w->items[i].host)
            *polls++ = (struct pollfd){.fd = w->items[i].fd, .events = (short)w->items[i].events};
}

static int look_fds(struct waiter *w)
{
    if (!w->fds)
        return 0;
    append_fds(w, w->polls);
    return poll(w->polls, (nfds_t)w->fds, 0) > 0 ? collect_fds(w, w->polls) : 0;
}

/* Fills in revents of all sockets; how many items are ready. */
static int look_sockets(struct waiter *w)
{
    int ready = 0;
    for (int e = 0; e < w->hosts; e++) {
        struct host *h = w->enlists[e].host;
        int rc = host_look(h);
        if (rc)
            return rc;
        for (int i = 0; i < w->n; i++) {
            if (w->items[i].host != h)
                continue;
            struct interest *in = &w->interests[i];
            w->items[i].revents = in->record ? bw_readiness(in->record->sock) & in->events : POLLNVAL;
            ready += w->items[i].revents != 0;
        }
        host_unlock(h);
    }
    return ready;
}

/* 1: the deadline is over, in the time of the first virtual stack if there is one. */
static int over(struct waiter *w)
{
    if (w->deadline == NEVER)
        return 0;
    int64_t now = monotonic();
    for (int i = 0; i < w->hosts; i++) {
        if (w->enlists[i].host->virtual_time) {
            now = host_now(w->enlists[i].host);
            break;
        }
    }
    return now >= w->deadline;
}

/* ---- driving ----------------------------------------------------------------------------------- */
/* One burst on each host whose role is ours or free. 1: some role is ours. */
static int drive(struct waiter *w)
{
    int mine = 0;
    w->moved = QUIET;
    w->error = 0;
    for (int i = 0; i < w->hosts; i++) {
        struct host *h = w->enlists[i].host;
        int rc = host_enter(h);
        if (rc) {
            w->error = rc;
            continue;
        }
        if (role_claim(h, ROLE_WAITER, w)) {
            mine = 1;
            enum moved moved = burst(h, 0);
            w->moved = moved > w->moved ? moved : w->moved;
            publish(h);
        }
        host_unlock(h);
    }
    return mine;
}

/* After driving: > 0 ready, -ETIMEDOUT, -EBADF, or 0 to go on waiting. */
static int verdict(struct waiter *w)
{
    if (atomic_exchange(&w->hit, 0)) {
        int ready = look_sockets(w);
        if (ready)
            return ready;
    }
    if (w->error)
        return w->error;
    return over(w) ? -ETIMEDOUT : 0;
}

static int spin(struct waiter *w, int64_t spin_ns)
{
    int64_t end = monotonic() + (spin_ns < SPIN_MAX_NS ? spin_ns : SPIN_MAX_NS);
    int mine, rc;
    do {
        mine = drive(w);
        rc = verdict(w);
        if (!rc && w->fds)
            rc = look_fds(w);
    } while (!rc && mine && monotonic() < end);
    return rc;
}

int wait_begin(struct waiter *w, struct wait_item *items, int n, int64_t deadline, int64_t spin_ns)
{
    wait_end(w);
    if (n < 0)
        return -EINVAL;
    w->items = items;
    w->n = n;
    w->fds = w->virtual_time = 0;
    w->deadline = deadline;
    w->active = 1;
    atomic_store(&w->state, WAITER_IDLE);
    atomic_store(&w->interrupted, 0);
    int rc = enter_all(w);
    if (!rc) {
        int fds = look_fds(w);
        rc = look_sockets(w);
        if (rc >= 0)
            rc += fds;
    }
    if (!rc)
        rc = spin(w, spin_ns);
    if (rc) {
        leave(w);
        return rc;
    }
    step(w, 0);
    return 0;
}

/* ---- sleeping ---------------------------------------------------------------------------------- */
/* Arms the devices of the hosts we drive; 1: do not sleep. */
static int arm(struct waiter *w, int *n, int64_t *until)
{
    int busy = 0;
    for (int i = 0; i < w->hosts && !busy; i++) {
        struct host *h = w->enlists[i].host;
        int64_t deadline = NEVER;
        if (host_enter(h))
            return 1;
        if (role_is_mine(h, w)) {
            busy = arm_devices(h, 0, w->polls, n, &deadline);
            h->sleep_until = busy ? AWAKE : deadline;
            h->sleep_full = h->full;
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

/* One ppoll, or none if there is something to do. > 0: descriptors are ready; -EINTR. */
static int sleep_once(struct waiter *w, int64_t until)
{
    int n = 1, expected = WAITER_IDLE;
    if (arm(w, &n, &until))
        return 0;
    w->polls[0] = (struct pollfd){.fd = w->event_fd, .events = POLLIN};
    append_fds(w, w->polls + n);
    if (!atomic_compare_exchange_strong(&w->state, &expected, WAITER_SLEEPING))
        return 0;
    int64_t left = until == NEVER ? 0 : until - monotonic();
    struct timespec ts = {left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 0};
    int rc = ppoll(w->polls, (nfds_t)(n + w->fds), until == NEVER ? NULL : &ts, &w->open_signals);
    int error = errno;
    expected = WAITER_SLEEPING; /* WOKEN stays: the loop looks */
    atomic_compare_exchange_strong(&w->state, &expected, WAITER_IDLE);
    if (rc < 0)
        return error == EINTR ? -EINTR : -error;
    if (rc > 0 && w->polls[0].revents)
        event_drain(w->event_fd);
    return rc > 0 && w->fds ? collect_fds(w, w->polls + n) : 0;
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
    int64_t entered = monotonic(), checked = entered;
    int drove = 0, fds = 0, rc;
    for (;;) {
        atomic_store(&w->state, WAITER_IDLE);
        drive(w);
        rc = verdict(w);
        if (fds > 0)
            rc = rc > 0 ? rc + fds : fds;
        if (rc)
            break;
        if (tripped(w)) {
            rc = -EINTR;
            break;
        }
        int64_t now = monotonic();
        drove |= w->moved != QUIET;
        if (atomic_exchange(&w->interrupted, 0) || (drove && now - entered >= SIGNAL_GAP_NS))
            break;
        if (now - checked >= NAP_NS) {
            checked = now;
            if (signal_pending(w)) {
                rc = -EINTR;
                break;
            }
        }
        if (w->moved == MORE)
            continue;
        int64_t until = w->virtual_time ? NEVER : w->deadline;
        if (drove && entered + SIGNAL_GAP_NS < until)
            until = entered + SIGNAL_GAP_NS;
        fds = sleep_once(w, until);
        if (fds < 0) {
            rc = fds;
            break;
        }
    }
    return rc;
}

int wait_sleep(struct waiter *w)
{
    if (!w->active)
        return -EINVAL;
    block_all_signals(&w->open_signals);
    step(w, 1);
    int rc = drive_and_sleep(w);
    if (rc == 0 || rc == -EINTR)
        step(w, 0);
    else
        leave(w);
    pthread_sigmask(SIG_SETMASK, &w->open_signals, NULL);
    return rc;
}

void wait_end(struct waiter *w)
{
    leave(w);
}
