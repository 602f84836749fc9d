/* SPDX-License-Identifier: MIT */
/* A stack's life: one arena laid out from the configuration, interfaces, timers. */
#include "stack.h"
#include "icmp/icmp.h"
#include "ip/ip4_reassembly.h"
#include "mem/red_zone.h"
#include "tcp/tcp.h"
#include "udp/udp.h"

enum { FLOW_BUCKETS = 4 }; /* a socket: what look_ahead.c fetches is the first of a chain */

/* Hands out parts of the arena; with base NULL it only counts. */
struct layout {
    uint8_t *base;
    size_t used;
    size_t table, table_end; /* flow table and slab */
    int given_back;          /* the arena's memory is to be anything again: its red zones go */
};

static void *part(struct layout *l, size_t bytes, size_t align)
{
    l->used = (l->used + align - 1) & ~(align - 1);
    uint8_t *p = l->base ? l->base + l->used : NULL;
    l->used += bytes + RED_ZONE;
    if (p && l->given_back)
        red_zone_open(p + bytes, RED_ZONE);
    else if (p)
        red_zone_close(p + bytes, RED_ZONE);
    return p;
}

static uint32_t power_of_two(uint32_t n)
{
    uint32_t p = 64;
    while (p < n)
        p *= 2;
    return p;
}

/* Common chunks, and one for each direction of each socket and one for datagrams beyond them. */
static uint32_t common_chunks(const struct bw_config *cfg)
{
    uint64_t n = cfg->buffer_bytes >> CHUNK_SHIFT;
    return n < 16 ? 16 : n > 1u << 24 ? 1u << 24 : (uint32_t)n;
}

static uint32_t all_chunks(const struct bw_config *cfg)
{
    return common_chunks(cfg) + 2 * cfg->max_socks + 1;
}

/* One for each direction of each socket. */
static uint32_t small_chunks(const struct bw_config *cfg)
{
    return 2 * cfg->max_socks;
}

static struct bw_stack *lay_out(const struct bw_config *cfg, struct layout *l)
{
    uint32_t chunks = all_chunks(cfg), smalls = small_chunks(cfg), flows = power_of_two(cfg->max_socks),
             neighs = power_of_two(cfg->max_neighs);
    struct bw_stack *st = part(l, sizeof *st, 64);
    struct tcp_globals *tcp = part(l, sizeof *tcp, 64);
    struct udp_broadcast *broadcast = part(l, sizeof *broadcast, 64);
    struct tx_slot *slots = part(l, SLOTS * sizeof *slots, 64);
    struct bw_trace_record *ring = part(l, cfg->trace_records * sizeof *ring, 64);
    struct neigh *entries = part(l, cfg->max_neighs * sizeof *entries, 64);
    uint32_t *neigh_bucket = part(l, neighs * sizeof *neigh_bucket, 64);
    sock_ref_t(*bind_bucket)[2] = part(l, flows * sizeof *bind_bucket, 64);
    uint32_t *port_flows = part(l, 65536 * sizeof *port_flows, 64);
    struct tx_frame *queues = part(l, (size_t)(MAX_IFACES + 1) * TXQ_SIZE * sizeof *queues, 64);
    struct loopback *loopback = part(l, loopback_size(), 64);
    uint8_t *punts = part(l, (size_t)BW_PUNT_CLASSES * PUNT_QUEUE, 64);
    uint8_t *gathered = part(l, GATHERED, 64);
    struct frag_table *frags = part(l, sizeof *frags, 4096);
    uint32_t slab_size = sizeof(struct listener);
    l->table = l->used;
    sock_ref_t *flow_bucket = part(l, (size_t)FLOW_BUCKETS * flows * sizeof *flow_bucket, 64);
    uint8_t *slab = part(l, (size_t)cfg->max_socks * slab_size, 64);
    struct time_wait *time_waits = part(l, cfg->max_socks * sizeof *time_waits, 64);
    l->table_end = l->used;
    uint16_t *refs = part(l, (chunks + smalls) * sizeof *refs, 64);
    uint32_t *free_chunks = part(l, chunks * sizeof *free_chunks, 64);
    uint32_t *free_smalls = part(l, smalls * sizeof *free_smalls, 64);
    uint8_t *small_bytes = part(l, (size_t)smalls << SMALL_SHIFT, 4096);
    uint8_t *bytes = part(l, (size_t)chunks << CHUNK_SHIFT, 4096);
    uint8_t(*fragments)[FRAG_ROOM] = part(l, sizeof *fragments * FRAG_DATAGRAMS, 4096); /* the last part */
    if (!l->base)
        return NULL;
    st->tcp = tcp;
    st->broadcast = broadcast;
    st->slots = slots;
    st->trace = (struct trace_ring){.record = ring, .size = cfg->trace_records};
    st->neighs = entries;
    st->neigh_bucket = neigh_bucket;
    st->neigh_mask = neighs - 1;
    st->flow_bucket = flow_bucket;
    st->bind_bucket = bind_bucket;
    st->flow_mask = FLOW_BUCKETS * flows - 1;
    st->bind_mask = flows - 1;
    st->port_flows = port_flows;
    for (int i = 0; i <= MAX_IFACES; i++)
        st->iface[i].txq = queues + (size_t)i * TXQ_SIZE;
    for (int i = 0; i < BW_PUNT_CLASSES; i++)
        st->punt[i].ring = punts + (size_t)i * PUNT_QUEUE;
    st->loopback = loopback_init(loopback);
    st->gathered = gathered;
    st->frags = frags;
    frags->bytes = fragments;
    st->slab = slab;
    tcp->time_waits.record = time_waits;
    st->slab_size = slab_size;
    st->chunks = (struct chunk_pool){.base = bytes,
                                     .small = small_bytes,
                                     .refs = refs,
                                     .free = free_chunks,
                                     .small_free = free_smalls,
                                     .count = chunks,
                                     .small_count = smalls,
                                     .common = common_chunks(cfg),
                                     .poison = cfg->poison};
    return st;
}

