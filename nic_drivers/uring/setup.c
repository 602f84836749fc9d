/* SPDX-License-Identifier: MIT */
/* Opening and closing: two rings, one to receive and one to transmit, and the buffers.
 *
 * COOP_TASKRUN: the kernel does a request's work when the thread that made it next enters the kernel,
 * and interrupts nobody. DEFER_TASKRUN, with dedicated, only when it asks for completions, and no other
 * thread may (EEXIST); such rings start disabled and belong to the first thread that drives. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../guard/guard_xstats.h"
#include "../memory.h"
#include "../packet_share.h"
#include "../xstats.h"
#include "uring_device.h"

enum {
    L2_HEADER = 14,
    L2_TAG = 4,
    IP_MAX = 65535,            /* the longest IP packet: a super-segment with its headers */
    TAP_TSO_MAX = 65535 - 120, /* payload of an IP packet whose headers are as long as can be */
    SOCKET_TSO_MAX = 60000,    /* with any alignment it fits the 17 pages a socket buffer may hold */
    REQUESTS = 8,              /* of the receiving ring: a cancel and a receive at a time */
    PAGE = 4096,
    CLOSE_TRIES = 100, /* of 1 ms: for the kernel's thread to send what it was given */
};

static const char *const xstat_names[URING_XSTATS] = {
    "rx_too_long",  "rx_malformed", "tx_too_long",    "tx_down",          "tx_refused",
    "rx_enters",    "rx_requests",  "rx_moved",       "rx_cancelled",     "rx_out_of_buffers",
    "rx_withdrawn", "rx_reads",     "kernel_rx_seen", "kernel_rx_dropped"};

static int fail(char *text, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(text, URING_ERROR_MAX, format, args);
    va_end(args);
    return err;
}

static int no_ring(char *text, int err)
{
    switch (err) {
    case ENOSYS: return fail(text, err, "this kernel has no io_uring");
    case EPERM:
        return fail(text, err,
                    "io_uring is not permitted here: the sysctl kernel.io_uring_disabled or the "
                    "container's seccomp profile forbids it");
    case EINVAL: return fail(text, err, "the io_uring of this kernel is too old: it takes Linux 5.19");
    default: return fail(text, err, "cannot set up io_uring: %s", strerror(err));
    }
}

int uring_probe(char *text)
{
    struct io_uring ring;
    struct io_uring_params params = {.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG};
    int rc = io_uring_queue_init_params(REQUESTS, &ring, &params);
    if (rc)
        return no_ring(text, -rc);
    io_uring_queue_exit(&ring);
    return 0;
}

int uring_has_multishot(int packet)
{
    /* A packet socket's came together with zero-copy sends (6.0), and only these can be asked for. */
    int op = packet ? IORING_OP_SEND_ZC : BW_IORING_OP_READ_MULTISHOT;
    struct io_uring_probe *probe = io_uring_get_probe();
    int has = probe && io_uring_opcode_supported(probe, op);
    io_uring_free_probe(probe);
    return has;
}

/* ---- a device's parts ------------------------------------------------------------------------------ */

static int make_ring(struct io_uring *ring, unsigned entries, struct io_uring_params *params, char *text)
{
    int rc = io_uring_queue_init_params(entries, ring, params);
    if (rc) {
        ring->ring_fd = -1;
        return no_ring(text, -rc);
    }
    io_uring_ring_dontfork(ring);
    return 0;
}

static int make_rings(struct uring *u, const struct uring_config *cfg, char *text)
{
    uint32_t flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (cfg->sqpoll)
        flags = IORING_SETUP_SQPOLL | (cfg->sqpoll_pinned ? IORING_SETUP_SQ_AFF : 0);
    else if (cfg->dedicated)
        flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                IORING_SETUP_R_DISABLED;
    flags |= IORING_SETUP_SUBMIT_ALL;
    struct io_uring_params params = {.flags = flags | IORING_SETUP_CQSIZE,
                                     .cq_entries = 2 * cfg->ring + REQUESTS,
                                     .sq_thread_idle = cfg->sqpoll,
                                     .sq_thread_cpu = cfg->sqpoll_cpu};
    int rc = make_ring(&u->rx, REQUESTS, &params, text);
    if (rc)
        return rc;
    params = (struct io_uring_params){.flags = flags};
    if (cfg->sqpoll) { /* one thread for both */
        params.flags |= IORING_SETUP_ATTACH_WQ;
        params.wq_fd = (uint32_t)u->rx.ring_fd;
        params.sq_thread_idle = cfg->sqpoll;
        params.sq_thread_cpu = cfg->sqpoll_cpu;
    }
    return make_ring(&u->tx, cfg->sqpoll ? URING_SLOTS : BW_TX_BURST, &params, text);
}

