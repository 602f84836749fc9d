/* SPDX-License-Identifier: MIT */
/* Devices come, and come again: an interface that went down or away keeps its number, gives its device back,
 * and takes another one. What the old device lent is given back first. */
#include "host.h"

#include <unistd.h>

/* Locked. Closes the device on failure. */
static int take(struct host *h, int index, struct netdev *dev)
{
    if (index > HOST_NETDEVS)
        index = -ENOSPC;
    int rc = index > 0 && dev->register_memory ? dev->register_memory(dev, &h->arena) : 0;
    if (rc)
        index = rc;
    if (index < 0) {
        dev->close(dev);
        return index;
    }
    h->dev[index] = dev;
    h->devs = index > h->devs ? index : h->devs;
    if (dev->caps & NETDEV_THREAD_BOUND)
        h->bound = 1;
    role_wake(h); /* whoever sleeps does not know its descriptor */
    return index;
}

int host_add_netdev(struct host *h, struct netdev *dev)
{
    int rc = host_enter(h);
    if (rc) {
        if (rc != -BW_FOREIGN)
            dev->close(dev);
        return rc;
    }
    rc = take(h, h->devs < HOST_NETDEVS ? bw_if_add(h->st, dev) : -ENOSPC, dev);
    host_unlock(h);
    return rc;
}

void release_netdev(struct host *h, int i)
{
    struct netdev *dev = h->dev[i];
    if (dev->reclaim)
        reclaim_tokens(h, i, dev);
    dev->close(dev);
    h->dev[i] = NULL;
}

/* ---- fork(2) ----------------------------------------------------------------------------------- */
void host_before_fork(struct host *h)
{
    host_lock(h);
}

void host_after_fork(struct host *h)
{
    host_unlock(h);
}

/* The lock stays taken in the child: nobody takes it there. */
void host_forked(struct host *h)
{
    if (h->arena.fd >= 0)
        close(h->arena.fd);
    for (int i = LOOPBACK + 1; i <= h->devs; i++) {
        if (h->dev[i] && h->dev[i]->forked)
            h->dev[i]->forked(h->dev[i]);
        h->dev[i] = NULL;
    }
}

/* ---- gone, and back ---------------------------------------------------------------------------- */
static int is_away(const struct host *h, int index)
{
    return index > LOOPBACK && index <= h->devs && h->down & 1u << index;
}

int host_release_netdev(struct host *h, int index)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    if (!is_away(h, index)) {
        rc = -EBUSY;
    } else if (h->dev[index] && h->dev[index]->caps & NETDEV_THREAD_BOUND && h->thread_runs) {
        h->release |= 1u << index;
        thread_kick(h);
        rc = -EAGAIN;
    } else if (h->dev[index]) {
        release_netdev(h, index);
    }
    host_unlock(h);
    return rc;
}

int host_restore_netdev(struct host *h, int index, struct netdev *dev)
{
    int rc = host_enter(h);
    if (rc) {
        if (rc != -BW_FOREIGN)
            dev->close(dev);
        return rc;
    }
    rc = !is_away(h, index) || h->dev[index] ? -EBUSY : bw_if_up(h->st, index, dev);
    rc = take(h, rc ? rc : index, dev);
    if (rc > 0) {
        h->down &= ~(1u << index);
        h->gone_news &= ~(1u << index);
    }
    host_unlock(h);
    return rc;
}
