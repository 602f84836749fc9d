/* SPDX-License-Identifier: MIT */
/* What to send, and when: retransmissions, new data within min(window, cwnd), Nagle and silly-window
 * avoidance (RFC 9293 3.7.4, 3.8.6), the window we announce, FIN, and bare ACKs. */
#include "../tcp.h"

/* ---- the path ------------------------------------------------------------------------------------------ */

void tcp_send_ack(struct tcb *t)
{
    t->ack_now = 1;
    tcp_want_output(t);
}

/* There is no path now: the retransmission timer decides what becomes of what is in flight, and the persist
 * timer tries again what could not be sent at all. */
static void wait_for_path(struct tcb *t)
{
    int handshake = t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD;
    if (t->deadline[TIMER_REXMT] != NEVER || t->fast_open & FASTOPEN_DEFERRED)
        return;
    if (t->snd_una == t->snd_nxt) {
        if (!handshake && !t->sndq.len && !(t->fin_queued && !t->fin_sent))
            return;
        t->persisting = !handshake;
        if (!t->retries)
            t->first_unacked = t->base.st->now;
    }
    tcp_arm_rexmt(t);
}

/* The path may be gone (address or route withdrawn, interface down): then it waits. */
int tcp_path_ready(struct tcb *t)
{
    uint32_t mtu = t->base.path.mtu;
    int err = ip_path_get(t->base.st, t->base.raddr, sock_interface(&t->base), &t->base.path);
    if (err) {
        t->base.soft_error = -err;
        wait_for_path(t);
        return 0;
    }
    if (mtu != t->base.path.mtu)
        tcp_update_mss(t);
    return 1;
}

/* ---- windows and sizes -------------------------------------------------------------------------------- */

/* Sequence number after the last byte the user has given us. */
uint32_t tcp_data_end(const struct tcb *t)
{
    return t->snd_una + !t->syn_acked + t->sndq.len;
}

/* The MSS we send with: the peer's, the path's, the user's; less the options every segment has
 * (RFC 6691). */
void tcp_update_mss(struct tcb *t)
{
    uint32_t mss = tcp_mss_ceiling(t);
    if (t->mtu.low && t->mtu.low < mss)
        mss = t->mtu.low;
    if (mss < TCP_MIN_SND_MSS)
        mss = TCP_MIN_SND_MSS;
    t->mss = mss - (t->use_ts ? TCP_TS_LEN : 0);
}

/* ---- retransmissions ------------------------------------------------------------------------------------ */

/* 1: one went out, 0: nothing to retransmit now, -1: no room. */
static int send_lost(struct tcb *t)
{
    if (!t->lost.n || t->frto == FRTO_NEW || tcp_pipe(t) >= t->cwnd || (t->pacing_rate && !pace_budget(t)))
        return 0;
    uint32_t seq = t->lost.r[0].start, len = t->lost.r[0].end - seq, end = tcp_data_end(t);
    struct tcp_emit e = {.seq = seq, .flags = TCP_ACK};
    if (len > t->mss)
        len = t->mss;
    e.len = seq_gt(seq + len, end) ? end - seq : len;
    if (e.len < len)
        e.flags |= TCP_FIN;
    if (seq + e.len == end)
        e.flags |= TCP_PSH;
    if (tcp_emit(t, &e))
        return -1;
    ranges_subtract(&t->lost, seq, seq + len);
    const struct tx_record record = rate_sent(t, seq, seq + len);
    if (t->resent.n < TXLOG_RESENT_MAX) /* beyond it the time-out finds it */
        txlog_add(&t->resent, &record);
    if (t->pacing_rate)
        pace_sent(t, len);
    if (unlikely(t->mtu.state))
        tcp_mtu_resent(t, seq);
    t->retransmits++;
    t->prr_out += len;
    tcp_undo_resent(t, seq, seq + len);
    t->stats.bytes_retrans += e.len;
    count(t->base.st, COUNT_TCP_RETRANSMITS);
    if (t->deadline[TIMER_REXMT] == NEVER || seq == t->snd_una)
        tcp_arm_rexmt(t);
    return 1;
}

/* ---- new data -------------------------------------------------------------------------------------------- */

/* Nagle's algorithm as Minshall refined it, and Linux does it: a short segment waits only for another
 * short one, so that the end of a message that began with full segments goes at once. */
static int short_in_flight(const struct tcb *t)
{
    return seq_gt(t->snd_sml, t->snd_una) && seq_le(t->snd_sml, t->snd_nxt);
}

