/* SPDX-License-Identifier: MIT */
/* One burst of driving: what moves between the engine and its devices, and who is told.
 *
 * The order is fixed (interfaces by index; receive, timers, transmit), so that a run in virtual
 * time repeats itself. A device that answers with an error is gone: its interface goes down with
 * ENETDOWN and is never called again until it is closed. One that is down for now is called on, to hear when
 * it is back. THREAD_BOUND devices are passed over by every
 * thread but the background one. In virtual time only host_poll touches devices. */
#include "host.h"

#include <unistd.h>

static struct netdev *usable(struct host *h, int i, int on_thread)
{
    struct netdev *dev = h->dev[i];
    if (!dev || h->down & 1u << i || (dev->caps & NETDEV_THREAD_BOUND && !on_thread))
        return NULL;
    return dev;
}

static int transient(int rc)
{
    return rc == -EAGAIN || rc == -EINTR || rc == -ENOBUFS;
}

static void gone(struct host *h, int i)
{
    h->down |= 1u << i;
    h->full &= ~(1u << i);
    h->unplugged &= ~(1u << i);
    h->gone_news |= 1u << i;
    bw_if_down(h->st, i, ENETDOWN);
    tell_work(h);
}

void reclaim_tokens(struct host *h, int i, struct netdev *dev)
{
    uint32_t tokens[256];
    int n;
    do {
        n = dev->reclaim(dev, tokens, 256);
        if (n > 0)
            bw_reclaimed(h->st, i, tokens, n);
    } while (n == 256);
}

static void follow_link(struct host *h, int i, int down)
{
    if (down == (int)(h->unplugged >> i & 1))
        return;
    h->unplugged ^= 1u << i;
    bw_if_link(h->st, i, !down);
}

static enum moved receive(struct host *h, int i, struct netdev *dev)
{
    int n = dev->rx_burst(dev, h->now, h->rx, BW_RX_BURST);
    if (dev->down || h->unplugged)
        follow_link(h, i, dev->down);
    if (n > 0)
        bw_input(h->st, i, h->rx, n);
    else if (n < 0 && !transient(n))
        gone(h, i);
    return n > 0 ? MORE : QUIET;
}

/* MORE: stopped with more to send, at the bound of a burst. */
static enum moved transmit(struct host *h, int i, struct netdev *dev)
{
    const struct tx_frame *frames;
    enum moved moved = QUIET;
    h->full &= ~(1u << i);
    for (int round = 0; round < TX_ROUNDS; round++) {
        int n = bw_output(h->st, i, &frames, BW_TX_BURST);
        if (n <= 0)
            return moved;
        int taken = dev->tx_burst(dev, h->now, frames, n);
        if (taken < 0 && !transient(taken)) {
            gone(h, i);
            return MOVED;
        }
        bw_transmitted(h->st, i, taken > 0 ? taken : 0);
        if (taken > 0)
            moved = MOVED;
        if (taken < n) {
            h->full |= 1u << i;
            return moved;
        }
    }
    return MORE;
}

static int loops(struct host *h)
{
    struct netdev_arm arm;
    struct netdev *dev = h->dev[LOOPBACK];
    return dev && dev->arm(dev, 0, 0, &arm) == 1;
}

static enum moved most(enum moved a, enum moved b)
{
    return a > b ? a : b;
}

static enum moved transmit_all(struct host *h, int on_thread)
{
    enum moved moved = QUIET;
    if (!h->full && !bw_has_output(h->st))
        return QUIET;
    for (int i = LOOPBACK; i <= h->devs; i++) {
        struct netdev *dev = usable(h, i, on_thread);
        if (dev)
            moved = most(moved, transmit(h, i, dev));
    }
    return moved;
}

