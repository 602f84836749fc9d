/* SPDX-License-Identifier: MIT */
/* Packetization layer path MTU discovery (RFC 4821, RFC 8899): off, after
 * a black hole (when time-outs in a row say that large segments vanish without a word of ICMP), or always.
 *
 * Sizes here are segments without IP and TCP headers, options included: path MTU less these. `low` is known
 * to pass and bounds what is sent; a probe, one larger segment of the stream's own bytes, looks for more:
 * first all that the path promises (a black hole may have been an outage), then half way. Its loss alone
 * is no congestion. The search costs no timer: it goes on when there is something to send. Without SACK,
 * whose reports make a probe's loss cheap, what a black hole taught stays. */
#include "../tcp.h"

enum {
    BASE = 1024,       /* Linux's tcp_base_mss */
    NEAR_ENOUGH = 8,   /* Linux's tcp_probe_threshold */
    MAX_PROBES = 3,    /* RFC 8899 5.1.2: of one size, where it is not clear what happened */
    BEHIND = 3,        /* segments that follow a probe, so that its loss is seen */
    AGAIN = 600,       /* seconds: RFC 8899 5.1.1 PMTU_RAISE_TIMER, Linux's tcp_probe_interval */
    AFTER_UNCLEAR = 1, /* second */
};

/* What peer, user and path allow. */
uint32_t tcp_mss_ceiling(const struct tcb *t)
{
    uint32_t mss = tcp_mss_by(&t->base.path, t->base.path.mtu, t->user_mss, TCP_MIN_SND_MSS);
    return t->peer_mss < mss ? t->peer_mss : mss;
}

static void search_from(struct tcb *t, uint32_t low)
{
    t->mtu = (struct tcp_mtu){.low = (uint16_t)low, .high = (uint16_t)tcp_mss_ceiling(t), .at_top = 1};
    tcp_update_mss(t);
}

/* A connection opens; its MSS is known. */
void tcp_mtu_open(struct tcb *t)
{
    t->mtu.low = 0;
    t->mtu.state = MTU_IDLE;
    if (t->base.st->cfg.mtu_probing == BW_MTU_PROBING_ALWAYS && tcp_mss_ceiling(t) > BASE)
        search_from(t, BASE);
}

/* The third time-out in a row, or a later one: are segments of this size what cannot pass? */
void tcp_mtu_black_hole(struct tcb *t)
{
    static const uint16_t step[] = {BASE, TCP_DEFAULT_MSS, 256};
    uint32_t now = t->mtu.low ? t->mtu.low : tcp_mss_ceiling(t), flight = t->snd_nxt - t->snd_una;
    if (!t->base.st->cfg.mtu_probing)
        return;
    for (unsigned i = 0; i < sizeof step / sizeof *step; i++)
        if (step[i] < now && flight + now > step[i] + t->mss) {
            count(t->base.st, COUNT_TCP_BLACK_HOLES);
            search_from(t, step[i]);
            return;
        }
}

/* A time-out, or a loss of the probe with other data, says nothing clear about it. */
void tcp_mtu_unclear(struct tcb *t)
{
    if (t->mtu.state == MTU_SENT && ++t->mtu.tries >= MAX_PROBES) {
        t->mtu.high = t->mtu.size - 1;
        t->mtu.at_top = t->mtu.tries = 0;
    }
    t->mtu.state = MTU_IDLE;
    t->mtu.next = t->base.st->now + AFTER_UNCLEAR * SECOND;
}

/* snd_una has moved. */
void tcp_mtu_acked(struct tcb *t)
{
    if (seq_lt(t->snd_una, t->mtu.end))
        return;
    if (t->mtu.state == MTU_SENT) {
        count(t->base.st, COUNT_TCP_MTU_PROBES_PASSED);
        t->mtu.low = t->mtu.size;
        t->mtu.at_top = t->mtu.tries = 0;
        if (t->mtu.low >= tcp_mss_ceiling(t))
            t->mtu.low = 0; /* nothing more to look for */
        tcp_update_mss(t);
    }
    t->mtu.state = MTU_IDLE;
}

/* Is what is lost the probe and nothing else? Then it goes again in pieces, and the window stays. */
int tcp_mtu_lost(struct tcb *t)
{
    const struct range *first = t->lost.r, *last = first + t->lost.n - 1;
    if (!t->mtu.state || seq_lt(first->start, t->mtu.seq) || seq_gt(last->end, t->mtu.end))
        return 0;
    if (t->mtu.state == MTU_SENT) {
        t->mtu.state = MTU_LOST;
        t->mtu.high = t->mtu.size - 1;
        t->mtu.at_top = t->mtu.tries = 0;
        rack_mark_lost(t, t->mtu.seq, t->mtu.end);
        tcp_want_output(t);
    }
    return 1;
}

/* What begins at seq goes again, in a segment of the usual size: of the probe, that it arrives tells
 * nothing then. */
void tcp_mtu_resent(struct tcb *t, uint32_t seq)
{
    if (t->mtu.state == MTU_SENT && seq_in(seq, t->mtu.seq, t->mtu.end))
        tcp_mtu_unclear(t);
}

/* How large the next probe is; 0: none is due. */
static uint32_t next_size(struct tcb *t)
{
    uint32_t top = tcp_mss_ceiling(t);
    int64_t now = t->base.st->now;
    if (t->mtu.state || now < t->mtu.next)
        return 0;
    if (t->mtu.high > top)
        t->mtu.high = (uint16_t)top;
    if (t->mtu.high < t->mtu.low + NEAR_ENOUGH) { /* found; the path may get better */
        t->mtu.high = (uint16_t)top;
        t->mtu.at_top = 1;
        t->mtu.next = now + AGAIN * SECOND;
        return 0;
    }
    return t->mtu.at_top ? t->mtu.high : (t->mtu.low + t->mtu.high + 1u) / 2;
}

/* Before new data, while there is a search. 1: a probe went out, 0: none now, -1: no room. */
int tcp_mtu_probe(struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una, pipe = tcp_pipe(t), size;
    if (!t->use_sack || t->recovering || t->lost.n || t->sacked.n || !t->syn_acked || t->snd_urgent ||
        !(size = next_size(t)))
        return 0;
    uint32_t len = size - (t->use_ts ? TCP_TS_LEN : 0), behind = len + BEHIND * t->mss;
    if (t->sndq.len < flight + behind || t->snd_wnd < flight + behind || t->cwnd < behind ||
        t->cwnd < pipe + len || (t->pacing_rate && !pace_budget(t)))
        return 0;
    const struct tcp_emit e = {.seq = t->snd_nxt, .len = len, .flags = TCP_ACK, .whole = 1};
    if (tcp_emit(t, &e))
        return -1;
    t->mtu.state = MTU_SENT;
    t->mtu.size = (uint16_t)size;
    t->mtu.seq = e.seq;
    t->mtu.end = e.seq + len;
    count(t->base.st, COUNT_TCP_MTU_PROBES);
    tcp_sent_new(t, e.seq, len);
    return 1;
}
