/* SPDX-License-Identifier: MIT */
/* TIME-WAIT without a control block (RFC 9293 3.6.1, RFC 1337, RFC 6191): its name, and what the last ACK says. It
 * answers as the whole connection would (in/segment.c), which has nothing to send or to receive any more. One list
 * by age and one timer serve all of them. */
#include "time_wait.h"
#include "tcp.h"

#define AT_ONE_PLACE(field) \
    _Static_assert(offsetof(struct time_wait, field) == offsetof(struct bw_sock, field), #field)
AT_ONE_PLACE(laddr);
AT_ONE_PLACE(raddr);
AT_ONE_PLACE(lport);
AT_ONE_PLACE(rport);
AT_ONE_PLACE(zone);
AT_ONE_PLACE(flow_next);
AT_ONE_PLACE(kind);
AT_ONE_PLACE(reuseaddr);
AT_ONE_PLACE(reuseport);
AT_ONE_PLACE(flags);
AT_ONE_PLACE(st);
AT_ONE_PLACE(bind_next);
AT_ONE_PLACE(bind_prev);
AT_ONE_PLACE(group);
AT_ONE_PLACE(bound_if);
_Static_assert(sizeof(struct time_wait) == 128, "two cache lines");

enum { LOOK_BACK = 64 }; /* records that one of an earlier end goes before */

static struct bw_sock *tw_sock(struct time_wait *w)
{
    return (struct bw_sock *)w;
}

static struct time_wait *tw_at(struct time_waits *all, uint32_t number)
{
    return number ? &all->record[number - 1] : NULL;
}

static uint32_t tw_number(const struct time_waits *all, const struct time_wait *w)
{
    return (uint32_t)(w - all->record) + 1;
}

/* ---- the list by age -------------------------------------------------------------------------------------- */

/* Behind those that end earlier. One that ends much earlier than many others stays as long as they do. */
static void tw_enter(struct time_waits *all, struct time_wait *w)
{
    struct wheel *wheel = &w->st->wheel;
    struct time_wait *before = tw_at(all, all->newest);
    for (int i = 0; before && before->until > w->until && i < LOOK_BACK; i++)
        before = tw_at(all, before->prev);
    if (before && before->until > w->until)
        w->until = before->until;
    uint32_t me = tw_number(all, w);
    w->prev = before ? tw_number(all, before) : 0;
    w->next = before ? before->next : all->oldest;
    *(w->prev ? &before->next : &all->oldest) = me;
    *(w->next ? &tw_at(all, w->next)->prev : &all->newest) = me;
    if (all->oldest == me)
        timer_set(wheel, &all->timer, w->until);
}

static void tw_leave(struct time_waits *all, struct time_wait *w)
{
    *(w->prev ? &tw_at(all, w->prev)->next : &all->oldest) = w->next;
    *(w->next ? &tw_at(all, w->next)->prev : &all->newest) = w->prev;
    if (!all->oldest)
        timer_cancel(&w->st->wheel, &all->timer);
}

static void tw_end(struct time_wait *w)
{
    struct time_waits *all = &w->st->tcp->time_waits;
    tw_leave(all, w);
    flow_del(tw_sock(w));
    bind_del(tw_sock(w));
    w->kind = KIND_FREE;
    w->next = all->free;
    all->free = tw_number(all, w);
    all->used--;
}

int tcp_time_wait_end_oldest(struct bw_stack *st)
{
    struct time_waits *all = &st->tcp->time_waits;
    if (!all->oldest)
        return 0;
    tw_end(tw_at(all, all->oldest));
    return 1;
}

/* A crowd ends in turns. */
void tcp_time_wait_expire(struct bw_stack *st)
{
    struct time_waits *all = &st->tcp->time_waits;
    struct time_wait *w = tw_at(all, all->oldest);
    for (int turn = 0; w && w->until <= st->now && turn < TIMER_TURN; turn++) {
        tw_end(w);
        w = tw_at(all, all->oldest);
    }
    if (w)
        timer_set(&st->wheel, &all->timer, w->until > st->now ? w->until : st->now);
}

void tcp_time_wait_if_down(struct bw_stack *st, uint32_t ifindex)
{
    struct time_waits *all = &st->tcp->time_waits;
    for (struct time_wait *w = tw_at(all, all->oldest), *next; w; w = next) {
        next = tw_at(all, w->next);
        if (w->ifindex == ifindex)
            tw_end(w);
    }
}

/* ---- from the control block --------------------------------------------------------------------------- */

static void tw_remember(struct time_wait *w, struct tcb *t)
{
    const struct tcp_emit ack = {.seq = t->snd_nxt, .flags = TCP_ACK};
    const struct ecn_bits ecn = tcp_ecn_stamp(t, &ack);
    const struct bw_sock *s = &t->base;
    uint32_t window = tcp_receive_window(t) >> t->rcv_wscale;
    *w = (struct time_wait){.lport = s->lport,
                            .rport = s->rport,
                            .zone = s->zone,
                            .kind = KIND_TIME_WAIT,
                            .reuseaddr = s->reuseaddr,
                            .reuseport = s->reuseport,
                            .ttl = s->ttl,
                            .flags = s->flags & ~(uint32_t)(SOCK_OBSERVED | SOCK_CHANGED),
                            .st = s->st,
                            .bound_if = s->bound_if,
                            .until = t->deadline[TIMER_STATE],
                            .snd_nxt = t->snd_nxt,
                            .rcv_nxt = t->rcv_nxt,
                            .ts_recent = t->ts_recent,
                            .ts_offset = t->ts_offset,
                            .challenge_start = (uint32_t)(t->challenge_start / MS),
                            .window = (uint16_t)(window > 65535 ? 65535 : window),
                            .rcv_wscale = t->rcv_wscale,
                            .tos = (uint8_t)(s->tos | ecn.ip),
                            .ifindex = (uint8_t)s->path.ifindex,
                            .challenges = t->challenges,
                            .ace = ecn.ace,
                            .use_ts = t->use_ts,
                            .use_sack = t->use_sack};
    memcpy(w->laddr, s->laddr, 16);
    memcpy(w->raddr, s->raddr, 16);
}

void tcp_time_wait_shrink(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    struct time_waits *all = &st->tcp->time_waits;
    if ((t->base.flags & SOCK_OPEN) || t->listener || traced(t) || st->trace.all)
        return;
    uint32_t number = all->free ? all->free : ++all->touched;
    struct time_wait *w = tw_at(all, number);
    if (all->free)
        all->free = w->next;
    all->used++;
    tw_remember(w, t);
    flow_replace(&t->base, tw_sock(w));
    bind_replace(&t->base, tw_sock(w));
    tcp_time_wait_leave(t);
    tw_enter(all, w);
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

static void tw_answer(struct time_wait *w, uint32_t again_from, uint32_t again_to)
{
    struct bw_stack *st = w->st;
    uint8_t opt[TCP_OPTIONS_MAX], *end = opt;
    if (w->use_ts)
        end = th_put_timestamps(end, 0, (uint32_t)(st->now / MS) + w->ts_offset, w->ts_recent);
    int dsack = w->use_sack && seq_lt(again_from, again_to);
    if (dsack) { /* RFC 2883 */
        th_put_sack_block(end, 0, again_from, again_to);
        end = th_put_sack(end, 1);
    }
    const struct tcp_bare b = {.src = w->laddr,
                               .dst = w->raddr,
                               .sport = w->lport,
                               .dport = w->rport,
                               .seq = w->snd_nxt,
                               .ack = w->rcv_nxt,
                               .wnd = w->window,
                               .flags = TCP_ACK,
                               .ace = w->ace,
                               .ttl = w->ttl,
                               .tos = w->tos,
                               .optlen = (uint8_t)(end - opt),
                               .opt = opt};
    struct ip_path path = {0};
    if (ip_path_find(st, w->raddr, sock_interface(tw_sock(w)), &path) || !tcp_emit_bare(st, &b, &path, 0))
        return;
    count(st, COUNT_TCP_TX_SEGMENTS);
    if (dsack)
        count(st, COUNT_TCP_DSACKS);
}

/* As answer_limited in segment.c. */
static void tw_answer_seldom(struct time_wait *w, int all)
{
    struct bw_stack *st = w->st;
    uint32_t ms = (uint32_t)(st->now / MS);
    if (ms - w->challenge_start >= 5000) {
        w->challenge_start = ms;
        w->challenges = 0;
    }
    if (w->challenges >= TCP_CHALLENGES || (all && !tcp_challenge_budget(st))) {
        count(st, COUNT_TCP_CHALLENGES_LIMITED);
        return;
    }
    w->challenges++;
    count(st, COUNT_TCP_CHALLENGE_ACKS);
    tw_answer(w, 0, 0);
}

/* Step 1 of RFC 9293 3.10.7.4. A FIN that comes again asks for our last ACK, and the time begins anew. */
static enum verdict tw_check_number(struct time_wait *w, const struct tcp_seg *seg)
{
    struct bw_stack *st = w->st;
    uint32_t stop = tcp_seg_end(seg), right = w->rcv_nxt + ((uint32_t)w->window << w->rcv_wscale);
    int stamped = w->use_ts && seg->has_ts,
        paws = stamped && !(seg->flags & TCP_RST) && seq_lt(seg->tsval, w->ts_recent);
    int above = stop == seg->seq ? seq_ge(seg->seq, w->rcv_nxt) : seq_gt(stop, w->rcv_nxt);
    if (!paws && above && seq_le(seg->seq, right))
        return GO_ON;
    drop(st, paws ? DROP_TCP_PAWS : DROP_TCP_WINDOW, seg->len);
    if (seg->flags & TCP_RST)
        return DONE;
    if (seg->flags & TCP_FIN) {
        tw_leave(&st->tcp->time_waits, w);
        w->until = st->now + TCP_MSL_2;
        tw_enter(&st->tcp->time_waits, w);
        tw_answer(w, 0, 0);
    } else if (seg->len) {
        tw_answer(w, seg->seq, seq_min(stop, w->rcv_nxt));
    } else {
        tw_answer_seldom(w, seg->flags & TCP_SYN);
    }
    return DONE;
}

void tcp_on_time_wait(struct time_wait *w, const struct tcp_seg *seg)
{
    struct bw_stack *st = w->st;
    if (tw_check_number(w, seg) == DONE)
        return;
    if (seg->flags & TCP_RST) { /* RFC 1337 */
        drop(st, DROP_TCP_RST, 0);
        return;
    }
    if (seg->flags & TCP_SYN) { /* RFC 5961 section 4 */
        drop(st, DROP_TCP_SYN, seg->len);
        tw_answer_seldom(w, 1);
        return;
    }
    if (w->use_ts && seg->has_ts && seq_le(seg->seq, w->rcv_nxt) && seq_ge(seg->tsval, w->ts_recent))
        w->ts_recent = seg->tsval;
    if (seg->len || (seg->flags & TCP_FIN) || seg->seq != w->rcv_nxt) { /* as check_time_wait in segment.c */
        drop(st, DROP_TCP_AFTER_CLOSE, seg->len);
        tw_answer_seldom(w, 0);
    }
}

int tcp_time_wait_error(struct time_wait *w, uint32_t seq, int too_big)
{
    return !too_big && seq == w->snd_nxt;
}

/* ---- its name ------------------------------------------------------------------------------------------------ */

int tcp_reopens(struct bw_sock *s, const struct tcp_seg *seg)
{
    if ((seg->flags & (TCP_SYN | TCP_RST | TCP_ACK | TCP_FIN)) != TCP_SYN)
        return 0;
    int record = s->kind == KIND_TIME_WAIT;
    if (!record && tcb_of(s)->state != BW_TCP_TIME_WAIT)
        return 0;
    const struct time_wait *w = time_wait_of(s);
    const struct tcb *t = tcb_of(s);
    uint32_t rcv_nxt = record ? w->rcv_nxt : t->rcv_nxt, ts_recent = record ? w->ts_recent : t->ts_recent;
    if ((record ? w->use_ts : t->use_ts) && seg->has_ts)
        return seq_gt(seg->tsval, ts_recent) || (seg->tsval == ts_recent && seq_gt(seg->seq, rcv_nxt));
    return seq_gt(seg->seq, rcv_nxt);
}

/* With timestamps, after a second, old segments cannot be mistaken (RFC 6191). */
int tcp_name_reusable(const struct bw_sock *s)
{
    const struct time_wait *w = (const struct time_wait *)s;
    const struct tcb *t = (const struct tcb *)s;
    if (s->kind == KIND_TIME_WAIT)
        return w->use_ts && w->until - s->st->now < TCP_MSL_2 - SECOND;
    return s->kind == KIND_TCP && t->state == BW_TCP_TIME_WAIT && t->use_ts && !(s->flags & SOCK_OPEN) &&
           t->deadline[TIMER_STATE] - s->st->now < TCP_MSL_2 - SECOND;
}

uint32_t tcp_time_wait_yield(struct bw_sock *s)
{
    count(s->st, COUNT_TCP_TIMEWAIT_RECYCLED);
    uint32_t snd_nxt = s->kind == KIND_TIME_WAIT ? time_wait_of(s)->snd_nxt : tcb_of(s)->snd_nxt;
    if (s->kind == KIND_TIME_WAIT)
        tw_end(time_wait_of(s));
    else
        tcp_drop(tcb_of(s), 0);
    return snd_nxt;
}
