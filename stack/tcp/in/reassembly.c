/* SPDX-License-Identifier: MIT */
/* Text and FIN of a segment (RFC 9293 3.10.7.4, steps 7 and 8): trimming to the window, the receive
 * queue, out-of-order data stored at its place in the queue, and when to acknowledge. */
#include "../tcp.h"

static void cut_front(struct tcp_seg *seg, uint32_t n)
{
    uint16_t first = 0;
    seg->seq += n;
    seg->len -= n;
    while (n && n >= seg->piece[first].len)
        n -= seg->piece[first++].len;
    if (n) {
        seg->piece[first].data += n;
        seg->piece[first].len -= n;
    }
    if (first) {
        seg->pieces = (uint16_t)(seg->pieces - first);
        memmove(seg->piece, seg->piece + first, seg->pieces * sizeof seg->piece[0]);
    }
}

static void cut_back(struct tcp_seg *seg, uint32_t n)
{
    seg->len -= n;
    while (n && n >= seg->piece[seg->pieces - 1].len)
        n -= seg->piece[--seg->pieces].len;
    if (n)
        seg->piece[seg->pieces - 1].len -= n;
}

/* What came has come before: most likely our ACK was lost. Quick ACKs, as Linux does, for the peer's
 * window is small now; and the next ACK reports the duplicate, the first part of it in a segment
 * (RFC 2883, 4.2.3). */
void tcp_saw_again(struct tcb *t, uint32_t start, uint32_t end)
{
    t->in_quickack = TCP_QUICKACKS;
    if (!t->use_sack || seq_ge(start, end) || t->dsack_of_this)
        return;
    t->dsack_start = start;
    t->dsack_end = end;
    t->dsack_of_this = 1;
}

/* Cuts what lies outside the window. 1: something was cut, so the peer wants an ACK. */
int tcp_trim(struct tcb *t, struct tcp_seg *seg)
{
    int cut = 0;
    if (seq_lt(seg->seq, t->rcv_nxt)) {
        uint32_t old = t->rcv_nxt - seg->seq;
        tcp_saw_again(t, seg->seq, t->rcv_nxt);
        cut_front(seg, old < seg->len ? old : seg->len);
        cut = 1;
    }
    uint32_t end = seg->seq + seg->len, right = seq_max(t->rcv_adv, t->rcv_nxt);
    if (seg->len && seq_gt(end, right)) {
        uint32_t over = end - right;
        cut_back(seg, over < seg->len ? over : seg->len);
        seg->flags &= (uint8_t)~TCP_FIN;
        cut = 1;
    }
    return cut;
}

/* Stores the parts of [seq, seq + n) that no earlier segment brought. Returns how far memory lasted. */
static uint32_t store_new(struct tcb *t, uint32_t seq, const uint8_t *data, uint32_t n)
{
    for (uint32_t at = seq, end = seq + n; seq_lt(at, end);) {
        uint32_t covered;
        if (ranges_cover(&t->ooo, at, &covered)) {
            tcp_saw_again(t, at, seq_min(covered, end));
            at = covered;
            continue;
        }
        uint32_t stop = ranges_next(&t->ooo, at, end);
        if (byteq_store(&t->rcvq, &t->base.st->chunks, at - t->rcv_nxt + t->rcvq.len, data + (at - seq),
                        stop - at))
            return at;
        at = stop;
    }
    return seq + n;
}

/* Stores a segment; returns the end of what found memory. */
static uint32_t store_segment(struct tcb *t, const struct tcp_seg *seg)
{
    uint32_t seq = seg->seq;
    for (uint16_t i = 0; i < seg->pieces; i++) {
        uint32_t end = seq + seg->piece[i].len;
        seq = store_new(t, seq, seg->piece[i].data, seg->piece[i].len);
        if (seq != end)
            break;
    }
    return seq;
}

/* May out-of-order data be stored at all? */
static int ooo_welcome(const struct tcb *t)
{
    return t->ooo.n < TCP_MAX_RANGES - 1 && chunk_pressure(&t->base.st->chunks) < 90;
}

/* Data that does not simply continue the queue. What has become contiguous joins it. */
static void reassemble(struct tcb *t, const struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    uint32_t end;
    int in_order = seg->seq == t->rcv_nxt;
    tcp_ooo_make_room(t, in_order);
    if (!in_order && !ooo_welcome(t)) {
        drop(st, DROP_TCP_OOO, seg->len);
        return;
    }
    uint32_t seq = store_segment(t, seg);
    if (seq != seg->seq + seg->len)
        drop(st, in_order ? DROP_TCP_RCV_MEMORY : DROP_TCP_OOO, seg->len);
    if (seq == seg->seq)
        return;
    if (ranges_add_recent(&t->ooo, seg->seq, seq)) { /* full: what is not remembered was not received */
        tcp_ooo_forget(t);
        count(st, COUNT_TCP_OOO_PRUNED);
        return;
    }
    if (in_order && ranges_cover(&t->ooo, t->rcv_nxt, &end)) {
        byteq_extend(&t->rcvq, end - t->rcv_nxt);
        t->rcv_nxt = end;
        ranges_cut(&t->ooo, end);
    } else {
        count(st, COUNT_TCP_OOO_QUEUED);
    }
    t->ooo_fin = t->ooo_fin ? OOO_FIN : 0;
    tcp_ooo_changed(t, in_order);
}

/* In-order data, nothing waiting: append. Out-of-order data of others makes room. What still does not fit
 * inside an announced window is dropped, and counted; and the window closes, so that the peer probes it and
 * does not give up. */
