/* SPDX-License-Identifier: MIT */
/* TCP's timers and the round-trip time (RFC 6298, RFC 9293 3.8.3 to 3.8.6).
 * A connection has several deadlines and one timer on the wheel, which stands at the earliest
 * deadline or before it: setting a deadline later costs nothing until the timer fires. */
#include "tcp.h"

void tcp_timer_set(struct tcb *t, enum tcp_timer which, int64_t when)
{
    t->deadline[which] = when;
    if (!timer_is_set(&t->timer) || t->timer.when > when)
        timer_set(&t->base.st->wheel, &t->timer, when);
}

uint32_t tcp_ts_then(const struct tcb *t, int64_t when)
{
    return (uint32_t)(when / MS) + t->ts_offset;
}

uint32_t tcp_ts_now(const struct tcb *t)
{
    return tcp_ts_then(t, t->base.st->now);
}

/* While a connection opens: does the peer echo a timestamp that our SYN, or what we sent since, may have had?
 * Another one is of an older connection, or a guess; as on Linux. 0 says nothing. */
int tcp_echo_is_ours(const struct tcb *t, const struct tcp_seg *seg)
{
    uint32_t first = tcp_ts_then(t, t->first_unacked), now = tcp_ts_now(t);
    return !seg->has_ts || !seg->tsecr || now - seg->tsecr <= now - first;
}

/* The variance, as Linux has it: a window's worth of samples in a round trip shall not
 * make the estimate forget. It follows the smoothed deviation up at once, and down once a round trip,
 * towards the largest in it; a path that becomes shorter counts little. It is TCP_RTO_MIN / 4 at least. */
static void variance_sample(struct tcb *t, int64_t delta)
{
    enum { FLOOR = TCP_RTO_MIN / 4 };
    int64_t change = (delta < 0 ? -delta : delta) - t->rttvar;
    t->rttvar += delta < 0 && change > 0 ? change / 32 : change / 4;
    if (t->rttvar > t->rttvar_max)
        t->rttvar_max = t->rttvar;
    if (t->rttvar_max > t->rttvar_high)
        t->rttvar_high = t->rttvar_max;
    if (seq_gt(t->snd_una, t->rttvar_end)) {
        t->rttvar_high -= (t->rttvar_high - t->rttvar_max) / 4;
        t->rttvar_end = t->snd_nxt;
        t->rttvar_max = FLOOR;
    }
}

/* RFC 6298 section 2, in nanoseconds: SRTT + 4 * RTTVAR. The lower bound is the second term's alone, so that
 * a long path has room for it, too. */
void tcp_rtt_sample(struct tcb *t, int64_t rtt)
{
    if (rtt < 0)
        return;
    if (rtt < 1000)
        rtt = 1000;
    if (t->srtt == 0) {
        t->srtt = rtt;
        t->rttvar = rtt / 2;
        t->rttvar_max = t->rttvar_high = t->rttvar > TCP_RTO_MIN / 4 ? t->rttvar : TCP_RTO_MIN / 4;
        t->rttvar_end = t->snd_nxt;
    } else {
        int64_t delta = rtt - t->srtt;
        variance_sample(t, delta);
        t->srtt += delta / 8;
    }
    if (rtt < t->min_rtt)
        t->min_rtt = rtt;
    int64_t rto = t->srtt + 4 * t->rttvar_high;
    t->rto = rto > TCP_RTO_MAX ? TCP_RTO_MAX : rto;
    t->backoff = 0;
    if (traced(t))
        tcp_trace_rtt(t, rtt);
}

int64_t tcp_backed_off(const struct tcb *t)
{
    int64_t rto = t->rto << (t->backoff > 10 ? 10 : t->backoff);
    return rto > TCP_RTO_MAX ? TCP_RTO_MAX : rto;
}

/* How long what waits for the peer may still wait (TCP_USER_TIMEOUT, RFC 5482). A listener's children have
 * their number of SYN,ACKs and nothing else, as on Linux. */
static int64_t user_time_left(const struct tcb *t)
{
    if (!t->user_timeout || (t->state == BW_TCP_SYN_RCVD && t->listener))
        return NEVER;
    return t->first_unacked + t->user_timeout * MS - t->base.st->now;
}

