/* SPDX-License-Identifier: MIT */
/* BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00, delivery rates after
 * draft-cheng-iccrg-delivery-rate-estimation): a model of the path, its bottleneck bandwidth (the
 * highest delivery rate of ten round trips) and its round-trip time (the lowest of ten seconds), says
 * how fast and how much to send. Loss is no sign of congestion here.
 *
 * Version 1, because it holds its rate under random loss, where versions 2 and 3 back off above 2 %.
 * Beyond the draft there are the room for aggregated ACKs in the window and the longer wait for the
 * queue that probing makes. Against it: no sampling for token-bucket policers (its later addition),
 * and at least two segments a quantum at every rate. Windows in bytes, rates in bytes a second, gains in 1/256. */
#include "../tcp.h"

enum {
    GAIN = 256,
    STARTUP_GAIN = 739, /* 2 / ln 2: the least that doubles the rate each round trip */
    DRAIN_GAIN = 88,    /* its inverse: what startup queued leaves in a round trip */
    WINDOW_GAIN = 2 * GAIN,
    PHASES = 8,           /* of PROBE_BW */
    BW_ROUNDS = 10,       /* how long a bandwidth sample counts */
    FULL_ROUNDS = 3,      /* without growth by a quarter: the pipe is full */
    AGGREGATE_ROUNDS = 5, /* half of the time that an aggregate counts */
    MIN_SEGMENTS = 4,
};
#define MIN_RTT_TIME (10 * SECOND)
#define PROBE_RTT_TIME (200 * MS)
#define AGGREGATE_MOST (100 * MS) /* at most so long a time's worth of window for aggregated ACKs */

enum { STARTUP, DRAIN, PROBE_BW, PROBE_RTT };

struct bbr {
    uint64_t bw[3]; /* the maximum and its successors, oldest first, seen in bw_round */
    uint32_t bw_round[3], round;
    uint64_t round_end; /* the round is over when data sent after this much was delivered is acknowledged */
    uint64_t full_bw;
    int64_t min_rtt, min_rtt_time, probe_rtt_end, phase_start, epoch_start;
    uint32_t epoch_acked, aggregate[2]; /* ACKs that come together */
    uint32_t prior_cwnd;
    uint8_t mode : 2, phase : 3, full_rounds : 2, full : 1;
    uint8_t aggregate_rounds : 4, aggregate_at : 1, has_rtt : 1;
    uint8_t round_start : 1, conserving : 1, recovering : 1, restarted : 1, probe_round_over : 1;
};
_Static_assert(sizeof(struct bbr) <= sizeof(((struct tcb *)0)->cc_state), "bbr fits");

static struct bbr *bbr_of(struct tcb *t)
{
    return (struct bbr *)t->cc_state;
}

/* ---- the model: bandwidth -------------------------------------------------------------------------------- */

static void bw_entry(struct bbr *b, int from, uint64_t bw)
{
    for (int i = from; i < 3; i++) {
        b->bw[i] = bw;
        b->bw_round[i] = b->round;
    }
}

static void bw_shift(struct bbr *b, uint64_t bw)
{
    for (int i = 0; i < 2; i++) {
        b->bw[i] = b->bw[i + 1];
        b->bw_round[i] = b->bw_round[i + 1];
    }
    bw_entry(b, 2, bw);
}

/* The maximum of the last BW_ROUNDS rounds (Nichols' filter: the best, and the best since it, twice, so
 * that one that runs out has a successor). */
static void bw_update(struct bbr *b, uint64_t bw)
{
    if (bw >= b->bw[0] || b->round - b->bw_round[2] > BW_ROUNDS) {
        bw_entry(b, 0, bw);
        return;
    }
    if (bw >= b->bw[1])
        bw_entry(b, 1, bw);
    else if (bw >= b->bw[2])
        bw_entry(b, 2, bw);
    uint32_t age = b->round - b->bw_round[0];
    if (age > BW_ROUNDS) {
        bw_shift(b, bw);
        if (b->round - b->bw_round[0] > BW_ROUNDS)
            bw_shift(b, bw);
    } else if (b->bw_round[1] == b->bw_round[0] && age > BW_ROUNDS / 4) {
        bw_entry(b, 1, bw);
    } else if (b->bw_round[2] == b->bw_round[1] && age > BW_ROUNDS / 2) {
        bw_entry(b, 2, bw);
    }
}

/* Section 4.1.1: rounds are counted by what was delivered; samples of an idle program count only if
 * they are higher. */
