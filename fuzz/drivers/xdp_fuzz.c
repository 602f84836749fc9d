/* SPDX-License-Identifier: MIT */
/* Fuzzing the xdp driver's four rings (rings.c). The kernel's part is played here: it fills chunks that the fill
 * ring gave it, at any offset and length, frames of one piece or of many and never ended, and completes what was
 * sent when it likes, in any order, sometimes in vain. No chunk is lost or had twice, nothing outside of UMEM and
 * of the buffer for joined frames is read or lent, and what is sent are the frame's bytes. */
#include <errno.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exact.h"

/* ---- system calls --------------------------------------------------------------------------------------------- */
static long the_kick(void);
static int the_flags(unsigned long request, void *ifr);
static int no_answer(void *len);
#define syscall(...) the_kick()
#define recvfrom(...) no_answer(NULL)
#define ioctl(fd, request, ifr) the_flags(request, ifr)
#define getsockopt(fd, level, name, value, len) no_answer(len)
#include "../../nic_drivers/xdp/rings.c"
#undef syscall
#undef recvfrom
#undef ioctl
#undef getsockopt

/* Its packet socket is group.c's; there is none here. */
int xdp_group_receive(struct xdp *x, int64_t now, struct rx_frame *frames, int max)
{
    (void)x, (void)now, (void)frames, (void)max;
    abort();
}

enum { QUEUES = 2, RING = 8, CHUNK = 2048, ENTRIES = 64 /* of each ring, more than chunks */ };

struct xdp_ring_memory {
    uint32_t producer, consumer, flags;
    uint64_t room[2 * ENTRIES]; /* struct xdp_desc is 16 bytes */
};

/* What the kernel has. */
struct xdp_kernel {
    struct input *in;
    struct xdp x;
    struct xdp_ring_memory fill[QUEUES], rx[QUEUES], tx, comp;
    uint64_t free[QUEUES][ENTRIES]; /* chunks to receive into */
    uint32_t free_len[QUEUES];
    uint64_t sent[ENTRIES]; /* chunks taken from the transmit ring, not completed */
    uint32_t sent_len;
    uint32_t frames, lost; /* whole ones given, and of those the driver's to drop */
    int err, up, there;
};

static struct xdp_kernel *k;

static void prod(struct xsk_ring_prod *r, struct xdp_ring_memory *mem)
{
    *r = (struct xsk_ring_prod){.cached_cons = ENTRIES,
                                .mask = ENTRIES - 1,
                                .size = ENTRIES,
                                .producer = &mem->producer,
                                .consumer = &mem->consumer,
                                .ring = mem->room,
                                .flags = &mem->flags};
}

static void cons(struct xsk_ring_cons *r, struct xdp_ring_memory *mem)
{
    *r = (struct xsk_ring_cons){.mask = ENTRIES - 1,
                                .size = ENTRIES,
                                .producer = &mem->producer,
                                .consumer = &mem->consumer,
                                .ring = mem->room,
                                .flags = &mem->flags};
}

/* ---- the kernel ------------------------------------------------------------------------------------------------ */

static void takes_fill(int q)
{
    struct xdp_ring_memory *r = &k->fill[q];
    while (r->consumer != r->producer) {
        uint64_t addr = r->room[r->consumer++ % ENTRIES];
        MUST(addr % CHUNK == 0 && addr / CHUNK / RING == (uint64_t)q); /* one of this queue's */
        for (uint32_t i = 0; i < k->free_len[q]; i++)
            MUST(k->free[q][i] != addr);
        MUST(k->free_len[q] < RING);
        k->free[q][k->free_len[q]++] = addr;
    }
}

/* One descriptor: what a program or a card may leave in a chunk. 0: no chunk is free. */
static int puts_piece(int q, int more)
{
    struct xdp_ring_memory *r = &k->rx[q];
    struct xdp_desc *desc = (struct xdp_desc *)r->room + r->producer % ENTRIES;
    takes_fill(q);
    if (!k->free_len[q])
        return 0;
    uint64_t addr = k->free[q][--k->free_len[q]];
    uint32_t off = take16(k->in) % CHUNK, len = take16(k->in) % (CHUNK - off + 1);
    if (k->x.pseudo && !more && CHUNK - off > 200) {
        uint8_t packet[CHUNK];
        len = exact_packet(k->in, 2, packet, CHUNK - off);
        memcpy(k->x.umem + addr + off, packet, len);
    }
    *desc = (struct xdp_desc){.addr = addr + off, .len = len, .options = more ? XDP_PKT_CONTD : 0};
    r->producer++;
    return 1;
}

