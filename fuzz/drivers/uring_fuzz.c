/* SPDX-License-Identifier: MIT */
/* Fuzzing the uring driver's rings (receive.c, transmit.c). The kernel's part is played here: requests stand, are
 * cancelled, end as the input says; frames come into the buffers that were given, by completions or by reads, of any
 * length and with any virtio-net header and auxiliary data; writes fail, or are not taken. No buffer is lost or had
 * twice, nothing outside of them is lent, and what is written are the frame's bytes. */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "exact.h"

#define _GNU_SOURCE
#include <liburing.h>

/* ---- system calls --------------------------------------------------------------------------------------------- */
static int enter(struct io_uring *ring);
static int no_completion(struct io_uring_cqe **cqe, const struct __kernel_timespec *patience);
static ssize_t comes(void *to, size_t room, void *control);
static ssize_t goes(const struct iovec *iov, int n);
#define io_uring_submit(ring) enter(ring)
#define io_uring_submit_and_get_events(ring) enter(ring)
#define io_uring_wait_cqe_timeout(ring, cqe, patience) no_completion(cqe, patience)
#define read(fd, to, len) comes(to, len, NULL)
#define recvmsg(fd, m, flags) comes((m)->msg_iov->iov_base, (m)->msg_iov->iov_len, (m)->msg_control)
#define write(fd, from, len) goes(&(struct iovec){(void *)(from), len}, 1)
#define writev(fd, iov, n) goes(iov, n)
#define withdraw stop_receiving
#include "../../nic_drivers/uring/receive.c"
#undef withdraw
#define withdraw take_back
#include "../../nic_drivers/uring/transmit.c"
#undef withdraw
#undef read
#undef recvmsg
#undef write
#undef writev

enum { BUFFERS = 8, ENTRIES = 8, COMPLETIONS = 64, STANDING = 8, ROOM = 1518, MOST = 3000 };

struct uring_request {
    uint64_t serial; /* 0: none */
};

struct uring_kernel {
    struct input *in;
    struct uring u;
    struct io_uring_sqe sqes[2][64];
    struct io_uring_cqe cqes[2][COMPLETIONS];
    unsigned head[2], tail[2], flags[2], done[2], posted[2];
    struct uring_request standing[STANDING];
    uint16_t taken; /* of the ring of buffers */
    uint8_t has[BUFFERS];
    uint8_t expected[MOST + VNET_HDR_LEN + 64];
    uint32_t expected_len;
};

static struct uring_kernel *k;

int uring_start(struct uring *u)
{
    return 0;
}

static int no_completion(struct io_uring_cqe **cqe, const struct __kernel_timespec *patience)
{
    *cqe = NULL;
    return -ETIME;
}

static void post(int ring, uint64_t user_data, int res, uint32_t flags)
{
    struct io_uring_cqe *cqe = &k->cqes[ring][k->posted[ring] % COMPLETIONS];
    MUST(k->posted[ring] - k->done[ring] < COMPLETIONS);
    cqe->user_data = user_data;
    cqe->res = res;
    cqe->flags = flags;
    k->posted[ring]++;
}

/* ---- frames in ------------------------------------------------------------------------------------------------- */

/* A frame with its virtio-net header, which may be anything; its length. */
static uint32_t frame_bytes(uint8_t *to, uint32_t room)
{
    const struct uring *u = &k->u;
    uint8_t packet[MOST + 100] = {0}, how = take8(k->in);
    uint32_t len = how & 1 ? take16(k->in) % (u->vnet + u->most + 10) : 0;
    if (how & 2)
        take_bytes(k->in, packet, u->vnet);
    if (!len)
        len = u->vnet + exact_packet(k->in, u->dev.layer, packet + u->vnet, 1600);
    len = len < room ? len : room;
    memcpy(to, packet, len);
    return len;
}

static void auxiliary(uint8_t *control)
{
    struct tpacket_auxdata aux = {.tp_status = take8(k->in) & 1 ? TP_STATUS_VLAN_VALID : 0,
                                  .tp_vlan_tci = take16(k->in)};
    struct cmsghdr head = {
        .cmsg_len = CMSG_LEN(sizeof aux), .cmsg_level = SOL_PACKET, .cmsg_type = PACKET_AUXDATA};
    memcpy(control, &head, sizeof head);
    memcpy(control + CMSG_LEN(0), &aux, sizeof aux);
}

static ssize_t comes(void *to, size_t room, void *control)
{
    static const int errors[] = {EAGAIN, EINTR, ENETDOWN, ENOMEM, EBADFD};
    uint8_t how = take8(k->in);
    errno = how < 200 ? 0 : errors[how % 5];
    if (errno)
        return -1;
    if (control)
        auxiliary(control);
    return (ssize_t)frame_bytes(to, (uint32_t)room);
}

static void ends(struct uring_request *r, int res)
{
    post(0, r->serial, res, 0);
    r->serial = 0;
}

