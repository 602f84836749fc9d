/* SPDX-License-Identifier: MIT */
/* The background thread: drives when nobody waits, stands by when somebody does.
 *
 * Standing by it naps for 1 ms, and while the program goes on making calls twice as long each time, up
 * to NAP_MOST_NS: each nap's end takes a pinned program's core away for some 10 us. Where it finds that a thread
 * keeps the role, it naps only until that must be back. After a nap in which no role changed hands and no call ran a
 * burst, it hands on a role that was kept, or takes the role if it is free, and then sleeps on the devices' descriptors
 * without a time-out of its own. Beside one wait that lasts longer than DEEP_NAPS naps it sleeps until it is
 * kicked. So an idle program costs nothing, and a busy one no system call to arm this thread. */
#include "host.h"

#include <time.h>

/* Whoever waits on a poller's descriptor sleeps outside of C, though its calls follow each other: the thread does
 * not stand by for so long after it was told. */
enum { NOTED_NS = 1000000000 };

/* Locked at entry and exit; not in between. */
static void sleep_until(struct host *h, struct pollfd *polls, int n, int64_t until)
{
    host_unlock(h);
    polls[0] = (struct pollfd){.fd = h->thread_fd, .events = POLLIN};
    int64_t left = until == NEVER ? 0 : until - monotonic();
    struct timespec ts = {left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 0};
    if (ppoll(polls, (nfds_t)n, until == NEVER ? NULL : &ts, NULL) > 0 && polls[0].revents)
        event_drain(h->thread_fd);
    host_lock(h);
    h->thread_asleep = 0;
}

static void drive(struct host *h)
{
    struct pollfd polls[1 + HOST_NETDEVS];
    int n = 1;
    int64_t until = NEVER;
    role_background(h);
    h->stats.background_bursts++;
    host_tick(h);
    int busy = burst(h, 1) == MORE;
    publish(h);
    if (busy || arm_devices(h, 1, polls, &n, &until)) {
        host_yield(h);
        return;
    }
    h->thread_asleep = 1;
    role_sleeps(h, until);
    sleep_until(h, polls, n, until);
    int64_t now = monotonic();
    if (now - h->call_at < NAP_NS && now - h->noted_at >= NOTED_NS)
        role_stand_by(h); /* a program that polls moves its frames itself */
}

enum { NAP_MOST_NS = 4 * NAP_NS };

/* One nap without the lock; 1: nothing happened in it. */
static int nap(struct host *h, unsigned role_count, unsigned epoch, long length)
{
    struct pollfd poll = {.fd = h->thread_fd, .events = POLLIN};
    struct timespec ts = {0, length};
    if (ppoll(&poll, 1, &ts, NULL) > 0) {
        event_drain(h->thread_fd);
        return 1; /* kicked: look at once */
    }
    return atomic_load_explicit(&h->role_count, memory_order_relaxed) == role_count &&
           atomic_load_explicit(&h->epoch, memory_order_relaxed) == epoch;
}

/* Shorter while a pair says more than is true. */
static long nap_length(struct host *h, long length)
{
    return atomic_load_explicit(&h->stale_some, memory_order_relaxed) ? (long)PAIR_LATE_NS : length;
}

static void settle(struct host *h)
{
    if (!atomic_load_explicit(&h->stale_some, memory_order_relaxed))
        return;
    host_lock(h);
    host_tick(h);
    if (h->now >= h->stale_at)
        pairs_settle(h);
    host_unlock(h);
}

/* Who kept the role did not come back: one burst, and those that wait have it. */
static void take_over_from_keeper(struct host *h)
{
    host_tick(h);
    burst(h, 1);
    publish(h);
    role_lapse(h);
}

/* Locked at entry and exit. */
static void stand_by(struct host *h, int *quiet)
{
    unsigned role_count = atomic_load_explicit(&h->role_count, memory_order_relaxed);
    unsigned epoch = atomic_load_explicit(&h->epoch, memory_order_relaxed);
    h->stats.naps++;
    if (*quiet >= DEEP_NAPS && !role_is_idle(h)) {
        struct pollfd poll;
        h->thread_asleep = 1;
        sleep_until(h, &poll, 1, NEVER);
        *quiet = 0;
        return;
    }
    host_unlock(h);
    for (long length = NAP_NS; !nap(h, role_count, epoch, nap_length(h, length));) {
        if (atomic_load_explicit(&h->role_kept, memory_order_relaxed))
            length = AT_ONCE_NS; /* others wait: who keeps it is back by then, or stays away */
        else
            length = length < NAP_NS ? NAP_NS : length < NAP_MOST_NS ? 2 * length : NAP_MOST_NS;
        settle(h);
        role_count = atomic_load_explicit(&h->role_count, memory_order_relaxed);
        epoch = atomic_load_explicit(&h->epoch, memory_order_relaxed);
        *quiet = 0;
    }
    host_lock(h);
    int same = atomic_load_explicit(&h->role_count, memory_order_relaxed) == role_count &&
               atomic_load_explicit(&h->epoch, memory_order_relaxed) == epoch;
    if (h->role == ROLE_KEPT && (same || h->thread_urgent))
        take_over_from_keeper(h);
    if (h->role == ROLE_NOBODY && (same || h->thread_urgent)) {
        role_background(h);
        h->thread_urgent = 0;
        h->stats.background_takeovers++;
        *quiet = 0;
    } else {
        *quiet = same && !role_is_idle(h) ? *quiet + 1 : 0;
    }
}

static void *background(void *arg)
{
    struct host *h = arg;
    int quiet = 0;
    host_lock(h);
    while (!h->thread_stops) {
        if (h->bound)
            role_background(h);
        for (; h->release; h->release &= h->release - 1)
            release_netdev(h, __builtin_ctz(h->release));
        if (h->role == ROLE_BACKGROUND)
            drive(h);
        else
            stand_by(h, &quiet);
    }
    for (int i = LOOPBACK + 1; i <= h->devs; i++) { /* the others are closed by host_close */
        if (h->dev[i] && h->dev[i]->caps & NETDEV_THREAD_BOUND) {
            h->dev[i]->close(h->dev[i]);
            h->dev[i] = NULL;
        }
    }
    host_unlock(h);
    return NULL;
}

void thread_kick(struct host *h)
{
    h->thread_asleep = 0;
    event_write(h->thread_fd);
}

void thread_hurry(struct host *h)
{
    h->thread_urgent = 1;
    thread_kick(h);
}

int thread_start(struct host *h)
{
    sigset_t old;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (h->thread_cpu >= 0 && h->thread_cpu < CPU_SETSIZE) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((unsigned)h->thread_cpu, &cpus);
        pthread_attr_setaffinity_np(&attr, sizeof cpus, &cpus);
    }
    block_all_signals(&old);
    int rc = pthread_create(&h->thread, &attr, background, h);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc)
        return -rc;
    h->thread_runs = 1;
    role_background(h); /* until somebody waits */
    pthread_setname_np(h->thread, "barewire");
    return 0;
}
