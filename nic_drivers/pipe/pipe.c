/* SPDX-License-Identifier: MIT */
/* Memory order: the producer writes a frame, then releases `tail`; the consumer acquires `tail`,
 * reads, then releases `head`. Sleeping: an end says in `armed` what it waits for, fences, and looks
 * at the ring once more; the peer moves the ring, fences, and looks at `armed`. One of the two sees
 * the other (Dekker), so no wake-up is lost, and a peer that is awake costs no system call. */
#include "pipe.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../gather.h"
#include "../xstats.h"

enum {
    L2_HEADER = 14,
    L2_TAG = 4,
    IP_AT = 64,   /* the IP header of a frame starts a cache line of its slot */
    ARMED_RX = 1, /* waits for a frame */
    ARMED_TX = 2, /* waits for room */
    PUT_BURST = 16,
    RING_MAX = 1 << 20,
};

struct pipe_ring {
    _Alignas(64) _Atomic uint32_t tail; /* producer's: frames put in, ever */
    _Alignas(64) _Atomic uint32_t head; /* consumer's: frames given back, ever */
    _Alignas(64) uint32_t mask;         /* entries - 1 */
    uint32_t stride;                    /* bytes of a slot: an odd number of cache lines, so that the
                                           headers of a burst do not compete for the same cache sets */
    uint32_t *len;
    uint8_t *slots;
};

struct pipe_end {
    struct netdev dev;
    struct pipe *pipe;
    struct pipe_ring *rx, *tx;
    struct pipe_end *peer;
    uint32_t offset;     /* where a frame begins in its slot */
    uint32_t room;       /* longest frame */
    uint32_t lent;       /* frames of the last burst, not yet given back */
    uint32_t free_seen;  /* producer's last view of tx->head */
    uint64_t kicks;      /* writes to the eventfd that we know of and have not read */
    uint32_t sleeping;   /* arm() left `armed` set */
    int fd;              /* eventfd the peer kicks */
    struct tally *tally; /* or NULL */
    _Alignas(64) _Atomic uint32_t armed;
    _Atomic uint32_t closed;
};

struct pipe {
    struct pipe_end end[2];
    struct pipe_ring ring[2]; /* [i] is what end i receives */
    _Atomic int refs;
};

/* Wakes the other end if it sleeps on what just happened. */
static void pipe_kick(struct pipe_end *e, uint32_t what)
{
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t armed = atomic_load_explicit(&e->peer->armed, memory_order_relaxed);
    while (armed & what) {
        if (atomic_compare_exchange_weak(&e->peer->armed, &armed, 0)) {
            eventfd_write(e->peer->fd, 1);
            return;
        }
    }
}

/* The room of the frames lent is the peer's again. */
static uint32_t give_back(struct pipe_end *e)
{
    struct pipe_ring *r = e->rx;
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (e->lent) {
        head += e->lent;
        e->lent = 0;
        atomic_store_explicit(&r->head, head, memory_order_release);
        pipe_kick(e, ARMED_TX);
    }
    return head;
}

static int pipe_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct pipe_end *e = (struct pipe_end *)dev;
    struct pipe_ring *r = e->rx;
    uint32_t head = give_back(e);
    uint32_t closed = atomic_load_explicit(&e->peer->closed, memory_order_acquire);
    uint32_t ready = atomic_load_explicit(&r->tail, memory_order_acquire) - head;
    if (!ready)
        return closed ? -ENETDOWN : 0;
    uint32_t n = max < BW_RX_BURST ? (uint32_t)max : BW_RX_BURST;
    if (ready < n)
        n = ready;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = (head + i) & r->mask;
        uint8_t *data = r->slots + (size_t)at * r->stride + e->offset;
        __builtin_prefetch(data);
        frames[i] = (struct rx_frame){.data = data, .len = r->len[at], .csum = BW_CSUM_UNKNOWN};
        bytes += r->len[at];
    }
    e->lent = n;
    dev->stats.rx_frames += n;
    dev->stats.rx_bytes += bytes;
    return (int)n;
}

