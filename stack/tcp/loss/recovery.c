/* SPDX-License-Identifier: MIT */
/* Loss recovery: the scoreboard, its entry and end, the rate within it, and its undoing.
 *
 * What is outstanding is sacked, or lost and not yet sent again, or in flight. Four findings make
 * data lost: RACK (rack.c) and RFC 6675's byte count with SACK, three duplicates or a partial ACK
 * without (RFC 6582), and the time-out. The sender sends the lowest lost data first while it may,
 * then new data; snd_nxt never goes back. */
#include "../tcp.h"

static uint32_t reno_sacked(const struct tcb *t, uint32_t flight)
{
    uint32_t n = t->dupacks * t->mss;
    return n < flight ? n : flight;
}

/* RFC 6675 section 4, SetPipe: the estimate of what is in the network, in bytes. */
uint32_t tcp_pipe(const struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una;
    uint32_t gone = t->lost.bytes + (t->use_sack ? t->sacked.bytes : reno_sacked(t, flight));
    return gone < flight ? flight - gone : 0;
}

/* ---- what an ACK delivers ------------------------------------------------------------------------------- */

/* [start, end) has arrived, by a cumulative or a selective acknowledgment, and was not sacked before. */
void tcp_delivered(struct tcb *t, const struct tcp_seg *seg, uint32_t start, uint32_t end, struct delivery *d)
{
    const struct tx_record *again = txlog_find_any(&t->resent, start, end);
    d->delivered += end - start;
    if (ranges_overlap(&t->lost, start, end)) {
        d->spurious = 1;
        ranges_subtract(&t->lost, start, end);
    }
    if (again) { /* RFC 8985 6.2 step 2: perhaps it is the first one that arrived */
        int64_t rtt = t->base.st->now - again->sent;
        int ambiguous = t->use_ts && seg->has_ts &&
                        seq_lt(seg->tsecr, tcp_ts_now(t) - (uint32_t)(rtt / MS) - 1);
        if (!ambiguous && (t->min_rtt == NEVER || rtt + 1000 >= t->min_rtt)) /* samples are at least 1 us */
            rack_update(t, again, seq_min(end, again->end));
        rate_delivered(d, again, 1);
        if (seq_le(again->seq, start) && seq_ge(again->end, end))
            return;
    }
    const struct tx_record *first = txlog_find(&t->sent, start, end);
    if (first) {
        rack_update(t, first, seq_min(end, first->end));
        rate_delivered(d, first, again != NULL);
        if (!again && t->rack_valid && seq_lt(end, d->fack))
            rack_reordered(t, start, d->fack);
    }
    t->rack_fack = seq_max(t->rack_fack, end);
}

/* The parts of a block that are new go on the scoreboard; what it cannot remember was not delivered. */
static void sack_block(struct tcb *t, const struct tcp_seg *seg, uint32_t start, uint32_t end,
                       struct delivery *d)
{
    if (!ranges_takes(&t->sacked, start, end))
        return;
    for (uint32_t at = start, stop; seq_lt(at, end); at = stop) {
        int known;
        stop = ranges_stretch(&t->sacked, at, end, &known);
        if (!known)
            tcp_delivered(t, seg, at, stop, d);
    }
    ranges_add_sorted(&t->sacked, start, end, &d->sacked);
}

/* RFC 2883: the first block repeats what is acknowledged already, or lies within the second. */
static int is_dsack(const struct tcp_seg *seg)
{
    uint32_t start = seg->sack[0].start, end = seg->sack[0].end;
    if (!seg->sacks || seq_ge(start, end))
        return 0;
    return seq_le(end, seg->ack) ||
           (seg->sacks > 1 && seq_ge(start, seg->sack[1].start) && seq_le(end, seg->sack[1].end));
}

