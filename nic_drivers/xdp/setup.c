/* SPDX-License-Identifier: MIT */
/* Opening and closing: memory and sockets; what is asked of them afterwards. The program is program.c's. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../memory.h"
#include "../kernel_address.h"
#include "../libbpf_quiet.h"
#include "xdp_device.h"

enum { SMALL_CHUNK = 2048, KERNEL_ROOM = 256 + 320 }; /* head room, skb_shared_info */

int xdp_fail(char *text, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(text, XDP_ERROR_MAX, format, args);
    va_end(args);
    return err;
}

/* ---- memory ------------------------------------------------------------------------------------- */

static int make_memory(struct xdp *x, const struct xdp_config *cfg, char *text)
{
    size_t chunks = (size_t)x->ring * (x->queues + x->slot_chunks);
    x->tx_base = (uint64_t)x->ring * x->queues * x->chunk;
    x->umem_len = (chunks * x->chunk + HUGEPAGE - 1) & ~(size_t)(HUGEPAGE - 1);
    int on_huge = memory_map_frames(&x->memory, x->umem_len, cfg->hugepages);
    if (on_huge < 0 && cfg->hugepages)
        return xdp_fail(text, ENOMEM,
                        "no %zu huge pages of 2 MB are free: reserve them with `sysctl vm.nr_hugepages=%lu`",
                        x->umem_len / HUGEPAGE, hugepages_wanted(x->umem_len));
    if (on_huge < 0)
        return xdp_fail(text, ENOMEM, "no memory for %zu frames", chunks);
    x->umem = x->memory.base;
    x->hugepages = (uint8_t)on_huge;
    x->joined = x->frags ? malloc((size_t)BW_RX_BURST * x->room) : NULL;
    x->free_slot = calloc(x->ring, sizeof *x->free_slot);
    x->slot_left = calloc(x->ring, sizeof *x->slot_left);
    for (uint32_t i = 0; i < x->queues; i++)
        if (!(x->queue[i].lent = calloc(x->ring, sizeof *x->queue[i].lent)))
            return xdp_fail(text, ENOMEM, "no memory for %u queues", x->queues);
    if (!x->free_slot || !x->slot_left || (x->frags && !x->joined))
        return xdp_fail(text, ENOMEM, "no memory for %u slots", x->ring);
    for (x->free_len = 0; x->free_len < x->ring; x->free_len++)
        x->free_slot[x->free_len] = x->ring - 1 - x->free_len;
    return 0;
}

/* ---- sockets ------------------------------------------------------------------------------------ */

static int socket_error(const struct xdp_config *cfg, uint32_t queue, int err, char *text)
{
    switch (err) {
    case EPERM:
        return xdp_fail(text, err,
                        "no permission to open XDP sockets: run as root, with CAP_NET_RAW and CAP_BPF");
    case ENOBUFS:
        return xdp_fail(text, err,
                        "the limit of locked memory is too low for the frames: raise it (ulimit -l), or use "
                        "fewer (ring=)");
    case EBUSY:
        return xdp_fail(
            text, err,
            "queue %u of %s has an XDP socket already: end the program that has it, or take another "
            "(queue=)",
            queue, cfg->name);
    case EINVAL:
        return xdp_fail(text, err,
                        "%s has no queue %u: take one of those that `ethtool -l %s` shows (queue=)",
                        cfg->name, queue, cfg->name);
    case EOPNOTSUPP:
        return xdp_fail(text, err, "%s cannot do what was asked (zero-copy, or frames of %u bytes)",
                        cfg->name, cfg->mtu);
    case ENETDOWN:
        return xdp_fail(text, err, "interface %s is down: bring it up with `ip link set %s up`", cfg->name,
                        cfg->name);
    default:
        return xdp_fail(text, err, "cannot open an XDP socket on queue %u of %s: %s", queue, cfg->name,
                        strerror(err));
    }
}

static int prefer_busy_poll(int fd, const struct xdp_config *cfg, char *text)
{
    int on = 1, budget = BW_RX_BURST, time = (int)cfg->busy_poll;
    if (!setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &on, sizeof on) &&
        !setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &time, sizeof time) &&
        !setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof budget))
        return 0;
    if (errno == EPERM)
        return xdp_fail(text, EPERM, "no permission to poll %s: busy_poll= takes CAP_NET_ADMIN", cfg->name);
    return xdp_fail(text, errno, "this kernel does not poll XDP sockets by itself: leave busy_poll= out (%s)",
                    strerror(errno));
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 1;
    while (p < n)
        p *= 2;
    return p;
}

