/* SPDX-License-Identifier: MIT */
/* The bind table (local ports) and port choice (RFC 6056): a chained hash table of fixed size. Sockets with
 * SO_REUSEPORT and one name are a group with one entry in it, and connected sockets stand in chains of their
 * own, so that a packet for a port costs the same however many of either there are. */
#include "stack.h"
#include "tcp/tcp.h"

#define PORT_PERIOD 10000000000ll /* ns */

static sock_ref_t *bind_chain(struct bw_stack *st, uint8_t proto, uint16_t lport, int connected)
{
    return &st->bind_bucket[((uint32_t)lport * 2654435761u + proto) & st->bind_mask][connected];
}

static int is_connected(const struct bw_sock *s)
{
    return (s->flags & SOCK_CONNECTED) != 0;
}

/* The first socket of that port from here on in a chain, or NULL. */
static struct bw_sock *bind_seek(const struct bw_stack *st, uint8_t proto, uint16_t lport, sock_ref_t next)
{
    while (next) {
        struct bw_sock *s = sock_of(st, next);
        if (s->lport == lport && kind_proto(s->kind) == proto)
            return s;
        next = s->bind_next;
    }
    return NULL;
}

/* As bind_each, of those only that are not connected. */
static struct bw_sock *bind_each_open(struct bw_stack *st, enum sock_kind kind, uint16_t lport,
                                      struct bw_sock *prev)
{
    uint8_t proto = kind_proto(kind);
    return bind_seek(st, proto, lport, prev ? prev->bind_next : *bind_chain(st, proto, lport, 0));
}

struct bw_sock *bind_each(struct bw_stack *st, enum sock_kind kind, uint16_t lport, struct bw_sock *prev)
{
    uint8_t proto = kind_proto(kind);
    if (prev && is_connected(prev))
        return bind_seek(st, proto, lport, prev->bind_next);
    struct bw_sock *s = bind_each_open(st, kind, lport, prev);
    return s ? s : bind_seek(st, proto, lport, *bind_chain(st, proto, lport, 1));
}

/* Puts s into its chain: behind `before`, or at the head (0). */
static void bind_link(struct bw_sock *s, sock_ref_t before)
{
    sock_ref_t *at = before ? &sock_of(s->st, before)->bind_next
                            : bind_chain(s->st, kind_proto(s->kind), s->lport, is_connected(s));
    s->bind_prev = before;
    s->bind_next = *at;
    if (*at)
        sock_of(s->st, *at)->bind_prev = sock_ref(s);
    *at = sock_ref(s);
}

static void bind_unlink(struct bw_sock *s)
{
    sock_ref_t *at = s->bind_prev ? &sock_of(s->st, s->bind_prev)->bind_next
                                  : bind_chain(s->st, kind_proto(s->kind), s->lport, is_connected(s));
    *at = s->bind_next;
    if (s->bind_next)
        sock_of(s->st, s->bind_next)->bind_prev = s->bind_prev;
}

/* ---- SO_REUSEPORT ------------------------------------------------------------------------------ */

static int same_name(const struct bw_sock *a, const struct bw_sock *b)
{
    return a->bound_if == b->bound_if && ip_equal(a->laddr, b->laddr);
}

/* Can a socket that waits for packets of this kind have them? */
static int group_waits(const struct bw_sock *s)
{
    return s->kind == KIND_UDP || s->kind == KIND_LISTENER;
}

static void group_put(struct bind_group *g, uint32_t place, struct bw_sock *s)
{
    g->member[place] = s;
    s->group_place = place;
}

static void group_swap(struct bind_group *g, uint32_t a, uint32_t b)
{
    struct bw_sock *s = g->member[a];
    group_put(g, a, g->member[b]);
    group_put(g, b, s);
}

/* s joins the group of `first`, which stands in the chain for all of it. 0, -1: no memory. */
static int group_join(struct bw_sock *first, struct bw_sock *s)
{
    struct bind_group *g = first->group;
    if (!g) {
        if (!(g = calloc(1, sizeof *g)))
            return -1;
        g->cap = 8;
        if (!(g->member = malloc(g->cap * sizeof(struct bw_sock *)))) {
            free(g);
            return -1;
        }
        group_put(g, g->n++, first);
        g->entry = first;
        g->waiting = (uint32_t)group_waits(first);
        first->group = g;
    }
    if (g->n == g->cap) {
        struct bw_sock **more = realloc(g->member, 2ul * g->cap * sizeof(struct bw_sock *));
        if (!more)
            return -1;
        g->member = more;
        g->cap *= 2;
    }
    s->group = g;
    group_put(g, g->n++, s);
    if (group_waits(s))
        group_swap(g, g->waiting++, g->n - 1);
    return 0;
}