/* Enters the segment's SACK blocks (RFC 2018, RFC 6675 section 5); what makes no sense is passed over. */
void tcp_sack_blocks(struct tcb *t, const struct tcp_seg *seg, struct delivery *d)
{
    int first = is_dsack(seg);
    if (first) {
        d->dsack = 1;
        uint32_t bytes = seg->sack[0].end - seg->sack[0].start;
        t->stats.dsack_dups += (bytes + t->mss - 1) / t->mss;
        /* More of them than we sent again: the network duplicates, and they say nothing of us (as Linux). */
        d->in_vain = t->stats.dsack_dups <= t->retransmits;
        if (d->in_vain)
            rack_dsack(t);
    }
    for (int i = first; i < seg->sacks; i++) {
        uint32_t start = seg->sack[i].start, end = seg->sack[i].end;
        if (seq_ge(start, end) || seq_gt(end, t->snd_nxt) || seq_lt(start, t->snd_una))
            continue;
        sack_block(t, seg, start, end, d);
    }
}

/* ---- entry, rate, end ------------------------------------------------------------------------------------ */

static void remember(struct tcb *t)
{
    t->undo_valid = 1;
    t->undo_cwnd = t->cwnd;
    t->undo_ssthresh = t->ssthresh;
    t->undo_bytes = 0;
    ranges_free(&t->undo_resent);
    if (t->resent.n) /* of an earlier recovery, beyond its end: their ACKs come, too */
        t->undo_ts = tcp_ts_then(t, txlog_first(&t->resent)->sent);
    else
        t->undo_ts = tcp_ts_now(t);
}

/* The window answers a loss: once for a window of data, so not where a mark on it was answered already
 * (RFC 3168 6.1.2); DCTCP answers both (RFC 8257 section 3.5). */
static void reduce(struct tcb *t)
{
    if (!t->ecn.reduced || (t->cc->flags & (CC_ECN | CC_OWN_WINDOW)))
        t->ssthresh = t->cc->ssthresh(t);
    tcp_ecn_reduced(t);
}

/* The flight is that before the ACK that tells of the loss, which may have acknowledged most of it (RFC
 * 9937 section 6.1 adds that, too). */
static void enter_fast_recovery(struct tcb *t, const struct delivery *d)
{
    count(t->base.st, COUNT_TCP_FAST_RECOVERIES);
    remember(t);
    t->recovering = RECOVERY_FAST;
    t->recover = t->snd_nxt;
    t->prr_delivered = t->prr_out = 0;
    t->prr_flight = t->snd_nxt - t->snd_una + d->acked;
    reduce(t);
    t->tlp_out = 0;
    tcp_arm_rexmt(t);
    if (traced(t))
        tcp_trace_recovery(t, BW_RECOVERY_FAST);
}

/* RFC 6937: cwnd follows what is delivered, down to ssthresh; slow start back up to it only while
 * recovery makes progress (RFC 9937). */
static void reduce_in_proportion(struct tcb *t, const struct delivery *d)
{
    uint32_t delivered = d->delivered, pipe = tcp_pipe(t), send;
    t->prr_delivered += delivered;
    if (pipe > t->ssthresh) {
        uint64_t share = ((uint64_t)t->prr_delivered * t->ssthresh + t->prr_flight - 1) /
                         (t->prr_flight ? t->prr_flight : 1);
        send = share > t->prr_out ? (uint32_t)(share - t->prr_out) : 0;
    } else {
        uint32_t owed = t->prr_delivered > t->prr_out ? t->prr_delivered - t->prr_out : 0;
        uint32_t limit = owed > delivered ? owed : delivered;
        /* "Safe": else what is sent again may be lost again, without end. Without SACK the segment is
         * the one that a duplicate tells of. */
        if (!t->use_sack || (d->acked && !t->newly_lost))
            limit += t->mss;
        send = t->ssthresh - pipe < limit ? t->ssthresh - pipe : limit;
    }
    if (t->prr_out == 0 && send < t->mss)
        send = t->mss; /* the first retransmission goes at once */
    t->cwnd = pipe + send;
}