/* How much new data may go now; *waiting: data stays behind. */
static uint32_t sendable(struct tcb *t, uint32_t *waiting)
{
    uint32_t flight = t->snd_nxt - t->snd_una, avail = t->sndq.len + !t->syn_acked - flight,
             pipe = tcp_pipe(t);
    uint32_t wnd = t->snd_wnd > flight ? t->snd_wnd - flight : 0, cwnd = t->cwnd + (t->tlp_new ? t->mss : 0);
    uint32_t n = avail < wnd ? avail : wnd;
    cwnd = cwnd > pipe ? cwnd - pipe : 0;
    n = n < cwnd ? n : cwnd;
    *waiting = avail;
    if (n >= t->mss)
        return n - n % t->mss;
    if (n == 0)
        return 0;
    int whole = n == avail && (t->nodelay || t->fin_queued || t->snd_urgent || !short_in_flight(t)) &&
                !t->cork && !t->more_coming;
    int pushed = t->push_wanted & (n == avail ? PUSH_LAST | PUSH_PART : PUSH_PART);
    if (whole || pushed || (n < avail && n >= t->max_snd_wnd / 2 && n == wnd))
        return n;
    return 0;
}

/* What is made of new data at a time: a large segment, which the device cuts, or cut.c. */
static uint32_t emit_size(const struct tcb *t, const struct iface *out)
{
    int own = t->snd_urgent || tcp_ecn_uncut(t) || !sock_dont_fragment(&t->base, &t->base.path);
    if (unlikely(own)) /* each segment says its own, or has an identification of its own (RFC 6864) */
        return t->mss;
    if (!(out->caps & NETDEV_TSO4))
        return traced(t) ? t->mss : TCP_TURN_BYTES - TCP_TURN_BYTES % t->mss;
    uint32_t max = out->tso_max < TCP_TURN_BYTES ? out->tso_max : TCP_TURN_BYTES;
    uint32_t pieces = (BW_TX_PIECES - 3) * CHUNK_SIZE;
    max = max < pieces ? max : pieces;
    return max < t->mss ? t->mss : max - max % t->mss;
}

/* Sends e as far as there is room, which may be its head. -1: there is none. */
static int emit_new(struct tcb *t, struct iface *out, struct tcp_emit *e)
{
    if (e->len <= t->mss || out->caps & NETDEV_TSO4)
        return tcp_emit(t, e);
    uint32_t sent = tcp_emit_cut(t, out, e);
    if (sent < e->len)
        e->flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    e->len = sent;
    return sent ? 0 : -1;
}

/* First transmission of something that occupies sequence space. */
void tcp_sent_new(struct tcb *t, uint32_t seq, uint32_t n)
{
    int64_t now = t->base.st->now;
    if (t->snd_una == seq)
        t->first_unacked = now;
    const struct tx_record record = rate_sent(t, seq, seq + n);
    txlog_add(&t->sent, &record);
    t->snd_nxt = seq + n;
    if (t->pacing_rate)
        pace_sent(t, n);
    t->prr_out += n;
    uint32_t pipe = tcp_pipe(t);
    if (pipe > t->max_flight || seq_ge(t->snd_una, t->flight_end)) { /* a new flight begins */
        t->max_flight = pipe;
        t->flight_end = t->snd_nxt;
    }
    if (t->deadline[TIMER_REXMT] == NEVER || t->persisting) {
        t->persisting = 0;
        tcp_arm_rexmt(t);
    }
    tlp_schedule(t);
}

/* RFC 5681 section 4.1: after an idle time the ACK clock is gone. */
static void restart_after_idle(struct tcb *t)
{
    uint32_t initial = tcp_initial_window(t->mss);
    if (t->snd_una != t->snd_nxt || !t->sndq.len)
        return;
    if (t->cc->restart)
        t->cc->restart(t);
    if (t->cwnd > initial && !(t->cc->flags & CC_OWN_WINDOW) && t->base.st->now - t->last_sent > t->rto)
        t->cwnd = initial;
}

/* A FIN takes a place in the peer's window, too: behind so many bytes. */
static int fin_fits(const struct tcb *t, uint32_t behind)
{
    return t->snd_nxt - t->snd_una + behind < t->snd_wnd;
}