static struct uring_request *request_of(uint64_t serial)
{
    for (int i = 0; i < STANDING; i++)
        if (k->standing[i].serial == serial)
            return &k->standing[i];
    return NULL;
}

/* The one that stands, if any does, gets a frame, or ends. */
static void frame_comes(uint8_t how)
{
    static const int why[] = {-EAGAIN, -ENETDOWN, -EINTR, -ENOMEM, -EBADFD, 0};
    struct uring *u = &k->u;
    struct uring_request *r = NULL;
    for (int i = 0; i < STANDING && !r; i++)
        r = k->standing[i].serial ? &k->standing[i] : NULL;
    if (!r || k->posted[0] - k->done[0] > COMPLETIONS / 2)
        return;
    if (how > 240) {
        ends(r, why[how % 6]);
        return;
    }
    if (k->taken == u->buffers->tail) {
        ends(r, -ENOBUFS);
        return;
    }
    const struct io_uring_buf *b = &u->buffers->bufs[k->taken++ % BUFFERS];
    uint8_t *to = (uint8_t *)(uintptr_t)b->addr;
    MUST(b->bid < BUFFERS && !k->has[b->bid] && to >= u->rx_base);
    MUST(to + b->len <= u->rx_base + (size_t)BUFFERS * u->stride);
    k->has[b->bid] = 1;
    if (u->prefix)
        auxiliary(to + u->prefix - URING_CONTROL);
    else if (u->packet)
        auxiliary(u->control);
    uint32_t len = u->prefix + frame_bytes(to + u->prefix, b->len - u->prefix);
    int more = u->multishot && how < 200;
    post(0, r->serial, (int)len,
         IORING_CQE_F_BUFFER | (uint32_t)b->bid << 16 | (more ? IORING_CQE_F_MORE : 0));
    if (!more)
        r->serial = 0;
}

static void begins(const struct io_uring_sqe *sqe)
{
    struct uring_request *r = request_of(sqe->opcode == IORING_OP_ASYNC_CANCEL ? sqe->addr : 0);
    if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
        if (r && sqe->addr)
            ends(r, -ECANCELED);
        else
            post(0, 0, -ENOENT, 0);
        return;
    }
    MUST(r && sqe->user_data && sqe->buf_group == URING_GROUP);
    r->serial = sqe->user_data;
}

/* ---- frames out ------------------------------------------------------------------------------------------------ */

/* What the kernel says to a write of these bytes, which are the frame's. */
static ssize_t goes(const struct iovec *iov, int n)
{
    static const int errors[] = {EAGAIN, ENOBUFS, EIO, ENETDOWN, EMSGSIZE, EINVAL};
    uint8_t how = take8(k->in);
    uint32_t at = 0;
    for (int i = 0; i < n; at += (uint32_t)iov[i++].iov_len)
        MUST(at + iov[i].iov_len <= k->expected_len &&
             !memcmp(k->expected + at, iov[i].iov_base, iov[i].iov_len));
    MUST(at == k->expected_len);
    errno = how < 200 ? 0 : errors[how % 6];
    return errno ? -1 : (ssize_t)at;
}

static int enter(struct io_uring *ring)
{
    int which = ring == &k->u.tx, most = take8(k->in) % 16;
    unsigned *head = &k->head[which];
    if (most == 15)
        return -EBUSY;
    for (int i = 0; *head != ring->sq.sqe_tail && (!which || i <= most); i++, ++*head) {
        const struct io_uring_sqe *sqe = &k->sqes[which][*head & ring->sq.ring_mask];
        const struct iovec *iov = (const struct iovec *)(uintptr_t)sqe->addr;
        if (!which) {
            begins(sqe);
            continue;
        }
        const struct msghdr *m = (const struct msghdr *)(uintptr_t)sqe->addr;
        ssize_t sent = sqe->opcode == IORING_OP_SENDMSG ? goes(m->msg_iov, (int)m->msg_iovlen)
                                                        : goes(iov, (int)sqe->len);
        if (sent < 0)
            post(1, sqe->user_data, -errno, 0);
    }
    ring->sq.sqe_head = *head;
    return 0;
}

static void sends(int64_t now)
{
    struct uring *u = &k->u;
    uint8_t packet[MOST + 200];
    int n = 1 + take8(k->in) % 4;
    uint32_t len = take16(k->in) % (MOST + 100), cut = take16(k->in) % (len + 1);
    memset(packet, take8(k->in), sizeof packet);
    struct tx_frame f = {.piece = {{packet, cut}, {packet + cut, len - cut}}, .pieces = 2, .len = len};
    f.gso_size = take8(k->in) & 1 ? 500 : 0;
    f.csum_partial = f.gso_size != 0;
    struct virtio_net_hdr hdr;
    vnet_build(&hdr, &f);
    memcpy(k->expected, &hdr, u->vnet);
    memcpy(k->expected + u->vnet, packet, len <= MOST ? len : 0);
    k->expected_len = u->vnet + len;
    struct tx_frame frames[4] = {f, f, f, f};
    int rc = u->dev.tx_burst(&u->dev, now, frames, n);
    MUST(rc <= n && (rc >= 0 || u->failed));
}