void tcp_arm_rexmt(struct tcb *t)
{
    int64_t rto = tcp_backed_off(t), left = user_time_left(t);
    tcp_timer_set(t, TIMER_REXMT, t->base.st->now + (left < rto ? left : rto));
}

/* The user's timeout is another now: a timer that runs may be due earlier. */
static void not_after(struct tcb *t, enum tcp_timer which, int64_t due)
{
    if (t->deadline[which] != NEVER && due < t->deadline[which])
        tcp_timer_set(t, which, due > t->base.st->now ? due : t->base.st->now);
}

void tcp_user_timeout_changed(struct tcb *t)
{
    int64_t left = user_time_left(t);
    if (left == NEVER)
        return;
    not_after(t, TIMER_REXMT, t->base.st->now + left);
    if (t->probes)
        not_after(t, TIMER_KEEP, t->last_received + t->user_timeout * MS);
}

/* RFC 6298 (5.2), (5.3): after an ACK of new data restart the timer, or stop it when all is acked. */
void tcp_rearm_rexmt(struct tcb *t)
{
    t->persisting = 0;
    if (t->snd_una == t->snd_nxt)
        tcp_timer_cancel(t, TIMER_REXMT);
    else
        tcp_arm_rexmt(t);
}

void tcp_arm_keepalive(struct tcb *t)
{
    enum {
        WATCHED = 1 << BW_TCP_ESTABLISHED | 1 << BW_TCP_FIN_WAIT_1 | 1 << BW_TCP_FIN_WAIT_2 |
                  1 << BW_TCP_CLOSE_WAIT | 1 << BW_TCP_LAST_ACK | 1 << BW_TCP_CLOSING
    };
    if (t->keepalive && (WATCHED >> t->state & 1))
        tcp_timer_set(t, TIMER_KEEP, t->base.st->now + t->keep_idle * SECOND);
    else
        tcp_timer_cancel(t, TIMER_KEEP);
    t->probes = 0;
}

/* The user's timeout decides; without it, and in SYN states besides, a number of attempts: R2 of RFC 9293
 * 3.8.3. */
static int given_up(const struct tcb *t)
{
    int64_t left = user_time_left(t);
    if (left <= 0)
        return 1;
    if (left != NEVER && t->state != BW_TCP_SYN_SENT && t->state != BW_TCP_SYN_RCVD)
        return 0;
    int limit = t->state == BW_TCP_SYN_SENT   ? t->syn_retries
                : t->state == BW_TCP_SYN_RCVD ? TCP_SYNACK_RETRIES
                                              : TCP_RETRIES;
    if (!(t->base.flags & SOCK_OPEN) && t->state != BW_TCP_SYN_RCVD)
        limit = limit < TCP_ORPHAN_RETRIES ? limit : TCP_ORPHAN_RETRIES;
    return t->retries >= limit;
}

/* Nobody waits for an orphan: one that its peer leaves without an answer is reset while half of the pool is
 * taken. 1: it is gone. */
static int orphan_gave_way(struct tcb *t)
{
    enum { ORPHAN_PRESSURE = 50 };
    struct bw_stack *st = t->base.st;
    if (!t->orphan || t->sndq.len <= CHUNK_SIZE || !chunk_filled(&st->chunks, ORPHAN_PRESSURE))
        return 0;
    count(st, COUNT_TCP_ORPHANS_RESET);
    tcp_abort_rst(t);
    tcp_drop(t, 0);
    return 1;
}

static void on_rexmt(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    if (orphan_gave_way(t))
        return;
    if (given_up(t)) {
        tfo_unanswered(t);
        tcp_drop(t, t->base.soft_error ? t->base.soft_error : ETIMEDOUT);
        return;
    }
    t->retries++;
    t->backoff++;
    count(st, COUNT_TCP_TIMEOUTS);
    tcp_info_timeout(t);
    if (t->retries == TCP_R1)
        t->base.path.gen = 0; /* RFC 9293 3.8.3 R1: the path may have changed */
    if (t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD)
        t->syn_again = 1;
    else
        tcp_recovery_timeout(t);
    tcp_arm_rexmt(t);
    tcp_want_output(t);
}

