/* SPDX-License-Identifier: MIT */
/* One recvmmsg and one sendmmsg a burst. Received packets lie in buffers of the device's own, with the
 * IP header on a cache line; a packet to send is gathered and summed in one pass, for the kernel finishes
 * no transport checksum of a raw socket. A packet that the kernel refuses (no route, a firewall) is lost
 * and counted, as it would be in a network. */
#define _GNU_SOURCE /* recvmmsg, sendmmsg */
#include "raw.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_packet.h>

#include "../gather.h"
#include "../kernel_address.h"
#include "../link_state.h"
#include "../memory.h"
#include "../vnet.h"
#include "../xstats.h"

enum {
    IP_HEADER = 20,
    IP_PROTOCOL_AT = 9, /* IP_PROTOCOL is an option of newer headers */
    IP_DESTINATION_AT = 16,
    HEADROOM = 64,                /* virtio-net and link header end here */
    SLOT = HEADROOM + 65536 + 64, /* an odd number of cache lines */
    RETRY_NS = 1000000,
};

/* Why a packet was dropped, and PACKET_STATISTICS, which starts anew at each look. */
enum {
    RX_TRUNCATED,
    RX_MALFORMED,
    TX_LENGTH,
    TX_NOT_IPV4,
    TX_TCP_UNGUARDED,
    TX_DOWN,
    TX_UNREACHABLE,
    TX_REFUSED,
    KERNEL_SEEN,
    KERNEL_DROPPED,
    XSTATS
};
static const char *const xstat_names[XSTATS] = {
    "rx_truncated", "rx_malformed",   "tx_bad_length", "tx_not_ipv4",    "tx_tcp_unguarded",
    "tx_down",      "tx_unreachable", "tx_refused",    "kernel_rx_seen", "kernel_rx_dropped",
};

struct raw {
    struct netdev dev;
    int rx_fd, tx_fd, held[RAW_HELD];
    int failed; /* the interface is gone: ENETDOWN from now on */
    struct link_state interface;
    int tcp;         /* may be sent */
    uint32_t before; /* bytes of a message before the IP header */
    struct netdev_memory memory;
    uint8_t *buffers; /* it: BW_RX_BURST slots to receive into, BW_TX_BURST to send from */
    uint64_t xstats[XSTATS];
    struct mmsghdr rx[BW_RX_BURST], tx[BW_TX_BURST];
    struct iovec rx_iov[BW_RX_BURST], tx_iov[BW_TX_BURST];
    struct sockaddr_in to[BW_TX_BURST];
    int place[BW_TX_BURST]; /* of each message's frame in the burst */
};

static int down(int err)
{
    return err == ENETDOWN || err == ENODEV || err == ENXIO;
}

/* Of a device that is down: is its interface back, or gone? */
static void look(struct raw *r, int64_t now)
{
    if (!r->failed)
        r->failed = link_look(&r->interface, &r->dev, now);
}

static int drop_rx(struct raw *r, int why)
{
    r->dev.stats.rx_dropped++;
    r->xstats[why]++;
    return 0;
}

/* Is message i a packet? Then it is f. */
static int accept_packet(struct raw *r, int i, struct rx_frame *f)
{
    uint32_t len = r->rx[i].msg_len;
    uint8_t *ip = r->buffers + (size_t)i * SLOT + HEADROOM;
    if (r->rx[i].msg_hdr.msg_flags & MSG_TRUNC)
        return drop_rx(r, RX_TRUNCATED);
    if (len <= r->before)
        return drop_rx(r, RX_MALFORMED);
    *f = (struct rx_frame){.data = ip, .len = len - r->before, .csum = BW_CSUM_UNKNOWN};
    if (!vnet_parse(ip - r->before, r->dev.caps, f))
        return drop_rx(r, RX_MALFORMED);
    r->dev.stats.rx_frames++;
    r->dev.stats.rx_bytes += f->len;
    return 1;
}

