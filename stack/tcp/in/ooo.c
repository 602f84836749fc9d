/* SPDX-License-Identifier: MIT */
/* What out-of-order data may hold. A byte ahead of a hole costs the chunk that it lies in, so data is
 * charged by chunks: those of the common pool that hold nothing else. Who has some stands in one of three
 * lists, the longest without progress first: sparse, if it uses less than half of what it is charged,
 * dense, or within the chunk that the connection has by right. It is given up, as RFC 2018 section 8 allows a receiver to,
 *   - sparse data, when all of it holds more than OOO_SPARSE_SHARE of the pool;
 *   - any, when data in order comes and the pool is under pressure (sparse first), and sparse data also
 *     when other out-of-order data comes;
 *   - any, when its hole has not been filled for OOO_KEEP: the sender will send all of it again.
 * The next ACK says nothing of it any more; the peer has kept it until it is acknowledged. */
#include "../tcp.h"

enum {
    OOO_SPARSE_SHARE = 8, /* of the common pool: its eighth */
    OOO_PRESSURE = 75,    /* percent of the pool: from here on windows are small, too (buffers.c) */
    OOO_TURN = 8, /* connections that give up for one segment, at most, and for one look at the time */
};
#define OOO_KEEP (120 * SECOND)

static struct ooo_list *list_of(const struct tcb *t)
{
    return &t->base.st->tcp->ooo[t->ooo_kind];
}

static int nobody_waits(const struct tcp_globals *g)
{
    for (int i = 0; i < OOO_KINDS; i++)
        if (g->ooo[i].head)
            return 0;
    return 1;
}

static void leave(struct tcb *t)
{
    struct ooo_list *l = list_of(t);
    tailq_remove(&l->tail, t, ooo_next, ooo_pprev);
    l->chunks -= t->ooo_chunks;
    t->ooo_chunks = 0;
    if (nobody_waits(t->base.st->tcp))
        timer_cancel(&t->base.st->wheel, &t->base.st->tcp->ooo_timer);
}

static void enter(struct tcb *t, uint32_t chunks, int kind)
{
    struct tcp_globals *g = t->base.st->tcp;
    t->ooo_kind = (uint8_t)kind;
    struct ooo_list *l = list_of(t);
    tailq_add(&l->tail, t, ooo_next, ooo_pprev);
    t->ooo_chunks = chunks;
    l->chunks += chunks;
    t->ooo_since = (uint32_t)(t->base.st->now / SECOND);
    if (!timer_is_set(&g->ooo_timer))
        timer_set(&t->base.st->wheel, &g->ooo_timer, t->base.st->now + OOO_KEEP);
}

/* What t holds ahead has changed; `progress`: its first hole is another one now. */
static void account(struct tcb *t, int progress)
{
    uint32_t chunks = byteq_ahead_chunks(&t->rcvq);
    int sparse = (uint64_t)chunks * CHUNK_SIZE > 2 * (uint64_t)t->rcvq.ahead;
    int kind = !chunks ? OOO_OWN : sparse ? OOO_SPARSE : OOO_DENSE;
    if (t->ooo_pprev && (progress || !t->ooo.n || kind != t->ooo_kind))
        leave(t);
    if (!t->ooo.n)
        return;
    if (!t->ooo_pprev) {
        enter(t, chunks, kind);
        return;
    }
    list_of(t)->chunks += chunks - t->ooo_chunks;
    t->ooo_chunks = chunks;
}

void tcp_ooo_forget(struct tcb *t)
{
    byteq_trim(&t->rcvq, &t->base.st->chunks);
    ranges_free(&t->ooo);
    if (t->ooo_pprev)
        leave(t);
}

static void give_up(struct tcb *t)
{
    count(t->base.st, COUNT_TCP_OOO_PRUNED);
    tcp_ooo_forget(t);
}

void tcp_ooo_changed(struct tcb *t, int progress)
{
    struct bw_stack *st = t->base.st;
    struct ooo_list *sparse = &st->tcp->ooo[OOO_SPARSE];
    account(t, progress);
    while (sparse->chunks > st->chunks.common / OOO_SPARSE_SHARE)
        give_up(sparse->head);
}

/* The first of the list that is not t. */
static struct tcb *other(const struct ooo_list *l, const struct tcb *t)
{
    return l->head == t && t ? t->ooo_next : l->head;
}

void tcp_ooo_make_room(struct tcb *t, int in_order)
{
    struct bw_stack *st = t->base.st;
    struct tcb *victim;
    for (int i = 0; i < OOO_TURN && unlikely(chunk_filled(&st->chunks, OOO_PRESSURE)); i++) {
        victim = other(&st->tcp->ooo[OOO_SPARSE], t);
        if (!victim && in_order)
            victim = other(&st->tcp->ooo[OOO_DENSE], t);
        if (!victim)
            return;
        give_up(victim);
    }
}

void tcp_ooo_expire(struct bw_stack *st)
{
    struct tcp_globals *g = st->tcp;
    int64_t next = NEVER;
    for (int i = 0; i < OOO_KINDS; i++) {
        struct tcb *t;
        int turn = OOO_TURN;
        while ((t = g->ooo[i].head) && t->ooo_since * SECOND + OOO_KEEP <= st->now && turn--)
            give_up(t);
        if (t && t->ooo_since * SECOND + OOO_KEEP < next)
            next = t->ooo_since * SECOND + OOO_KEEP;
    }
    if (next != NEVER)
        timer_set(&st->wheel, &g->ooo_timer, next > st->now ? next : st->now);
}

void tcp_ooo_init(struct tcp_globals *g)
{
    for (int i = 0; i < OOO_KINDS; i++)
        g->ooo[i].tail = &g->ooo[i].head;
}