/* Zero window: a byte beyond it, or an old sequence number, makes the peer tell its window. The
 * connection stays open as long as the peer answers (RFC 9293 3.8.6.1), and its user: what a peer that
 * never opens its window can hold of an orphan ends with the eighth probe in a row. */
static void on_persist(struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una;
    t->persisting = 0;
    if (t->snd_wnd > flight &&
        tcp_path_ready(t)) { /* silly-window avoidance, or the want of a path, held it back */
        t->push_wanted |= t->sndq.len > flight ? PUSH_PART : 0;
        tcp_want_output(t);
        return;
    }
    if (orphan_gave_way(t))
        return;
    int orphan = !(t->base.flags & SOCK_OPEN);
    if (given_up(t) || (orphan && t->backoff >= TCP_ORPHAN_RETRIES)) {
        if (orphan)
            tcp_abort_rst(t);
        tcp_drop(t, t->base.soft_error ? t->base.soft_error : ETIMEDOUT);
        return;
    }
    t->retries++;
    t->backoff++;
    tcp_arm_rexmt(t);
    t->persisting = 1;
    count(t->base.st, COUNT_TCP_PROBES);
    const struct tcp_emit probe = {.seq = t->snd_una - !t->snd_urgent, .flags = TCP_ACK, .probe = 1};
    tcp_emit(t, &probe);
}

/* RFC 9293 3.8.4. The user's timeout stands in for the number of probes (as on Linux), and is
 * not exceeded by what is left of an interval. */
static void on_keepalive(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    int64_t idle_until = t->last_received + t->keep_idle * SECOND;
    if (t->probes == 0 && idle_until > st->now) {
        tcp_timer_set(t, TIMER_KEEP, idle_until);
        return;
    }
    if (t->sndq.len || t->snd_una != t->snd_nxt) { /* retransmission watches the peer already */
        tcp_arm_keepalive(t);
        return;
    }
    int64_t silent = st->now - t->last_received, most = t->user_timeout * MS;
    if (t->user_timeout ? t->probes && silent >= most : t->probes >= t->keep_count) {
        tcp_abort_rst(t);
        tcp_drop(t, ETIMEDOUT);
        return;
    }
    t->probes++;
    count(st, COUNT_TCP_KEEPALIVES);
    const struct tcp_emit probe = {.seq = t->snd_una - 1, .flags = TCP_ACK, .probe = 1};
    tcp_emit(t, &probe);
    int64_t next = t->keep_intvl * SECOND; /* the first probe has its time, however short the user's is */
    if (t->user_timeout && most > silent && most - silent < next)
        next = most - silent;
    tcp_timer_set(t, TIMER_KEEP, st->now + next);
}

static void on_deadline(struct tcb *t, enum tcp_timer which)
{
    if (traced(t))
        tcp_trace_timer(t, which);
    switch (which) {
    case TIMER_REXMT:
        if (t->persisting)
            on_persist(t);
        else
            on_rexmt(t);
        break;
    case TIMER_PROBE: rack_timer(t); break;
    case TIMER_PACE: tcp_want_output(t); break;
    case TIMER_DELACK:
        count(t->base.st, COUNT_TCP_DELAYED_ACKS);
        tcp_send_ack(t);
        break;
    case TIMER_KEEP: on_keepalive(t); break;
    default: /* TIME-WAIT, or FIN-WAIT-2 without a user, is over */ tcp_drop(t, 0);
    }
}

void tcp_timer_fired(struct bw_stack *st, struct timer *timer)
{
    struct tcb *t = container_of(timer, struct tcb, timer);
    for (int i = 0; i < TCP_TIMERS; i++)
        if (t->deadline[i] <= st->now) {
            t->deadline[i] = NEVER;
            on_deadline(t, (enum tcp_timer)i);
            if (t->base.kind == KIND_FREE || t->state == BW_TCP_CLOSED)
                return;
        }
    int64_t next = NEVER;
    for (int i = 0; i < TCP_TIMERS; i++)
        if (t->deadline[i] < next)
            next = t->deadline[i];
    if (next != NEVER)
        timer_set(&st->wheel, &t->timer, next);
}