static int raw_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct raw *r = (struct raw *)dev;
    if (dev->down)
        look(r, now);
    if (r->failed)
        return -ENETDOWN;
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    int got = recvmmsg(r->rx_fd, r->rx, (unsigned)max, MSG_DONTWAIT, NULL), n = 0;
    if (got < 0) {
        if (down(errno))
            link_lost(&r->interface, dev);
        return 0;
    }
    for (int i = 0; i < got; i++)
        n += accept_packet(r, i, &frames[n]);
    return n;
}

/* ---- transmit ----------------------------------------------------------------------------------- */

static void drop_tx(struct raw *r, int why)
{
    r->dev.stats.tx_dropped++;
    r->xstats[why]++;
}

enum { SENDABLE = -1 };

/* Makes message m of a frame. SENDABLE, or why it cannot be sent: one of TX_*. */
static int put_packet(struct raw *r, int m, const struct tx_frame *f)
{
    uint8_t *ip = r->tx_iov[m].iov_base;
    if (f->len < IP_HEADER || f->len > r->dev.mtu)
        return TX_LENGTH;
    bw_gather(ip, f);
    if (ip[0] >> 4 != 4)
        return TX_NOT_IPV4;
    if (!r->tcp && ip[IP_PROTOCOL_AT] == IPPROTO_TCP)
        return TX_TCP_UNGUARDED;
    memcpy(&r->to[m].sin_addr, ip + IP_DESTINATION_AT, 4);
    r->tx_iov[m].iov_len = f->len;
    return SENDABLE;
}

/* Why the kernel did not take a packet: one of TX_*, or -1 if it may later. */
static int refusal(int err)
{
    if (err == EAGAIN || err == ENOBUFS || err == ENOMEM)
        return -1;
    return err == ENETUNREACH || err == EHOSTUNREACH || down(err) ? TX_UNREACHABLE : TX_REFUSED;
}

/* Sends messages 0..n-1; how many are done with. */
static int send_packets(struct raw *r, int n)
{
    int done = 0;
    while (done < n) {
        int sent = sendmmsg(r->tx_fd, r->tx + done, (unsigned)(n - done), MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        int why = sent < 0 ? refusal(errno) : 0;
        if (why < 0)
            break;
        if (sent < 0) {
            drop_tx(r, why);
            sent = 1;
        } else {
            r->dev.stats.tx_frames += (uint64_t)sent;
            for (int i = done; i < done + sent; i++)
                r->dev.stats.tx_bytes += r->tx_iov[i].iov_len;
        }
        done += sent;
    }
    return done;
}

static int raw_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct raw *r = (struct raw *)dev;
    int messages = 0, why[BW_TX_BURST];
    if (dev->down)
        look(r, now);
    if (r->failed)
        return -ENETDOWN;
    if (n > BW_TX_BURST)
        n = BW_TX_BURST;
    if (dev->down) {
        for (int i = 0; i < n; i++)
            drop_tx(r, TX_DOWN);
        return n;
    }
    for (int i = 0; i < n; i++) {
        r->place[messages] = i;
        why[i] = put_packet(r, messages, &frames[i]);
        messages += why[i] == SENDABLE;
    }
    int done = send_packets(r, messages), taken = done == messages ? n : r->place[done];
    for (int i = 0; i < taken; i++) /* what lies behind comes again */
        if (why[i] != SENDABLE)
            drop_tx(r, why[i]);
    dev->stats.tx_full += taken < n;
    return taken;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

static int raw_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct raw *r = (struct raw *)dev;
    struct pollfd room = {.fd = r->tx_fd, .events = POLLOUT};
    int err = 0;
    socklen_t len = sizeof err;
    dev->stats.wakeups++;
    /* poll() says at once if the last read left anything; the socket says once that its interface went. */
    *arm = (struct netdev_arm){.fd = r->rx_fd, .events = POLLIN, .deadline = INT64_MAX};
    if (!getsockopt(r->rx_fd, SOL_SOCKET, SO_ERROR, &err, &len) && down(err))
        link_lost(&r->interface, dev);
    if (dev->down)
        look(r, now);
    if (r->failed)
        return -ENETDOWN;
    link_arm(&r->interface, dev, arm);
    if (!want_tx)
        return 0;
    arm->deadline = now + RETRY_NS; /* a device's full queue tells nobody when it is not */
    return poll(&room, 1, 0) == 1;
}

