/* SPDX-License-Identifier: MIT */
/* DCTCP (RFC 8257): the window shrinks in proportion to the share of bytes that were marked. Growth and
 * the answer to a loss are NewReno's. What the receiver does for it is in ecn.c (CC_CE_STATE); with
 * accurate feedback (RFC 9768) it hears of marks from any receiver. */
#include "../tcp.h"

enum {
    ALPHA_ONE = 1 << DCTCP_ALPHA_SHIFT,
    ALPHA_GAIN = 4, /* g = 1/16, section 4.2 */
};

struct dctcp {
    uint64_t reno; /* NewReno's own, first as it expects */
    uint64_t acked, marked;
    uint32_t alpha;
    uint32_t window_end;
    uint8_t watching;
};
_Static_assert(sizeof(struct dctcp) <= sizeof(((struct tcb *)0)->cc_state), "dctcp fits");

static struct dctcp *dctcp_of(struct tcb *t)
{
    return (struct dctcp *)t->cc_state;
}

uint32_t dctcp_alpha(const struct tcb *t)
{
    return t->cc == &tcp_cc_dctcp ? ((const struct dctcp *)t->cc_state)->alpha : 0;
}

/* Section 3.3: with an alpha of 1 the first mark halves the window, as if nothing were known. */
static void dctcp_init(struct tcb *t)
{
    *dctcp_of(t) = (struct dctcp){.alpha = ALPHA_ONE};
}

/* Section 3.3, steps 5 to 8: alpha = (1 - g) * alpha + g * M. What is too small to shrink goes whole, so
 * that alpha can reach zero. */
static void end_observation(struct tcb *t, struct dctcp *d)
{
    uint32_t decay = d->alpha >> ALPHA_GAIN;
    d->alpha -= decay ? decay : d->alpha;
    if (d->acked)
        d->alpha += (uint32_t)((d->marked << (DCTCP_ALPHA_SHIFT - ALPHA_GAIN)) / d->acked);
    if (d->alpha > ALPHA_ONE)
        d->alpha = ALPHA_ONE;
    d->acked = d->marked = 0;
    d->window_end = t->snd_nxt;
}

static void dctcp_ack(struct tcb *t, const struct cc_ack *ack)
{
    struct dctcp *d = dctcp_of(t);
    d->acked += ack->delivered;
    d->marked += ack->ce < ack->delivered ? ack->ce : ack->delivered;
    if (!d->watching) {
        d->watching = 1;
        d->window_end = t->snd_nxt;
    } else if (seq_gt(t->snd_una, d->window_end)) {
        end_observation(t, d);
    }
    tcp_cc_newreno.ack(t, ack);
}

/* Section 3.3, step 9: cwnd = cwnd * (1 - alpha / 2). */
static uint32_t dctcp_ecn_ssthresh(struct tcb *t)
{
    return cc_two_segments(t, t->cwnd - ((uint64_t)t->cwnd * dctcp_of(t)->alpha >> (DCTCP_ALPHA_SHIFT + 1)));
}

/* Section 3.5: a loss is a loss. */
static uint32_t dctcp_ssthresh(struct tcb *t)
{
    return tcp_cc_newreno.ssthresh(t);
}

static void dctcp_timeout(struct tcb *t)
{
    dctcp_of(t)->reno = 0;
}

const struct tcp_cc tcp_cc_dctcp = {
    .name = "dctcp",
    .flags = CC_ECN | CC_CE_STATE,
    .init = dctcp_init,
    .ack = dctcp_ack,
    .ssthresh = dctcp_ssthresh,
    .timeout = dctcp_timeout,
    .ecn_ssthresh = dctcp_ecn_ssthresh,
};