static void leave_recovery(struct tcb *t)
{
    if (t->recovering == RECOVERY_FAST && !(t->cc->flags & CC_OWN_WINDOW))
        t->cwnd = t->ssthresh;
    t->recovering = RECOVERY_NONE;
    t->dupacks = t->frto = 0;
    if (t->reo_persist && --t->reo_persist == 0)
        t->reo_mult = 0;
    if (traced(t))
        tcp_trace_recovery(t, BW_RECOVERY_LEFT);
}

/* The reduction was wrong (RFC 4015 in spirit): what was is restored. */
void tcp_undo(struct tcb *t)
{
    if (t->recovering != RECOVERY_TIMEOUT) /* what was late seemed lost: RACK waits from now on */
        rack_reordered(t, t->snd_una, t->rack_fack);
    t->undo_valid = 0;
    t->cwnd = t->cwnd > t->undo_cwnd ? t->cwnd : t->undo_cwnd;
    t->ssthresh = t->undo_ssthresh;
    t->recovering = RECOVERY_NONE;
    t->dupacks = t->frto = 0;
    ranges_free(&t->lost); /* still in flight, as far as we know: RACK judges anew */
    t->rack_judged = t->snd_una;
    if (t->cc->undo)
        t->cc->undo(t);
    count(t->base.st, COUNT_TCP_UNDOS);
    if (traced(t))
        tcp_trace_recovery(t, BW_RECOVERY_UNDONE);
    if (!t->persisting)
        tcp_rearm_rexmt(t);
    tcp_want_output(t); /* the window is as wide as it was */
}

/* A retransmission that a reduction led to. If it was in vain, the peer will tell of it, once. */
void tcp_undo_resent(struct tcb *t, uint32_t start, uint32_t end)
{
    uint32_t fresh = 0;
    t->undo_bytes += end - start;
    ranges_add_sorted(&t->undo_resent, start, end, &fresh);
}

/* RFC 3708: a D-SACK counts for what was sent again, and once for each time; where it reports other data,
 * or the same again, the network made the copy. 1: all that was sent again was in vain. */
static int all_in_vain(struct tcb *t, uint32_t start, uint32_t end)
{
    uint32_t told = ranges_overlap(&t->undo_resent, start, end);
    ranges_subtract(&t->undo_resent, start, end);
    t->undo_bytes -= told;
    return told && !t->undo_bytes;
}

/* Was it spurious? By F-RTO (RFC 5682: data never sent again was acknowledged after a time-out), by Eifel (RFC 3522: the ACK's timestamp is older than the retransmission), or by
 * D-SACK (RFC 3708: all that was sent again was in vain). */
static int was_spurious(struct tcb *t, const struct tcp_seg *seg, const struct delivery *d)
{
    if (!t->undo_valid)
        return 0;
    if (d->in_vain && all_in_vain(t, seg->sack[0].start, seg->sack[0].end))
        return 1;
    if (!t->recovering || !d->delivered)
        return 0;
    if ((t->use_sack ? t->frto : t->frto == FRTO_NEW) && d->spurious)
        return 1;
    return d->acked && t->use_ts && seg->has_ts && seg->tsecr && seq_lt(seg->tsecr, t->undo_ts) &&
           t->undo_bytes;
}

/* ---- findings ---------------------------------------------------------------------------------------------- */

static int is_duplicate(const struct tcb *t, const struct tcp_seg *seg, const struct delivery *d)
{
    if (t->snd_una == t->snd_nxt || seg->len || (seg->flags & (TCP_SYN | TCP_FIN)) || seg->ack != t->snd_una)
        return 0;
    return t->use_sack ? d->sacked > 0 : seg->wnd << t->snd_wscale == t->snd_wnd;
}

/* RFC 5682 sections 2.1 and 3.1: what the first ACK after the time-out acknowledges may be what was sent
 * again, so it is answered by new data; what the next one acknowledges was not. Then, or where there is
 * nothing new to send, what was lost goes again; with SACK the rest may still prove to have arrived. */
static void frto_step(struct tcb *t, const struct tcp_seg *seg, const struct delivery *d)
{
    uint32_t flight = t->snd_nxt - t->snd_una;
    if (!t->frto || !(d->acked || is_duplicate(t, seg, d)))
        return;
    if (t->frto == FRTO_FIRST && d->acked && t->sndq.len > flight && t->snd_wnd > flight)
        t->frto = FRTO_NEW;
    else
        t->frto = t->use_sack ? FRTO_WATCH : FRTO_NONE;
}

