/* SPDX-License-Identifier: MIT */
/* The engine's control calls and counters under the lock, for Python's control plane and people. */
#include "host.h"

#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* The call, then whatever it made ready to send. */
#define CONTROL_CALL(h, call) \
    int rc = host_enter(h); \
    if (rc) \
        return rc; \
    rc = (call); \
    host_leave(h); \
    return rc

void host_netdev_addr(struct netdev_addr *told, const uint8_t *ip)
{
    static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
    int mapped = memcmp(ip, v4, sizeof v4) == 0;
    *told = (struct netdev_addr){.family = mapped ? AF_INET : AF_INET6};
    memcpy(told->ip, mapped ? ip + 12 : ip, mapped ? 4 : 16);
}

/* The devices that steer by addresses learn them first. */
static int tell_devices(struct host *h, const struct bw_ifaddr *addrs, int n)
{
    struct netdev_addr told[BW_MAX_ADDRS];
    for (int i = LOOPBACK + 1; i <= h->devs; i++) {
        struct netdev *dev = h->dev[i];
        int own = 0;
        for (int k = 0; k < n && own < BW_MAX_ADDRS; k++)
            if (addrs[k].ifindex == (uint32_t)i)
                host_netdev_addr(&told[own++], addrs[k].ip);
        int rc = dev && dev->set_addrs && !(h->down & 1u << i) ? dev->set_addrs(dev, told, own) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

static int set_addrs(struct host *h, const struct bw_ifaddr *addrs, int n)
{
    int rc = tell_devices(h, addrs, n);
    return rc ? rc : bw_set_addrs(h->st, addrs, n);
}

int host_set_addrs(struct host *h, const struct bw_ifaddr *addrs, int n)
{
    CONTROL_CALL(h, set_addrs(h, addrs, n));
}

int host_set_routes(struct host *h, const struct bw_route *routes, int n)
{
    CONTROL_CALL(h, bw_set_routes(h->st, routes, n));
}

int host_set_path_mtu(struct host *h, const uint8_t *ip, uint32_t zone, uint32_t mtu, int fragments)
{
    CONTROL_CALL(h, bw_set_path_mtu(h->st, ip, zone, mtu, fragments));
}

int64_t host_time_input(struct host *h, int ifindex, struct rx_frame *frames, int n)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    int64_t before = monotonic();
    bw_input(h->st, ifindex, frames, n);
    int64_t spent = monotonic() - before;
    host_leave(h);
    return spent;
}

int host_neigh_ask(struct host *h, int ifindex, const uint8_t *ip)
{
    CONTROL_CALL(h, bw_neigh_ask(h->st, ifindex, ip));
}

int host_neigh_set(struct host *h, int ifindex, const uint8_t *ip, const uint8_t *mac)
{
    CONTROL_CALL(h, bw_neigh_set(h->st, ifindex, ip, mac));
}

int host_neigh_del(struct host *h, int ifindex, const uint8_t *ip)
{
    CONTROL_CALL(h, bw_neigh_del(h->st, ifindex, ip));
}

int host_neigh_get(struct host *h, int ifindex, const uint8_t *ip, struct bw_neigh_info *info)
{
    CONTROL_CALL(h, bw_neigh_get(h->st, ifindex, ip, info));
}

int host_send_frame(struct host *h, int ifindex, const uint8_t *frame, uint32_t len)
{
    CONTROL_CALL(h, bw_send_frame(h->st, ifindex, frame, len));
}

int host_send_packet(struct host *h, int ifindex, const uint8_t *nexthop, const uint8_t *packet, uint32_t len)
{
    CONTROL_CALL(h, bw_send_packet(h->st, ifindex, nexthop, packet, len));
}

int host_echo_open(struct host *h, const uint8_t *ip, uint16_t ident)
{
    CONTROL_CALL(h, bw_echo_open(h->st, ip, ident));
}

int host_echo_close(struct host *h, const uint8_t *ip, uint16_t ident)
{
    CONTROL_CALL(h, (bw_echo_close(h->st, ip, ident), 0));
}

int host_local_error(struct host *h, const uint8_t *packet, uint32_t len, int err)
{
    CONTROL_CALL(h, (bw_local_error(h->st, packet, len, err), 0));
}

int host_select_source(struct host *h, const uint8_t *dst, uint32_t ifindex, uint8_t *src)
{
    CONTROL_CALL(h, bw_select_source(h->st, dst, ifindex, src));
}

/* ---- driving by hand, work for Python ---------------------------------------------------------- */
int host_burst(struct host *h)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    if (!h->virtual_time && role_is_free(h))
        rc = call_burst(h) != QUIET;
    host_leave(h);
    return rc;
}