enum moved burst(struct host *h, int on_thread)
{
    enum moved moved = QUIET;
    h->stats.bursts++;
    h->burst_at = h->now;
    if (h->now >= h->stale_at)
        pairs_settle(h);
    for (int i = LOOPBACK; i <= h->devs; i++) {
        struct netdev *dev = usable(h, i, on_thread);
        if (dev && dev->reclaim)
            reclaim_tokens(h, i, dev);
        if (dev)
            moved = most(moved, receive(h, i, dev));
    }
    bw_run_timers(h->st);
    moved = most(moved, transmit_all(h, on_thread));
    return loops(h) ? MORE : moved;
}

enum moved call_burst(struct host *h)
{
    enum moved moved = burst(h, 0);
    h->call_at = h->now;
    step_on(&h->epoch);
    return moved;
}

void flush(struct host *h, int on_thread)
{
    transmit_all(h, on_thread);
}

void publish(struct host *h)
{
    struct bw_sock *s;
    while ((s = bw_pop_changed(h->st))) {
        struct record *r = *bw_sock_user(s);
        if (!r)
            continue;
        uint32_t ready = bw_readiness(s), news = ready & ~r->seen;
        if (bw_arrived(s))
            news |= ready & (BW_IN | BW_PRI);
        r->seen = ready;
        if (r->interests)
            interests_notify(r, ready, news);
        pair_update(h, r, ready);
    }
    if (!h->virtual_time && bw_punt_pending(h->st))
        tell_work(h);
}

void tell_work(struct host *h)
{
    if (h->work_told || h->virtual_time)
        return;
    h->work_told = 1;
    h->stats.work_told++;
    event_write(h->work_fd);
}

/* Frames that only the background thread may send, or that a device had no room for. */
static int left_over(struct host *h)
{
    if (h->full & ~h->sleep_full)
        return 1;
    if (!h->bound)
        return 0;
    const struct tx_frame *frames;
    for (int i = LOOPBACK + 1; i <= h->devs; i++)
        if (!usable(h, i, 0) && usable(h, i, 1) && bw_output(h->st, i, &frames, 1) > 0)
            return 1;
    return 0;
}

/* Of the engine, and of pairs that say more than is true. */
static int64_t next_deadline(struct host *h)
{
    int64_t engine = bw_next_deadline(h->st);
    return h->stale_at < engine ? h->stale_at : engine;
}

void host_leave(struct host *h)
{
    if (h->virtual_time) {
        publish(h);
        host_unlock(h);
        return;
    }
    flush(h, 0);
    int looping = loops(h);
    for (int round = 0; looping && round < CALL_ROUNDS; round++) {
        host_tick(h);
        looping = burst(h, 0) == MORE && loops(h);
    }
    publish(h);
    if (h->sleep_until != AWAKE && (looping || left_over(h) || next_deadline(h) < h->sleep_until)) {
        role_wake(h);
    } else if (looping && role_is_idle(h) && h->thread_runs) {
        thread_hurry(h); /* no nap first: nothing else would move these frames */
    }
    host_unlock(h);
}

int arm_devices(struct host *h, int on_thread, struct pollfd *polls, int *n, int64_t *deadline)
{
    host_tick(h);
    int64_t now = h->now, own = next_deadline(h);
    int busy = own <= now;
    const struct tx_frame *frames;
    if (own < *deadline)
        *deadline = own;
    for (int i = LOOPBACK; i <= h->devs; i++) {
        struct netdev *dev = usable(h, i, on_thread);
        if (!dev)
            continue;
        struct netdev_arm arm = {-1, 0, NEVER};
        int want_tx = (h->full >> i & 1) != 0;
        if (h->virtual_time && !want_tx && bw_output(h->st, i, &frames, 1) > 0)
            busy = 1;
        int rc = dev->arm(dev, now, want_tx, &arm);
        if (rc < 0 && !transient(rc))
            gone(h, i);
        if (rc)
            busy = 1;
        if (arm.deadline < *deadline)
            *deadline = arm.deadline;
        if (arm.fd >= 0)
            polls[(*n)++] = (struct pollfd){.fd = arm.fd, .events = (short)arm.events};
        else if (i != LOOPBACK && !h->virtual_time && now + NAP_NS < *deadline)
            *deadline = now + NAP_NS;
    }
    return busy || *deadline <= now;
}
