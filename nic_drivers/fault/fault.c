/* SPDX-License-Identifier: MIT */
#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../bytes.h"
#include "../gather.h"
#include "../gso.h"
#include "../random.h"
#include "../xstats.h"

enum { L2_HEADER = 14, L2_TAG = 4, SECOND = 1000000000 };

_Static_assert(2 * FAULT_KINDS <= TALLY_MAX, "a counter for each fault and way");

/* A stored frame; its bytes are at slots + id * stride. */
struct fault_slot {
    uint32_t len;
    uint16_t l3_off, csum_start, csum_offset;
    uint8_t csum_partial; /* transmit: the inner device finishes the checksum */
    uint8_t csum;         /* receive: BW_CSUM_* */
};

struct fault_due {
    int64_t when;
    uint64_t seq; /* frames due at the same time keep their order */
    uint32_t id;
};

/* One direction. */
struct fault_line {
    struct fault_way cfg;
    struct random dice;
    int64_t link_free; /* the rate-limited link has sent all it took by then */
    int64_t last_due;  /* delays with jitter do not overtake */
    uint64_t seq;
    struct fault_due *heap; /* earliest first */
    uint32_t waiting;       /* entries of heap */
    uint32_t *unused;       /* ids of free slots */
    uint32_t unused_len;
    struct fault_slot *slot;
    uint8_t *slots;
    int tally; /* first counter */
};

struct fault {
    struct netdev dev;
    struct netdev *inner;
    struct tally *tally;
    uint32_t room, stride;
    int64_t began; /* when the first frame came; -1: none has */
    struct fault_line way[2];
    uint32_t lent[BW_RX_BURST]; /* slots of the last receive burst */
    uint32_t lent_len;
};

static void fault_count(struct fault *f, struct fault_line *w, int kind)
{
    tally_add(f->tally, w->tally + kind, 1);
}

/* ---- frames by time due --------------------------------------------------------------------- */
static int due_before(const struct fault_due *a, const struct fault_due *b)
{
    return a->when != b->when ? a->when < b->when : a->seq < b->seq;
}

