/* SPDX-License-Identifier: MIT */
/* Receiving: one request that stands, and buffers that go round; or, while a thread spins, plain reads.
 *
 * A frame that comes in makes work for the thread that made the request: done when that thread is next
 * in the kernel, as the flags in the mapped ring say (IORING_SQ_TASKRUN). So a look costs a load when
 * nothing is there, and one system call when something is. Another thread that drives takes the
 * request over: it cancels the old one and makes its own. A request ends too when its thread exits
 * (ECANCELED), when no buffer is free (ENOBUFS), and after each frame on kernels without multishot; the
 * next look makes a new one.
 *
 * That system call, the wake-up of the request in the sender's context and the second look at an empty queue
 * cost a frame 1.1 us more than a read does. So a thread that finds nothing SPIN_LOOKS times without sleeping
 * withdraws the request and reads, one frame a look. Before a sleep, from a super-segment on, and where
 * looks find more and more, the request stands again. Once the kernel has taken the cancel no request posts a
 * frame: those in the mapped ring came before any that a read finds, and are taken first. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../vlan_tag.h"
#include "../xstats.h"
#include "uring_device.h"

enum { NAP_NS = 1000000, CLOSE_NS = 100000000, SPIN_LOOKS = 64, BULK_LOOKS = 4096 };

/* ---- buffers -------------------------------------------------------------------------------------- */

/* Where the virtio-net header of a frame is put, or the frame if there is none. */
static uint8_t *payload_of(const struct uring *u, uint16_t id)
{
    return u->rx_base + (size_t)id * u->stride + URING_IP_AT - u->l2 - u->vnet;
}

static void give(struct uring *u, uint16_t id, int place)
{
    uint32_t len = u->prefix + u->vnet + u->most + 1; /* one more than a frame has: too long is seen */
    io_uring_buf_ring_add(u->buffers, payload_of(u, id) - u->prefix, len, id, io_uring_buf_ring_mask(u->ring),
                          place);
}

void uring_give_all(struct uring *u)
{
    for (uint32_t i = 0; i < u->ring; i++)
        give(u, (uint16_t)i, (int)i);
    io_uring_buf_ring_advance(u->buffers, (int)u->ring);
}

/* The buffers of the last burst are the kernel's again. */
static void give_back(struct uring *u)
{
    if (!u->lent_len)
        return;
    for (int i = 0; i < u->lent_len; i++)
        give(u, u->lent[i], i);
    io_uring_buf_ring_advance(u->buffers, u->lent_len);
    u->lent_len = 0;
}

/* ---- what came ------------------------------------------------------------------------------------ */

/* The auxiliary data of a packet socket: a VLAN tag that the kernel took out. */
static void put_tag_back(const struct uring *u, const uint8_t *control, struct rx_frame *f)
{
    struct cmsghdr head;
    struct tpacket_auxdata aux;
    memcpy(&head, control, sizeof head);
    if (head.cmsg_level != SOL_PACKET || head.cmsg_type != PACKET_AUXDATA)
        return;
    memcpy(&aux, control + CMSG_LEN(0), sizeof aux);
    if (aux.tp_status & TP_STATUS_VLAN_VALID && u->dev.layer == 2)
        vlan_put_back(f, aux.tp_status, aux.tp_vlan_tci, aux.tp_vlan_tpid);
}

/* Is it a frame? got: bytes from payload on. */
static int accept_frame(struct uring *u, uint8_t *payload, int64_t got, const uint8_t *control,
                        struct rx_frame *f)
{
    *f = (struct rx_frame){
        .data = payload + u->vnet, .len = (uint32_t)(got - u->vnet), .csum = BW_CSUM_UNKNOWN};
    int good = got > (int64_t)u->vnet && (!u->vnet || vnet_parse(payload, u->dev.caps, f));
    if (!good || f->len > (f->gso_size ? u->most : u->room)) {
        u->dev.stats.rx_dropped++;
        u->xstats[good ? URING_RX_TOO_LONG : URING_RX_MALFORMED]++;
        return 0;
    }
    if (u->packet)
        put_tag_back(u, control, f);
    if (f->gso_size) /* bulk: more comes, if not at once */
        u->quiet = -BULK_LOOKS;
    u->dev.stats.rx_frames++;
    u->dev.stats.rx_bytes += f->len;
    return 1;
}

