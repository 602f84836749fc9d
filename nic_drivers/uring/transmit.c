/* SPDX-License-Identifier: MIT */
/* Transmitting: a burst is one submit, a single frame a plain write.
 *
 * A short single frame is flattened first: the kernel copies a vector of pieces 0.2 us slower.
 * Requests say NOWAIT, so each is done when the submit returns: TX_SYNC, gathered straight from the send
 * queue. Success posts nothing, so the mapped ring holds only what failed. With sqpoll a thread of the
 * kernel's submits when it likes: frames are copied into slots, and a slot is free when its request is.
 * There is no zero-copy send for these descriptors: TAP is no socket, and a packet socket answers
 * EOPNOTSUPP. */
#include <errno.h>
#include <unistd.h>

#include "../gather.h"
#include "uring_device.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

enum { FLAT = 512 }; /* longest frame, with its virtio-net header, that is flattened */

static int full(int err)
{
    return err == EAGAIN || err == ENOBUFS || err == EINTR;
}

static int too_long(const struct uring *u, const struct tx_frame *f)
{
    return !f->len || f->len > (f->gso_size ? u->most : u->room);
}

static int gather(const struct uring *u, struct uring_gather *g, const struct tx_frame *f)
{
    int n = 0;
    if (u->vnet) {
        vnet_build(&g->hdr, f);
        g->iov[n++] = (struct iovec){&g->hdr, u->vnet};
    }
    for (int i = 0; i < f->pieces; i++)
        g->iov[n++] = (struct iovec){(void *)f->piece[i].data, f->piece[i].len};
    return n;
}

/* As gather(), into one piece of u->vnet + f->len bytes. */
static void flatten(const struct uring *u, uint8_t *at, const struct tx_frame *f)
{
    struct virtio_net_hdr hdr;
    vnet_build(&hdr, f);
    memcpy(at, &hdr, u->vnet);
    bw_gather_plain(at + u->vnet, f);
}

/* Is the interface down for now? TAP says EIO, a packet socket ENETDOWN. */
static int went_down(struct uring *u, int err)
{
    if (err == ENETDOWN)
        link_lost(&u->interface, &u->dev);
    return err == ENETDOWN || err == EIO;
}

/* Counts what became of frames whose positive errnos are given; how many were accepted, or -ENETDOWN. */
static int settle(struct uring *u, const struct tx_frame *frames, const int *errors, int n)
{
    struct netdev_stats *stats = &u->dev.stats;
    int end = n;
    while (end && full(errors[end - 1])) /* earlier ones, before one that went, are lost */
        end--;
    stats->tx_full += end < n;
    for (int i = 0; i < end; i++) {
        int err = errors[i];
        if (!err) {
            stats->tx_frames++;
            stats->tx_bytes += frames[i].len;
            continue;
        }
        if (uring_gone(err)) {
            u->failed = ENETDOWN;
            return i ? i : -ENETDOWN;
        }
        stats->tx_dropped++;
        u->xstats[err == EMSGSIZE     ? URING_TX_TOO_LONG
                  : went_down(u, err) ? URING_TX_DOWN
                                      : URING_TX_REFUSED]++;
    }
    return end;
}

static int write_one(struct uring *u, const struct tx_frame *f)
{
    struct uring_gather *g = &u->gather[0];
    uint8_t flat[FLAT];
    ssize_t sent;
    int err = EMSGSIZE;
    if (too_long(u, f))
        return settle(u, f, &err, 1);
    if (u->vnet + f->len <= FLAT) {
        flatten(u, flat, f);
        sent = write(u->fd, flat, u->vnet + f->len);
    } else {
        sent = writev(u->fd, g->iov, gather(u, g, f));
    }
    err = sent < 0 ? errno : 0;
    return settle(u, f, &err, 1);
}

/* Requests the kernel did not take are taken back: they point into frames that are lent. */
static void withdraw(struct io_uring *ring)
{
    unsigned head = *ring->sq.khead;
    *ring->sq.ktail = ring->sq.sqe_head = ring->sq.sqe_tail = head;
}