/* The group goes on without s, which stands in the chain for itself then. */
static void group_leave(struct bw_sock *s)
{
    struct bind_group *g = s->group;
    if (!g)
        return;
    uint32_t place = s->group_place;
    if (place < g->waiting) {
        group_swap(g, place, --g->waiting);
        place = g->waiting;
    }
    group_swap(g, place, --g->n);
    s->group = NULL;
    if (g->entry == s) { /* it stood there for all: another one does now, behind it */
        g->entry = g->member[0];
        bind_link(g->entry, sock_ref(s));
    } else {
        bind_link(s, 0);
    }
    if (g->n == 1) {
        g->entry->group = NULL;
        free(g->member);
        free(g);
    }
}

/* Which of a group's sockets has the flow; a peer sees who answers. */
static struct bw_sock *group_member(const struct bind_group *g, const struct flow_key *flow)
{
    uint64_t h = (uint32_t)siphash(g->member[0]->st->group_key, flow, sizeof *flow);
    return g->member[h * g->waiting >> 32];
}

/* ---- who has a packet ---------------------------------------------------------------------------- */

/* Does s, or one of its group, wait for packets of this kind? */
int bind_waits(const struct bw_sock *s, enum sock_kind kind)
{
    return s->group ? s->group->waiting > 0 : s->kind == kind && !(s->flags & SOCK_CONNECTED);
}

struct bw_sock *bind_find(struct bw_stack *st, enum sock_kind kind, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t ifindex)
{
    struct bw_sock *best = NULL;
    uint32_t best_score = 0;
    for (struct bw_sock *s = bind_each_open(st, kind, lport, NULL); s;
         s = bind_each_open(st, kind, lport, s)) {
        uint32_t score = 1;
        if (!bind_waits(s, kind) || (s->bound_if && s->bound_if != ifindex))
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
        }
    }
    if (!best || !best->group)
        return best;
    const struct flow_key flow = flow_key(kind_proto(kind), laddr, lport, raddr, rport, 0);
    return group_member(best->group, &flow);
}

/* ---- binding --------------------------------------------------------------------------------------- */

static int addresses_overlap(const struct bw_sock *a, const struct bw_sock *b)
{
    if (a->bound_if && b->bound_if && a->bound_if != b->bound_if)
        return 0;
    return ip_is_any(a->laddr) || ip_is_any(b->laddr) || ip_equal(a->laddr, b->laddr);
}

/* SO_REUSEADDR does not let the two share. */
static int keeps_alone(const struct bw_sock *s, const struct bw_sock *o)
{
    return !s->reuseaddr || !o->reuseaddr || o->kind == KIND_LISTENER || s->kind == KIND_LISTENER;
}

/* Linux's rules: SO_REUSEPORT on both shares; SO_REUSEADDR on both shares unless one listens.
 * Accepted connections are not in the bind table (a chain of 10,000 would slow every SYN down):
 * port_flows counts them, and a port with any is only free for SO_REUSEADDR. */
static int conflicts(const struct bw_sock *s, uint16_t lport)
{
    struct bw_stack *st = s->st;
    if (sock_ops_of(s)->flows_hold_port && !s->reuseaddr && !s->reuseport && st->port_flows[lport])
        return 1;
    for (struct bw_sock *o = bind_each(st, s->kind, lport, NULL); o; o = bind_each(st, s->kind, lport, o)) {
        if (o == s || !addresses_overlap(s, o) || (s->reuseport && o->reuseport))
            continue;
        for (uint32_t i = 0; i < (o->group ? o->group->n : 1); i++)
            if (keeps_alone(s, o->group ? o->group->member[i] : o))
                return 1;
    }
    return 0;
}

static void bind_enter(struct bw_sock *s, uint16_t lport)
{
    s->lport = lport;
    s->flags |= SOCK_BOUND;
    if (s->reuseport && !is_connected(s))
        for (struct bw_sock *o = bind_each_open(s->st, s->kind, lport, NULL); o;
             o = bind_each_open(s->st, s->kind, lport, o))
            if (o->reuseport && same_name(s, o) && !group_join(o, s))
                return;
    bind_link(s, 0);
}