/* A request ended: the present one is to be made anew, of an earlier one nothing is left to do. */
static void ended(struct uring *u, uint64_t serial, int res)
{
    if (!serial)
        return; /* the answer to a cancel */
    u->standing--;
    if (serial != u->serial)
        return;
    u->armed = 0;
    if (res == -ECANCELED)
        u->xstats[URING_CANCELLED]++;
    else if (res == -ENOBUFS)
        u->xstats[URING_NO_BUFFERS]++;
    else if (res < 0 && res != -EAGAIN && res != -EINTR && res != -ENOMEM)
        uring_receive_failed(u, -res);
}

/* Frames out of the mapped ring, until max buffers are lent. */
static int take(struct uring *u, struct rx_frame *frames, int max)
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    int n = 0;
    io_uring_for_each_cqe(&u->rx, head, cqe)
    {
        if (u->lent_len == max)
            break;
        seen++;
        if (!(cqe->flags & IORING_CQE_F_MORE))
            ended(u, cqe->user_data, cqe->res);
        if (cqe->flags & IORING_CQE_F_BUFFER) {
            uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
            u->lent[u->lent_len++] = id;
            uint8_t *payload = payload_of(u, id), *control = u->prefix ? payload - URING_CONTROL : u->control;
            n += cqe->res > 0 && accept_frame(u, payload, (int64_t)cqe->res - u->prefix, control, &frames[n]);
        }
    }
    io_uring_cq_advance(&u->rx, seen);
    return n;
}

/* ---- the request ---------------------------------------------------------------------------------- */

/* Makes the request; if the kernel's thread (sqpoll) has left no room for it yet, the next look does. */
static void prepare_receive(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->rx);
    if (!sqe)
        return;
    if (u->packet) {
        u->message = (struct msghdr){.msg_controllen = URING_CONTROL};
        if (!u->multishot)
            u->message.msg_control = u->control;
        io_uring_prep_recvmsg(sqe, u->fd, &u->message, 0);
        sqe->ioprio = u->multishot ? IORING_RECV_MULTISHOT : 0;
    } else {
        io_uring_prep_read(sqe, u->fd, NULL, u->multishot ? 0 : u->vnet + u->most + 1, 0);
        if (u->multishot)
            sqe->opcode = BW_IORING_OP_READ_MULTISHOT;
    }
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_GROUP;
    sqe->user_data = ++u->serial;
    u->xstats[URING_ARMED]++;
    u->owner = pthread_self();
    u->armed = 1;
    u->standing++;
}

/* What the request ends with is of no interest. */
static void prepare_cancel(struct uring *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->rx);
    io_uring_prep_cancel64(sqe, u->serial, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = 0;
    u->serial++;
    u->armed = 0;
}