static void due_push(struct fault_line *w, int64_t when, uint32_t id)
{
    struct fault_due new = {when, w->seq++, id};
    uint32_t i = w->waiting++;
    while (i && due_before(&new, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = new;
}

static uint32_t due_pop(struct fault_line *w)
{
    uint32_t id = w->heap[0].id, i = 0;
    struct fault_due last = w->heap[--w->waiting];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= w->waiting)
            break;
        if (child + 1 < w->waiting && due_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!due_before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return id;
}

static int64_t due_next(const struct fault_line *w)
{
    return w->waiting ? w->heap[0].when : INT64_MAX;
}

/* ---- the dice -------------------------------------------------------------------------------- */
/* When a frame of len bytes that enters the network now leaves it; -1: the link's queue is full. *mark:
 * the queue it waits in is long enough to tell its sender. */
static int64_t fault_when(struct fault *f, struct fault_line *w, int64_t now, uint32_t len, int *mark)
{
    const struct fault_way *cfg = &w->cfg;
    int64_t when = now;
    if (cfg->rate > 0) {
        int64_t start = w->link_free > now ? w->link_free : now;
        double backlog = (double)(start - now) * cfg->rate / (8.0 * SECOND);
        if (start > now && backlog + len > (double)cfg->backlog) {
            fault_count(f, w, FAULT_QUEUE_FULL);
            return -1;
        }
        *mark |= cfg->mark_above >= 0 && backlog > (double)cfg->mark_above;
        when = w->link_free = start + (int64_t)(len * 8.0 * SECOND / cfg->rate);
    }
    when += cfg->delay;
    if (cfg->jitter > 0)
        when += (int64_t)random_below(&w->dice, (uint64_t)cfg->jitter + 1);
    if (when < w->last_due)
        when = w->last_due;
    w->last_due = when;
    if (random_chance(&w->dice, cfg->reorder)) {
        fault_count(f, w, FAULT_REORDERED);
        when += cfg->hold;
    }
    return when;
}

/* Turns one bit of an IP packet; other frames (ARP) have no checksum of their own, and on a wire the
 * frame check sequence would have caught it. 1: done. */
static int fault_flip(struct fault *f, struct fault_line *w, uint8_t *data, uint32_t len)
{
    uint32_t from = 0;
    if (f->dev.layer == 2) {
        if (len <= L2_HEADER)
            return 0;
        uint16_t type = get16(data + 12);
        if (type != 0x0800 && type != 0x86dd)
            return 0;
        from = L2_HEADER;
    }
    uint64_t bit = random_below(&w->dice, (uint64_t)(len - from) * 8);
    data[from + bit / 8] ^= (uint8_t)(1 << bit % 8);
    fault_count(f, w, FAULT_CORRUPTED);
    return 1;
}

/* Congestion experienced (RFC 3168 section 5), if the packet says that its transport understands it. An
 * IPv4 header's checksum is mended after RFC 1624 equation 3. */
static void fault_mark(struct fault *f, struct fault_line *w, uint8_t *ip, uint32_t len)
{
    enum { NOT_ECT = 0, CE = 3 };
    int v4 = len >= 20 && ip[0] >> 4 == 4, v6 = len >= 40 && ip[0] >> 4 == 6, shift = v6 ? 4 : 0;
    int ecn = v4 || v6 ? ip[1] >> shift & CE : NOT_ECT;
    if (ecn == NOT_ECT || ecn == CE)
        return;
    uint32_t old = get16(ip);
    ip[1] |= (uint8_t)(CE << shift);
    if (v4) {
        uint32_t new = get16(ip), sum = get16(ip + 10);
        sum = (~sum & 0xffff) + (~old & 0xffff) + new;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = ~((sum & 0xffff) + (sum >> 16));
        put16(ip + 10, (uint16_t)sum);
    }
    fault_count(f, w, FAULT_MARKED);
}

/* Where the IP packet of a frame begins; its end if it carries none. */
static uint32_t fault_l3(const struct fault *f, const uint8_t *data, uint32_t len)
{
    if (f->dev.layer != 2)
        return 0;
    uint32_t at = len >= L2_HEADER + L2_TAG && data[12] == 0x81 && data[13] == 0 ? L2_TAG : 0;
    if (len < L2_HEADER + at)
        return len;
    uint32_t type = (uint32_t)data[12 + at] << 8 | data[13 + at];
    return type == 0x0800 || type == 0x86dd ? L2_HEADER + at : len;
}

static uint8_t *slot_data(struct fault *f, struct fault_line *w, uint32_t id)
{
    return w->slots + (size_t)id * f->stride;
}

/* Copies one frame into a slot, marked if it met a queue, corrupted if the dice say so. The checksum of a corrupted frame is
 * the one of the right bytes, and has to be verified. */
static void fault_store(struct fault *f, struct fault_line *w, uint32_t id, const struct tx_frame *tx,
                        uint8_t csum, int mark)
{
    struct fault_slot *s = &w->slot[id];
    uint8_t *data = slot_data(f, w, id);
    int corrupt = random_chance(&w->dice, w->cfg.corrupt);
    *s = (struct fault_slot){.len = tx->len,
                             .l3_off = tx->l3_off,
                             .csum_start = tx->csum_start,
                             .csum_offset = tx->csum_offset,
                             .csum_partial = tx->csum_partial,
                             .csum = csum};
    if (corrupt || !(f->dev.caps & NETDEV_TX_CSUM)) {
        bw_gather(data, tx);
        s->csum_partial = 0;
    } else {
        bw_gather_plain(data, tx);
    }
    if (mark) {
        uint32_t l3 = fault_l3(f, data, s->len);
        fault_mark(f, w, data + l3, s->len - l3);
    }
    if (corrupt && fault_flip(f, w, data, s->len))
        s->csum = BW_CSUM_UNKNOWN;
}

static int fault_is_down(const struct fault *f, const struct fault_line *w, int64_t now)
{
    int64_t since = now - f->began - w->cfg.outage_at;
    return since >= 0 && since < w->cfg.outage;
}

/* One frame enters the network. */
static void fault_admit(struct fault *f, struct fault_line *w, int64_t now, const struct tx_frame *tx,
                        uint8_t csum)
{
    if (f->began < 0)
        f->began = now;
    if (fault_is_down(f, w, now)) {
        fault_count(f, w, FAULT_OUTAGE);
        return;
    }
    if (random_chance(&w->dice, w->cfg.loss)) {
        fault_count(f, w, FAULT_LOST);
        return;
    }
    int copies = 1;
    if (random_chance(&w->dice, w->cfg.duplicate)) {
        fault_count(f, w, FAULT_DUPLICATED);
        copies = 2;
    }
    while (copies--) {
        if (!w->unused_len || tx->len == 0 || tx->len > f->room) {
            fault_count(f, w, FAULT_NO_ROOM);
            continue;
        }
        int mark = random_chance(&w->dice, w->cfg.mark);
        int64_t when = fault_when(f, w, now, tx->len, &mark);
        if (when < 0)
            continue;
        uint32_t id = w->unused[--w->unused_len];
        fault_store(f, w, id, tx, csum, mark);
        due_push(w, when, id);
    }
}

/* ---- transmit -------------------------------------------------------------------------------- */
static void fault_reclaim(struct fault *f)
{
    uint32_t tokens[BW_TX_BURST];
    struct fault_line *w = &f->way[FAULT_TX];
    int n;
    if (!f->inner->reclaim)
        return;
    while ((n = f->inner->reclaim(f->inner, tokens, BW_TX_BURST)) > 0)
        while (n--)
            w->unused[w->unused_len++] = tokens[n];
}

/* Hands the frames that are due to the inner device. 0: all, 1: it is full, -errno. */
static int fault_release(struct fault *f, int64_t now)
{
    struct fault_line *w = &f->way[FAULT_TX];
    fault_reclaim(f);
    while (due_next(w) <= now) {
        uint32_t id = w->heap[0].id;
        const struct fault_slot *s = &w->slot[id];
        struct tx_frame tx = {.piece[0] = {slot_data(f, w, id), s->len},
                              .pieces = 1,
                              .len = s->len,
                              .token = id,
                              .l3_off = s->l3_off,
                              .csum_start = s->csum_start,
                              .csum_offset = s->csum_offset,
                              .csum_partial = s->csum_partial};
        int took = f->inner->tx_burst(f->inner, now, &tx, 1);
        if (took < 1)
            return took ? took : 1;
        due_pop(w);
        if (!f->inner->reclaim)
            w->unused[w->unused_len++] = id;
    }
    return 0;
}

static int fault_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct fault *f = (struct fault *)dev;
    int state = fault_release(f, now);
    if (state) { /* a device that is full is not the network: its back pressure goes through */
        dev->stats.tx_full += state > 0;
        return state < 0 ? state : 0;
    }
    for (int i = 0; i < n; i++) {
        fault_admit(f, &f->way[FAULT_TX], now, &frames[i], BW_CSUM_UNKNOWN);
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += frames[i].len;
    }
    fault_release(f, now);
    return n;
}

/* ---- receive --------------------------------------------------------------------------------- */
/* Takes one burst from the inner device into the store. What it returned. */
static int fault_pull(struct fault *f, int64_t now)
{
    struct rx_frame in[BW_RX_BURST];
    int n = f->inner->rx_burst(f->inner, now, in, BW_RX_BURST);
    for (int i = 0; i < n; i++) {
        struct tx_frame tx = {.piece[0] = {in[i].data, in[i].len}, .pieces = 1, .len = in[i].len};
        struct gso_cut cut;
        if (!in[i].gso_size || !gso_begin(&cut, in[i].data, in[i].len, f->dev.layer, in[i].gso_size))
            fault_admit(f, &f->way[FAULT_RX], now, &tx, in[i].csum);
        else
            while (gso_next(&cut, &tx))
                fault_admit(f, &f->way[FAULT_RX], now, &tx, BW_CSUM_PARTIAL);
    }
    return n;
}

static int fault_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct fault *f = (struct fault *)dev;
    struct fault_line *w = &f->way[FAULT_RX];
    int n = 0;
    while (f->lent_len)
        w->unused[w->unused_len++] = f->lent[--f->lent_len];
    fault_release(f, now);
    int pulled = fault_pull(f, now);
    dev->down = f->inner->down;
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    while (n < max && due_next(w) <= now) {
        uint32_t id = due_pop(w);
        const struct fault_slot *s = &w->slot[id];
        frames[n] = (struct rx_frame){.data = slot_data(f, w, id), .len = s->len, .csum = s->csum};
        dev->stats.rx_bytes += frames[n++].len;
        f->lent[f->lent_len++] = id;
    }
    dev->stats.rx_frames += (uint64_t)n;
    return n || pulled > 0 ? n : pulled;
}

