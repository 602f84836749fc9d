/* SPDX-License-Identifier: MIT */
/* HyStart++ (RFC 9406): slow start that ends when the round-trip time rises, before data is lost.
 *
 * A rise ends nothing by itself: it begins conservative slow start, which grows at a quarter of the
 * rate for CSS_ROUNDS rounds and goes back if the round-trip time falls again, because then it was
 * jitter. For the first slow start only (section 4.3): later ones know where to end. L is infinite
 * although we do not pace: one report may stand for a whole burst of ACKs that were merged. */
#include "../tcp.h"

enum {
    MIN_RTT_THRESH = 4000, /* us */
    MAX_RTT_THRESH = 16000,
    MIN_RTT_DIVISOR = 8,
    N_RTT_SAMPLE = 8,
    CSS_GROWTH_DIVISOR = 4,
    CSS_ROUNDS = 5,
};
#define NO_RTT UINT32_MAX

void hystart_init(const struct tcb *t, struct hystart *h)
{
    *h = (struct hystart){.last_min = NO_RTT, .round_min = NO_RTT, .window_end = t->snd_nxt};
}

static void take_sample(struct hystart *h, int64_t rtt)
{
    uint32_t us = rtt / 1000 < NO_RTT ? (uint32_t)(rtt / 1000) : NO_RTT - 1;
    if (us < h->round_min)
        h->round_min = us;
    if (h->samples < N_RTT_SAMPLE)
        h->samples++;
}

/* Into conservative slow start and back, by the samples of this round. */
static void judge(struct hystart *h)
{
    if (h->samples < N_RTT_SAMPLE)
        return;
    if (h->css_rounds) {
        if (h->round_min < h->baseline)
            h->css_rounds = 0;
        return;
    }
    uint32_t thresh = h->last_min / MIN_RTT_DIVISOR;
    thresh = thresh < MIN_RTT_THRESH ? MIN_RTT_THRESH : thresh > MAX_RTT_THRESH ? MAX_RTT_THRESH : thresh;
    if (h->last_min != NO_RTT && h->round_min >= h->last_min + thresh) {
        h->baseline = h->round_min;
        h->css_rounds = 1; /* what is left of this round counts */
    }
}

/* One ACK of the first slow start (t->ssthresh was never set): the window grows. */
void hystart_ack(struct tcb *t, struct hystart *h, const struct cc_ack *ack)
{
    if (ack->rtt >= 0)
        take_sample(h, ack->rtt);
    judge(h);
    if (ack->limited)
        cc_grow(t, h->css_rounds ? ack->delivered / CSS_GROWTH_DIVISOR : ack->delivered);
    if (seq_lt(t->snd_una, h->window_end))
        return;
    if (h->css_rounds && h->css_rounds++ == CSS_ROUNDS)
        t->ssthresh = t->cwnd; /* congestion avoidance from here */
    h->last_min = h->round_min;
    h->round_min = NO_RTT;
    h->samples = 0;
    h->window_end = t->snd_nxt;
}