static void receives(uint8_t how)
{
    int q = how & 1 && k->x.queues > 1, pieces = k->x.frags ? how >> 1 & 7 : 0;
    for (int i = 0; i < pieces; i++)
        if (!puts_piece(q, 1))
            return; /* the rest comes with the next frame */
    k->frames += (uint32_t)puts_piece(q, 0);
}

/* Takes what is in the transmit ring, and completes some of what it has, in an order of the input's. */
static void transmits(uint8_t how)
{
    struct xdp_ring_memory *r = &k->tx;
    const struct xdp *x = &k->x;
    while (r->consumer != r->producer && k->sent_len < ENTRIES) {
        struct xdp_desc *desc = (struct xdp_desc *)r->room + r->consumer++ % ENTRIES;
        MUST(desc->addr >= x->tx_base && desc->addr % CHUNK == 0 && desc->len && desc->len <= CHUNK);
        MUST(desc->addr + desc->len <= x->umem_len);
        for (uint32_t i = 0; i < k->sent_len; i++)
            MUST(k->sent[i] != desc->addr);
        k->sent[k->sent_len++] = desc->addr;
    }
    for (int n = how % 8; n && k->sent_len; n--) {
        uint32_t which = take8(k->in) % k->sent_len;
        k->comp.room[k->comp.producer++ % ENTRIES] = k->sent[which];
        k->sent[which] = k->sent[--k->sent_len];
    }
}

static int no_answer(void *len)
{
    return -1;
}

static long the_kick(void)
{
    static const int errors[] = {0, EBUSY, EAGAIN, ENOBUFS, EINTR, ENETDOWN, 0, 0};
    uint8_t how = take8(k->in);
    transmits(how);
    errno = k->up ? errors[how >> 5] : ENETDOWN;
    if (errno == ENETDOWN)
        k->up = 0;
    return errno ? -1 : 0;
}

static int the_flags(unsigned long request, void *ifr)
{
    if (!k->there)
        return -1;
    if (request == SIOCGIFFLAGS)
        ((struct ifreq *)ifr)->ifr_flags = (short)(k->up ? IFF_UP : 0);
    return 0;
}

/* ---- the stack ------------------------------------------------------------------------------------------------- */

static void takes(void)
{
    struct rx_frame frames[BW_RX_BURST];
    struct xdp *x = &k->x;
    const uint8_t *joined = x->joined, *umem = x->umem;
    int n = x->dev.rx_burst(&x->dev, 1, frames, 1 + take8(k->in) % BW_RX_BURST);
    MUST(n >= 0 || (n == -ENETDOWN && x->failed));
    for (int i = 0; i < n; i++) {
        const uint8_t *data = frames[i].data;
        uint32_t len = frames[i].len;
        MUST(len && len <= x->room);
        MUST((data >= umem && data + len <= umem + x->tx_base) ||
             (joined && data >= joined && data + len <= joined + (size_t)BW_RX_BURST * x->room));
        frames[i].data[len - 1] ^= 1; /* the stack may write there */
    }
}

static void sends(int64_t now)
{
    uint8_t packet[4 * CHUNK];
    struct xdp *x = &k->x;
    uint32_t at = k->tx.producer;
    uint32_t len = take16(k->in) % sizeof packet, cut = take16(k->in) % (len + 1);
    memset(packet, take8(k->in), len);
    struct tx_frame f = {.piece = {{packet, cut}, {packet + cut, len - cut}}, .pieces = 2, .len = len};
    uint64_t sent = x->dev.stats.tx_frames;
    int rc = x->dev.tx_burst(&x->dev, now, &f, 1);
    if (rc != 1 || x->dev.stats.tx_frames == sent)
        return;
    for (uint32_t done = 0; done < len; at++) {
        const struct xdp_desc *desc = (struct xdp_desc *)k->tx.room + at % ENTRIES;
        MUST(!memcmp(x->umem + desc->addr, packet + done, desc->len));
        MUST(!(desc->options & XDP_PKT_CONTD) == (done + desc->len == len));
        done += desc->len;
    }
}