static int make_socket(struct xdp *x, const struct xdp_config *cfg, uint32_t i, char *text)
{
    struct xdp_queue *q = &x->queue[i];
    const struct xsk_socket_config config = {
        .rx_size = x->ring,
        .tx_size = power_of_two(x->ring * x->slot_chunks),
        .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
        .bind_flags = (__u16)(XDP_USE_NEED_WAKEUP | (x->frags ? XDP_USE_SG : 0) |
                              (cfg->mode == XDP_MODE_ZEROCOPY  ? XDP_ZEROCOPY
                               : cfg->mode == XDP_MODE_GENERIC ? XDP_COPY
                                                               : 0)),
    };
    int err = -xsk_socket__create_shared(&q->socket, cfg->name, cfg->queue + i, x->xsk, &q->rx, &q->tx,
                                         &q->fill, &q->comp, &config);
    if (err)
        return socket_error(cfg, cfg->queue + i, err, text);
    q->fd = xsk_socket__fd(q->socket);
    fcntl(q->fd, F_SETFD, FD_CLOEXEC); /* libxdp does not; a program started here would keep the queue */
    return cfg->busy_poll ? prefer_busy_poll(q->fd, cfg, text) : 0;
}

/* A mapped ring holds its socket: a child is not to have it. libxdp keeps the mapping's place to itself, but it
 * begins with the page of the producer's index and ends with the entries. */
static void ring_dontfork(const void *producer, const void *entries, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)producer & ~(page - 1);
    madvise((void *)start, (uintptr_t)entries + len - start, MADV_DONTFORK);
}

static void queue_dontfork(const struct xdp_queue *q)
{
    ring_dontfork(q->fill.producer, q->fill.ring, q->fill.size * sizeof(uint64_t));
    ring_dontfork(q->comp.producer, q->comp.ring, q->comp.size * sizeof(uint64_t));
    ring_dontfork(q->rx.producer, q->rx.ring, q->rx.size * sizeof(struct xdp_desc));
    ring_dontfork(q->tx.producer, q->tx.ring, q->tx.size * sizeof(struct xdp_desc));
}

static int make_sockets(struct xdp *x, const struct xdp_config *cfg, char *text)
{
    const struct xsk_umem_config config = {
        .fill_size = x->ring, .comp_size = power_of_two(x->ring * x->slot_chunks), .frame_size = x->chunk};
    int err = -xsk_umem__create(&x->xsk, x->umem, x->umem_len, &x->queue[0].fill, &x->queue[0].comp, &config);
    if (err) {
        x->xsk = NULL;
        return socket_error(cfg, cfg->queue, err, text);
    }
    fcntl(xsk_umem__fd(x->xsk), F_SETFD, FD_CLOEXEC);
    for (uint32_t i = 0; i < x->queues && !err; i++)
        err = make_socket(x, cfg, i, text);
    if (err)
        return err;
    for (uint32_t i = 0; i < x->queues; i++)
        queue_dontfork(&x->queue[i]);
    struct xdp_options options = {0};
    socklen_t len = sizeof options;
    getsockopt(x->queue[0].fd, SOL_XDP, XDP_OPTIONS, &options, &len);
    x->zerocopy = (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
    return 0;
}

/* ---- the interface ------------------------------------------------------------------------------------ */

/* The socket that asks about the interface. While it is open the interface lets the stack's MAC address
 * in: one more in its filter, or, where it has none, the kernel makes it take every frame. */
static int make_control(struct xdp *x, const struct xdp_config *cfg, char *text)
{
    struct packet_mreq own = {.mr_ifindex = x->ifindex, .mr_type = PACKET_MR_UNICAST, .mr_alen = 6};
    memcpy(own.mr_address, cfg->mac, 6);
    x->control = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    x->interface = (struct link_state){.fd = x->control, .ifindex = x->ifindex};
    if (x->control < 0)
        return xdp_fail(text, errno, "cannot open a packet socket: %s", strerror(errno));
    if (!x->shares && setsockopt(x->control, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &own, sizeof own))
        return xdp_fail(text, errno, "interface %s does not let the stack's MAC address in: %s", cfg->name,
                        strerror(errno));
    return x->group > 1 ? xdp_group_open(x, cfg, text) : 0;
}

/* What a thread sleeps on: the socket, or an epoll of all. */
static int make_wait(struct xdp *x, char *text)
{
    struct epoll_event event = {.events = EPOLLIN};
    x->fd = x->queue[0].fd;
    if (x->queues == 1 && x->group <= 1)
        return 0;
    x->fd = epoll_create1(EPOLL_CLOEXEC);
    int err = x->fd < 0;
    for (uint32_t i = 0; i < x->queues && !err; i++)
        err = epoll_ctl(x->fd, EPOLL_CTL_ADD, x->queue[i].fd, &event);
    if (!err && x->group > 1)
        err = epoll_ctl(x->fd, EPOLL_CTL_ADD, x->control, &event);
    return err ? xdp_fail(text, errno, "cannot wait for %u queues: %s", x->queues, strerror(errno)) : 0;
}

/* ---- afterwards ------------------------------------------------------------------------------------- */

static int is_among(uint32_t ip, const struct netdev_addr *addrs, int n)
{
    for (int i = 0; i < n; i++)
        if (addrs[i].family == AF_INET && !memcmp(&ip, addrs[i].ip, 4))
            return 1;
    return 0;
}

/* The IPv4 addresses the program steers by; on a shared interface none may be the kernel's, and there are
 * no others: with a MAC address of its own the stack gets IPv6 by that. New ones come first and old ones go afterwards, so that no frame of a flow strays to the kernel. */
static int xdp_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    struct xdp *x = (struct xdp *)dev;
    uint32_t old[STEER_ADDRS], known = 0, *last = NULL;
    uint8_t yes = 1;
    for (int i = 0; i < n && x->shares; i++) {
        if (addrs[i].family != AF_INET)
            return -EAFNOSUPPORT;
        if (kernel_has_address(x->control, &addrs[i]))
            return -EADDRINUSE;
    }
    while (known < STEER_ADDRS && !bpf_map_get_next_key(x->addrs, last, &old[known]))
        last = &old[known++];
    for (int i = 0; i < n; i++)
        if (addrs[i].family == AF_INET && bpf_map_update_elem(x->addrs, addrs[i].ip, &yes, BPF_ANY))
            return -errno;
    for (uint32_t i = 0; i < known; i++)
        if (!is_among(old[i], addrs, n))
            bpf_map_delete_elem(x->addrs, &old[i]);
    return 0;
}