size_t bw_arena_size(const struct bw_config *cfg)
{
    struct layout l = {0};
    lay_out(cfg, &l);
    return l.used;
}

void bw_flow_part(const struct bw_config *cfg, size_t *from, size_t *to)
{
    struct layout l = {0};
    lay_out(cfg, &l);
    *from = l.table;
    *to = l.table_end;
}

static void make_keys(struct bw_stack *st)
{
    random_seed(st, st->cfg.seed);
    memset(st->cfg.seed, 0, sizeof st->cfg.seed); /* the keys before it are not to be made again */
    random_bytes(st, st->hash_key, sizeof st->hash_key);
    random_bytes(st, st->isn_key, sizeof st->isn_key);
    random_bytes(st, st->port_key, sizeof st->port_key);
    random_bytes(st, st->group_key, sizeof st->group_key);
    random_bytes(st, st->ident_key, sizeof st->ident_key);
    random_bytes(st, st->tcp->fast_open_key, sizeof st->tcp->fast_open_key);
}

struct bw_stack *bw_new(const struct bw_config *cfg, void *arena)
{
    struct layout l = {.base = arena};
    struct bw_stack *st = lay_out(cfg, &l);
    st->cfg = *cfg;
    st->now = cfg->now;
    st->route_gen = 1;
    st->slab_free = CHUNK_NONE;
    tcp_ready_init(st->tcp);
    st->tcp->reports_tail = &st->tcp->reports;
    st->tcp->time_wait_tail = &st->tcp->time_wait;
    tcp_ooo_init(st->tcp);
    tcp_merges_init(&st->tcp->merges);
    tcp_syn_filter_init(st->tcp);
    make_keys(st);
    wheel_init(&st->wheel, cfg->now);
    tx_init(st);
    punt_init(st);
    icmp_error_init(st);
    frag_init(st);
    bw_if_add(st, st->loopback); /* IF_LOOPBACK, the first */
    return st;
}