/* ---- the rest ---------------------------------------------------------------------------------- */
static int fault_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct fault *f = (struct fault *)dev;
    dev->stats.wakeups++;
    int full = fault_release(f, now) > 0;
    int ready = f->inner->arm(f->inner, now, want_tx || full, arm);
    int64_t rx = due_next(&f->way[FAULT_RX]), tx = full ? INT64_MAX : due_next(&f->way[FAULT_TX]);
    if (rx < arm->deadline)
        arm->deadline = rx;
    if (tx < arm->deadline)
        arm->deadline = tx;
    return ready ? ready : rx <= now;
}

static void fault_free(struct fault *f)
{
    for (int i = 0; i < 2; i++) {
        free(f->way[i].heap);
        free(f->way[i].unused);
        free(f->way[i].slot);
        free(f->way[i].slots);
    }
    free(f);
}

static int fault_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    struct netdev *inner = ((struct fault *)dev)->inner;
    return inner->set_addrs ? inner->set_addrs(inner, addrs, n) : 0;
}

static int fault_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    return xstats_of(((struct fault *)dev)->inner, out, max);
}

static void fault_forked(struct netdev *dev)
{
    struct netdev *inner = ((struct fault *)dev)->inner;
    if (inner->forked)
        inner->forked(inner);
}