/* ---- the stack ------------------------------------------------------------------------------------------------- */

static void takes(int64_t now)
{
    struct uring *u = &k->u;
    struct rx_frame frames[BW_RX_BURST];
    for (int i = 0; i < u->lent_len; i++)
        k->has[u->lent[i]] = 0;
    int n = u->dev.rx_burst(&u->dev, now, frames, 1 + take8(k->in) % 8);
    MUST(n >= 0 || u->failed);
    for (int i = 0; i < n; i++) {
        const uint8_t *data = frames[i].data;
        MUST(data >= u->rx_base && data + frames[i].len <= u->rx_base + u->memory.len && frames[i].len);
        MUST(frames[i].len <= (frames[i].gso_size ? u->most : u->room) + VLAN_TAG);
        frames[i].data[frames[i].len - 1] ^= 1; /* the stack may write there */
    }
}

static void sleeps(int64_t now)
{
    struct netdev_arm arm;
    int rc = k->u.dev.arm(&k->u.dev, now, take8(k->in) & 1, &arm);
    MUST(rc >= 0 || k->u.failed);
}

/* ---- a device -------------------------------------------------------------------------------------------------- */

static void ring_of(struct io_uring *ring, int which, unsigned entries)
{
    ring->sq.khead = &k->head[which];
    ring->sq.ktail = &k->tail[which];
    ring->sq.kflags = &k->flags[which];
    ring->sq.sqes = k->sqes[which];
    ring->sq.ring_entries = entries;
    ring->sq.ring_mask = entries - 1;
    ring->cq.khead = &k->done[which];
    ring->cq.ktail = &k->posted[which];
    ring->cq.cqes = k->cqes[which];
    ring->cq.ring_entries = COMPLETIONS;
    ring->cq.ring_mask = COMPLETIONS - 1;
}

static void set_up(uint8_t how)
{
    struct uring *u = &k->u;
    u->packet = how & 1;
    u->multishot = how >> 1 & 1;
    u->vnet = how & 4 || u->packet ? VNET_HDR_LEN : 0;
    u->l2 = how & 8 ? 14 : 0;
    u->prefix = u->packet && u->multishot ? sizeof(struct io_uring_recvmsg_out) + URING_CONTROL : 0;
    u->fd = u->event_fd = u->guard = -1;
    u->interface.fd = -1;
    u->room = ROOM;
    u->most = u->vnet ? MOST : ROOM;
    u->ring = BUFFERS;
    u->stride = (URING_IP_AT + u->most + 1 + 63) & ~63u;
    u->dev = (struct netdev){.rx_burst = uring_rx_burst,
                             .tx_burst = uring_tx_burst,
                             .arm = uring_arm,
                             .caps = u->vnet ? NETDEV_RX_CSUM | NETDEV_RX_GSO : 0,
                             .layer = how & 8 ? 2 : 3,
                             .mtu = 1500};
    u->memory.len = (size_t)(BUFFERS + URING_READS) * u->stride;
    u->rx_base = aligned_alloc(64, u->memory.len);
    u->own_base = u->rx_base + (size_t)BUFFERS * u->stride;
    u->buffers = aligned_alloc(64, BUFFERS * sizeof(struct io_uring_buf));
    MUST(u->rx_base && u->buffers);
    memset(u->buffers, 0, BUFFERS * sizeof(struct io_uring_buf));
    ring_of(&u->rx, 0, ENTRIES);
    ring_of(&u->tx, 1, 64);
    uring_give_all(u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    MUST((k = calloc(1, sizeof *k)));
    k->in = &in;
    set_up(take8(&in));
    for (int64_t now = 1; in.left; now += LINK_LOOK / 4) {
        uint8_t how = take8(&in);
        switch (how % 4) {
        case 0: takes(now); break;
        case 1: sends(now); break;
        case 2: how & 64 ? sleeps(now) : frame_comes(take8(&in)); break;
        default: frame_comes(take8(&in));
        }
    }
    uint32_t lent = 0; /* every buffer is the kernel's, lent, or in a completion that nobody has read */
    for (unsigned i = k->done[0]; i != k->posted[0]; i++)
        lent += (k->cqes[0][i % COMPLETIONS].flags & IORING_CQE_F_BUFFER) != 0;
    MUST(lent + (uint32_t)k->u.lent_len + (uint16_t)(k->u.buffers->tail - k->taken) == BUFFERS);
    free(k->u.rx_base);
    free(k->u.buffers);
    free(k);
    return 0;
}