static void model_bandwidth(struct tcb *t, struct bbr *b, const struct cc_ack *ack)
{
    const struct rate_sample *r = &ack->rate;
    b->round_start = 0;
    if (!r->valid)
        return;
    if (r->prior_delivered >= b->round_end) {
        b->round_end = t->delivered;
        b->round++;
        b->round_start = 1;
        b->conserving = 0;
    }
    uint64_t bw = r->delivered * SECOND / (uint64_t)r->interval;
    if (!r->app_limited || bw >= b->bw[0])
        bw_update(b, bw);
}

/* At most ten seconds' worth, so that nothing overflows. */
static uint64_t bytes_in(uint64_t bw, int64_t time)
{
    uint64_t ns = (uint64_t)(time < 10 * SECOND ? time : 10 * SECOND);
    return bw / SECOND * ns + bw % SECOND * ns / SECOND;
}

/* How much more ACKs bring at once than the bandwidth explains: the maximum of five to ten rounds. */
static void model_aggregation(struct tcb *t, struct bbr *b, const struct cc_ack *ack)
{
    if (!ack->rate.valid)
        return;
    int64_t now = t->base.st->now;
    if (b->round_start && ++b->aggregate_rounds >= (b->full ? AGGREGATE_ROUNDS : 1)) {
        b->aggregate_rounds = 0;
        b->aggregate_at ^= 1;
        b->aggregate[b->aggregate_at] = 0;
    }
    uint64_t expected = bytes_in(b->bw[0], now - b->epoch_start);
    if (b->epoch_acked <= expected || b->epoch_acked > 1u << 30) {
        b->epoch_acked = 0;
        b->epoch_start = now;
        expected = 0;
    }
    b->epoch_acked += ack->delivered;
    uint64_t extra = b->epoch_acked - expected;
    if (extra > t->cwnd)
        extra = t->cwnd;
    if (extra > b->aggregate[b->aggregate_at])
        b->aggregate[b->aggregate_at] = (uint32_t)extra;
}

/* ---- what the model says --------------------------------------------------------------------------------- */

/* Section 4.2.3.2: gain times the bandwidth-delay product, with room for what the sender's and the
 * receiver's offloads hold together. */
static uint32_t inflight(struct tcb *t, const struct bbr *b, uint32_t gain)
{
    if (b->min_rtt == NEVER)
        return TCP_INITIAL_SEGMENTS * t->mss;
    uint64_t n = bytes_in(b->bw[0], b->min_rtt);
    n = (n * gain + GAIN - 1) / GAIN + 3 * pace_quantum(t);
    n += 2 * t->mss - n % (2 * t->mss); /* whole pairs: the receiver acknowledges each second segment */
    if (b->mode == PROBE_BW && b->phase == 0)
        n += 2 * t->mss;
    return n > 1u << 30 ? 1u << 30 : (uint32_t)n;
}

/* Section 4.2.1. One per cent below the estimate, so that no queue stays. */
static void set_rate(struct tcb *t, const struct bbr *b, uint32_t gain)
{
    uint64_t rate = b->bw[0] * gain / GAIN * 99 / 100;
    if (rate && (b->full || rate > t->pacing_rate))
        pace_set(t, rate);
}

/* Before there is a model: the initial window in a round trip (a millisecond, if that is not known). */
static void set_first_rate(struct tcb *t, struct bbr *b)
{
    b->has_rtt = t->srtt != 0;
    pace_set(t, (uint64_t)t->cwnd * SECOND / (uint64_t)(t->srtt ? t->srtt : MS) * STARTUP_GAIN / GAIN);
}

static uint32_t pacing_gain(const struct bbr *b)
{
    switch (b->mode) {
    case STARTUP: return STARTUP_GAIN;
    case DRAIN: return DRAIN_GAIN;
    case PROBE_BW: return b->phase == 0 ? GAIN * 5 / 4 : b->phase == 1 ? GAIN * 3 / 4 : GAIN;
    default: return GAIN;
    }
}

/* In flight at the time when what was paced last has left. */
static uint32_t in_network(struct tcb *t, const struct bbr *b, uint32_t flight)
{
    int64_t ahead = t->pace_next - t->base.st->now;
    uint64_t leaves = ahead > 0 ? bytes_in(b->bw[0], ahead) : 0;
    if (pacing_gain(b) > GAIN)
        flight += pace_quantum(t);
    return flight > leaves ? flight - (uint32_t)leaves : 0;
}

