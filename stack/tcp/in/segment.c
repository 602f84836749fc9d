/* SPDX-License-Identifier: MIT */
/* SEGMENT ARRIVES, in the order of RFC 9293 section 3.10.7: one function a step, each returning
 * whether to go on. Robustness against blind attacks after RFC 5961; PAWS after RFC 7323. */
#include "../tcp.h"

/* The stack's budget: a second's worth is random, so that nobody can count what others cost it
 * (CVE-2016-5696). 1: one more may go. */
int tcp_challenge_budget(struct bw_stack *st)
{
    struct tcp_globals *g = st->tcp;
    if (st->now >= g->challenges_until) {
        g->challenges_until = st->now + SECOND;
        g->challenges_left = TCP_CHALLENGES_ALL / 2 + (uint32_t)(random64(st) % TCP_CHALLENGES_ALL);
    }
    if (!g->challenges_left)
        return 0;
    g->challenges_left--;
    return 1;
}

/* The answer to a segment that brings nothing, from the connection's own budget; `all`: and from the
 * stack's. */
static void answer_limited(struct tcb *t, int all)
{
    struct bw_stack *st = t->base.st;
    if (st->now - t->challenge_start >= 5 * SECOND) {
        t->challenge_start = st->now;
        t->challenges = 0;
    }
    if (t->challenges >= TCP_CHALLENGES || (all && !tcp_challenge_budget(st))) {
        count(st, COUNT_TCP_CHALLENGES_LIMITED);
        return;
    }
    t->challenges++;
    count(st, COUNT_TCP_CHALLENGE_ACKS);
    tcp_send_ack(t);
}

/* RFC 5961 section 7: challenge ACKs are limited, a budget for each connection so that it tells
 * nobody anything about another's, and one for the stack. */
void tcp_challenge_ack(struct tcb *t)
{
    answer_limited(t, 1);
}

/* ---- step 1: sequence number, with PAWS --------------------------------------------------------- */

/* RFC 7323 section 5.3 R1; of two half of all numbers apart neither is the older (section 5.2). */
static int paws_rejects(const struct tcb *t, const struct tcp_seg *seg)
{
    return t->use_ts && seg->has_ts && !(seg->flags & TCP_RST) && seq_gt(t->ts_recent, seg->tsval) &&
           t->base.st->now - t->ts_recent_age < TCP_PAWS_IDLE;
}

/* Acceptable by the four cases of RFC 9293 3.4, with two allowances every stack makes: a segment
 * that starts exactly at the right edge (its ACK counts), and data at a closed window (a probe). */
static int acceptable(const struct tcb *t, const struct tcp_seg *seg)
{
    uint32_t end = tcp_seg_end(seg), right = seq_max(t->rcv_adv, t->rcv_nxt);
    if (end == seg->seq)
        return seq_ge(seg->seq, t->rcv_nxt) && seq_le(seg->seq, right);
    return seq_gt(end, t->rcv_nxt) && seq_le(seg->seq, right);
}

