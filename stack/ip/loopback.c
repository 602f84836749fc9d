/* SPDX-License-Identifier: MIT */
/* The loopback interface: a layer-3 device that lends out what it was given, in order. Frames are
 * copied once into a bounded byte ring; checksums are never computed, and TCP and UDP may hand over
 * super-segments. Its memory is the stack's arena, so close() only empties it. */
#include "../stack.h"

enum { LOOP_RING = BW_LOOP_RING, LOOP_TSO_MAX = 60000, LOOP_MTU = 65535 };

/* Each frame in the ring: this, then its bytes, 8-byte aligned; never across the ring's end. */
struct loop_head {
    uint32_t len; /* LOOP_SKIP: nothing more up to the ring's end */
    uint16_t gso_size;
    uint16_t pad;
};
#define LOOP_SKIP 0xffffffffu

struct loopback {
    struct netdev dev;
    uint32_t head, used; /* bytes of the ring: queued frames and, before them, lent ones */
    uint32_t lent;       /* bytes from head that the last rx_burst lent out */
    uint8_t ring[LOOP_RING];
};

static uint32_t loop_size(uint32_t len)
{
    return (uint32_t)sizeof(struct loop_head) + ((len + 7) & ~7u);
}

static void loop_advance(struct loopback *lo, uint32_t bytes)
{
    lo->head = (lo->head + bytes) % LOOP_RING;
    lo->used -= bytes;
    if (!lo->used)
        lo->head = 0; /* an empty ring starts again where its memory is warm */
}

static int loopback_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct loopback *lo = container_of(dev, struct loopback, dev);
    int n = 0;
    loop_advance(lo, lo->lent);
    lo->lent = 0;
    while (n < max && lo->lent < lo->used) {
        struct loop_head head;
        uint32_t at = (lo->head + lo->lent) % LOOP_RING;
        memcpy(&head, lo->ring + at, sizeof head);
        if (head.len == LOOP_SKIP) {
            lo->lent += LOOP_RING - at;
            continue;
        }
        frames[n++] = (struct rx_frame){.data = lo->ring + at + sizeof head,
                                        .len = head.len,
                                        .gso_size = head.gso_size,
                                        .csum = BW_CSUM_VALID};
        lo->lent += loop_size(head.len);
        dev->stats.rx_bytes += head.len;
    }
    dev->stats.rx_frames += (uint64_t)n;
    return n;
}

/* Copies one frame in; 0: no room now. */
static int loop_put(struct loopback *lo, const struct tx_frame *f)
{
    uint32_t tail = (lo->head + lo->used) % LOOP_RING, size = loop_size(f->len);
    uint32_t skip = LOOP_RING - tail < size ? LOOP_RING - tail : 0;
    if (lo->used + skip + size > LOOP_RING)
        return 0;
    if (skip) {
        memcpy(lo->ring + tail, &(struct loop_head){.len = LOOP_SKIP}, sizeof(struct loop_head));
        lo->used += skip;
        tail = 0;
    }
    struct loop_head head = {.len = f->len, .gso_size = f->gso_size};
    memcpy(lo->ring + tail, &head, sizeof head);
    uint8_t *to = lo->ring + tail + sizeof head;
    for (int i = 0; i < f->pieces; i++) {
        memcpy(to, f->piece[i].data, f->piece[i].len);
        to += f->piece[i].len;
    }
    lo->used += size;
    return 1;
}

static int loopback_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct loopback *lo = container_of(dev, struct loopback, dev);
    int i;
    for (i = 0; i < n; i++) {
        if (frames[i].len > LOOP_MTU) {
            dev->stats.tx_dropped++;
            continue;
        }
        if (!loop_put(lo, &frames[i])) {
            dev->stats.tx_full++;
            break;
        }
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += frames[i].len;
    }
    return i;
}

static int loopback_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    const struct loopback *lo = container_of(dev, struct loopback, dev);
    *arm = (struct netdev_arm){.fd = -1, .deadline = INT64_MAX};
    dev->stats.wakeups++;
    return lo->used > lo->lent;
}

static void loopback_close(struct netdev *dev)
{
    struct loopback *lo = container_of(dev, struct loopback, dev);
    lo->head = lo->used = lo->lent = 0;
}

size_t loopback_size(void)
{
    return sizeof(struct loopback);
}

struct netdev *loopback_init(struct loopback *lo)
{
    lo->dev = (struct netdev){
        .rx_burst = loopback_rx_burst,
        .tx_burst = loopback_tx_burst,
        .arm = loopback_arm,
        .close = loopback_close,
        .caps = NETDEV_LOOPBACK | NETDEV_TX_CSUM | NETDEV_RX_CSUM | NETDEV_TSO4 | NETDEV_USO4 | NETDEV_RX_GSO,
        .mtu = LOOP_MTU,
        .tso_max = LOOP_TSO_MAX,
        .layer = 3,
        .name = "lo",
    };
    return &lo->dev;
}

struct netdev *bw_loopback(struct bw_stack *st)
{
    return st->loopback;
}