static int pipe_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct pipe_end *e = (struct pipe_end *)dev;
    struct pipe_ring *r = e->tx;
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed), first = tail;
    int i;
    for (i = 0; i < n; i++) {
        const struct tx_frame *f = &frames[i];
        if (f->len == 0 || f->len > e->room) {
            dev->stats.tx_dropped++;
            continue;
        }
        if (tail - e->free_seen > r->mask) {
            e->free_seen = atomic_load_explicit(&r->head, memory_order_acquire);
            if (tail - e->free_seen > r->mask) {
                dev->stats.tx_full++;
                break;
            }
        }
        uint32_t at = tail++ & r->mask;
        bw_gather(r->slots + (size_t)at * r->stride + e->offset, f);
        r->len[at] = f->len;
        dev->stats.tx_bytes += f->len;
    }
    if (tail == first)
        return i;
    dev->stats.tx_frames += tail - first;
    if (atomic_load_explicit(&e->peer->closed, memory_order_relaxed)) {
        dev->stats.tx_dropped += tail - first; /* nobody will read them; receiving says so */
        return i;
    }
    atomic_store_explicit(&r->tail, tail, memory_order_release);
    pipe_kick(e, ARMED_RX);
    return i;
}

static int pipe_work(struct pipe_end *e, int want_tx)
{
    uint32_t tail = atomic_load_explicit(&e->tx->tail, memory_order_relaxed);
    /* Lent frames count as work: only the next rx_burst gives their room back to the peer. */
    return pipe_waiting(&e->dev) || atomic_load_explicit(&e->peer->closed, memory_order_acquire) ||
           (want_tx && tail - atomic_load_explicit(&e->tx->head, memory_order_acquire) <= e->tx->mask);
}

static int pipe_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct pipe_end *e = (struct pipe_end *)dev;
    uint32_t want = want_tx ? ARMED_RX | ARMED_TX : ARMED_RX;
    uint64_t count;
    dev->stats.wakeups++;
    *arm = (struct netdev_arm){.fd = e->fd, .events = POLLIN, .deadline = INT64_MAX};
    if (e->sleeping && atomic_exchange(&e->armed, 0) == 0)
        e->kicks++; /* the peer cleared it: its write is there or on its way */
    e->sleeping = 0;
    if (e->kicks && eventfd_read(e->fd, &count) == 0)
        e->kicks -= count < e->kicks ? count : e->kicks;
    atomic_store_explicit(&e->armed, want, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!pipe_work(e, want_tx)) {
        e->sleeping = 1;
        return 0;
    }
    if (atomic_exchange(&e->armed, 0) == 0)
        e->kicks++;
    return 1;
}

int pipe_take(struct netdev *dev, uint8_t *data, uint32_t *len, int max)
{
    struct rx_frame frames[BW_RX_BURST];
    int n = pipe_rx_burst(dev, 0, frames, max);
    for (int i = 0; i < n; i++) {
        memcpy(data, frames[i].data, frames[i].len);
        data += len[i] = frames[i].len;
    }
    if (n > 0)
        give_back((struct pipe_end *)dev);
    return n;
}

int pipe_put(struct netdev *dev, const uint8_t *data, const uint32_t *len, int n)
{
    struct tx_frame burst[PUT_BURST];
    int done = 0, taken = 0, built = 0;
    while (taken == built && done < n) {
        for (built = 0; built < PUT_BURST && done + built < n; built++) {
            uint32_t size = len[done + built];
            burst[built] = (struct tx_frame){.piece = {{data, size}}, .pieces = 1, .len = size};
            data += size;
        }
        taken = pipe_tx_burst(dev, 0, burst, built);
        done += taken;
    }
    return done;
}

static int pipe_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    static const char *const names[PIPE_COUNTS] = {"sent", "send_full", "send_failed", "receive_full",
                                                   "receive_refused"};
    uint64_t values[PIPE_COUNTS];
    for (int i = 0; i < PIPE_COUNTS; i++)
        values[i] = tally_get(((struct pipe_end *)dev)->tally, i);
    return xstats_put(out, 0, max, names, values, PIPE_COUNTS);
}