/* 1: a turn's worth went out and more could follow, 0: nothing more to send now, -1: no room. */
static int send_new(struct tcb *t, struct iface *out)
{
    if (t->fin_sent || (!t->syn_acked && !tcp_is_early(t)))
        return 0;
    restart_after_idle(t);
    if (unlikely(t->mtu.low) && tcp_mtu_probe(t) < 0)
        return -1;
    uint32_t waiting, n = sendable(t, &waiting), size = emit_size(t, out), turn = 0;
    while (n) {
        if (t->pacing_rate) {
            uint32_t budget = pace_budget(t);
            if (!budget)
                return 0;
            n = n < budget ? n : budget;
        }
        struct tcp_emit e = {.seq = t->snd_nxt, .len = n < size ? n : size, .flags = TCP_ACK};
        if (e.len == waiting) {
            e.flags |= TCP_PSH;
            if (t->fin_queued && fin_fits(t, e.len))
                e.flags |= TCP_FIN;
        }
        if (emit_new(t, out, &e))
            return -1;
        if (unlikely(t->tlp_new))
            t->tlp_end = e.seq + e.len;
        t->push_wanted = t->tlp_new = 0;
        if (e.len % t->mss)
            t->snd_sml = e.seq + e.len;
        tcp_sent_new(t, e.seq, e.len + !!(e.flags & TCP_FIN));
        if (e.flags & TCP_FIN)
            t->fin_sent = 1;
        n -= e.len;
        waiting -= e.len;
        turn += e.len;
        if (turn >= TCP_TURN_BYTES && (n || waiting))
            return 1;
        if (!n && waiting)
            n = sendable(t, &waiting);
    }
    int fin = t->fin_queued && !t->fin_sent;
    if (fin && !waiting && fin_fits(t, 0)) {
        const struct tcp_emit e = {.seq = t->snd_nxt, .flags = TCP_ACK | TCP_FIN};
        if (tcp_emit(t, &e))
            return -1;
        t->fin_sent = 1;
        tcp_sent_new(t, e.seq, 1);
    } else if ((waiting || fin) && t->snd_una == t->snd_nxt && t->deadline[TIMER_REXMT] == NEVER) {
        t->persisting = 1; /* the window (or a cork) holds everything back: RFC 9293 3.8.6.1 */
        t->first_unacked = t->base.st->now;
        tcp_arm_rexmt(t);
    }
    return 0;
}

static int send_syn(struct tcb *t)
{
    const struct tcp_emit e = {.seq = t->iss,
                               .len = tfo_syn_data(t),
                               .flags = t->state == BW_TCP_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK};
    if (tcp_emit(t, &e))
        return 0;
    const struct tx_record record = rate_sent(t, t->iss, t->iss + 1 + e.len);
    txlog_add(t->snd_nxt != t->iss ? &t->resent : &t->sent, &record);
    if (t->snd_nxt == t->iss) {
        t->snd_nxt = t->iss + 1 + e.len;
        t->syn_data = (uint16_t)e.len;
        if (t->retries == 0)
            t->first_unacked = t->base.st->now;
    }
    t->syn_again = 0;
    if (t->deadline[TIMER_REXMT] == NEVER)
        tcp_arm_rexmt(t);
    return 1;
}

/* 1: nothing more to send now; 0: come back (no room, or the turn is over). */
int tcp_output(struct tcb *t, struct iface *out)
{
    if (t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD) {
        if (t->fast_open & FASTOPEN_DEFERRED)
            return 1;
        if (t->snd_nxt == t->iss || t->syn_again)
            return send_syn(t) && !tcp_is_early(t);
        if (tcp_is_early(t) && send_new(t, out))
            return 0;
    } else if (t->state != BW_TCP_TIME_WAIT) {
        int more = 1;
        if (t->ack_now && (tcp_has_sack(t) || t->ecn.handshake)) { /* what a full segment has no room for */
            const struct tcp_emit ack = {.seq = t->snd_nxt, .flags = TCP_ACK};
            if (tcp_emit(t, &ack))
                return 0;
        }
        for (uint32_t turn = 0; more > 0 && turn < TCP_TURN_BYTES; turn += t->mss)
            more = send_lost(t);
        if (more == 0)
            more = send_new(t, out);
        if (more)
            return 0;
        if (t->sndq.len)
            tcp_chrono_sent(t);
    }
    if (t->ack_now) {
        const struct tcp_emit e = {.seq = t->snd_nxt, .flags = TCP_ACK};
        if (tcp_emit(t, &e))
            return 0;
    }
    if (unlikely(t->state == BW_TCP_TIME_WAIT))
        tcp_time_wait_shrink(t);
    return 1;
}
