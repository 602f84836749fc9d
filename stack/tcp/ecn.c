/* SPDX-License-Identifier: MIT */
/* Explicit Congestion Notification (RFC 3168 section 6.1): what the handshake agrees on, what a segment
 * leaves with, what the receiver echoes and how the sender answers.
 *
 * New data leaves as ECT(0); SYNs, bare ACKs, retransmissions and probes do not. With RFC 3168 the
 * receiver says ECE from a CE mark until a CWR; where the congestion control asks for it (CC_CE_STATE)
 * it says the mark of the last segment instead, so that each byte is told of (RFC 8257 section 3.2).
 * The sender's window answers once a round trip, whatever the number of marks. */
#include "tcp.h"

/* Where the three header bits that are not TCP's classic eight go: AE in byte 12, CWR and ECE in 13. */
static struct ecn_bits header_bits(uint32_t ace, uint8_t ip)
{
    return (struct ecn_bits){.offset = (uint8_t)(ace >> 2 & 1), .flags = (uint8_t)(ace << 6), .ip = ip};
}

/* ---- the handshake ------------------------------------------------------------------------------------- */

/* What the user, or the congestion control for him, wants: BW_ECN_*. */
static int wish(const struct tcb *t)
{
    uint32_t flags = cc_flags(t);
    int passive = t->ecn.option == BW_ECN_OFF || t->ecn.option == BW_ECN_PASSIVE;
    return passive && (flags & CC_ECN) ? BW_ECN_ON : t->ecn.option;
}

/* RFC 3168 6.1.1 with Linux's fallback: a SYN that is lost may have been lost for what it asked
 * (section 6.1.1.1), so the next one asks for nothing. */
static uint32_t syn_asks(struct tcb *t)
{
    int ask = wish(t) == BW_ECN_ON;
    if (ask && t->retries) {
        count(t->base.st, COUNT_TCP_ECN_FALLBACKS);
        t->ecn.plain_syn = 1;
        return 0;
    }
    return ask ? ACE_ECN_SETUP : 0;
}

static void agree(struct tcb *t, int mode)
{
    t->ecn.mode = (uint8_t)mode;
    t->ecn.ect = 1;
    count(t->base.st, COUNT_TCP_ECN_AGREED);
}

/* A SYN arrives: what we answer. As Linux, no ECN with a SYN that says ECT or CE itself: somebody on the
 * way writes that field at will; unless the congestion control sends such SYNs (DCTCP). */
void tcp_ecn_on_syn(struct tcb *t, const struct tcp_seg *seg)
{
    int want = wish(t);
    t->ecn.mode = ECN_NONE;
    if (want == BW_ECN_OFF || (seg->ace & 3) != ACE_ECN_SETUP)
        return;
    if ((seg->pkt->tos & ECN_MASK) && !(cc_flags(t) & CC_ECN))
        return;
    agree(t, ECN_CLASSIC);
}

/* The SYN came again: one that asks for nothing takes the agreement back (RFC 3168 6.1.1). */
void tcp_ecn_on_syn_again(struct tcb *t, const struct tcp_seg *seg)
{
    if (t->ecn.mode == ECN_CLASSIC && (seg->ace & 3) != ACE_ECN_SETUP)
        t->ecn.mode = ECN_NONE;
}

/* The SYN,ACK arrives. After a SYN that did not ask, nothing of ours says ECT, but marks are echoed: the
 * peer may have answered the SYN that did. */
void tcp_ecn_on_synack(struct tcb *t, const struct tcp_seg *seg)
{
    t->ecn.mode = ECN_NONE;
    if (wish(t) != BW_ECN_ON || (seg->ace & 3) != ACE_ECE)
        return;
    agree(t, ECN_CLASSIC);
    t->ecn.ect = !t->ecn.plain_syn;
}

/* ---- out ------------------------------------------------------------------------------------------------- */