static int make_event(struct uring *u, char *text)
{
    if (!u->dedicated)
        return 0;
    u->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = u->event_fd < 0 ? -errno : io_uring_register_eventfd(&u->rx, u->event_fd);
    return rc ? no_ring(text, -rc) : 0;
}

static size_t whole(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* The ring of buffers, the buffers, those of plain reads, and with sqpoll the slots, one behind the other. */
static int make_buffers(struct uring *u, const struct uring_config *cfg, char *text)
{
    size_t head = whole(cfg->ring * sizeof(struct io_uring_buf), PAGE);
    size_t own = (size_t)URING_READS * u->stride;
    size_t slots = u->sqpoll ? (size_t)URING_SLOTS * u->stride : 0;
    size_t len = whole(head + (size_t)cfg->ring * u->stride + own + slots, HUGEPAGE);
    int rc = memory_map_frames(&u->memory, len, cfg->hugepages);
    if (rc < 0 && cfg->hugepages)
        return fail(text, ENOMEM,
                    "no %zu huge pages of 2 MB are free: reserve them with `sysctl vm.nr_hugepages=%lu`",
                    len / HUGEPAGE, hugepages_wanted(len));
    if (rc < 0)
        return fail(text, ENOMEM, "no memory for the buffers of uring:%s", cfg->name);
    u->buffers = (struct io_uring_buf_ring *)u->memory.base;
    u->rx_base = u->memory.base + head;
    u->own_base = u->rx_base + (size_t)cfg->ring * u->stride;
    u->tx_base = u->own_base + own;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)u->buffers, .ring_entries = cfg->ring, .bgid = URING_GROUP};
    rc = io_uring_register_buf_ring(&u->rx, &reg, 0);
    if (rc)
        return no_ring(text, -rc);
    io_uring_buf_ring_init(u->buffers);
    uring_give_all(u);
    for (int i = 0; i < URING_SLOTS; i++)
        u->slots[u->slots_len++] = (uint16_t)i;
    return 0;
}

/* Not every liburing 2 exports it. */
static int enable(const struct io_uring *ring)
{
    long rc = syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    return rc < 0 ? -errno : 0;
}

int uring_start(struct uring *u)
{
    if (u->started)
        return 0;
    int rc = u->dedicated ? enable(&u->rx) : 0;
    if (!rc && u->dedicated)
        rc = enable(&u->tx);
    u->started = !rc;
    return rc;
}

static int uring_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    struct uring *u = (struct uring *)dev;
    struct tpacket_stats now = {0}; /* starts anew at each look */
    socklen_t len = sizeof now;
    if (u->packet && !getsockopt(u->fd, SOL_PACKET, PACKET_STATISTICS, &now, &len)) {
        u->xstats[URING_KERNEL_SEEN] += now.tp_packets;
        u->xstats[URING_KERNEL_DROPPED] += now.tp_drops;
    }
    int n = xstats_put(out, 0, max, xstat_names, u->xstats, u->packet ? URING_XSTATS : URING_KERNEL_SEEN);
    return guard_xstats(u->guard, out, n, max);
}

static int uring_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    const struct uring *u = (struct uring *)dev;
    return packet_share(u->fd, u->l2, u->filter, addrs, n);
}

/* All but the descriptor. */
static void release(struct uring *u)
{
    if (u->tx.ring_fd >= 0)
        io_uring_queue_exit(&u->tx);
    if (u->rx.ring_fd >= 0)
        io_uring_queue_exit(&u->rx);
    if (u->event_fd >= 0)
        close(u->event_fd);
    memory_unmap(&u->memory);
}