/* Every how many ports one is the stack's, by the number alone. */
static uint32_t port_step(const struct bw_config *cfg)
{
    return cfg->share.group > 1 && !cfg->share.table_len ? cfg->share.group : 1;
}

/* Ports of the range that may be the stack's. */
static uint32_t port_count(const struct bw_config *cfg, uint32_t *first)
{
    uint32_t step = port_step(cfg), mine = step > 1 ? cfg->share.mine : 0;
    *first = cfg->port_first + (mine + step - cfg->port_first % step) % step;
    return *first > cfg->port_last ? 0 : (cfg->port_last - *first) / step + 1;
}

/* Walks the range from a start; `usable` decides, and towards a peer (raddr NULL: none is known) whose the flow is. */
static uint16_t port_walk(struct bw_sock *s, uint64_t start, int (*usable)(const struct bw_sock *, uint16_t),
                          const uint8_t *laddr, const uint8_t *raddr, uint16_t rport)
{
    const struct bw_config *cfg = &s->st->cfg;
    uint32_t first, n = port_count(cfg, &first), step = port_step(cfg);
    for (uint32_t i = 0; i < n; i++) {
        uint16_t port = (uint16_t)(first + (start + i) % n * step);
        if (!(raddr && flow_of_others(s->st, raddr, rport, laddr, port)) && usable(s, port))
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
        lport = port_walk(s, random64(s->st), port_free, NULL, NULL, 0);
        if (lport == 0)
            return -EADDRINUSE;
    } else if (conflicts(s, lport)) {
        return -EADDRINUSE;
    }
    bind_enter(s, lport);
    return 0;
}

int bind_towards(struct bw_sock *s, const uint8_t *laddr, const uint8_t *raddr, uint16_t rport)
{
    uint16_t port = port_walk(s, random64(s->st), port_free, laddr, raddr, rport);
    if (!port)
        return -EADDRINUSE;
    bind_enter(s, port);
    return 0;
}

void bind_del(struct bw_sock *s)
{
    if (!(s->flags & SOCK_BOUND))
        return;
    group_leave(s);
    bind_unlink(s);
    s->flags &= ~(uint32_t)SOCK_BOUND;
}

void bind_set_connected(struct bw_sock *s, int connected)
{
    int bound = s->flags & SOCK_BOUND;
    if (bound) {
        group_leave(s);
        bind_unlink(s);
    }
    s->flags = connected ? s->flags | SOCK_CONNECTED : s->flags & ~(uint32_t)SOCK_CONNECTED;
    if (bound)
        bind_link(s, 0);
}

void bind_replace(struct bw_sock *s, struct bw_sock *by)
{
    if (!(s->flags & SOCK_BOUND))
        return;
    by->bind_next = s->bind_next;
    by->bind_prev = s->bind_prev;
    if (by->bind_next)
        sock_of(by->st, by->bind_next)->bind_prev = sock_ref(by);
    *(by->bind_prev ? &sock_of(by->st, by->bind_prev)->bind_next
                    : bind_chain(by->st, kind_proto(by->kind), by->lport, 1)) = sock_ref(by);
    s->flags &= ~(uint32_t)SOCK_BOUND;
}

void bind_again(struct bw_sock *s)
{
    if (!(s->flags & SOCK_BOUND))
        return;
    bind_del(s);
    bind_enter(s, s->lport);
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
 * it on, so that no peer can count what others are sent. All of it changes now and then. */
uint16_t port_choose(struct bw_stack *st, struct bw_sock *s)
{
    struct {
        struct flow_key flow;
        uint32_t period;
    } key = {.flow = flow_key(kind_proto(s->kind), s->laddr, 0, s->raddr, s->rport, s->zone),
             .period = (uint32_t)(st->now / PORT_PERIOD)};
    uint64_t h = siphash(st->port_key, &key, sizeof key);
    uint16_t *counter = &st->port_counter[h >> 32 & (PORT_COUNTERS - 1)];
    uint16_t port = port_walk(s, (uint32_t)h + (uint64_t)*counter, port_free_towards, s->laddr, s->raddr,
                              s->rport);
    if (port) {
        ++*counter;
        bind_enter(s, port);
    }
    return port;
}
