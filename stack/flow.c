/* SPDX-License-Identifier: MIT */
/* The flow table (exact four-tuples), the bind table (local ports) and port choice (RFC 6056).
 * Both are chained hash tables of fixed size under a secret key. */
#include "stack.h"
#include "tcp/tcp.h"

#define PORT_PERIOD 10000000000ll /* ns; Linux's EPHEMERAL_PORT_SHUFFLE_PERIOD */

struct flow_key {
    uint8_t laddr[16], raddr[16];
    uint16_t lport, rport;
    uint8_t proto;
    uint8_t pad[3];
    uint32_t zone;
};

static uint8_t kind_proto(enum sock_kind kind)
{
    return kind == KIND_UDP ? 17 : 6;
}

static struct flow_key flow_key(uint8_t proto, const uint8_t *laddr, uint16_t lport, const uint8_t *raddr,
                                uint16_t rport, uint32_t zone)
{
    struct flow_key key = {.lport = lport, .rport = rport, .proto = proto, .zone = zone};
    memcpy(key.laddr, laddr, 16);
    memcpy(key.raddr, raddr, 16);
    return key;
}

static uint32_t flow_hash(const struct bw_stack *st, uint8_t proto, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t zone)
{
    const struct flow_key key = flow_key(proto, laddr, lport, raddr, rport, zone);
    return (uint32_t)hsiphash(st->hash_key, &key, sizeof key);
}

static struct bw_sock **flow_chain(struct bw_stack *st, const struct bw_sock *s)
{
    uint32_t h = flow_hash(st, kind_proto(s->kind), s->laddr, s->lport, s->raddr, s->rport, s->zone);
    return &st->flow_bucket[h & st->flow_mask];
}

struct bw_sock *flow_find(struct bw_stack *st, enum sock_kind kind, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t zone)
{
    uint32_t h = flow_hash(st, kind_proto(kind), laddr, lport, raddr, rport, zone);
    for (struct bw_sock *s = st->flow_bucket[h & st->flow_mask]; s; s = s->flow_next)
        if (s->lport == lport && s->rport == rport && s->zone == zone && s->kind == kind &&
            ip_equal(s->raddr, raddr) && ip_equal(s->laddr, laddr))
            return s;
    return NULL;
}

uint32_t flow_longest(const struct bw_stack *st)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i <= st->flow_mask; i++) {
        uint32_t n = 0;
        for (const struct bw_sock *s = st->flow_bucket[i]; s; s = s->flow_next)
            n++;
        most = n > most ? n : most;
    }
    return most;
}

void flow_add(struct bw_sock *s)
{
    struct bw_sock **head = flow_chain(s->st, s);
    s->flow_next = *head;
    *head = s;
    s->flags |= SOCK_CONNECTED;
    if (s->kind != KIND_UDP)
        s->st->port_flows[s->lport]++;
}

void flow_del(struct bw_sock *s)
{
    if (!(s->flags & SOCK_CONNECTED))
        return;
    struct bw_sock **at = flow_chain(s->st, s);
    while (*at != s)
        at = &(*at)->flow_next;
    *at = s->flow_next;
    s->flags &= ~(uint32_t)SOCK_CONNECTED;
    if (s->kind != KIND_UDP)
        s->st->port_flows[s->lport]--;
}

/* ---- bound ports ----------------------------------------------------------------------------- */

static struct bw_sock **bind_chain(struct bw_stack *st, uint8_t proto, uint16_t lport)
{
    return &st->bind_bucket[((uint32_t)lport * 2654435761u + proto) & st->bind_mask];
}

struct bw_sock *bind_each(struct bw_stack *st, enum sock_kind kind, uint16_t lport, struct bw_sock *prev)
{
    uint8_t proto = kind_proto(kind);
    struct bw_sock *s = prev ? prev->bind_next : *bind_chain(st, proto, lport);
    while (s && (s->lport != lport || kind_proto(s->kind) != proto))
        s = s->bind_next;
    return s;
}

/* Which of a group's sockets has the flow; a peer sees who answers. */
static uint32_t group_hash(const struct bw_stack *st, uint8_t proto, const uint8_t *laddr, uint16_t lport,
                           const uint8_t *raddr, uint16_t rport)
{
    const struct flow_key key = flow_key(proto, laddr, lport, raddr, rport, 0);
    return (uint32_t)siphash(st->group_key, &key, sizeof key);
}

struct bw_sock *bind_find(struct bw_stack *st, enum sock_kind kind, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t ifindex)
{
    struct bw_sock *best = NULL;
    uint32_t best_score = 0, alike = 0;
    uint32_t h = 0;
    for (struct bw_sock *s = bind_each(st, kind, lport, NULL); s; s = bind_each(st, kind, lport, s)) {
        uint32_t score = 1;
        if (s->kind != kind || (s->flags & SOCK_CONNECTED) || (s->bound_if && s->bound_if != ifindex))
            continue;
        if (!ip_is_any(s->laddr)) {
            if (!ip_equal(s->laddr, laddr))
                continue;
            score += 2;
        }
        score += s->bound_if ? 1 : 0;
        if (score > best_score) {
            best = s;
            best_score = score;
            alike = 1;
        } else if (score == best_score && s->reuseport && best->reuseport) {
            /* Siblings share by the flow's hash: the k-th one wins if the hash falls on k of k. */
            if (alike++ == 1)
                h = group_hash(st, kind_proto(kind), laddr, lport, raddr, rport);
            if ((h = h * 2654435761u + 1) % alike == 0)
                best = s;
        }
    }
    return best;
}