static struct ecn_bits syn_bits(struct tcb *t)
{
    if (t->state == BW_TCP_SYN_SENT)
        return header_bits(syn_asks(t), 0);
    return header_bits(t->ecn.mode == ECN_CLASSIC ? ACE_ECE : 0, 0);
}

/* What a segment of the connection leaves with. CWR goes with the first new data after a reduction
 * (RFC 3168 6.1.2), so that it is as reliable as data are. */
struct ecn_bits tcp_ecn_stamp(struct tcb *t, const struct tcp_emit *e)
{
    if (e->flags & TCP_SYN)
        return syn_bits(t);
    if (t->ecn.mode == ECN_NONE)
        return (struct ecn_bits){0};
    int fresh = e->len && !seq_lt(e->seq, t->snd_nxt);
    uint32_t ace = t->ecn.echo ? ACE_ECE : 0;
    if (fresh && t->ecn.cwr) {
        ace |= ACE_CWR;
        t->ecn.cwr = 0;
    }
    return header_bits(ace, fresh && t->ecn.ect ? ECN_ECT0 : 0);
}

/* ---- in: what the network marked ------------------------------------------------------------------------- */

/* RFC 8257 section 3.2: an ACK tells of one state only, so what came before the change is acknowledged
 * first, with the state it came in. */
static void follow_ce_state(struct tcb *t, uint8_t ce)
{
    if (t->ecn.echo == ce)
        return;
    if (t->unacked) {
        const struct tcp_emit ack = {.seq = t->snd_nxt, .flags = TCP_ACK};
        tcp_emit(t, &t->base.st->iface[t->base.path.ifindex], &ack);
    }
    t->ecn.echo = ce;
    tcp_send_ack(t);
}

/* An acceptable segment, before its data are taken (RFC 3168 6.1.3: only data count). */
void tcp_ecn_arrives(struct tcb *t, const struct tcp_seg *seg)
{
    uint8_t ce = (seg->pkt->tos & ECN_MASK) == ECN_CE;
    if (!seg->len)
        return;
    t->base.st->counter[COUNT_TCP_ECN_CE] += ce ? seg->segments : 0;
    if (t->cc->flags & CC_CE_STATE) {
        follow_ce_state(t, ce);
        return;
    }
    if (seg->flags & TCP_CWR)
        t->ecn.echo = 0;
    if (ce && !t->ecn.echo) {
        t->ecn.echo = 1;
        tcp_send_ack(t);
    }
}

/* ---- in: what the peer tells of our own data -------------------------------------------------------------- */

void tcp_ecn_feedback(struct tcb *t, const struct tcp_seg *seg, struct delivery *d)
{
    if (t->ecn.reduced && seq_gt(t->snd_una, t->ecn.reduced_end))
        t->ecn.reduced = 0;
    if (t->ecn.ect && (seg->flags & TCP_ECE)) {
        d->ece = 1;
        d->ce = d->delivered;
    }
}

/* The window was reduced for what is outstanding: CWR, and no further answer until it is delivered. */
void tcp_ecn_reduced(struct tcb *t)
{
    t->ecn.cwr = t->ecn.mode == ECN_CLASSIC && t->ecn.ect;
    t->ecn.reduced = t->ecn.mode != ECN_NONE;
    t->ecn.reduced_end = t->snd_nxt;
}

/* RFC 3168 6.1.2, RFC 8511: the window answers a mark. In recovery it has been answered; but what was
 * marked is congestion, so that nothing is undone. */
void tcp_ecn_react(struct tcb *t, const struct delivery *d)
{
    if (!d->ece)
        return;
    t->undo_valid = 0;
    if (t->recovering || t->ecn.reduced)
        return;
    if (!(t->cc->flags & CC_OWN_WINDOW)) {
        t->ssthresh = t->cc->ecn_ssthresh ? t->cc->ecn_ssthresh(t) : t->cc->ssthresh(t);
        t->cwnd = t->cwnd < t->ssthresh ? t->cwnd : t->ssthresh;
    }
    tcp_ecn_reduced(t);
    count(t->base.st, COUNT_TCP_ECN_REDUCTIONS);
}
