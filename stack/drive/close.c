/* SPDX-License-Identifier: MIT */
/* The end of a host: closes its sockets, drives until what was sent is acknowledged, resets the
 * rest, ends the background thread, closes the devices. */
#include "host.h"

#include <time.h>

static void close_sockets(struct host *h)
{
    h->draining = 1;
    for (uint32_t i = 0; i < h->records_touched; i++) /* before the pairs they are of */
        number_close(h, &h->records[i]);
    for (uint32_t i = 0; i < h->records_touched; i++)
        if (h->records[i].sock)
            record_close(h, &h->records[i], 0);
}

/* Locked at entry and exit; one turn of a drain. */
static int drain_turn(struct host *h, int64_t end)
{
    struct pollfd polls[HOST_NETDEVS];
    int n = 0;
    host_tick(h);
    int64_t now = h->now, until = end;
    int busy = !h->bound && burst(h, 0) == MORE;
    publish(h);
    if (h->bound)
        until = now + NAP_NS < end ? now + NAP_NS : end;
    else if (!busy)
        busy = arm_devices(h, 0, polls, &n, &until);
    host_unlock(h);
    int interrupted = 0;
    if (until > end)
        until = end;
    if (until > now + NAP_NS * 20)
        until = now + NAP_NS * 20; /* other threads' calls do not kick a drain */
    if (!busy && until > now) {
        struct timespec ts = {(until - now) / 1000000000, (until - now) % 1000000000};
        interrupted = ppoll(polls, (nfds_t)n, &ts, NULL) < 0 && errno == EINTR;
    }
    host_lock(h);
    return interrupted ? -EINTR : 0;
}

int host_drain(struct host *h, int64_t linger_ns)
{
    int rc = host_enter(h);
    if (rc)
        return rc == -EBADF ? 0 : rc;
    close_sockets(h);
    host_leave(h);
    if (h->virtual_time) {
        host_poll(h);
        linger_ns = 0;
    }
    host_lock(h);
    if (!h->bound && !h->virtual_time)
        role_drain(h); /* whoever drove has been told that its sockets are gone */
    int64_t start = monotonic(), end = start + linger_ns;
    rc = 0;
    while (!rc && !h->closed && bw_draining(h->st) && monotonic() < end)
        rc = monotonic() - start < SIGNAL_GAP_NS ? drain_turn(h, end) : -EINTR;
    if (!rc && !h->closed && bw_draining(h->st))
        rc = -ETIMEDOUT;
    if (h->role == ROLE_CALL)
        role_release(h);
    host_unlock(h);
    return rc;
}

static void close_devices(struct host *h)
{
    for (int i = LOOPBACK + 1; i <= h->devs; i++) {
        if (h->dev[i])
            h->dev[i]->close(h->dev[i]);
        h->dev[i] = NULL;
    }
}

void host_close_descriptors(struct host *h)
{
    if (host_look(h))
        return;
    if (h->closed)
        close_own_descriptors(h);
    host_unlock(h);
}

int host_close(struct host *h, int64_t linger_ns)
{
    int64_t end = monotonic() + linger_ns;
    int rc;
    do {
        int64_t left = end - monotonic();
        rc = host_drain(h, left > 0 ? left : 0);
    } while (rc == -EINTR && monotonic() < end);
    if (rc == -BW_FOREIGN)
        return rc;
    int entered = host_enter(h);
    if (entered)
        return 0; /* closed before */
    rc = bw_draining(h->st) ? -ETIMEDOUT : 0;
    bw_abort_all(h->st);
    host_leave(h);
    if (h->virtual_time)
        host_poll(h);
    host_lock(h);
    if (h->closed) {
        host_unlock(h);
        return 0;
    }
    h->closed = 1;
    h->thread_stops = 1;
    for (struct enlist *e = h->enlisted; e; e = e->next)
        waiter_wake(e->waiter);
    if (h->thread_runs)
        event_write(h->thread_fd);
    int join = h->thread_runs;
    host_unlock(h);
    if (join)
        pthread_join(h->thread, NULL);
    host_lock(h);
    h->thread_runs = 0;
    close_devices(h);
    host_unlock(h);
    return rc;
}
