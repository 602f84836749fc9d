/* SPDX-License-Identifier: MIT */
/* What a cumulative acknowledgment does. */
#include "../tcp.h"

/* The sample of RFC 6298: from the oldest byte now acknowledged, if nothing acknowledged was sent twice
 * (Karn); after a time-out the echoed timestamp (milliseconds, RFC 7323 section 4.1) serves, if it is
 * of the last copy: an older one says that the path is long, or that an ACK was lost. */
static int64_t rtt_of(struct tcb *t, const struct tcp_seg *seg, uint32_t ack)
{
    const struct tx_record *first = txlog_first(&t->sent),
                           *again = txlog_find_any(&t->resent, t->snd_una, ack);
    if (first && first->seq == t->snd_una && !again)
        return t->base.st->now - first->sent;
    if (t->retries && t->use_ts && seg->has_ts && seg->tsecr) {
        int32_t ms = (int32_t)(tcp_ts_now(t) - seg->tsecr);
        if (again && ms > (t->base.st->now - again->sent) / MS + 1)
            return -1;
        return ms >= 0 && ms < 120000 ? ms * MS + MS / 2 : -1;
    }
    return -1;
}

/* [snd_una, ack) less what was sacked before has been delivered. */
static void deliver_cumulative(struct tcb *t, const struct tcp_seg *seg, uint32_t ack, struct delivery *d)
{
    uint32_t at = t->snd_una;
    for (int i = 0; i < t->sacked.n && seq_lt(at, ack); i++) {
        uint32_t stop = seq_min(t->sacked.r[i].start, ack);
        if (seq_lt(at, stop))
            tcp_delivered(t, seg, at, stop, d);
        at = seq_max(at, t->sacked.r[i].end);
    }
    if (seq_lt(at, ack))
        tcp_delivered(t, seg, at, ack, d);
    txlog_acked(&t->sent, ack);
    txlog_acked_any(&t->resent, ack);
    ranges_cut(&t->sacked, ack);
}

/* Was the congestion window what held the sender back (RFC 7661's question)? Judged by
 * the most that was in flight when data was sent: a burst of ACKs empties the flight before we send. In
 * slow start more than half of the window must have been (tcp_is_cwnd_limited). */
static int was_limited(const struct tcb *t)
{
    return t->cwnd < t->ssthresh ? 2 * (uint64_t)t->max_flight > t->cwnd
                                 : t->max_flight + 3 * t->mss >= t->cwnd;
}

/* The oldest byte tells of the round trip; if it cannot, what left last and once of all that arrived. */
void tcp_take_rtt(struct tcb *t, struct delivery *d)
{
    int newest = d->newest.seq != d->newest.end && !d->newest_resent;
    int64_t rtt = newest ? t->base.st->now - d->newest.sent : -1;
    tcp_rtt_sample(t, d->rtt < 0 ? rtt : d->rtt);
    d->rtt = newest ? rtt : d->rtt;
}

/* What an ACK will add to: how things are before it. */
struct delivery tcp_delivery(const struct tcb *t)
{
    return (struct delivery){
        .rtt = -1, .flight = tcp_pipe(t), .fack = t->rack_fack, .limited = (uint8_t)was_limited(t)};
}

/* snd_una < seg->ack <= snd_nxt. */
void tcp_ack_advances(struct tcb *t, const struct tcp_seg *seg, struct delivery *d)
{
    struct bw_stack *st = t->base.st;
    uint32_t ack = seg->ack, acked = ack - t->snd_una, data = acked;
    d->rtt = rtt_of(t, seg, ack);
    deliver_cumulative(t, seg, ack, d);
    t->snd_una = ack;
    tcp_take_rtt(t, d);
    d->acked = acked;
    t->stats.bytes_acked += acked;
    if (!t->syn_acked) {
        t->syn_acked = 1;
        data--;
        if (t->state == BW_TCP_SYN_SENT)
            t->stats.delivered++; /* no report tells of it */
        else
            t->stats.bytes_acked--; /* Linux counts the SYN of a connect alone */
        if (!t->srtt && t->retries) {
            t->rto = TCP_RTO_UNMEASURED;
            t->backoff = 0;
        }
        if (t->retries >
            1) /* RFC 5681 section 3.1; with a timeout of 1 s one loss may be none, as on Linux */
            t->cwnd = t->mss;
    }
    if (t->fin_sent && data > t->sndq.len) {
        t->fin_acked = 1;
        data--;
    }
    byteq_drop(&t->sndq, &st->chunks, data);
    if (unlikely(t->snd_urgent) && seq_ge(ack, t->snd_up))
        t->snd_urgent = 0;
    if (unlikely(t->stats.timeout_begin))
        tcp_info_progress(t);
    if (!t->sndq.len)
        tcp_chrono(t, LIMIT_IDLE);
    if (unlikely(t->mtu.state))
        tcp_mtu_acked(t);
    t->retries = 0; /* the backoff stays until a valid sample (RFC 6298 section 5) */
    t->first_unacked = st->now;
    tcp_rearm_rexmt(t);
    ip_path_confirm(st, &t->base.path);
    sock_changed(&t->base);
    if (t->sndq.len || t->fin_queued)
        tcp_want_output(t);
}

/* What the ACK told goes to the congestion control; then the window answers a mark. What an ACK that came
 * late says of marks is known. */
void tcp_report(struct tcb *t, const struct tcp_seg *seg, struct delivery *d)
{
    if (t->ecn.mode && seq_ge(seg->ack, t->snd_una))
        tcp_ecn_feedback(t, seg, d);
    t->stats.delivered += (d->delivered + t->mss - 1) / t->mss;
    if (unlikely(d->ce))
        t->stats.delivered_ce += (d->ce + t->mss - 1) / t->mss;
    cc_report(t, d);
    if (d->ece)
        tcp_ecn_react(t, d);
}