struct tally *pipe_tally(struct netdev *dev)
{
    struct pipe_end *e = (struct pipe_end *)dev;
    e->tally = tally_new();
    if (e->tally)
        dev->xstats = pipe_xstats;
    return e->tally;
}

void pipe_again(struct netdev *dev)
{
    struct pipe_end *e = (struct pipe_end *)dev;
    e->kicks++;
    eventfd_write(e->fd, 1);
}

static void pipe_free(struct pipe *p)
{
    for (int i = 0; i < 2; i++) {
        if (p->end[i].fd >= 0)
            close(p->end[i].fd);
        free(p->ring[i].len);
        free(p->ring[i].slots);
    }
    free(p);
}

static void pipe_forked(struct netdev *dev)
{
    close(((struct pipe_end *)dev)->fd);
}

static void pipe_close(struct netdev *dev)
{
    struct pipe_end *e = (struct pipe_end *)dev;
    struct pipe *p = e->pipe;
    if (e->tally)
        tally_drop(e->tally);
    atomic_store_explicit(&e->closed, 1, memory_order_release);
    pipe_kick(e, ARMED_RX | ARMED_TX);
    if (atomic_fetch_sub(&p->refs, 1) == 1)
        pipe_free(p);
}

uint32_t pipe_waiting(struct netdev *dev)
{
    struct pipe_ring *r = ((struct pipe_end *)dev)->rx;
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    return atomic_load_explicit(&r->tail, memory_order_acquire) - head;
}

int pipe_peer_closed(struct netdev *dev)
{
    return (int)atomic_load_explicit(&((struct pipe_end *)dev)->peer->closed, memory_order_acquire);
}

static int ring_init(struct pipe_ring *r, uint32_t entries, uint32_t room)
{
    uint32_t size = 1;
    while (size < entries && size < RING_MAX)
        size *= 2;
    r->mask = size - 1;
    r->stride = ((IP_AT + room + 63) & ~63u) | 64;
    r->len = calloc(size, sizeof *r->len);
    r->slots = aligned_alloc(64, (size_t)size * r->stride);
    return r->len && r->slots ? 0 : -ENOMEM;
}

static void end_init(struct pipe *p, int i, const struct pipe_config *cfg)
{
    struct pipe_end *e = &p->end[i];
    e->pipe = p;
    e->peer = &p->end[!i];
    e->rx = &p->ring[i];
    e->tx = &p->ring[!i];
    e->offset = cfg->layer == 2 ? IP_AT - L2_HEADER : IP_AT;
    e->room = cfg->mtu + (cfg->layer == 2 ? L2_HEADER + L2_TAG : 0);
    e->dev = (struct netdev){.rx_burst = pipe_rx_burst,
                             .tx_burst = pipe_tx_burst,
                             .arm = pipe_arm,
                             .close = pipe_close,
                             .forked = pipe_forked,
                             .mtu = cfg->mtu,
                             .layer = cfg->layer,
                             .caps = cfg->offload ? NETDEV_TX_CSUM : 0};
    memcpy(e->dev.mac, cfg->mac[i], 6);
    snprintf(e->dev.name, sizeof e->dev.name, "%s", cfg->name[i]);
}

int pipe_pair(const struct pipe_config *cfg, struct netdev *ends[2])
{
    struct pipe *p = aligned_alloc(64, (sizeof *p + 63) & ~(size_t)63);
    if (!p)
        return -ENOMEM;
    memset(p, 0, sizeof *p);
    atomic_init(&p->refs, 2);
    int err = 0;
    for (int i = 0; i < 2; i++) {
        end_init(p, i, cfg);
        if (ring_init(&p->ring[i], cfg->ring, p->end[0].room))
            err = -ENOMEM;
        p->end[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->end[i].fd < 0)
            err = -errno;
    }
    if (err) {
        pipe_free(p);
        return err;
    }
    ends[0] = &p->end[0].dev;
    ends[1] = &p->end[1].dev;
    return 0;
}