static void sleeps(int64_t now)
{
    struct netdev_arm arm;
    int rc = k->x.dev.arm(&k->x.dev, now, take8(k->in) & 1, &arm);
    MUST(rc >= 0 || (rc == -ENETDOWN && k->x.failed));
}

/* ---- a device -------------------------------------------------------------------------------------------------- */

static void set_up(uint8_t how)
{
    struct xdp *x = &k->x;
    x->queues = how & 1 ? QUEUES : 1;
    x->frags = how >> 1 & 1;
    x->pseudo = how >> 2 & 1;
    x->busy_poll = how >> 3 & 1;
    x->ring = RING;
    x->chunk = CHUNK;
    x->room = x->frags ? 3 * CHUNK - 100 : 1518;
    x->slot_chunks = (x->room + CHUNK - 1) / CHUNK;
    x->tx_base = (uint64_t)x->queues * RING * CHUNK;
    x->umem_len = x->tx_base + (size_t)RING * x->slot_chunks * CHUNK;
    x->umem = calloc(1, x->umem_len);
    x->joined = x->frags ? malloc((size_t)BW_RX_BURST * x->room) : NULL;
    x->free_slot = calloc(RING, sizeof *x->free_slot);
    x->slot_left = calloc(RING, 1);
    MUST(x->umem && x->free_slot && x->slot_left && (x->joined || !x->frags));
    for (uint32_t i = 0; i < RING; i++)
        x->free_slot[x->free_len++] = i;
    for (uint32_t i = 0; i < x->queues; i++) {
        struct xdp_queue *q = &x->queue[i];
        MUST((q->lent = calloc(RING, sizeof *q->lent)));
        prod(&q->fill, &k->fill[i]);
        cons(&q->rx, &k->rx[i]);
    }
    prod(&x->queue[0].tx, &k->tx);
    cons(&x->queue[0].comp, &k->comp);
    k->tx.flags = how & 16 ? 0 : XDP_RING_NEED_WAKEUP;
    x->dev = (struct netdev){
        .rx_burst = xdp_rx_burst, .tx_burst = xdp_tx_burst, .arm = xdp_arm, .layer = 2, .mtu = x->room - 18};
    xdp_fill_all(x);
}

/* Every chunk is somewhere, once: the kernel's, in a ring, or lent; every slot free or the kernel's. */
static void nothing_is_lost(void)
{
    struct xdp *x = &k->x;
    uint32_t left = 0;
    for (uint32_t i = 0; i < x->queues; i++) {
        takes_fill((int)i);
        MUST(k->free_len[i] + (k->rx[i].producer - k->rx[i].consumer) + x->queue[i].lent_len == RING);
    }
    for (uint32_t i = 0; i < RING; i++)
        left += x->slot_left[i] != 0;
    MUST(x->free_len + left == RING);
    MUST(x->dev.stats.rx_frames + x->dev.stats.rx_dropped <= k->frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    MUST((k = calloc(1, sizeof *k)));
    k->in = &in;
    k->up = k->there = 1;
    set_up(take8(&in));
    for (int64_t now = 1; in.left; now += LINK_LOOK / 4) {
        uint8_t how = take8(&in);
        switch (how % 8) {
        case 0:
        case 1:
        case 2: receives(how >> 3); break;
        case 3: takes(); break;
        case 4:
        case 5: sends(now); break;
        case 6: transmits(how >> 3); break;
        default: how & 8 ? (void)sleeps(now) : (void)(k->up = how >> 4 & 1, k->there = how < 240);
        }
    }
    nothing_is_lost();
    for (uint32_t i = 0; i < k->x.queues; i++)
        free(k->x.queue[i].lent);
    free(k->x.umem);
    free(k->x.joined);
    free(k->x.free_slot);
    free(k->x.slot_left);
    free(k);
    return 0;
}
