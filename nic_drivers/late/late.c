/* SPDX-License-Identifier: MIT */
#include "late.h"

#include <stdlib.h>
#include <string.h>

#include "../random.h"
#include "../xstats.h"

struct late_frame {
    struct tx_frame frame; /* its pieces stay the stack's */
    int64_t due;
    uint64_t hash;
};

struct late {
    struct netdev dev;
    struct netdev *inner;
    struct netdev_memory memory; /* that the stack registered */
    struct tally *tally;
    struct random dice;
    int64_t max_delay;
    uint32_t depth; /* entries of held and of done together */
    uint32_t held_len, done_len;
    struct late_frame *held; /* taken, not sent; in no order */
    uint32_t *done;          /* tokens of sent frames */
};

/* FNV-1a over all pieces. */
static uint64_t late_hash(const struct tx_frame *f)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < f->pieces; i++)
        for (uint32_t k = 0; k < f->piece[i].len; k++)
            h = (h ^ f->piece[i].data[k]) * 0x100000001b3u;
    return h;
}

/* Pieces that do not lie in the registered memory. */
static uint64_t late_outside(const struct late *l, const struct tx_frame *f)
{
    uint64_t found = 0;
    for (int i = 0; i < f->pieces && l->memory.base; i++) {
        uintptr_t from = (uintptr_t)f->piece[i].data - (uintptr_t)l->memory.base;
        found += from > l->memory.len || f->piece[i].len > l->memory.len - from;
    }
    return found;
}

/* The held frame that is due first; -1: none. */
static int late_first(const struct late *l)
{
    int first = -1;
    for (uint32_t i = 0; i < l->held_len; i++)
        if (first < 0 || l->held[i].due < l->held[first].due)
            first = (int)i;
    return first;
}

/* Sends what is due; 1: the inner device is full. */
static int late_complete(struct late *l, int64_t now)
{
    for (;;) {
        int i = late_first(l);
        if (i < 0 || l->held[i].due > now)
            return 0;
        struct late_frame *h = &l->held[i];
        if (late_hash(&h->frame) != h->hash) {
            tally_add(l->tally, LATE_CORRUPTED, 1);
            h->hash = late_hash(&h->frame); /* counted once, should it have to wait */
        }
        int took = l->inner->tx_burst(l->inner, now, &h->frame, 1);
        if (took == 0)
            return 1;
        tally_add(l->tally, LATE_SENT, took > 0);
        l->done[l->done_len++] = h->frame.token; /* a device that failed has let go of it too */
        *h = l->held[--l->held_len];
    }
}

static int late_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct late *l = (struct late *)dev;
    late_complete(l, now);
    int n = l->inner->rx_burst(l->inner, now, frames, max);
    dev->down = l->inner->down;
    for (int i = 0; i < n; i++) {
        dev->stats.rx_frames++;
        dev->stats.rx_bytes += frames[i].len;
    }
    return n;
}

static int late_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct late *l = (struct late *)dev;
    int i;
    late_complete(l, now);
    for (i = 0; i < n && l->held_len + l->done_len < l->depth; i++) {
        l->held[l->held_len++] = (struct late_frame){
            .frame = frames[i],
            .due = now + 1 + (int64_t)random_below(&l->dice, (uint64_t)l->max_delay),
            .hash = late_hash(&frames[i]),
        };
        tally_add(l->tally, LATE_TAKEN, 1);
        tally_add(l->tally, LATE_OUTSIDE, late_outside(l, &frames[i]));
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += frames[i].len;
    }
    dev->stats.tx_full += i < n;
    return i;
}

static int late_reclaim(struct netdev *dev, uint32_t *tokens, int max)
{
    struct late *l = (struct late *)dev;
    int n = 0;
    while (n < max && l->done_len)
        tokens[n++] = l->done[--l->done_len];
    tally_add(l->tally, LATE_RECLAIMED, (uint64_t)n);
    return n;
}

static int late_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct late *l = (struct late *)dev;
    dev->stats.wakeups++;
    int full = late_complete(l, now);
    int room = l->held_len + l->done_len < l->depth; /* else it comes with the first completion */
    int ready = l->inner->arm(l->inner, now, full, arm);
    int first = late_first(l);
    if (!full && first >= 0 && l->held[first].due < arm->deadline)
        arm->deadline = l->held[first].due;
    return ready ? ready : l->done_len > 0 || (want_tx && room); /* tokens to reclaim are work */
}

static void late_free(struct late *l)
{
    free(l->held);
    free(l->done);
    free(l);
}

static int late_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    struct netdev *inner = ((struct late *)dev)->inner;
    return inner->set_addrs ? inner->set_addrs(inner, addrs, n) : 0;
}

static int late_register_memory(struct netdev *dev, const struct netdev_memory *memory)
{
    struct late *l = (struct late *)dev;
    l->memory = *memory;
    return l->inner->register_memory ? l->inner->register_memory(l->inner, memory) : 0;
}

static int late_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    return xstats_of(((struct late *)dev)->inner, out, max);
}

static void late_forked(struct netdev *dev)
{
    struct netdev *inner = ((struct late *)dev)->inner;
    if (inner->forked)
        inner->forked(inner);
}

static void late_close(struct netdev *dev)
{
    struct late *l = (struct late *)dev;
    l->inner->close(l->inner);
    tally_drop(l->tally);
    late_free(l);
}

struct netdev *late_new(struct netdev *inner, int64_t max_delay, uint32_t depth, uint64_t seed,
                        struct tally **tally)
{
    struct late *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->inner = inner;
    l->max_delay = max_delay > 0 ? max_delay : 1;
    l->depth = depth;
    random_seed(&l->dice, seed);
    l->held = calloc(depth, sizeof *l->held);
    l->done = calloc(depth, sizeof *l->done);
    l->tally = *tally = l->held && l->done ? tally_new() : NULL;
    if (!l->tally) {
        late_free(l);
        return NULL;
    }
    l->dev = *inner;
    l->dev.rx_burst = late_rx_burst;
    l->dev.tx_burst = late_tx_burst;
    l->dev.reclaim = late_reclaim;
    l->dev.arm = late_arm;
    l->dev.close = late_close;
    l->dev.forked = late_forked;
    l->dev.xstats = late_xstats;
    l->dev.set_addrs = late_set_addrs;
    l->dev.register_memory = late_register_memory;
    l->dev.caps |= NETDEV_TX_ASYNC;
    memset(&l->dev.stats, 0, sizeof l->dev.stats);
    return &l->dev;
}