/* ---- the states ------------------------------------------------------------------------------------------ */

static void next_phase(struct tcb *t, struct bbr *b)
{
    b->phase = (b->phase + 1u) % PHASES;
    b->phase_start = t->base.st->now;
}

/* Section 4.3.4.3: begins in any phase but the one that drains. */
static void enter_probe_bw(struct tcb *t, struct bbr *b)
{
    b->mode = PROBE_BW;
    b->phase = (PHASES - 1 - random64(t->base.st) % (PHASES - 1)) % PHASES;
    next_phase(t, b);
}

/* A phase lasts a round trip; probing up until its queue stands or something is lost, draining at most
 * until the queue is gone. */
static int phase_over(struct tcb *t, const struct bbr *b, const struct cc_ack *ack)
{
    int whole = t->base.st->now - b->phase_start > b->min_rtt;
    if (b->phase > 1)
        return whole;
    uint32_t flight = in_network(t, b, ack->flight);
    if (b->phase == 0)
        return whole && (ack->lost || flight >= inflight(t, b, GAIN * 5 / 4));
    return whole || flight <= inflight(t, b, GAIN);
}

/* Sections 4.3.2 and 4.3.3. */
static void leave_startup(struct tcb *t, struct bbr *b, const struct cc_ack *ack)
{
    if (!b->full && b->round_start && !ack->rate.app_limited) {
        if (b->bw[0] * 4 >= b->full_bw * 5) {
            b->full_bw = b->bw[0];
            b->full_rounds = 0;
        } else {
            b->full = ++b->full_rounds >= FULL_ROUNDS;
        }
    }
    if (b->mode == STARTUP && b->full) {
        b->mode = DRAIN;
        t->ssthresh = inflight(t, b, GAIN);
    }
    if (b->mode == DRAIN && in_network(t, b, tcp_pipe(t)) <= inflight(t, b, GAIN))
        enter_probe_bw(t, b);
}

static void save_window(struct tcb *t, struct bbr *b)
{
    if (b->recovering || b->mode == PROBE_RTT)
        b->prior_cwnd = b->prior_cwnd > t->cwnd ? b->prior_cwnd : t->cwnd;
    else
        b->prior_cwnd = t->cwnd;
}

static void restore_window(struct tcb *t, const struct bbr *b)
{
    t->cwnd = t->cwnd > b->prior_cwnd ? t->cwnd : b->prior_cwnd;
}

static void leave_probe_rtt(struct tcb *t, struct bbr *b)
{
    if (!b->probe_rtt_end || t->base.st->now <= b->probe_rtt_end)
        return;
    b->min_rtt_time = t->base.st->now;
    restore_window(t, b);
    if (b->full)
        enter_probe_bw(t, b);
    else
        b->mode = STARTUP;
}

/* Section 4.3.5: four segments in flight for 200 ms and a round trip. */
static void in_probe_rtt(struct tcb *t, struct bbr *b)
{
    uint32_t pipe = tcp_pipe(t);
    t->app_limited = t->delivered + pipe ? t->delivered + pipe : 1;
    if (!b->probe_rtt_end) {
        if (pipe > MIN_SEGMENTS * t->mss)
            return;
        b->probe_rtt_end = t->base.st->now + PROBE_RTT_TIME;
        b->probe_round_over = 0;
        b->round_end = t->delivered;
        return;
    }
    b->probe_round_over |= b->round_start;
    if (b->probe_round_over)
        leave_probe_rtt(t, b);
}

/* Section 4.1.2: the lowest round-trip time of ten seconds; without a lower one in that time the
 * queue is emptied to measure it. */
static void model_rtt(struct tcb *t, struct bbr *b, const struct cc_ack *ack)
{
    int64_t now = t->base.st->now;
    int expired = now > b->min_rtt_time + MIN_RTT_TIME;
    if (ack->rtt >= 0 && (ack->rtt < b->min_rtt || expired)) {
        b->min_rtt = ack->rtt > 1000 ? ack->rtt : 1000;
        b->min_rtt_time = now;
    }
    if (expired && !b->restarted && b->mode != PROBE_RTT) {
        save_window(t, b);
        b->mode = PROBE_RTT;
        b->probe_rtt_end = 0;
    }
    if (b->mode == PROBE_RTT)
        in_probe_rtt(t, b);
    if (ack->delivered)
        b->restarted = 0;
}

/* ---- the window ------------------------------------------------------------------------------------------ */