static void uring_forked(struct netdev *dev)
{
    struct uring *u = (struct uring *)dev;
    close(u->tx.ring_fd);
    close(u->rx.ring_fd);
    if (u->event_fd >= 0)
        close(u->event_fd);
    if (u->guard >= 0)
        close(u->guard);
    close(u->fd);
}

/* A request that stands holds the descriptor, and with it a TAP interface: so it has to end first. */
static void uring_close(struct netdev *dev)
{
    struct uring *u = (struct uring *)dev;
    uring_cancel_all(u);
    uring_reap_slots(u);
    for (int i = 0; u->sqpoll && u->slots_len < URING_SLOTS && i < CLOSE_TRIES; i++) {
        usleep(1000);
        uring_reap_slots(u);
    }
    release(u);
    if (u->guard >= 0)
        close(u->guard);
    close(u->fd);
    free(u);
}

/* ---- the device ------------------------------------------------------------------------------------ */

static void describe(struct uring *u, const struct uring_config *cfg)
{
    uint32_t header = cfg->layer == 2 ? L2_HEADER + L2_TAG : 0;
    u->rx.ring_fd = u->tx.ring_fd = u->event_fd = -1;
    u->guard = cfg->guard;
    u->packet = cfg->packet;
    u->filter = cfg->filter;
    u->multishot = cfg->multishot;
    u->dedicated = cfg->dedicated;
    u->sqpoll = cfg->sqpoll != 0;
    u->ring = cfg->ring;
    u->vnet = cfg->vnet ? VNET_HDR_LEN : 0;
    u->l2 = cfg->layer == 2 ? L2_HEADER : 0;
    u->room = cfg->mtu + header;
    u->most = cfg->gso ? IP_MAX + header : u->room;
    if (cfg->packet && cfg->multishot)
        u->prefix = sizeof(struct io_uring_recvmsg_out) + URING_CONTROL;
    u->stride = (uint32_t)whole(URING_IP_AT + u->most + 1, 64);
    u->dev = (struct netdev){.rx_burst = uring_rx_burst,
                             .tx_burst = uring_tx_burst,
                             .arm = uring_arm,
                             .close = uring_close,
                             .forked = uring_forked,
                             .set_addrs = cfg->share ? uring_set_addrs : NULL,
                             .xstats = uring_xstats,
                             .mtu = cfg->mtu,
                             .layer = cfg->layer};
    if (cfg->vnet)
        u->dev.caps = NETDEV_VNET_HDR | NETDEV_RX_CSUM;
    if (cfg->offload)
        u->dev.caps |= NETDEV_TX_CSUM;
    if (cfg->gso)
        u->dev.caps |= NETDEV_RX_GSO;
    if (cfg->gso && cfg->offload) {
        u->dev.caps |= NETDEV_TSO4 | (cfg->uso ? NETDEV_USO4 : 0);
        u->dev.tso_max = cfg->packet ? SOCKET_TSO_MAX : TAP_TSO_MAX;
    }
    if (cfg->dedicated)
        u->dev.caps |= NETDEV_THREAD_BOUND;
    memcpy(u->dev.mac, cfg->mac, 6);
    snprintf(u->dev.name, sizeof u->dev.name, "%s", cfg->name);
}

struct netdev *uring_new(int fd, const struct uring_config *cfg, int *err, char *text)
{
    struct uring *u = calloc(1, sizeof *u);
    if (!u) {
        *err = fail(text, ENOMEM, "no memory for uring:%s", cfg->name);
        return NULL;
    }
    describe(u, cfg);
    *err = make_rings(u, cfg, text);
    if (!*err)
        *err = make_event(u, text);
    if (!*err)
        *err = make_buffers(u, cfg, text);
    if (*err) {
        release(u);
        free(u);
        return NULL;
    }
    u->fd = fd;
    u->interface = (struct link_state){.fd = fd, .ifindex = u->packet ? bound_to(fd) : 0};
    return &u->dev;
}