/* The stack's addresses have to be the kernel's: packets to others never come here. */
static int raw_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    for (int i = 0; i < n; i++) {
        if (addrs[i].family != AF_INET)
            return -EAFNOSUPPORT;
        if (!kernel_has_address(((struct raw *)dev)->tx_fd, &addrs[i]))
            return -EADDRNOTAVAIL;
    }
    return 0;
}

static int raw_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    struct raw *r = (struct raw *)dev;
    struct tpacket_stats now = {0};
    socklen_t len = sizeof now;
    if (getsockopt(r->rx_fd, SOL_PACKET, PACKET_STATISTICS, &now, &len))
        return -errno;
    r->xstats[KERNEL_SEEN] += now.tp_packets;
    r->xstats[KERNEL_DROPPED] += now.tp_drops;
    return xstats_put(out, 0, max, xstat_names, r->xstats, XSTATS);
}

static void raw_forked(struct netdev *dev)
{
    struct raw *r = (struct raw *)dev;
    close(r->rx_fd);
    close(r->tx_fd);
    for (int i = 0; i < RAW_HELD; i++)
        if (r->held[i] >= 0)
            close(r->held[i]);
}

static void raw_close(struct netdev *dev)
{
    struct raw *r = (struct raw *)dev;
    raw_forked(dev);
    memory_unmap(&r->memory);
    free(r);
}

static void lay_out(struct raw *r)
{
    for (int i = 0; i < BW_RX_BURST; i++) {
        r->rx_iov[i].iov_base = r->buffers + (size_t)i * SLOT + HEADROOM - r->before;
        r->rx_iov[i].iov_len = r->before + 65535;
        r->rx[i].msg_hdr = (struct msghdr){.msg_iov = &r->rx_iov[i], .msg_iovlen = 1};
    }
    for (int i = 0; i < BW_TX_BURST; i++) {
        r->tx_iov[i].iov_base = r->buffers + (size_t)(BW_RX_BURST + i) * SLOT + HEADROOM;
        r->to[i].sin_family = AF_INET;
        r->tx[i].msg_hdr = (struct msghdr){
            .msg_name = &r->to[i], .msg_namelen = sizeof r->to[i], .msg_iov = &r->tx_iov[i], .msg_iovlen = 1};
    }
}

struct netdev *raw_new(const struct raw_config *cfg)
{
    size_t size = (size_t)(BW_RX_BURST + BW_TX_BURST) * SLOT;
    struct raw *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    if (memory_map(&r->memory, size, BW_MEMORY_PRIVATE)) {
        free(r);
        return NULL;
    }
    r->buffers = r->memory.base;
    r->rx_fd = cfg->rx_fd;
    r->tx_fd = cfg->tx_fd;
    memcpy(r->held, cfg->held, sizeof r->held);
    r->tcp = cfg->tcp;
    r->before = VNET_HDR_LEN + cfg->link_header;
    r->interface = (struct link_state){.fd = r->rx_fd, .ifindex = bound_to(r->rx_fd)};
    lay_out(r);
    r->dev = (struct netdev){.rx_burst = raw_rx_burst,
                             .tx_burst = raw_tx_burst,
                             .arm = raw_arm,
                             .close = raw_close,
                             .forked = raw_forked,
                             .set_addrs = raw_set_addrs,
                             .xstats = raw_xstats,
                             .caps = NETDEV_TX_CSUM | NETDEV_RX_CSUM | NETDEV_RX_GSO,
                             .mtu = cfg->mtu,
                             .layer = 3};
    snprintf(r->dev.name, sizeof r->dev.name, "%s", cfg->name);
    return &r->dev;
}