/* The SYN that made this child, again, with whatever data. */
static int seg_repeats_syn(const struct tcb *t, const struct tcp_seg *seg)
{
    return t->state == BW_TCP_SYN_RCVD && seg->seq == t->irs &&
           (seg->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/* As Linux: a peer that is gone after its FIN may reset with the FIN's own number. */
static int resets_at_fin(const struct tcb *t, const struct tcp_seg *seg)
{
    return (seg->flags & TCP_RST) && seg->seq + 1 == t->rcv_nxt &&
           (t->state == BW_TCP_CLOSE_WAIT || t->state == BW_TCP_LAST_ACK || t->state == BW_TCP_CLOSING);
}

static enum verdict check_sequence(struct tcb *t, struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    if (unlikely(resets_at_fin(t, seg)))
        return GO_ON;
    int paws = paws_rejects(t, seg), known_syn = seg_repeats_syn(t, seg);
    if (!paws && !known_syn && acceptable(t, seg))
        return GO_ON;
    drop(st, paws ? DROP_TCP_PAWS : DROP_TCP_WINDOW, seg->len);
    if (seg->flags & TCP_RST)
        return DONE;
    if (known_syn) {
        if (tcp_ecn_on_syn_again(t, seg)) {
            tcp_abort_rst(t);
            tcp_drop(t, ECONNRESET);
            return DONE;
        }
        t->syn_again = 1; /* our SYN,ACK was lost */
        tcp_want_output(t);
    } else if (t->state == BW_TCP_TIME_WAIT && (seg->flags & TCP_FIN)) {
        tcp_time_wait(t); /* the last ACK was lost: again, and wait anew */
        tcp_send_ack(t);
    } else if (seg->len || (seg->flags & TCP_FIN)) {
        tcp_saw_again(t, seg->seq, seq_min(tcp_seg_end(seg), t->rcv_nxt));
        tcp_send_ack(t);
    } else {
        accecn_on_synack_again(t, seg);
        answer_limited(t, seg->flags & TCP_SYN); /* a keepalive probe, an ACK of nowhere: not the stack's */
    }
    return DONE;
}

/* ---- steps 2 to 4: RST, (security), SYN -------------------------------------------------------- */

static void on_reset(struct tcb *t)
{
    count(t->base.st, COUNT_TCP_RST_RECEIVED);
    switch (t->state) {
    case BW_TCP_SYN_RCVD: tcp_drop(t, t->was_connected ? ECONNRESET : ECONNREFUSED); break;
    case BW_TCP_CLOSE_WAIT: tcp_drop(t, EPIPE); break;
    default: tcp_drop(t, ECONNRESET);
    }
}

/* As Linux: what the peer sent last may be out of order here, and its reset follows that. */
static int resets_behind_gap(const struct tcb *t, const struct tcp_seg *seg)
{
    return t->use_sack && (t->ooo.n || t->ooo_fin) && seg->seq == tcp_sack_edge(t);
}

static int is_exact(const struct tcb *t, const struct tcp_seg *seg)
{
    return seg->seq == t->rcv_nxt || resets_at_fin(t, seg) || resets_behind_gap(t, seg);
}

/* RFC 5961 section 3: only the exact next sequence number resets, or a FIN's own, or that behind the last
 * SACK block; RFC 1337: TIME-WAIT is not assassinated. */
static enum verdict check_rst(struct tcb *t, const struct tcp_seg *seg)
{
    if (!(seg->flags & TCP_RST))
        return GO_ON;
    if (!is_exact(t, seg) || t->state == BW_TCP_TIME_WAIT) {
        drop(t->base.st, DROP_TCP_RST, 0);
        if (t->state != BW_TCP_TIME_WAIT)
            tcp_challenge_ack(t);
        return DONE;
    }
    on_reset(t);
    return DONE;
}

/* RFC 5961 section 4. */
static enum verdict check_syn(struct tcb *t, const struct tcp_seg *seg)
{
    if (!(seg->flags & TCP_SYN))
        return GO_ON;
    drop(t->base.st, DROP_TCP_SYN, seg->len);
    tcp_challenge_ack(t);
    return DONE;
}

/* RFC 7323 section 4.3 (2): of a segment whose ACK is a right one. */
static void learn_timestamp(struct tcb *t, const struct tcp_seg *seg)
{
    if (!t->use_ts || !seg->has_ts || seq_gt(seg->seq, t->last_ack_sent) || seq_gt(t->ts_recent, seg->tsval))
        return;
    t->ts_recent = seg->tsval;
    t->ts_recent_age = t->base.st->now;
}

/* Nothing that comes in TIME-WAIT is news. As on Linux, what is more than an ACK is answered as the FIN that
 * comes again is: the peer may have missed our ACK. */
static enum verdict check_time_wait(struct tcb *t, const struct tcp_seg *seg)
{
    if (t->state != BW_TCP_TIME_WAIT)
        return GO_ON;
    learn_timestamp(t, seg);
    if (seg->len || (seg->flags & TCP_FIN) || seg->seq != t->rcv_nxt) {
        drop(t->base.st, DROP_TCP_AFTER_CLOSE, seg->len);
        answer_limited(t, 0);
    }
    return DONE;
}

/* ---- step 5: ACK, by state ----------------------------------------------------------------------- */

/* TCP_DEFER_ACCEPT, tcp(7): for so long only data brings the child up. The peer has our SYN,ACK: it need
 * not go again before that, for the ACK that opens, and this is the round trip. */
static int deferring(const struct tcb *t)
{
    return t->base.st->now - t->first_unacked < t->defer_accept * SECOND;
}

static void defer(struct tcb *t)
{
    const struct tx_record *first = txlog_first(&t->sent);
    if (first && !t->resent.n)
        tcp_rtt_sample(t, t->base.st->now - first->sent);
    txlog_clear(&t->sent);
    tcp_timer_set(t, TIMER_REXMT, t->first_unacked + t->defer_accept * SECOND);
}

static enum verdict ack_in_syn_rcvd(struct tcb *t, struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    if (!seq_gt(seg->ack, t->snd_una) || seq_gt(seg->ack, t->snd_nxt)) {
        drop(st, DROP_TCP_ACK, seg->len);
        tcp_send_rst(st, seg);
        return DONE;
    }
    if (t->listener && !tcp_is_early(t) && t->use_ts && !tcp_echo_is_ours(t, seg)) {
        drop(st, DROP_TCP_PAWS, seg->len);
        tcp_challenge_ack(t);
        return DONE;
    }
    int queued = tcp_is_early(t); /* it stands in the accept queue already, or was accepted */
    if (t->listener && !queued && !seg->len && !(seg->flags & TCP_FIN) && deferring(t)) {
        defer(t);
        return DONE;
    }
    if (t->listener && !queued && t->listener->accept_len > t->listener->backlog) {
        drop(st, DROP_TCP_BACKLOG, seg->len); /* the peer will say it again, or data will */
        return DONE;
    }
    t->snd_wnd = seg->wnd << t->snd_wscale;
    t->max_snd_wnd = t->snd_wnd;
    t->snd_wl1 = seg->seq;
    t->snd_wl2 = seg->ack;
    tcp_ecn_on_third_ack(t, seg);
    tcp_established(t);
    return GO_ON;
}

/* What the ACK of our FIN means in each state. */
static enum verdict fin_is_acked(struct tcb *t)
{
    switch (t->state) {
    case BW_TCP_FIN_WAIT_1:
        tcp_set_state(t, BW_TCP_FIN_WAIT_2);
        if (!(t->base.flags & SOCK_OPEN)) /* an orphan does not wait for ever */
            tcp_timer_set(t, TIMER_STATE,
                          t->base.st->now + (t->linger2 > 0 ? t->linger2 * SECOND : TCP_MSL_2));
        return GO_ON;
    case BW_TCP_CLOSING: tcp_time_wait(t); return DONE;
    case BW_TCP_LAST_ACK: tcp_drop(t, 0); return DONE;
    default: return GO_ON;
    }
}

/* The send window, RFC 9293 3.10.7.4: only from segments that are not older than the last used. */
void tcp_window_from(struct tcb *t, const struct tcp_seg *seg)
{
    const uint32_t seq = tcp_last_seq(seg);
    if (!seq_lt(t->snd_wl1, seq) && !(t->snd_wl1 == seq && seq_le(t->snd_wl2, seg->ack)))
        return;
    uint32_t scale = (seg->flags & TCP_SYN) ? 0 : t->snd_wscale, wnd = seg->wnd << scale;
    int opened = wnd > t->snd_wnd, was_shut = !t->snd_wnd;
    t->snd_wnd = wnd;
    t->snd_wl1 = seq;
    t->snd_wl2 = seg->ack;
    if (seg->wnd_most << scale > t->max_snd_wnd)
        t->max_snd_wnd = seg->wnd_most << scale;
    if (opened) {
        if (t->persisting) {
            t->persisting = 0;
            t->backoff = 0;
            tcp_timer_cancel(t, TIMER_REXMT);
        } else if (was_shut && t->recovering == RECOVERY_TIMEOUT) { /* what it refused goes again, now */
            t->backoff = 0;
            tcp_resend_all(t);
            t->newly_lost = 0; /* not by the network */
        }
        tcp_want_output(t);
    }
}

/* RFC 5961 section 5: an ACK is not of the future, and not older by more than the largest window; nor,
 * as on Linux, from before our first byte. */
static uint32_t oldest_ack(const struct tcb *t)
{
    return t->stats.bytes_acked < t->max_snd_wnd ? (uint32_t)t->stats.bytes_acked : t->max_snd_wnd;
}

enum verdict tcp_check_ack(struct tcb *t, struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    if (!(seg->flags & TCP_ACK)) {
        drop(st, DROP_TCP_NO_ACK, seg->len);
        return DONE;
    }
    if (t->state == BW_TCP_SYN_RCVD && ack_in_syn_rcvd(t, seg) == DONE)
        return DONE;
    if (seq_gt(seg->ack, t->snd_nxt) || seq_lt(seg->ack, t->snd_una - oldest_ack(t))) {
        drop(st, DROP_TCP_ACK, seg->len);
        tcp_challenge_ack(t);
        return DONE;
    }
    learn_timestamp(t, seg);
    int late = seq_lt(seg->ack, t->snd_una); /* overtaken: what it says of later data is news all the same */
    if (!late || (t->use_sack && seg->sacks)) {
        struct delivery d = tcp_delivery(t);
        if (t->use_sack)
            tcp_sack_blocks(t, seg, &d);
        if (seq_gt(seg->ack, t->snd_una))
            tcp_ack_advances(t, seg, &d);
        else if (d.sacked)
            tcp_take_rtt(t, &d);
        else if (!late &&
                 (t->persisting || !seg->wnd)) /* the peer lives; what a shrunk window refuses is a probe */
            t->retries = t->retries && !t->persisting; /* (MUST-34, SHLD-17), and no new loss */
        tcp_detect_loss(t, seg, &d);
        tcp_report(t, seg, &d);
        if (!late) {
            t->base.soft_error = 0; /* the peer hears us */
            tcp_window_from(t, seg);
        }
        if (t->recovering || d.sacked || t->dupacks) /* limited transmit (RFC 3042), or a loss */
            tcp_want_output(t);
    }
    return t->fin_acked ? fin_is_acked(t) : GO_ON;
}

/* ---- the whole ------------------------------------------------------------------------------------- */

/* Simultaneous open (RFC 9293 figure 8): the peer's SYN,ACK repeats the SYN we know; what it brings is
 * the ACK behind it. */
static void pass_known_syn(const struct tcb *t, struct tcp_seg *seg)
{
    if (t->state != BW_TCP_SYN_RCVD || t->listener || seg->seq != t->irs || seq_le(seg->ack, t->iss) ||
        seq_gt(seg->ack, t->snd_nxt) || (seg->flags & (TCP_SYN | TCP_ACK | TCP_RST)) != (TCP_SYN | TCP_ACK))
        return;
    seg->seq++;
    seg->flags &= (uint8_t)~TCP_SYN;
    seg->wnd = seg->wnd_most = seg->wnd >> t->snd_wscale; /* a SYN's window is not scaled */
}

void tcp_on_connection(struct tcb *t, struct tcp_seg *seg)
{
    t->dsack_of_this = 0;
    pass_known_syn(t, seg);
    if (check_sequence(t, seg) == DONE || check_rst(t, seg) == DONE || check_syn(t, seg) == DONE ||
        check_time_wait(t, seg) == DONE)
        return;
    t->last_received = t->base.st->now;
    t->probes = 0;
    if (tcp_check_ack(t, seg) == DONE)
        return;
    if (unlikely(t->syn_data)) /* both opened at once, and ours took data along */
        tfo_not_taken(t);
    if (unlikely((seg->flags & TCP_URG) || t->urg_data == URG_NOTYET))
        tcp_check_urg(t, seg);
    if (t->ecn.mode)
        tcp_ecn_arrives(t, seg);
    if (tcp_trim(t, seg))
        tcp_send_ack(t);
    if (seg->len)
        tcp_segment_text(t, seg);
    if (t->base.kind != KIND_FREE && t->state != BW_TCP_CLOSED)
        tcp_check_fin(t, seg);
}

static void on_closed(struct bw_stack *st, const struct tcp_seg *seg)
{
    drop(st, DROP_TCP_NO_SOCKET, seg->len);
    if (!(seg->flags & TCP_RST))
        tcp_send_rst(st, seg);
}

void tcp_segment(struct bw_stack *st, struct tcp_seg *seg)
{
    const struct packet *pkt = seg->pkt;
    struct bw_sock *s = flow_of(st, pkt, seg->dport, seg->sport);
    if (unlikely(s && seg->flags & TCP_SYN) && tcp_reopens(s, seg)) {
        seg->reopens = 1;
        seg->old_snd_nxt = tcp_time_wait_yield(s);
        s = NULL;
    }
    if (unlikely(s && s->kind == KIND_TIME_WAIT)) {
        tcp_on_time_wait(time_wait_of(s), seg);
        return;
    }
    if (s) {
        struct tcb *t = tcb_of(s);
        t->stats.segs_in += seg->segments;
        if (seg->len)
            t->stats.data_segs_in += seg->segments;
        if (traced(t))
            tcp_trace_received(t, seg);
        if (t->state == BW_TCP_SYN_SENT) {
            tcp_on_syn_sent(t, seg);
        } else if (st->cfg.header_prediction && tcp_fast_path(t, seg)) {
            count(st, COUNT_TCP_FAST_PATH);
        } else {
            count(st, COUNT_TCP_FULL_PATH);
            tcp_on_connection(t, seg);
        }
        if (traced(t) && s->kind != KIND_FREE && t->state != BW_TCP_CLOSED && (seg->flags & TCP_ACK))
            tcp_trace_window(t);
        return;
    }
    s = bind_find(st, KIND_LISTENER, pkt->dst, seg->dport, pkt->src, seg->sport, pkt->ifindex);
    if (s)
        tcp_on_listen(listener_of(s), seg);
    else
        on_closed(st, seg);
}
