/* SPDX-License-Identifier: MIT */
/* The four rings. UMEM holds for each queue `ring` chunks to receive into, and for the first queue
 * `ring` slots to send from; a slot is as many chunks as the longest frame needs, side by side. Only
 * the first queue sends. Frames of several chunks (XDP_USE_SG, for a jumbo MTU) are joined in a buffer
 * of the driver's when they come in. */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bytes.h"
#include "../gather.h"
#include "xdp_device.h"

enum { LINK_CHECK = 1000000000, RETRY = 1000000, TX_KICKS = 64 };

/* ---- receive --------------------------------------------------------------------------------- */

/* The chunks of the last burst are the kernel's again: the fill ring has room for all there are. */
static void give_back(struct xdp_queue *q)
{
    uint32_t at;
    if (!q->lent_len || !xsk_ring_prod__reserve(&q->fill, q->lent_len, &at))
        return;
    for (uint32_t i = 0; i < q->lent_len; i++)
        *xsk_ring_prod__fill_addr(&q->fill, at + i) = q->lent[i];
    xsk_ring_prod__submit(&q->fill, q->lent_len);
    q->lent_len = 0;
    if (xsk_ring_prod__needs_wakeup(&q->fill))
        recvfrom(q->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* All chunks of a queue, at the beginning. */
void xdp_fill_all(struct xdp *x)
{
    for (uint32_t i = 0; i < x->queues; i++) {
        struct xdp_queue *q = &x->queue[i];
        for (uint32_t k = 0; k < x->ring; k++)
            q->lent[k] = ((uint64_t)i * x->ring + k) * x->chunk;
        q->lent_len = x->ring;
        give_back(q);
    }
}

/* Is the transport checksum the pseudo header's sum alone: one that a local sender never finished? */
static int only_pseudo_sum(const uint8_t *p, uint32_t len)
{
    if (len < 34 || p[12] != 8 || p[13] || p[14] >> 4 != 4)
        return 0;
    uint32_t ihl = (p[14] & 15u) * 4, total = get16(p + 16), proto = p[23];
    uint32_t at = XDP_L2_HEADER + ihl + (proto == 6 ? 16 : 6);
    if ((proto != 6 && proto != 17) || ihl < 20 || total < ihl || at + 2 > len)
        return 0;
    uint8_t tail[4] = {0, (uint8_t)proto, (uint8_t)((total - ihl) >> 8), (uint8_t)(total - ihl)};
    uint16_t sum = bw_sum_16(bw_sum(tail, 4, bw_sum(p + 26, 8, 0)));
    return memcmp(&sum, p + at, 2) == 0;
}

/* One piece more of the n-th frame of a burst; a frame of one piece is lent where it lies. */
static void add_piece(struct xdp *x, struct rx_frame *f, int n, const struct xdp_desc *d, int more)
{
    uint8_t *data = x->umem + d->addr;
    if (!f->len && !more) {
        f->data = data;
        f->len = d->len;
        return;
    }
    f->data = x->joined + (size_t)n * x->room;
    if (f->len + d->len <= x->room)
        memcpy(f->data + f->len, data, d->len);
    f->len += d->len; /* too long: dropped by who counts */
}

static int receive_from(struct xdp *x, struct xdp_queue *q, struct rx_frame *frames, int max)
{
    uint32_t at, got, used = 0, whole = 0;
    int n = 0;
    give_back(q);
    got = xsk_ring_cons__peek(&q->rx, (uint32_t)max * x->slot_chunks, &at);
    struct rx_frame f = {0};
    for (uint32_t i = 0; i < got && n < max; i++) {
        const struct xdp_desc *d = xsk_ring_cons__rx_desc(&q->rx, at + i);
        int more = x->frags && d->options & XDP_PKT_CONTD;
        q->lent[q->lent_len++] = d->addr & ~(uint64_t)(x->chunk - 1);
        add_piece(x, &f, n, d, more);
        if (more)
            continue;
        used = i + 1;
        whole = q->lent_len;
        if (f.len > x->room || !f.len) {
            x->dev.stats.rx_dropped++;
            x->count[f.len ? RX_TOO_LONG : RX_EMPTY]++;
        } else {
            if (x->pseudo && only_pseudo_sum(f.data, f.len)) {
                f.csum = BW_CSUM_PARTIAL;
                x->count[RX_UNFINISHED]++;
            }
            x->dev.stats.rx_bytes += f.len;
            frames[n++] = f;
        }
        f = (struct rx_frame){0};
    }
    q->lent_len = whole; /* a frame whose end was not among them comes again */
    xsk_ring_cons__cancel(&q->rx, got - used);
    xsk_ring_cons__release(&q->rx, used);
    return n;
}

/* Of a device that is down: is its interface back, or gone? */
static void look(struct xdp *x, int64_t now)
{
    if (!x->failed)
        x->failed = link_look(&x->interface, &x->dev, now);
}

int xdp_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct xdp *x = (struct xdp *)dev;
    int n = 0;
    if (dev->down)
        look(x, now);
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    if (x->group > 1)
        n = xdp_group_receive(x, now, frames, max);
    for (uint32_t i = 0; i < x->queues && !n; i++) { /* one queue a burst, each in its turn */
        if (x->busy_poll)                            /* the device's own poll, in this thread */
            recvfrom(x->queue[x->next_queue].fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
        n = receive_from(x, &x->queue[x->next_queue], frames, max);
        x->next_queue = x->next_queue + 1 == x->queues ? 0 : x->next_queue + 1;
    }
    dev->stats.rx_frames += (uint64_t)n;
    return n ? n : -x->failed;
}

/* ---- transmit ---------------------------------------------------------------------------------- */

/* Slots whose last chunk the kernel has sent are free again. */
static void reap(struct xdp *x)
{
    struct xdp_queue *q = &x->queue[0];
    uint32_t at, n = xsk_ring_cons__peek(&q->comp, x->ring * x->slot_chunks, &at);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t offset = *xsk_ring_cons__comp_addr(&q->comp, at + i) - x->tx_base;
        uint32_t slot = (uint32_t)(offset / ((uint64_t)x->chunk * x->slot_chunks));
        if (--x->slot_left[slot] == 0)
            x->free_slot[x->free_len++] = slot;
    }
    xsk_ring_cons__release(&q->comp, n);
}

/* Tells the kernel of the frames in the ring: without zero-copy it sends a bounded number a call. */
static void kick(struct xdp *x)
{
    for (int i = 0; x->kick && !x->dev.down && i < TX_KICKS; i++) {
        int err = syscall(SYS_sendto, x->queue[0].fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? errno : 0;
        if (!err) {
            x->kick = 0;
        } else if (err == EBUSY) { /* the interface has dropped one, and the call ended there */
            x->dev.stats.tx_dropped++;
            x->count[TX_REFUSED]++;
        } else if (err == EAGAIN) {
            reap(x);
        } else if (err == ENETDOWN) {
            link_lost(&x->interface, &x->dev);
        } else if (err == ENXIO || err == ENODEV || err == EBADF) {
            x->failed = ENETDOWN;
            return;
        } else if (err != EINTR) { /* ENOBUFS: the interface's queue is full */
            return;
        }
    }
}

static void describe(struct xdp *x, uint32_t slot, uint32_t len)
{
    uint64_t addr = x->tx_base + (uint64_t)slot * x->chunk * x->slot_chunks;
    uint32_t at = 0, pieces = (len + x->chunk - 1) / x->chunk;
    xsk_ring_prod__reserve(&x->queue[0].tx, pieces, &at); /* as many entries as chunks of all slots */
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t n = len < x->chunk ? len : x->chunk;
        *xsk_ring_prod__tx_desc(&x->queue[0].tx, at + i) = (struct xdp_desc){
            .addr = addr + (uint64_t)i * x->chunk, .len = n, .options = len > n ? XDP_PKT_CONTD : 0};
        len -= n;
    }
    x->slot_left[slot] = (uint8_t)pieces;
    xsk_ring_prod__submit(&x->queue[0].tx, pieces);
}

int xdp_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct xdp *x = (struct xdp *)dev;
    int i;
    if (dev->down)
        look(x, now);
    if (x->failed)
        return -x->failed;
    reap(x); /* a slot sent from just now lies in the cache */
    for (i = 0; i < n; i++) {
        const struct tx_frame *f = &frames[i];
        if (dev->down) {
            dev->stats.tx_dropped++;
            x->count[TX_DOWN]++;
            continue;
        }
        if (f->len < XDP_L2_HEADER || f->len > x->room) {
            dev->stats.tx_dropped++;
            x->count[TX_LENGTH]++;
            continue;
        }
        if (!x->free_len) {
            dev->stats.tx_full++;
            break;
        }
        uint32_t slot = x->free_slot[--x->free_len];
        bw_gather(x->umem + x->tx_base + (uint64_t)slot * x->chunk * x->slot_chunks, f);
        describe(x, slot, f->len);
        x->kick = 1;
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += f->len;
    }
    if (x->kick && xsk_ring_prod__needs_wakeup(&x->queue[0].tx))
        kick(x);
    else if (!dev->down)
        x->kick = 0;
    return i;
}

