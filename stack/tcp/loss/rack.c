/* SPDX-License-Identifier: MIT */
/* RACK-TLP (RFC 8985): time tells what is lost. A transmission is lost when something sent later has
 * been delivered and a reordering window has passed; a probe turns a lost tail into evidence. */
#include "../tcp.h"

/* Section 6.2 step 1 and 2: the most recently sent transmission that has been delivered. */
void rack_update(struct tcb *t, const struct tx_record *r, uint32_t end)
{
    if (t->rack_valid &&
        (seq_lt(r->serial, t->rack_serial) || (r->serial == t->rack_serial && seq_le(end, t->rack_end))))
        return;
    t->rack_valid = 1;
    t->rack_serial = r->serial;
    t->rack_end = end;
    t->rack_rtt = t->base.st->now - r->sent;
}

/* Section 6.2 step 4: a D-SACK says that we sent something in vain; the window widens, once a round
 * trip, for 16 recoveries. */
void rack_dsack(struct tcb *t)
{
    if (t->rack_round != 0 && seq_lt(t->snd_una, t->rack_round))
        return;
    t->rack_round = t->snd_nxt ? t->snd_nxt : 1;
    t->reo_mult += t->reo_mult < 255;
    t->reo_persist = 16;
}

/* [low, …) has arrived after what lies below high. */
void rack_reordered(struct tcb *t, uint32_t low, uint32_t high)
{
    uint32_t segments = seq_lt(low, high) ? (high - low + t->mss - 1) / t->mss : 0;
    t->reordering_seen = 1;
    t->stats.reorderings++;
    if (segments > t->reordering)
        t->reordering = segments < TCP_MAX_REORDERING ? (uint16_t)segments : TCP_MAX_REORDERING;
}

static int64_t reorder_window(const struct tcb *t)
{
    int thresholded = t->sacked.bytes >= TCP_DUP_THRESH * t->mss || t->sacked.n >= TCP_DUP_THRESH;
    if (!t->reordering_seen && (t->recovering || thresholded))
        return 0;
    if (t->min_rtt == NEVER)
        return 0;
    int64_t wnd = (int64_t)(t->reo_mult + 1) * t->min_rtt / 4;
    return wnd < t->srtt ? wnd : t->srtt;
}

uint32_t rack_mark_lost(struct tcb *t, uint32_t start, uint32_t end)
{
    start = seq_max(start, t->snd_una);
    while (seq_lt(start, end)) {
        int sacked;
        uint32_t stop = ranges_stretch(&t->sacked, start, end, &sacked), fresh = 0;
        if (sacked) {
            start = stop;
            continue;
        }
        if (ranges_add_sorted(&t->lost, start, stop, &fresh))
            return start;
        t->newly_lost += fresh;
        if (fresh && traced(t))
            tcp_trace_lost(t, start, stop);
        start = stop;
    }
    return seq_max(start, end);
}

/* How much of a transmission left before the one that was delivered last: up to which number. */
static uint32_t sent_before(const struct tcb *t, const struct tx_record *r)
{
    if (r->serial == t->rack_serial)
        return seq_min(r->end, seq_max(r->seq, t->rack_end));
    return seq_lt(r->serial, t->rack_serial) ? r->end : r->seq;
}

/* First transmissions, on from the first that is not judged. Returns how long until the next can be
 * called lost, 0: none before another ACK. */
static int64_t judge_sent(struct tcb *t, int64_t window)
{
    uint32_t i = 0;
    t->rack_judged = seq_max(t->rack_judged, t->snd_una);
    for (const struct tx_record *r; (r = txlog_next(&t->sent, &i, t->rack_judged));) {
        uint32_t start = seq_max(r->seq, t->rack_judged), end = sent_before(t, r);
        if (seq_le(end, start))
            return 0;
        int64_t left = r->sent + t->rack_rtt + window - t->base.st->now;
        if (left <= 0)
            end = rack_mark_lost(t, start, end);
        else if (end - start > ranges_overlap(&t->sacked, start, end))
            return left;
        t->rack_judged = end;
        if (seq_lt(end, r->end))
            return 0;
    }
    return 0;
}

/* The same for retransmissions, which are forgotten when they are judged. */
static int64_t judge_resent(struct tcb *t, int64_t window)
{
    for (struct tx_record *r; (r = txlog_first(&t->resent));) {
        uint32_t end = sent_before(t, r);
        if (seq_le(end, r->seq))
            return 0;
        int64_t left = r->sent + t->rack_rtt + window - t->base.st->now;
        if (left <= 0)
            end = rack_mark_lost(t, r->seq, end);
        else if (end - r->seq > ranges_overlap(&t->sacked, r->seq, end))
            return left;
        if (seq_lt(end, r->end)) {
            r->seq = end;
            return 0;
        }
        txlog_pop(&t->resent);
    }
    return 0;
}

/* Section 6.2 step 5. */
void rack_detect(struct tcb *t)
{
    if (!t->rack_valid)
        return;
    int64_t window = reorder_window(t);
    int64_t first = judge_sent(t, window), again = judge_resent(t, window);
    int64_t left = first && (!again || first < again) ? first : again;
    if (left) {
        t->probing = PROBE_REORDER;
        tcp_timer_set(t, TIMER_PROBE, t->base.st->now + left);
    } else if (t->probing == PROBE_REORDER) {
        t->probing = PROBE_NONE;
        tcp_timer_cancel(t, TIMER_PROBE);
    }
}

