/* SPDX-License-Identifier: MIT */
/* Header prediction: the segment that was to come next, of an open connection that has lost nothing.
 *
 * A shortcut, not a second truth: is_expected() says what it takes, and then the same functions run as in the
 * steps of segment.c, less those that would find nothing to do. Whatever else comes is for these. */
#include "../tcp.h"

/* Nothing out of the ordinary is under way, in either direction. */
static int is_ordinary(const struct tcb *t)
{
    return t->state == BW_TCP_ESTABLISHED && (t->base.flags & SOCK_OPEN) && !t->recovering && !t->ooo.n &&
           !t->ooo_fin && !t->sacked.n && !t->lost.n && !t->resent.n && !t->persisting && !t->dupacks &&
           !t->urg_data;
}

/* In order and inside the window, not older than what came before (PAWS), with an ACK of what is in flight. */
static int is_expected(const struct tcb *t, const struct tcp_seg *seg)
{
    if ((seg->flags & ~(TCP_PSH | TCP_ECE | TCP_CWR)) != TCP_ACK || seg->sacks || seg->seq != t->rcv_nxt)
        return 0;
    if (seg->has_ts != t->use_ts || (t->use_ts && seq_lt(seg->tsval, t->ts_recent)))
        return 0;
    return seq_ge(seg->ack, t->snd_una) && seq_le(seg->ack, t->snd_nxt) &&
           seq_le(seg->seq + seg->len, t->rcv_adv);
}

/* Of what acknowledges nothing new: data, without an echo that is to be answered, and an update of the window
 * that does not shut it. A bare ACK that says nothing new is a duplicate. */
static int is_ordinary_repeat(const struct tcb *t, const struct tcp_seg *seg)
{
    if (seg->len)
        return t->ecn.mode != ECN_CLASSIC || !(seg->flags & TCP_ECE);
    return seg->wnd && seg->wnd << t->snd_wscale != t->snd_wnd;
}

/* 1: the segment is dealt with. */
int tcp_fast_path(struct tcb *t, struct tcp_seg *seg)
{
    if (!is_ordinary(t) || !is_expected(t, seg) || (seg->ack == t->snd_una && !is_ordinary_repeat(t, seg)))
        return 0;
    t->last_received = t->base.st->now;
    t->probes = 0;
    if (t->use_ts && seq_le(seg->seq, t->last_ack_sent)) {
        t->ts_recent = seg->tsval;
        t->ts_recent_age = t->last_received;
    }
    if (seg->ack != t->snd_una || !seg->len) {
        struct delivery d = tcp_delivery(t);
        t->base.soft_error = 0;
        if (seg->ack != t->snd_una)
            tcp_ack_advances(t, seg, &d);
        tlp_ack(t, seg, &d);
        if (d.acked)
            tlp_schedule(t);
        tcp_report(t, seg, &d);
    }
    if (seg->wnd_most << t->snd_wscale != t->snd_wnd || seg->wnd != seg->wnd_most) {
        t->base.soft_error = 0;
        tcp_window_from(t, seg);
    } else {
        t->snd_wl1 = tcp_last_seq(seg);
        t->snd_wl2 = seg->ack;
    }
    if (t->ecn.mode)
        tcp_ecn_arrives(t, seg);
    if (seg->len)
        tcp_segment_text(t, seg);
    return 1;
}