void bw_free(struct bw_stack *st)
{
    for (uint32_t i = 0; i < st->slab_touched; i++) { /* what lies outside the arena */
        struct bw_sock *s = sock_at(st, i);
        s->flags &= ~(uint32_t)(SOCK_OBSERVED | SOCK_CHANGED);
        s->user = NULL;
        if (s->kind != KIND_FREE)
            sock_ops_of(s)->discard(s);
    }
    if (RED_ZONE) {
        red_zone_open(st->chunks.base, (size_t)st->chunks.touched << CHUNK_SHIFT);
        red_zone_open(st->chunks.small, (size_t)st->chunks.small_touched << SMALL_SHIFT);
        lay_out(&st->cfg, &(struct layout){.base = (uint8_t *)st, .given_back = 1});
    }
}

void bw_set_now(struct bw_stack *st, int64_t now)
{
    if (now > st->now)
        st->now = now;
}

/* ---- interfaces ------------------------------------------------------------------------------------------ */

int bw_if_add(struct bw_stack *st, const struct netdev *dev)
{
    if (st->ifaces == MAX_IFACES)
        return -ENOSPC;
    struct iface *i = &st->iface[st->ifaces + 1];
    i->index = (uint32_t)st->ifaces + 1;
    int err = bw_if_up(st, (int)i->index, dev);
    return err ? err : ++st->ifaces;
}

int bw_if_up(struct bw_stack *st, int ifindex, const struct netdev *dev)
{
    struct iface *i = &st->iface[ifindex];
    if (i->up)
        return -EBUSY;
    if (dev->mtu < 68 || (dev->layer != 2 && dev->layer != 3)) /* RFC 791: every link carries 68 */
        return -EINVAL;
    i->mtu = dev->mtu > 65535 ? 65535 : dev->mtu; /* no IP packet is longer */
    i->caps = dev->caps;
    i->tso_max = dev->tso_max;
    i->layer = dev->layer;
    i->up = 1;
    i->gone = 0;
    i->unfinished = 0;
    memcpy(i->mac, dev->mac, 6);
    ip_paths_changed(st);
    return 0;
}

void bw_if_down(struct bw_stack *st, int ifindex, int err)
{
    struct iface *i = &st->iface[ifindex];
    if (i->gone)
        return;
    bw_if_link(st, ifindex, 0);
    i->gone = 1;
    tcp_if_down(st, (uint32_t)ifindex, err);
    udp_if_down(st, (uint32_t)ifindex, err);
}

void bw_if_link(struct bw_stack *st, int ifindex, int up)
{
    struct iface *i = &st->iface[ifindex];
    if (i->gone)
        return;
    if (!up)
        tx_flush(st, i);
    i->up = up != 0;
    ip_paths_changed(st);
}

int bw_if_count(const struct bw_stack *st)
{
    return st->ifaces;
}

/* ---- time ------------------------------------------------------------------------------------------------- */

static void run_due(struct bw_stack *st)
{
    struct timer *t;
    for (int turn = 0; turn < TIMER_TURN && (t = wheel_pop(&st->wheel, st->now)); turn++)
        if (t == &st->tcp->ooo_timer)
            tcp_ooo_expire(st);
        else if (t == &st->tcp->time_waits.timer)
            tcp_time_wait_expire(st);
        else
            tcp_timer_fired(st, t);
}

/* Of each pass of the driver, and of most there is nothing to do. */
void bw_run_timers(struct bw_stack *st)
{
    if (unlikely(!wheel_rests(&st->wheel, st->now)))
        run_due(st);
    if (unlikely(frag_deadline(st) <= st->now))
        frag_expire(st);
    if (unlikely(udp_broadcast_waits(st)))
        udp_broadcast_go_on(st);
}

int64_t bw_next_deadline(struct bw_stack *st)
{
    if (udp_broadcast_waits(st))
        return st->now;
    int64_t wheel = wheel_next(&st->wheel), frags = frag_deadline(st);
    return wheel < frags ? wheel : frags;
}

uint64_t bw_memory_used(const struct bw_stack *st, int what)
{
    switch (what) {
    case 0:
        return (uint64_t)st->socks_used * st->slab_size +
               (uint64_t)st->tcp->time_waits.used * sizeof(struct time_wait);
    case 3: return st->tcp->orphans;
    case 1: return chunk_bytes(&st->chunks) - (st->fill_chunk != CHUNK_NONE ? CHUNK_SIZE : 0);
    case 4: return flow_longest(st);
    case 5: return st->wheel.count;
    default: return socks_all(st);
    }
}
