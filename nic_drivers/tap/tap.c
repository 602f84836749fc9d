/* SPDX-License-Identifier: MIT */
#include "tap.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../guard/guard_xstats.h"
#include "../uapi_compat.h"
#include "../vnet.h"
#include "../xstats.h"

enum {
    L2_HEADER = 14,
    L2_TAG = 4,
    IP_AT = 64,         /* the IP header of a received frame starts a cache line */
    IP_MAX = 65535,     /* the longest IP packet: a super-segment with its headers */
    GSO_LENT = 1 << 18, /* with super-segments, a burst ends when it has lent this many bytes */
};

const unsigned tap_uso = TUN_F_USO4 | TUN_F_USO6;

/* Why a frame was dropped. */
enum { RX_TOO_LONG, RX_MALFORMED, TX_TOO_LONG, TX_DOWN, TX_REFUSED, DROPS };
static const char *const drop_names[DROPS] = {"rx_too_long", "rx_malformed", "tx_too_long", "tx_down",
                                              "tx_refused"};

struct tap {
    struct netdev dev;
    uint64_t drops[DROPS];
    int fd[TAP_QUEUES_MAX];
    int queues, next_queue;
    int wait_fd;     /* to sleep on: fd[0], or an epoll of all */
    uint32_t events; /* waited for on fd[0] by the epoll */
    int guard;       /* the SYN guard's map, or -1 */
    uint32_t vnet;   /* bytes of virtio-net header before each frame, 0 or VNET_HDR_LEN */
    uint32_t l2;     /* bytes of link header before the IP header */
    uint32_t room;   /* longest frame that is no super-segment */
    uint32_t most;   /* longest frame of all */
    uint32_t lent;   /* bytes of buffer: the frames of a burst lie in it one behind the other */
    uint8_t *buffer; /* lent to the stack for a burst */
};

/* Has the descriptor lost its interface for good? Deleting it detaches the descriptor (EBADFD). */
static int tap_gone(int err)
{
    return err == EBADFD || err == EBADF || err == ENODEV || err == ENXIO;
}

/* Bytes that a frame of len takes in the buffer: the next one's IP header starts a cache line too. */
static uint32_t tap_stride(uint32_t len)
{
    return (IP_AT + len + 63) & ~63u;
}

/* What one queue has; how many frames, or -errno. */
static int read_queue(struct tap *t, int fd, struct rx_frame *frames, int max)
{
    struct netdev *dev = &t->dev;
    uint32_t at = 0;
    int n = 0;
    for (int reads = 0; reads < max && at + tap_stride(t->most + 1) <= t->lent; reads++) {
        uint8_t *data = t->buffer + at + IP_AT - t->l2;
        /* One byte more than a frame may have: read() truncates without a word. */
        ssize_t got = read(fd, data - t->vnet, t->vnet + t->most + 1);
        if (got < 0) {
            if (errno == EAGAIN || errno == EINTR || n)
                break;
            return tap_gone(errno) ? -ENETDOWN : -errno;
        }
        struct rx_frame *f = &frames[n];
        *f = (struct rx_frame){.data = data, .len = (uint32_t)got - t->vnet, .csum = BW_CSUM_UNKNOWN};
        int good = got > (ssize_t)t->vnet && (!t->vnet || vnet_parse(data - t->vnet, dev->caps, f));
        if (!good || f->len > (f->gso_size ? t->most : t->room)) {
            dev->stats.rx_dropped++;
            t->drops[good ? RX_TOO_LONG : RX_MALFORMED]++;
            continue;
        }
        dev->stats.rx_bytes += f->len;
        at += tap_stride(f->len);
        n++;
    }
    return n;
}

static int tap_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct tap *t = (struct tap *)dev;
    int n = 0;
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    for (int i = 0; i < t->queues && !n; i++) { /* one queue a burst, each in its turn */
        n = read_queue(t, t->fd[t->next_queue], frames, max);
        t->next_queue = t->next_queue + 1 == t->queues ? 0 : t->next_queue + 1;
    }
    if (n > 0)
        dev->stats.rx_frames += (uint64_t)n;
    return n;
}

/* Writes one frame; 0, or a positive errno. */
static int tap_write(struct tap *t, const struct tx_frame *f)
{
    struct virtio_net_hdr hdr;
    struct iovec iov[BW_TX_PIECES + 1];
    int n = 0;
    if (t->vnet) {
        vnet_build(&hdr, f);
        iov[n++] = (struct iovec){&hdr, t->vnet};
    }
    for (int i = 0; i < f->pieces; i++)
        iov[n++] = (struct iovec){(void *)f->piece[i].data, f->piece[i].len};
    return writev(t->fd[0], iov, n) < 0 ? errno : 0;
}

