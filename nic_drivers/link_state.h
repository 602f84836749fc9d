/* SPDX-License-Identifier: MIT */
/* The kernel's interface under an open device: up, down for now, or gone for good.
 *
 * A socket says once that its interface went down (ENETDOWN). It does not say whether the interface is being
 * deleted, which is down for some milliseconds first; nor does anything tell when it is up again. So a device
 * that is down looks at its interface every LINK_LOOK ns. */
#ifndef BW_LINK_STATE_H
#define BW_LINK_STATE_H

#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "netdev.h"

enum { LINK_LOOK = 10000000 };

struct link_state {
    int fd; /* any socket in the interface's network namespace */
    int ifindex;
    int64_t look_at;
};

/* The interface that an AF_PACKET socket is bound to. */
static inline int bound_to(int fd)
{
    struct sockaddr_ll at = {0};
    socklen_t len = sizeof at;
    return getsockname(fd, (struct sockaddr *)&at, &len) ? 0 : at.sll_ifindex;
}

/* The device's interface went: link_look() says how. */
static inline void link_lost(struct link_state *l, struct netdev *dev)
{
    dev->down = 1;
    l->look_at = INT64_MIN;
}

/* Of a device that is down: looks at the interface if it is time to. 0, or ENETDOWN: it is gone for good. */
static inline int link_look(struct link_state *l, struct netdev *dev, int64_t now)
{
    struct ifreq ifr = {.ifr_ifindex = l->ifindex};
    if (now < l->look_at)
        return 0;
    l->look_at = now + LINK_LOOK;
    if (ioctl(l->fd, SIOCGIFNAME, &ifr) || ioctl(l->fd, SIOCGIFFLAGS, &ifr))
        return ENETDOWN;
    dev->down = !(ifr.ifr_flags & IFF_UP);
    return 0;
}

/* A sleep ends in time for the next look. */
static inline void link_arm(const struct link_state *l, const struct netdev *dev, struct netdev_arm *arm)
{
    if (dev->down && l->look_at < arm->deadline)
        arm->deadline = l->look_at;
}

#endif
