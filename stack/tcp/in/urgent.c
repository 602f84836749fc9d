/* SPDX-License-Identifier: MIT */
/* Urgent data, as RFC 6093 found it in use and Linux does it: the urgent pointer names the byte that
 * follows the urgent one, and one byte at most is urgent. Without SO_OOBINLINE that byte is taken out
 * of the stream when the reader comes to it, and MSG_OOB reads it; a newer pointer makes the older byte
 * an ordinary one. A read never crosses the mark. There is no SIGURG: POLLPRI tells. */
#include "../tcp.h"

static uint32_t copied_seq(const struct tcb *t)
{
    return t->rcv_nxt - t->fin_received - t->rcvq.len;
}

/* ---- sending ------------------------------------------------------------------------------------------- */

/* The last byte given by the user is urgent. A closed window keeps it back, not the news of it. */
void tcp_mark_urgent(struct tcb *t)
{
    t->snd_up = tcp_data_end(t);
    t->snd_urgent = 1;
    t->push_wanted |= PUSH_LAST;
    if (seq_ge(t->snd_nxt, t->snd_una + t->snd_wnd))
        tcp_send_ack(t);
}

/* The urgent pointer of a segment at seq; 0: no URG. Beyond its reach it says as much as it can. */
uint16_t tcp_urgent_pointer(const struct tcb *t, uint32_t seq)
{
    if (seq_le(t->snd_up, seq))
        return 0;
    uint32_t ahead = t->snd_up - seq;
    return ahead > 0xffff ? 0xffff : (uint16_t)ahead;
}

/* ---- receiving ------------------------------------------------------------------------------------------ */

/* A pointer to a byte that is neither read nor received already, and newer than the last one. */
static void new_mark(struct tcb *t, uint32_t seq)
{
    if (seq_lt(seq, t->rcv_nxt) || (t->urg_data && seq_le(seq, t->urg_seq)))
        return;
    if (t->urg_data && !t->oobinline && t->urg_seq == copied_seq(t) && t->rcvq.len)
        byteq_drop(&t->rcvq, &t->base.st->chunks, 1); /* its place in the stream stays a hole */
    t->urg_data = URG_NOTYET;
    t->urg_seq = seq;
}

static uint8_t byte_at(const struct tcp_seg *seg, uint32_t at)
{
    uint16_t i = 0;
    while (at >= seg->piece[i].len)
        at -= seg->piece[i++].len;
    return seg->piece[i].data[at];
}

/* RFC 9293 3.10.7.4, sixth: check the URG bit; before the segment is trimmed. */
void tcp_check_urg(struct tcb *t, const struct tcp_seg *seg)
{
    if (t->state != BW_TCP_ESTABLISHED && t->state != BW_TCP_FIN_WAIT_1 && t->state != BW_TCP_FIN_WAIT_2)
        return;
    if (seg->flags & TCP_URG) /* 0 names no byte before it: as 1, as on Linux */
        new_mark(t, seg->seq + (seg->urg ? seg->urg - 1u : 0));
    if (t->urg_data != URG_NOTYET || t->urg_seq - seg->seq >= seg->len)
        return;
    t->urg_data = URG_VALID | byte_at(seg, t->urg_seq - seg->seq);
    sock_arrived(&t->base);
}

/* SIOCATMARK: has the reader come to the mark? */
int tcp_at_mark(const struct tcb *t)
{
    return t->urg_data && t->urg_seq == copied_seq(t);
}

/* Bytes that a plain read can still give: the urgent one at the front is none of them. */
uint32_t tcp_readable(const struct tcb *t)
{
    return t->rcvq.len - (t->rcvq.len && !t->oobinline && tcp_at_mark(t));
}

/* FIONREAD: up to the mark, if there is one ahead. */
uint32_t tcp_inq(const struct tcb *t)
{
    if (!t->urg_data || t->oobinline || seq_lt(t->urg_seq, copied_seq(t)) || seq_ge(t->urg_seq, t->rcv_nxt))
        return t->rcvq.len;
    return t->urg_seq - copied_seq(t);
}

/* MSG_OOB: the urgent byte, once; never waits. */
int64_t tcp_recv_urgent(struct tcb *t, void *buf, size_t len, int flags)
{
    if (t->oobinline || !t->urg_data || t->urg_data == URG_READ)
        return -EINVAL;
    if (t->state == BW_TCP_CLOSED && !t->fin_received) /* reset, as on Linux */
        return -ENOTCONN;
    if (!(t->urg_data & URG_VALID))
        return t->state == BW_TCP_CLOSED || t->fin_received || (t->base.flags & SOCK_SHUT_RD) ? 0 : -EAGAIN;
    if (len && !(flags & BW_MSG_TRUNC))
        *(uint8_t *)buf = (uint8_t)t->urg_data;
    if (!(flags & BW_MSG_PEEK)) {
        t->urg_data = URG_READ;
        sock_changed(&t->base);
    }
    return len != 0;
}

/* Of the first n bytes in the queue, those one read may give: n of them after *skip. */
uint32_t tcp_up_to_mark(const struct tcb *t, uint32_t n, uint32_t *skip)
{
    uint32_t ahead = t->urg_seq - copied_seq(t), left = t->rcvq.len - 1;
    *skip = 0;
    if (ahead && ahead < n)
        return ahead;
    if (ahead || t->oobinline)
        return n;
    *skip = 1;
    return n < left ? n : left;
}

/* The reader has moved: behind the mark there is none. */
void tcp_pass_mark(struct tcb *t)
{
    if (seq_gt(copied_seq(t), t->urg_seq))
        t->urg_data = 0;
}