/* Section 6.3: the retransmission timer fired. The first segment is lost, and of the others all that
 * left longer ago than a round trip and the reordering window. */
void rack_timed_out(struct tcb *t)
{
    uint32_t i = 0, head = seq_min(t->snd_una + t->mss, t->snd_nxt);
    int64_t before = t->base.st->now - (t->rack_valid ? t->rack_rtt + reorder_window(t) : 0);
    txlog_acked_any(&t->resent, head);
    for (struct tx_record *r; (r = txlog_first(&t->resent)) && r->sent <= before; txlog_pop(&t->resent))
        rack_mark_lost(t, r->seq, r->end);
    t->rack_judged = seq_max(t->rack_judged, rack_mark_lost(t, t->snd_una, head));
    for (const struct tx_record *r; (r = txlog_next(&t->sent, &i, t->rack_judged)) && r->sent <= before;)
        t->rack_judged = rack_mark_lost(t, seq_max(r->seq, t->rack_judged), r->end);
}

/* ---- tail loss probe --------------------------------------------------------------------------------- */

void tlp_cancel(struct tcb *t)
{
    if (t->probing != PROBE_TAIL)
        return;
    t->probing = PROBE_NONE;
    tcp_timer_cancel(t, TIMER_PROBE);
}

/* Section 7.2: armed whenever new data was sent or acknowledged, outside of recovery. */
void tlp_schedule(struct tcb *t)
{
    if (t->recovering || !t->use_sack || t->sacked.n || t->tlp_out || t->snd_una == t->snd_nxt || !t->srtt ||
        t->persisting || t->state < BW_TCP_ESTABLISHED || t->state == BW_TCP_SYN_RCVD) {
        tlp_cancel(t);
        return;
    }
    int64_t now = t->base.st->now;
    uint32_t flight = t->snd_nxt - t->snd_una;
    int64_t pto = 2 * t->srtt + (flight <= t->mss ? TCP_RTO_MIN : 2 * MS); /* one: the ACK may be delayed */
    t->probing = PROBE_TAIL;
    tcp_timer_set(t, TIMER_PROBE,
                  now + pto < t->deadline[TIMER_REXMT] ? now + pto : t->deadline[TIMER_REXMT]);
}

/* Section 7.3: new data if the peer's window has room, else the last segment again. */
static void send_probe(struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una, end = tcp_data_end(t);
    tcp_path_ready(t); /* its MTU is the size of the probe */
    t->tlp_out = 1;
    t->tlp_resent = 0;
    t->tlp_flight = t->max_flight;
    count(t->base.st, COUNT_TCP_TAIL_PROBES);
    tcp_arm_rexmt(t);
    if (t->sndq.len > flight && t->snd_wnd > flight) {
        t->push_wanted |= PUSH_PART;
        t->tlp_new = 1;
        t->tlp_end = t->snd_nxt + t->mss;
        tcp_want_output(t);
        return;
    }
    uint32_t start = flight > t->mss ? t->snd_nxt - t->mss : t->snd_una;
    struct tcp_emit e = {.seq = start, .flags = TCP_ACK | TCP_PSH};
    e.len = seq_gt(t->snd_nxt, end) ? end - start : t->snd_nxt - start;
    if (seq_gt(t->snd_nxt, end))
        e.flags |= TCP_FIN;
    if (tcp_emit(t, &e))
        return;
    const struct tx_record record = rate_sent(t, start, t->snd_nxt);
    txlog_add(&t->resent, &record);
    t->tlp_resent = 1;
    t->tlp_end = t->snd_nxt;
    t->retransmits++;
    t->stats.bytes_retrans += e.len;
}

/* Section 7.4.2: did the probe repair a loss that nothing else has told of? An ACK of all up to the probe
 * does not say which copy it answers. If both arrived, a D-SACK or a duplicate ACK follows; if one was
 * lost, none does before later data is acknowledged: then the window answers. */
void tlp_ack(struct tcb *t, const struct tcp_seg *seg, const struct delivery *d)
{
    if (!t->tlp_out || seq_lt(seg->ack, t->tlp_end))
        return;
    int both = d->dsack && seg->sack[0].end == t->tlp_end;
    int repaired = !both && seq_gt(seg->ack, t->tlp_end);
    int duplicate = !d->acked && !d->sacked && !seg->len && seg->wnd << t->snd_wscale == t->snd_wnd;
    if (t->tlp_resent && !both && !repaired && !duplicate)
        return;
    t->tlp_out = 0;
    if (!t->tlp_resent || !repaired || t->recovering)
        return;
    t->max_flight = t->max_flight > t->tlp_flight ? t->max_flight : t->tlp_flight;
    t->ssthresh = t->cc->ssthresh(t);
    if (!(t->cc->flags & CC_OWN_WINDOW))
        t->cwnd = t->ssthresh;
    tcp_ecn_reduced(t);
    count(t->base.st, COUNT_TCP_TAIL_REPAIRS);
    if (traced(t))
        tcp_trace_recovery(t, BW_RECOVERY_TAIL);
}

void rack_timer(struct tcb *t)
{
    int what = t->probing;
    t->probing = PROBE_NONE;
    if (what == PROBE_TAIL) {
        send_probe(t);
    } else if (what == PROBE_REORDER) {
        struct delivery none = {.rtt = -1};
        tcp_detect_loss(t, NULL, &none);
        tcp_want_output(t);
    }
}
