/* SPDX-License-Identifier: MIT */
/* Which SYNs of a flood are answered. A cookie costs the engine little and a device much, so at first
 * sight SYN_RATE a second get one (honest clients may come together while a few made-up ones hold a queue
 * full), and above that the first SYN_ANSWERS of one receive burst (64 frames when we are behind, fewer
 * when not). The others are noted in a Bloom filter, and answered when they come again: an honest
 * client sends its SYN again after a second, made-up ones are never repeated. Two filters take turns,
 * so that a SYN is remembered for FILTER_PERIOD at least. */
#include "../tcp.h"

#define FILTER_PERIOD (4 * SECOND)
enum { SYN_RATE = 20000, SYN_BURST = 256, SYN_ANSWERS = 8 };

static uint64_t *filter_word(struct tcp_globals *g, int which, uint32_t bit)
{
    return &g->syn_seen[which][bit % SYN_FILTER_BITS / 64];
}

static int filter_has(struct tcp_globals *g, int which, uint32_t a, uint32_t b)
{
    return *filter_word(g, which, a) >> (a & 63) & *filter_word(g, which, b) >> (b & 63) & 1;
}

/* Brings the pair of filters up to date; returns the one in use. */
static int filter_turn(struct bw_stack *st)
{
    struct tcp_globals *g = st->tcp;
    int64_t period = st->now / FILTER_PERIOD;
    if (period != g->syn_period) {
        memset(g->syn_seen[period & 1], 0, sizeof g->syn_seen[0]);
        if (period != g->syn_period + 1)
            memset(g->syn_seen[!(period & 1)], 0, sizeof g->syn_seen[0]);
        g->syn_period = period;
    }
    return period & 1;
}

void tcp_syn_filter_init(struct tcp_globals *g)
{
    g->syn_bucket = bucket_of(SYN_RATE, SYN_BURST);
}

/* An answer at first sight is taken, from the rate or from the burst; 0: there is none. */
static int take_answer(struct bw_stack *st)
{
    struct tcp_globals *g = st->tcp;
    if (bucket_has_token(&g->syn_bucket, st->now)) {
        bucket_take(&g->syn_bucket, st->now);
        return 1;
    }
    if (g->syn_answers == SYN_ANSWERS)
        return 0;
    g->syn_answers++;
    return 1;
}

/* May the SYN with this hash (of flow and sequence number) be answered? */
int tcp_syn_admitted(struct bw_stack *st, uint64_t hash)
{
    struct tcp_globals *g = st->tcp;
    uint32_t a = (uint32_t)(hash >> 32), b = (uint32_t)((hash * 0x9e3779b97f4a7c15ull) >> 32);
    if (take_answer(st))
        return 1;
    int now = filter_turn(st);
    if (filter_has(g, now, a, b) || filter_has(g, !now, a, b))
        return 1;
    *filter_word(g, now, a) |= 1ull << (a & 63);
    *filter_word(g, now, b) |= 1ull << (b & 63);
    return 0;
}