static int tap_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct tap *t = (struct tap *)dev;
    int i;
    for (i = 0; i < n; i++) {
        uint32_t most = frames[i].gso_size ? t->most : t->room;
        int err = frames[i].len > most ? EMSGSIZE : tap_write(t, &frames[i]);
        if (err == EAGAIN || err == ENOBUFS || err == EINTR) {
            dev->stats.tx_full++;
            break;
        }
        if (tap_gone(err))
            return i ? i : -ENETDOWN;
        if (err) { /* EIO: the interface is down for now, as a cable pulled; EINVAL: malformed */
            dev->stats.tx_dropped++;
            t->drops[err == EMSGSIZE ? TX_TOO_LONG : err == EIO ? TX_DOWN : TX_REFUSED]++;
            continue;
        }
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += frames[i].len;
    }
    return i;
}

/* The epoll of several queues waits for room on the one that sends, too. */
static int watch_queues(struct tap *t, uint32_t events)
{
    for (int i = 0; t->wait_fd >= 0 && i < t->queues; i++) {
        struct epoll_event event = {.events = i ? EPOLLIN : events, .data.u32 = (uint32_t)i};
        if (epoll_ctl(t->wait_fd, t->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, t->fd[i], &event))
            return -errno;
    }
    t->events = events;
    return 0;
}

static int tap_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct tap *t = (struct tap *)dev;
    int events = want_tx ? POLLIN | POLLOUT : POLLIN; /* EPOLLIN and EPOLLOUT have the same bits */
    dev->stats.wakeups++;
    /* poll() is level-triggered: a frame that came in since the last read wakes it at once. */
    if (t->queues == 1) {
        *arm = (struct netdev_arm){.fd = t->fd[0], .events = events, .deadline = INT64_MAX};
        return 0;
    }
    *arm = (struct netdev_arm){.fd = t->wait_fd, .events = POLLIN, .deadline = INT64_MAX};
    return t->events == (uint32_t)events ? 0 : watch_queues(t, (uint32_t)events);
}

static int tap_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    const struct tap *t = (struct tap *)dev;
    return guard_xstats(t->guard, out, xstats_put(out, 0, max, drop_names, t->drops, DROPS), max);
}

static void tap_forked(struct netdev *dev)
{
    struct tap *t = (struct tap *)dev;
    if (t->queues > 1 && t->wait_fd >= 0)
        close(t->wait_fd);
    for (int i = 0; i < t->queues; i++)
        close(t->fd[i]);
    if (t->guard >= 0)
        close(t->guard);
}

static void tap_close(struct netdev *dev)
{
    struct tap *t = (struct tap *)dev;
    tap_forked(dev);
    free(t->buffer);
    free(t);
}

struct netdev *tap_new(const struct tap_config *cfg)
{
    struct tap *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->guard = cfg->guard;
    t->vnet = cfg->vnet ? VNET_HDR_LEN : 0;
    t->l2 = cfg->layer == 2 ? L2_HEADER : 0;
    t->room = cfg->mtu + (cfg->layer == 2 ? L2_HEADER + L2_TAG : 0);
    t->most = cfg->gso ? IP_MAX + (cfg->layer == 2 ? L2_HEADER + L2_TAG : 0) : t->room;
    t->lent = cfg->gso ? GSO_LENT + tap_stride(t->most + 1) : BW_RX_BURST * tap_stride(t->most + 1);
    t->buffer = aligned_alloc(64, t->lent);
    t->queues = cfg->queues;
    memcpy(t->fd, cfg->fd, sizeof t->fd);
    t->wait_fd = t->queues > 1 ? epoll_create1(EPOLL_CLOEXEC) : t->fd[0];
    t->dev = (struct netdev){.rx_burst = tap_rx_burst,
                             .tx_burst = tap_tx_burst,
                             .arm = tap_arm,
                             .close = tap_close,
                             .forked = tap_forked,
                             .xstats = tap_xstats,
                             .mtu = cfg->mtu,
                             .layer = cfg->layer};
    if (!t->buffer || t->wait_fd < 0 || (t->queues > 1 && watch_queues(t, EPOLLIN))) {
        int err = errno;
        if (t->queues > 1 && t->wait_fd >= 0)
            close(t->wait_fd);
        free(t->buffer);
        free(t);
        errno = err;
        return NULL;
    }
    if (t->vnet)
        t->dev.caps = NETDEV_VNET_HDR | (cfg->offload ? NETDEV_TX_CSUM | NETDEV_RX_CSUM : NETDEV_RX_CSUM);
    if (cfg->gso) {
        t->dev.caps |= NETDEV_TSO4 | NETDEV_RX_GSO | (cfg->uso ? NETDEV_USO4 : 0);
        t->dev.tso_max = TAP_TSO_MAX;
    }
    memcpy(t->dev.mac, cfg->mac, 6);
    snprintf(t->dev.name, sizeof t->dev.name, "%s", cfg->name);
    return &t->dev;
}