/* Lets the kernel post what is there, and keeps the request standing. 0 or -errno. */
static int refresh(struct uring *u)
{
    int foreign = !u->sqpoll && u->armed && !pthread_equal(u->owner, pthread_self());
    if (foreign && !u->dedicated) {
        prepare_cancel(u);
        u->xstats[URING_MOVED]++;
    }
    if (!u->armed)
        prepare_receive(u);
    else if (!foreign && !io_uring_sq_ready(&u->rx) &&
             !(*u->rx.sq.kflags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
        return 0;
    u->xstats[URING_ENTERS]++;
    int rc = u->sqpoll ? io_uring_submit(&u->rx) : io_uring_submit_and_get_events(&u->rx);
    return rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -EINTR ? rc : 0;
}

void uring_cancel_all(struct uring *u)
{
    struct __kernel_timespec patience = {.tv_nsec = CLOSE_NS};
    struct io_uring_cqe *cqe;
    struct io_uring_sqe *sqe = u->standing ? io_uring_get_sqe(&u->rx) : NULL;
    if (!sqe)
        return;
    io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
    sqe->user_data = 0;
    io_uring_submit(&u->rx);
    while (u->standing && !io_uring_wait_cqe_timeout(&u->rx, &cqe, &patience)) {
        if (!(cqe->flags & IORING_CQE_F_MORE))
            ended(u, cqe->user_data, cqe->res);
        io_uring_cqe_seen(&u->rx, cqe);
    }
}

/* ---- without a request ----------------------------------------------------------------------------- */

/* The thread spins: no request stands from now on. 0 or -errno. */
static int withdraw(struct uring *u)
{
    int rc = 0;
    if (u->armed) {
        prepare_cancel(u);
        u->xstats[URING_WITHDRAWN]++;
        rc = io_uring_submit_and_get_events(&u->rx);
    }
    u->quiet = 0;
    u->reads = 1;
    return rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -EINTR ? rc : 0;
}

static ssize_t read_one(struct uring *u, uint8_t *payload, uint8_t *control)
{
    size_t len = u->vnet + u->most + 1;
    if (!u->packet)
        return read(u->fd, payload, len);
    struct iovec iov = {payload, len};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = URING_CONTROL};
    return recvmsg(u->fd, &message, MSG_DONTWAIT);
}

/* Up to as many as this look may read: one, and twice as many after each look that found all it might. After
 * the largest such look the request is to stand again: frames come faster than they are read. */
static int read_frames(struct uring *u, struct rx_frame *frames, int max)
{
    int n = 0, read = 0, most = u->reads < max ? u->reads : max;
    for (; read < most; read++) {
        uint8_t control[URING_CONTROL] = {0};
        uint8_t *payload = u->own_base + (size_t)read * u->stride + URING_IP_AT - u->l2 - u->vnet;
        ssize_t got = read_one(u, payload, control);
        u->xstats[URING_READ_CALLS]++;
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR && errno != ENOMEM)
                uring_receive_failed(u, errno);
            break;
        }
        n += accept_frame(u, payload, got, control, &frames[n]);
    }
    int bulk = u->quiet < 0, all = read == most;
    u->reads = bulk || (all && u->reads == URING_READS) ? 0 : all ? 2 * u->reads : 1;
    return n;
}

/* ---- the contract's part -------------------------------------------------------------------------- */

int uring_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct uring *u = (struct uring *)dev;
    int rc = uring_start(u), n;
    uring_look(u, now);
    give_back(u);
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    n = take(u, frames, max);
    if (u->reads) {
        if (!n && !rc && !u->failed)
            n = read_frames(u, frames, max);
        return n ? n : u->failed ? -u->failed : rc;
    }
    while (!rc && !u->failed && u->lent_len < max) {
        rc = refresh(u);
        int more = take(u, frames + n, max);
        n += more;
        if (!more)
            break;
    }
    if (!n)
        u->quiet++;
    else if (u->quiet > 0)
        u->quiet = 0;
    if (u->quiet >= SPIN_LOOKS && !rc && !u->failed && !u->sqpoll && !u->dedicated)
        rc = withdraw(u);
    return n ? n : u->failed ? -u->failed : rc;
}

int uring_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct uring *u = (struct uring *)dev;
    dev->stats.wakeups++;
    *arm = (struct netdev_arm){.fd = u->rx.ring_fd, .events = POLLIN, .deadline = INT64_MAX};
    int rc = uring_start(u);
    u->reads = u->quiet = 0;
    if (u->event_fd >= 0) {
        eventfd_t before;
        arm->fd = u->event_fd;
        eventfd_read(u->event_fd, &before);
    }
    uring_look(u, now);
    link_arm(&u->interface, dev, arm);
    if (!rc && !u->failed)
        rc = refresh(u);
    if (io_uring_cq_ready(&u->rx) || u->lent_len) /* frames, or buffers to be given back */
        return 1;
    if (u->failed || rc)
        return u->failed ? -u->failed : rc;
    if (!u->armed)
        return 1;
    if (want_tx && u->sqpoll) {
        uring_reap_slots(u);
        if (u->slots_len)
            return 1;
    }
    if (want_tx) /* nothing tells when the interface's queue has room again */
        arm->deadline = now + NAP_NS;
    return 0;
}