static void append(struct tcb *t, const struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    tcp_ooo_make_room(t, 1);
    for (uint16_t i = 0; i < seg->pieces; i++) {
        uint32_t n = byteq_append(&t->rcvq, &st->chunks, seg->piece[i].data, seg->piece[i].len);
        t->rcv_nxt += n;
        if (n < seg->piece[i].len) {
            drop(st, DROP_TCP_RCV_MEMORY, seg->len);
            count(st, COUNT_TCP_WINDOW_BROKEN);
            t->rcv_no_memory = 1;
            tcp_send_ack(t);
            return;
        }
    }
}

/* RFC 9293 3.8.6.3, RFC 5681 section 4.2: at once for every second full segment, for anything out of
 * order and what fills a gap; else within 40 ms. At once also (quick ACK) at the start of a connection,
 * and after what came twice. */
static void decide_ack(struct tcb *t, const struct tcp_seg *seg, int out_of_order)
{
    uint32_t per_segment = seg->len / seg->segments;
    if (per_segment > t->rcv_mss)
        t->rcv_mss = per_segment > 65535 ? 65535 : per_segment;
    t->unacked += seg->len;
    t->pushed |= seg->flags & TCP_PSH;
    if (out_of_order || t->unacked >= 2 * t->rcv_mss || t->in_quickack) {
        if (t->in_quickack)
            t->in_quickack--;
        tcp_send_ack(t);
    } else if (t->deadline[TIMER_DELACK] == NEVER) {
        tcp_timer_set(t, TIMER_DELACK, t->base.st->now + TCP_DELACK);
    }
}

/* The reader has taken everything and wants more, of a peer who said (PSH) that this was all for now:
 * he may wait for our ACK (Nagle), so it is not delayed any longer. 1: it goes. */
int tcp_reader_waits(struct tcb *t)
{
    if (!t->pushed || t->rcvq.len || t->deadline[TIMER_DELACK] == NEVER)
        return 0;
    tcp_send_ack(t);
    return 1;
}

/* Closed, or shut down both ways: what comes now will never be read. After SHUT_RD alone it may be, as on
 * Linux. */
static int nobody_reads(const struct tcb *t)
{
    const uint32_t both = SOCK_SHUT_RD | SOCK_SHUT_WR;
    return (!(t->base.flags & SOCK_OPEN) || (t->base.flags & both) == both) && !t->listener;
}

/* RFC 1122 4.2.2.13, RFC 9293 3.10.4. */
static void reset_unread(struct tcb *t, const struct tcp_seg *seg)
{
    drop(t->base.st, DROP_TCP_AFTER_CLOSE, seg->len);
    tcp_send_rst(t->base.st, seg);
    if (traced(t))
        tcp_trace_reset(t);
    tcp_drop(t, ECONNRESET);
}

/* The stream ends at `end`: out-of-order data from there on was never part of it. */
static void nothing_behind(struct tcb *t, uint32_t end)
{
    if (seq_gt(ranges_end(&t->ooo, end), end))
        tcp_ooo_forget(t);
}

/* seg lies inside the window (tcp_trim) and has payload. */
void tcp_segment_text(struct tcb *t, struct tcp_seg *seg)
{
    struct bw_stack *st = t->base.st;
    if (t->state != BW_TCP_ESTABLISHED && t->state != BW_TCP_FIN_WAIT_1 && t->state != BW_TCP_FIN_WAIT_2 &&
        !tcp_is_early(t))
        return;
    if (nobody_reads(t)) {
        reset_unread(t, seg);
        return;
    }
    tcp_tuning_data(t, seg);
    t->stats.last_data_received = st->now;
    if (unlikely(seg->seq != t->rcv_nxt))
        t->stats.ooo_segs += seg->segments;
    else if (seg->flags & TCP_FIN)
        nothing_behind(t, seg->seq + seg->len);
    uint32_t before = t->rcv_nxt;
    int had_gap = t->ooo.n > 0;
    if (seg->seq == t->rcv_nxt && !had_gap)
        append(t, seg);
    else
        reassemble(t, seg);
    t->stats.bytes_received += t->rcv_nxt - before;
    decide_ack(t, seg, had_gap || t->ooo.n);
    if (t->rcv_nxt != before)
        sock_arrived(&t->base);
}

void tcp_check_fin(struct tcb *t, const struct tcp_seg *seg)
{
    if ((seg->flags & TCP_FIN) && !t->fin_received) {
        if (seq_gt(seg->seq, t->rcv_nxt) && nobody_reads(t)) { /* there is text before it */
            reset_unread(t, seg);
            return;
        }
        t->ooo_fin = OOO_FIN_NEWEST;
        t->ooo_fin_seq = seg->seq + seg->len;
    }
    if (!t->ooo_fin || t->fin_received || t->ooo_fin_seq != t->rcv_nxt) {
        if ((seg->flags & TCP_FIN) && !seg->len &&
            !t->fin_received) /* a gap before it: the peer hears at once */
            tcp_send_ack(t);
        return;
    }
    nothing_behind(t, t->rcv_nxt);
    t->ooo_fin = 0;
    t->fin_received = 1;
    t->rcv_nxt++;
    t->stats.bytes_received++; /* as Linux */
    tcp_send_ack(t);
    switch (t->state) {
    case BW_TCP_SYN_RCVD:
    case BW_TCP_ESTABLISHED: tcp_set_state(t, BW_TCP_CLOSE_WAIT); break;
    case BW_TCP_FIN_WAIT_1: tcp_set_state(t, BW_TCP_CLOSING); break;
    case BW_TCP_FIN_WAIT_2: tcp_time_wait(t); break;
    default: break;
    }
    sock_arrived(&t->base);
}