static int addresses_overlap(const struct bw_sock *a, const struct bw_sock *b)
{
    if (a->bound_if && b->bound_if && a->bound_if != b->bound_if)
        return 0;
    return ip_is_any(a->laddr) || ip_is_any(b->laddr) || ip_equal(a->laddr, b->laddr);
}

/* Linux's rules: SO_REUSEPORT on both shares; SO_REUSEADDR on both shares unless one listens.
 * Accepted connections are not in the bind table (a chain of 10,000 would slow every SYN down):
 * port_flows counts them, and a port with any is only free for SO_REUSEADDR. */
static int conflicts(const struct bw_sock *s, uint16_t lport)
{
    struct bw_stack *st = s->st;
    if (s->kind != KIND_UDP && !s->reuseaddr && !s->reuseport && st->port_flows[lport])
        return 1;
    for (struct bw_sock *o = bind_each(st, s->kind, lport, NULL); o; o = bind_each(st, s->kind, lport, o)) {
        if (o == s || !addresses_overlap(s, o))
            continue;
        if (s->reuseport && o->reuseport)
            continue;
        if (s->reuseaddr && o->reuseaddr && o->kind != KIND_LISTENER && s->kind != KIND_LISTENER)
            continue;
        return 1;
    }
    return 0;
}

static void bind_enter(struct bw_sock *s, uint16_t lport)
{
    struct bw_sock **head = bind_chain(s->st, kind_proto(s->kind), lport);
    s->lport = lport;
    s->bind_next = *head;
    *head = s;
    s->flags |= SOCK_BOUND;
}

/* Ports of the range that satisfy port % mod == value (queue groups). */
static uint32_t port_count(const struct bw_config *cfg, uint32_t *first)
{
    uint32_t mod = cfg->port_mod ? cfg->port_mod : 1;
    *first = cfg->port_first + (cfg->port_value + mod - cfg->port_first % mod) % mod;
    return *first > cfg->port_last ? 0 : (cfg->port_last - *first) / mod + 1;
}

/* Walks the range from a start; `usable` decides. */
static uint16_t port_walk(struct bw_sock *s, uint64_t start, int (*usable)(const struct bw_sock *, uint16_t))
{
    const struct bw_config *cfg = &s->st->cfg;
    uint32_t first, n = port_count(cfg, &first), mod = cfg->port_mod ? cfg->port_mod : 1;
    for (uint32_t i = 0; i < n; i++) {
        uint16_t port = (uint16_t)(first + (start + i) % n * mod);
        if (usable(s, port))
            return port;
    }
    return 0;
}

static int port_free(const struct bw_sock *s, uint16_t port)
{
    return !conflicts(s, port);
}

int bind_add(struct bw_sock *s, uint16_t lport)
{
    if (lport == 0) {
        lport = port_walk(s, random64(s->st), port_free);
        if (lport == 0)
            return -EADDRINUSE;
    } else if (conflicts(s, lport)) {
        return -EADDRINUSE;
    }
    bind_enter(s, lport);
    return 0;
}

void bind_del(struct bw_sock *s)
{
    if (!(s->flags & SOCK_BOUND))
        return;
    struct bw_sock **at = bind_chain(s->st, kind_proto(s->kind), s->lport);
    while (*at != s)
        at = &(*at)->bind_next;
    *at = s->bind_next;
    s->flags &= ~(uint32_t)SOCK_BOUND;
}

/* An implicit port may be shared with other connections as long as the four-tuple is new and no
 * explicit bind or listener holds it. */
static int port_free_towards(const struct bw_sock *s, uint16_t port)
{
    struct bw_stack *st = s->st;
    for (struct bw_sock *o = bind_each(st, s->kind, port, NULL); o; o = bind_each(st, s->kind, port, o))
        if (o != s && addresses_overlap(s, o) && !tcp_name_reusable(o) &&
            ((o->flags & SOCK_PORT_BOUND) || !(o->flags & SOCK_CONNECTED)))
            return 0;
    const struct bw_sock *o = flow_find(st, s->kind, s->laddr, port, s->raddr, s->rport, s->zone);
    return !o || tcp_name_reusable(o);
}

/* RFC 6056 section 3.3.4 (algorithm 4): the start depends on the peer, and so does which counter moves
 * it on, so that no peer can count what others are sent. As on Linux all of it changes now and then. */
uint16_t port_choose(struct bw_stack *st, struct bw_sock *s)
{
    struct {
        struct flow_key flow;
        uint32_t period;
    } key = {.flow = flow_key(kind_proto(s->kind), s->laddr, 0, s->raddr, s->rport, s->zone),
             .period = (uint32_t)(st->now / PORT_PERIOD)};
    uint64_t h = siphash(st->port_key, &key, sizeof key);
    uint16_t *counter = &st->port_counter[h >> 32 & (PORT_COUNTERS - 1)];
    uint16_t port = port_walk(s, (uint32_t)h + (uint64_t)*counter, port_free_towards);
    if (port) {
        ++*counter;
        bind_enter(s, port);
    }
    return port;
}