/* Section 4.2.3.4: for the first round of recovery as much is sent as is delivered; at its end the
 * window is what it was. 1: that is the window for now. */
static int window_in_recovery(struct tcb *t, struct bbr *b, const struct cc_ack *ack)
{
    uint32_t pipe = tcp_pipe(t);
    if (ack->lost)
        t->cwnd = t->cwnd > ack->lost + t->mss ? t->cwnd - ack->lost : t->mss;
    if (ack->in_recovery == RECOVERY_FAST && !b->recovering) {
        b->conserving = 1;
        b->round_end = t->delivered;
        t->cwnd = pipe + ack->delivered;
    } else if (!ack->in_recovery && b->recovering) {
        b->conserving = 0;
        restore_window(t, b);
    }
    b->recovering = ack->in_recovery != RECOVERY_NONE;
    if (b->conserving && t->cwnd < pipe + ack->delivered)
        t->cwnd = pipe + ack->delivered;
    return b->conserving;
}

static void set_window(struct tcb *t, struct bbr *b, const struct cc_ack *ack)
{
    uint32_t least = MIN_SEGMENTS * t->mss;
    if (ack->delivered && !window_in_recovery(t, b, ack)) {
        uint32_t gain = b->mode == PROBE_RTT ? GAIN : b->mode == PROBE_BW ? WINDOW_GAIN : STARTUP_GAIN;
        uint64_t target = inflight(t, b, gain), grown = (uint64_t)t->cwnd + ack->delivered;
        if (b->full) {
            uint64_t most = bytes_in(b->bw[0], AGGREGATE_MOST),
                     extra = b->aggregate[0] > b->aggregate[1] ? b->aggregate[0] : b->aggregate[1];
            target += extra < most ? extra : most;
            t->cwnd = (uint32_t)(grown < target ? grown : target);
        } else if (t->cwnd < target || t->delivered < TCP_INITIAL_SEGMENTS * t->mss) {
            cc_grow(t, ack->delivered);
        }
        t->cwnd = t->cwnd > least ? t->cwnd : least;
    }
    if (b->mode == PROBE_RTT && t->cwnd > least)
        t->cwnd = least;
}

/* ---- the interface --------------------------------------------------------------------------------------- */

static void bbr_init(struct tcb *t)
{
    struct bbr *b = bbr_of(t);
    b->min_rtt = t->min_rtt;
    b->min_rtt_time = b->epoch_start = t->base.st->now;
    b->prior_cwnd = 0;
    t->ssthresh = UINT32_MAX;
    set_first_rate(t, b);
}

static void bbr_ack(struct tcb *t, const struct cc_ack *ack)
{
    struct bbr *b = bbr_of(t);
    model_bandwidth(t, b, ack);
    model_aggregation(t, b, ack);
    if (b->mode == PROBE_BW && phase_over(t, b, ack))
        next_phase(t, b);
    leave_startup(t, b, ack);
    model_rtt(t, b, ack);
    if (!b->has_rtt && t->srtt)
        set_first_rate(t, b);
    set_rate(t, b, pacing_gain(b));
    set_window(t, b, ack);
}

static uint32_t bbr_ssthresh(struct tcb *t)
{
    save_window(t, bbr_of(t));
    return t->ssthresh;
}

static void bbr_timeout(struct tcb *t)
{
    struct bbr *b = bbr_of(t);
    b->recovering = 1;
    b->full_bw = 0;
    b->round_start = 1;
}

static void bbr_undo(struct tcb *t)
{
    struct bbr *b = bbr_of(t);
    b->full_bw = 0;
    b->full_rounds = 0;
}

/* Section 4.3.4.4: data leaves again after all was acknowledged. */
static void bbr_restart(struct tcb *t)
{
    struct bbr *b = bbr_of(t);
    if (!b->has_rtt && t->srtt)
        set_first_rate(t, b);
    if (!t->app_limited)
        return;
    b->restarted = 1;
    b->epoch_start = t->base.st->now;
    b->epoch_acked = 0;
    if (b->mode == PROBE_BW)
        set_rate(t, b, GAIN);
    else if (b->mode == PROBE_RTT)
        leave_probe_rtt(t, b);
}

const struct tcp_cc tcp_cc_bbr = {
    .name = "bbr",
    .flags = CC_PACED | CC_OWN_WINDOW,
    .init = bbr_init,
    .ack = bbr_ack,
    .ssthresh = bbr_ssthresh,
    .timeout = bbr_timeout,
    .undo = bbr_undo,
    .restart = bbr_restart,
};