int host_work_fd(struct host *h)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    rc = h->work_fd;
    host_unlock(h);
    return rc;
}

void host_await_work(int fd, int watch_fd, int64_t ns)
{
    struct pollfd polls[] = {{.fd = fd, .events = POLLIN}, {.fd = watch_fd, .events = POLLIN}};
    struct timespec ts = {ns / 1000000000, ns % 1000000000};
    ppoll(polls, 2, ns == NEVER ? NULL : &ts, NULL);
}

uint32_t host_links_down(struct host *h)
{
    if (host_enter(h))
        return 0;
    uint32_t bits = h->down | h->unplugged;
    host_unlock(h);
    return bits;
}

uint32_t host_take_gone(struct host *h)
{
    if (host_enter(h))
        return 0;
    uint32_t gone = h->gone_news;
    h->gone_news = 0;
    host_unlock(h);
    return gone;
}

uint32_t host_take_unfinished(struct host *h)
{
    if (host_enter(h))
        return 0;
    uint32_t news = bw_take_unfinished(h->st);
    host_unlock(h);
    return news;
}

int host_tell_work(struct host *h)
{
    int rc = host_look(h);
    if (rc)
        return rc;
    tell_work(h);
    host_unlock(h);
    return 0;
}

int host_punt_pop(struct host *h, struct bw_punt *punt, uint8_t *data, uint32_t size)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    rc = bw_punt_pop(h->st, punt, data, size);
    if (!rc && h->work_told && !h->gone_news &&
        !h->foreign_len) { /* asked for before this; news since is told */
        h->work_told = 0;
        event_drain(h->work_fd);
    }
    host_unlock(h);
    return rc;
}

int host_cc_report_pop(struct host *h, struct bw_cc_report *report)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    rc = bw_cc_report_pop(h->st, report);
    host_unlock(h);
    return rc;
}

int host_cc_answer(struct host *h, uint32_t sock, uint32_t generation, uint64_t window, uint64_t rate)
{
    CONTROL_CALL(h, bw_cc_answer(h->st, sock, generation, window, rate));
}

int host_cc_give_up(struct host *h, uint32_t sock, uint32_t generation)
{
    CONTROL_CALL(h, bw_cc_give_up(h->st, sock, generation));
}

/* ---- seeing; after close too ------------------------------------------------------------------- */
#define LOOK(h, type, expression) \
    if (host_look(h)) \
        return 0; \
    type value = (expression); \
    host_unlock(h); \
    return value

int host_counters(struct host *h, uint64_t *out, int max)
{
    LOOK(h, int, bw_counters(h->st, out, max));
}

int host_list(struct host *h, uint32_t *from, struct bw_sock_info *out, int max)
{
    LOOK(h, int, bw_list(h->st, from, out, max));
}

uint64_t host_memory_used(struct host *h, int what)
{
    LOOK(h, uint64_t, bw_memory_used(h->st, what));
}

int host_trace_pop(struct host *h, struct bw_trace_record *out, int max)
{
    LOOK(h, int, bw_trace_pop(h->st, out, max));
}

int host_trace_all(struct host *h, int on)
{
    CONTROL_CALL(h, (bw_trace_all(h->st, on), 0));
}

int host_get_stats(struct host *h, struct host_stats *out)
{
    int rc = host_look(h);
    if (rc)
        return rc;
    *out = h->stats;
    out->memory_control_blocks = bw_memory_used(h->st, 0);
    out->memory_chunks = bw_memory_used(h->st, 1);
    out->sockets = bw_memory_used(h->st, 2);
    out->orphans = bw_memory_used(h->st, 3);
    out->timers = bw_memory_used(h->st, 5);
    host_unlock(h);
    return 0;
}

static struct netdev *netdev_of(struct host *h, int ifindex) /* locked */
{
    return ifindex < LOOPBACK || ifindex > h->devs ? NULL : h->dev[ifindex];
}

int host_netdev_stats(struct host *h, int ifindex, struct netdev_stats *out)
{
    int rc = host_look(h);
    if (rc)
        return rc;
    struct netdev *dev = netdev_of(h, ifindex);
    if (dev)
        *out = dev->stats;
    host_unlock(h);
    return dev ? 0 : -ENODEV;
}

int host_netdev_xstats(struct host *h, int ifindex, struct netdev_xstat *out, int max)
{
    int rc = host_look(h);
    if (rc)
        return rc;
    struct netdev *dev = netdev_of(h, ifindex);
    rc = !dev ? -ENODEV : dev->xstats ? dev->xstats(dev, out, max) : 0;
    host_unlock(h);
    return rc;
}
