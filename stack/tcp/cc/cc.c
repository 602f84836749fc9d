/* SPDX-License-Identifier: MIT */
/* The table of congestion-control algorithms, their one entrance, and what they share.
 * Windows are in bytes; arithmetic on time and windows is integer, so that runs repeat exactly. */
#include "../tcp.h"

static const struct tcp_cc *const algorithms[] = {&tcp_cc_cubic, &tcp_cc_newreno, &tcp_cc_bbr, &tcp_cc_dctcp};

int bw_cc_count(void)
{
    return (int)(sizeof algorithms / sizeof *algorithms);
}

const char *bw_cc_name(int i)
{
    return i >= 0 && i < bw_cc_count() ? algorithms[i]->name : "";
}

static const struct tcp_cc *chosen(const struct tcb *t)
{
    return t->congestion >= BW_CC_PYTHON ? &tcp_cc_custom : algorithms[t->congestion];
}

uint32_t cc_flags(const struct tcb *t)
{
    return chosen(t)->flags;
}

void cc_stop(struct tcb *t)
{
    if (t->cc && t->cc->stop)
        t->cc->stop(t);
}

void cc_start(struct tcb *t)
{
    cc_stop(t);
    t->cc = chosen(t);
    memset(t->cc_state, 0, sizeof t->cc_state);
    pace_set(t, 0);
    t->cc->init(t);
}

void cc_report(struct tcb *t, const struct delivery *d)
{
    const struct rate_sample rate = rate_sample(t, d);
    if (!d->delivered && !t->newly_lost && !d->ece)
        return;
    const struct cc_ack report = {
        .acked = d->acked,
        .delivered = d->delivered,
        .lost = t->newly_lost,
        .flight = d->flight,
        .ce = d->ce,
        .ece = d->ece,
        .rtt = d->rtt,
        .in_recovery = t->recovering,
        /* A window grows with SND.UNA (RFC 5681 section 3.1, RFC 3042), as on Linux; where the way
         * reorders, that would mean hardly ever. */
        .limited = d->limited && (d->acked || t->reordering_seen),
        .rate = rate,
    };
    t->newly_lost = 0;
    tcp_info_rate(t, &rate);
    t->cc->ack(t, &report);
}

void cc_grow(struct tcb *t, uint64_t bytes)
{
    uint64_t cwnd = t->cwnd + bytes;
    t->cwnd = cwnd > CC_WINDOW_MAX ? CC_WINDOW_MAX : (uint32_t)cwnd;
}

/* RFC 5681 section 3.1, with bytes counted (RFC 3465, L = 2 segments for each segment's ACK is not
 * applied: a merged burst acknowledges many segments at once). Returns what slow start left over. */
uint32_t cc_slow_start(struct tcb *t, uint32_t acked)
{
    uint32_t room = t->ssthresh > t->cwnd ? t->ssthresh - t->cwnd : 0, n = acked < room ? acked : room;
    cc_grow(t, n);
    return acked - n;
}

uint32_t cc_used_window(const struct tcb *t)
{
    return t->max_flight < t->cwnd ? t->max_flight : t->cwnd;
}

/* A window of at least two segments. */
uint32_t cc_two_segments(const struct tcb *t, uint64_t window)
{
    return window > 2 * t->mss ? (uint32_t)window : 2 * t->mss;
}