/* Without SACK: the third duplicate, and each partial ACK, mean the first segment (RFC 6582). */
static void reno_findings(struct tcb *t, const struct delivery *d)
{
    uint32_t end = seq_min(t->snd_una + t->mss, t->snd_nxt);
    if (t->recovering == RECOVERY_FAST && d->acked) {
        uint32_t segments = d->acked / t->mss;
        t->dupacks = t->dupacks > segments ? t->dupacks - segments : 0;
        rack_mark_lost(t, t->snd_una, end);
    } else if (!t->recovering && t->dupacks >= TCP_DUP_THRESH && seq_gt(t->snd_una, t->recover)) {
        rack_mark_lost(t, t->snd_una, end);
    }
}

/* After each ACK, or when the reordering window has passed (seg NULL). */
void tcp_detect_loss(struct tcb *t, const struct tcp_seg *seg, struct delivery *d)
{
    if (seg && was_spurious(t, seg, d))
        tcp_undo(t);
    else if (seg)
        frto_step(t, seg, d);
    if (d->acked && !t->recovering)
        t->dupacks = 0;
    else if (seg && !d->acked && is_duplicate(t, seg, d))
        t->dupacks++;
    if (t->recovering && seq_ge(t->snd_una, t->recover))
        leave_recovery(t);
    if (t->use_sack)
        rack_detect(t);
    else
        reno_findings(t, d);
    if (t->lost.n && !t->recovering && !tcp_mtu_lost(t))
        enter_fast_recovery(t, d);
    if (t->recovering == RECOVERY_FAST && !(t->cc->flags & CC_OWN_WINDOW))
        reduce_in_proportion(t, d);
    if (seg)
        tlp_ack(t, seg, d);
    if (d->acked)
        tlp_schedule(t);
    else if (t->recovering || t->sacked.n)
        tlp_cancel(t);
}

/* Everything outstanding and not sacked is to be sent again. */
void tcp_resend_all(struct tcb *t)
{
    txlog_clear(&t->resent);
    t->rack_judged = rack_mark_lost(t, t->snd_una, t->snd_nxt);
    t->recovering = RECOVERY_TIMEOUT;
    t->recover = t->snd_nxt;
    t->dupacks = 0;
    t->tlp_out = 0;
}

/* RFC 5681 (4), RFC 6298 (5.4) to (5.6). */
void tcp_recovery_timeout(struct tcb *t)
{
    if (!t->recovering && t->sacked.bytes >= TCP_DUP_THRESH * t->mss) /* overestimated */
        t->reordering = TCP_DUP_THRESH;
    if (t->sacked.n && t->sacked.r[0].start == t->snd_una) /* the receiver took data back */
        ranges_free(&t->sacked);
    if (!t->recovering || (t->recovering == RECOVERY_TIMEOUT && t->retries == 1)) { /* a new loss */
        remember(t);
        reduce(t);
        t->frto = t->recovering ? FRTO_NONE : FRTO_FIRST;
    } else if (t->frto) {
        t->frto = FRTO_FIRST;
    }
    if (t->retries == 1)
        t->cc->timeout(t);
    if (t->mtu.low)
        tcp_mtu_unclear(t);
    if (t->retries >= TCP_R1)
        tcp_mtu_black_hole(t);
    rack_timed_out(t);
    t->recovering = RECOVERY_TIMEOUT;
    t->recover = t->snd_nxt;
    t->dupacks = t->tlp_out = t->tlp_new = 0;
    t->cwnd = tcp_pipe(t) + t->mss;
    t->newly_lost = 0; /* the time-out said it */
    if (traced(t))
        tcp_trace_recovery(t, BW_RECOVERY_TIMEOUT);
    t->probing = PROBE_NONE;
    tcp_timer_cancel(t, TIMER_PROBE);
}