/* ---- before a sleep ---------------------------------------------------------------------------- */

/* A socket is not told that its interface went down, nor a sleeper woken: so it is looked at. */
static void look_at_link(struct xdp *x)
{
    struct ifreq ifr = {0};
    int err = 0;
    socklen_t len = sizeof err;
    memcpy(ifr.ifr_name, x->dev.name, sizeof ifr.ifr_name - 1);
    if (ioctl(x->control, SIOCGIFFLAGS, &ifr) || !(ifr.ifr_flags & IFF_UP) ||
        (!getsockopt(x->queue[0].fd, SOL_SOCKET, SO_ERROR, &err, &len) && err))
        link_lost(&x->interface, &x->dev);
}

int xdp_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct xdp *x = (struct xdp *)dev;
    int ready = 0;
    uint32_t at;
    dev->stats.wakeups++;
    if (!dev->down)
        look_at_link(x);
    if (dev->down)
        look(x, now);
    if (x->failed)
        return -x->failed;
    x->group_look = now;
    kick(x);
    reap(x);
    *arm = (struct netdev_arm){
        .fd = x->fd, .events = POLLIN, .deadline = now + (x->kick || want_tx ? RETRY : LINK_CHECK)};
    link_arm(&x->interface, dev, arm);
    for (uint32_t i = 0; i < x->queues; i++) {
        struct xdp_queue *q = &x->queue[i];
        give_back(q);
        uint32_t n = xsk_ring_cons__peek(&q->rx, 1, &at);
        xsk_ring_cons__cancel(&q->rx, n);
        ready |= n != 0;
    }
    return ready || (want_tx && x->free_len);
}