void xdp_get_info(struct netdev *dev, struct xdp_info *info)
{
    const struct xdp *x = (struct xdp *)dev;
    *info = (struct xdp_info){
        .native = x->native, .zerocopy = x->zerocopy, .hugepages = x->hugepages, .frags = x->frags};
}

/* Not through libxdp, which would take the sockets out of the parent's map. */
static void xdp_forked(struct netdev *dev)
{
    struct xdp *x = (struct xdp *)dev;
    xdp_close_program(x);
    if (x->fd != x->queue[0].fd)
        close(x->fd);
    for (uint32_t i = 0; i < x->queues; i++)
        close(x->queue[i].fd);
    if (xsk_umem__fd(x->xsk) != x->queue[0].fd)
        close(xsk_umem__fd(x->xsk));
    close(x->control);
}

static void xdp_close(struct netdev *dev)
{
    struct xdp *x = (struct xdp *)dev;
    xdp_close_program(x);
    if (x->fd >= 0 && x->fd != x->queue[0].fd)
        close(x->fd);
    for (uint32_t i = x->queues; i-- > 0;) {
        if (x->queue[i].socket)
            xsk_socket__delete(x->queue[i].socket);
        free(x->queue[i].lent);
    }
    if (x->control >= 0)
        close(x->control);
    if (x->xsk)
        xsk_umem__delete(x->xsk);
    memory_unmap(&x->memory);
    free(x->joined);
    free(x->group_frames);
    free(x->free_slot);
    free(x->slot_left);
    free(x);
}

struct netdev *xdp_new(const struct xdp_config *cfg, int *err, char *text)
{
    struct xdp *x = calloc(1, sizeof *x);
    if (!x) {
        *err = xdp_fail(text, ENOMEM, "no memory");
        return NULL;
    }
    libbpf_quiet();
    x->link = x->fd = x->control = x->verdicts = x->addrs = x->guard = -1;
    x->ifindex = (int)cfg->ifindex;
    x->queues = cfg->queues;
    x->group = cfg->group;
    x->ring = cfg->ring;
    x->pseudo = cfg->pseudo;
    x->shares = cfg->steer == XDP_STEER_SHARE;
    x->busy_poll = cfg->busy_poll != 0;
    x->room = cfg->mtu + XDP_L2_HEADER + XDP_L2_TAG;
    x->chunk = x->room + KERNEL_ROOM <= SMALL_CHUNK + 320 ? SMALL_CHUNK : XDP_CHUNK_MAX;
    x->frags = x->room + KERNEL_ROOM > XDP_CHUNK_MAX;
    x->slot_chunks = (x->room + x->chunk - 1) / x->chunk;
    x->dev = (struct netdev){.rx_burst = xdp_rx_burst,
                             .tx_burst = xdp_tx_burst,
                             .arm = xdp_arm,
                             .close = xdp_close,
                             .forked = xdp_forked,
                             .set_addrs = xdp_set_addrs,
                             .xstats = xdp_xstats,
                             .caps = NETDEV_TX_CSUM | (cfg->pseudo ? NETDEV_RX_CSUM : 0) |
                                     (cfg->group > 1 ? NETDEV_RX_CSUM | NETDEV_RX_GSO : 0),
                             .mtu = cfg->mtu,
                             .layer = 2};
    memcpy(x->dev.mac, cfg->mac, 6);
    snprintf(x->dev.name, sizeof x->dev.name, "%s", cfg->name);
    if ((*err = make_memory(x, cfg, text)) || (*err = make_sockets(x, cfg, text)) ||
        (*err = xdp_start_program(x, cfg, text)) || (*err = make_control(x, cfg, text)) ||
        (*err = make_wait(x, text))) {
        xdp_close(&x->dev);
        return NULL;
    }
    xdp_fill_all(x);
    return &x->dev;
}