static void fault_close(struct netdev *dev)
{
    struct fault *f = (struct fault *)dev;
    f->inner->close(f->inner);
    tally_drop(f->tally);
    fault_free(f);
}

static int way_init(struct fault_line *w, const struct fault_way *cfg, int dir, uint64_t seed, uint32_t held,
                    uint32_t stride)
{
    w->cfg = *cfg;
    if (w->cfg.rate > 0 && w->cfg.rate < 1)
        w->cfg.rate = 1;
    w->tally = dir * FAULT_KINDS;
    w->last_due = INT64_MIN;
    random_seed(&w->dice, seed ^ (uint64_t)dir << 63);
    w->heap = calloc(held, sizeof *w->heap);
    w->unused = calloc(held, sizeof *w->unused);
    w->slot = calloc(held, sizeof *w->slot);
    w->slots = aligned_alloc(64, (size_t)held * stride);
    if (!w->heap || !w->unused || !w->slot || !w->slots)
        return -ENOMEM;
    for (uint32_t i = held; i > 0; i--)
        w->unused[w->unused_len++] = i - 1;
    return 0;
}

struct netdev *fault_new(struct netdev *inner, const struct fault_way *ways, uint64_t seed, uint32_t held,
                         struct tally **tally)
{
    struct fault *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->inner = inner;
    f->began = -1;
    f->room = inner->mtu + (inner->layer == 2 ? L2_HEADER + L2_TAG : 0);
    f->stride = (f->room + 63) & ~63u;
    int err = 0;
    for (int i = 0; i < 2; i++)
        err |= way_init(&f->way[i], &ways[i], i, seed, held, f->stride);
    f->tally = *tally = err ? NULL : tally_new();
    if (!f->tally) {
        fault_free(f);
        return NULL;
    }
    f->dev = *inner;
    f->dev.rx_burst = fault_rx_burst;
    f->dev.tx_burst = fault_tx_burst;
    f->dev.reclaim = NULL;
    f->dev.arm = fault_arm;
    f->dev.close = fault_close;
    f->dev.forked = fault_forked;
    f->dev.xstats = fault_xstats;
    f->dev.set_addrs = fault_set_addrs;
    f->dev.register_memory = NULL; /* what it holds back are copies of its own */
    /* It reads all bytes at once, and a slot holds one MTU. */
    f->dev.caps &= ~(uint32_t)(NETDEV_TX_ASYNC | NETDEV_TSO4 | NETDEV_TSO6 | NETDEV_USO4 | NETDEV_RX_GSO);
    f->dev.tso_max = 0;
    memset(&f->dev.stats, 0, sizeof f->dev.stats);
    return &f->dev;
}