static int submit_all(struct uring *u, const struct tx_frame *frames, int n)
{
    int errors[BW_TX_BURST];
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    for (int i = 0; i < n; i++) {
        struct uring_gather *g = &u->gather[i];
        errors[i] = too_long(u, &frames[i]) ? EMSGSIZE : 0;
        if (errors[i])
            continue;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->tx);
        int pieces = gather(u, g, &frames[i]);
        if (u->packet) {
            g->message = (struct msghdr){.msg_iov = g->iov, .msg_iovlen = (size_t)pieces};
            io_uring_prep_sendmsg(sqe, u->fd, &g->message, MSG_DONTWAIT);
        } else {
            io_uring_prep_writev2(sqe, u->fd, g->iov, (unsigned)pieces, 0, RWF_NOWAIT);
        }
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = (uint64_t)i;
    }
    int rc = io_uring_submit(&u->tx);
    if (rc < 0 && !full(-rc) && rc != -EBUSY) {
        withdraw(&u->tx);
        return rc;
    }
    for (unsigned left = io_uring_sq_ready(&u->tx), i = (unsigned)n; left && i--;) {
        if (!errors[i]) { /* the last ones */
            errors[i] = EAGAIN;
            left--;
        }
    }
    withdraw(&u->tx);
    io_uring_for_each_cqe(&u->tx, head, cqe)
    {
        errors[cqe->user_data] = cqe->res < 0 ? -cqe->res : 0;
        seen++;
    }
    io_uring_cq_advance(&u->tx, seen);
    return settle(u, frames, errors, n);
}

/* ---- with the kernel's thread --------------------------------------------------------------------- */

void uring_reap_slots(struct uring *u)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&u->tx, head, cqe)
    {
        u->slots[u->slots_len++] = (uint16_t)cqe->user_data;
        if (cqe->res < 0) {
            u->dev.stats.tx_dropped++;
            u->xstats[went_down(u, -cqe->res) ? URING_TX_DOWN : URING_TX_REFUSED]++;
            if (uring_gone(-cqe->res))
                u->failed = ENETDOWN;
        }
        seen++;
    }
    io_uring_cq_advance(&u->tx, seen);
}

static int hand_over(struct uring *u, const struct tx_frame *frames, int n)
{
    struct netdev_stats *stats = &u->dev.stats;
    int i;
    uring_reap_slots(u);
    for (i = 0; i < n; i++) {
        const struct tx_frame *f = &frames[i];
        if (too_long(u, f)) {
            stats->tx_dropped++;
            u->xstats[URING_TX_TOO_LONG]++;
            continue;
        }
        /* A slot may be free while its request still fills the ring: the thread moves the head by batches. */
        struct io_uring_sqe *sqe = u->slots_len ? io_uring_get_sqe(&u->tx) : NULL;
        if (!sqe) {
            stats->tx_full++;
            break;
        }
        uint16_t slot = u->slots[--u->slots_len];
        uint8_t *at = u->tx_base + (size_t)slot * u->stride;
        flatten(u, at, f);
        if (u->packet)
            io_uring_prep_send(sqe, u->fd, at, u->vnet + f->len, MSG_DONTWAIT);
        else
            io_uring_prep_write(sqe, u->fd, at, u->vnet + f->len, 0);
        if (!u->packet)
            sqe->rw_flags = RWF_NOWAIT;
        sqe->user_data = slot;
        stats->tx_frames++;
        stats->tx_bytes += f->len;
    }
    int rc = io_uring_submit(&u->tx);
    if (rc < 0 && !full(-rc) && rc != -EBUSY)
        return rc;
    return i;
}

int uring_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct uring *u = (struct uring *)dev;
    int rc = uring_start(u);
    uring_look(u, now);
    if (rc || u->failed)
        return rc ? rc : -u->failed;
    if (n > BW_TX_BURST)
        n = BW_TX_BURST;
    if (dev->down) {
        dev->stats.tx_dropped += (uint64_t)n;
        u->xstats[URING_TX_DOWN] += (uint64_t)n;
        return n;
    }
    if (u->sqpoll)
        return hand_over(u, frames, n);
    return n == 1 ? write_one(u, frames) : submit_all(u, frames, n);
}
