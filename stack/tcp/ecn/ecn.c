/* SPDX-License-Identifier: MIT */
/* Explicit Congestion Notification (RFC 3168 section 6.1): what the handshake agrees on, what a segment
 * leaves with, what the receiver echoes and how the sender answers.
 *
 * New data leaves as ECT(0); SYNs, bare ACKs, retransmissions and probes do not. With RFC 3168 the
 * receiver says ECE from a CE mark until a CWR; where the congestion control asks for it (CC_CE_STATE)
 * it says the mark of the last segment instead, so that each byte is told of (RFC 8257 section 3.2).
 * The sender's window answers once a round trip, whatever the number of marks. */
#include "../tcp.h"

static struct ecn_bits header_bits(uint32_t ace, uint8_t ip)
{
    return (struct ecn_bits){.ace = ace & (ACE_AE | ACE_CWR | ACE_ECE), .ip = ip};
}

/* ---- the window's answer --------------------------------------------------------------------------------- */

/* The window was reduced for what is outstanding: CWR, and no further answer until it is delivered. */
void tcp_ecn_reduced(struct tcb *t)
{
    t->ecn.cwr = t->ecn.mode == ECN_CLASSIC && t->ecn.ect;
    t->ecn.reduced = t->ecn.mode != ECN_NONE;
    t->ecn.reduced_end = t->snd_nxt;
}

/* An algorithm that governs its window alone and has no word for marks does not answer them: what it sends
 * is not to be marked (RFC 3168 section 5). */
static int answers_marks(const struct tcb *t)
{
    return !(t->cc->flags & CC_OWN_WINDOW) || t->cc->ecn_ssthresh;
}

static void answer_mark(struct tcb *t)
{
    if (!answers_marks(t))
        return;
    t->ssthresh = t->cc->ecn_ssthresh ? t->cc->ecn_ssthresh(t) : t->cc->ssthresh(t);
    if (t->cwnd > t->ssthresh && !(t->cc->flags & CC_OWN_WINDOW))
        t->cwnd = t->ssthresh;
    tcp_ecn_reduced(t);
    count(t->base.st, COUNT_TCP_ECN_REDUCTIONS);
}

/* ---- the handshake ------------------------------------------------------------------------------------- */

/* What the user, or the congestion control for him, wants: BW_ECN_*. */
static int wish(const struct tcb *t)
{
    if (!(cc_flags(t) & CC_ECN))
        return t->ecn_option;
    switch (t->ecn_option) {
    case BW_ECN_OFF:
    case BW_ECN_PASSIVE: return BW_ECN_ON;
    case BW_ECN_ACCURATE_PASSIVE: return BW_ECN_ACCURATE_ANSWER;
    default: return t->ecn_option;
    }
}

static uint32_t wants_to_ask(const struct tcb *t)
{
    int want = wish(t);
    if (want == BW_ECN_ACCURATE)
        return ACE_AE | ACE_ECN_SETUP;
    return want == BW_ECN_ON || want == BW_ECN_ACCURATE_ANSWER ? ACE_ECN_SETUP : 0;
}

/* A SYN that is lost may have been lost for what it asked: the next asks for nothing (RFC 3168 6.1.1.1, as
 * Linux's tcp_ecn_fallback), with accurate ECN the next but one (RFC 9768 3.1.4.1). */
static uint32_t syn_asks(struct tcb *t)
{
    uint32_t ask = wants_to_ask(t);
    if (ask && t->retries > !!(ask & ACE_AE)) {
        count(t->base.st, COUNT_TCP_ECN_FALLBACKS);
        t->ecn.plain_syn = 1;
        return 0;
    }
    return ask;
}

static void agree(struct tcb *t, int mode)
{
    t->ecn.mode = (uint8_t)mode;
    t->ecn.ect = 1;
    count(t->base.st, mode == ECN_ACCURATE ? COUNT_TCP_ACCECN_AGREED : COUNT_TCP_ECN_AGREED);
}

/* What a SYN with these bits asks of us; any use of them that we do not know asks for accurate ECN
 * (RFC 9768 section 3.1.3). */
static int asked_for(const struct tcb *t, uint8_t ace)
{
    if (wish(t) == BW_ECN_OFF)
        return ECN_NONE;
    if (wish(t) >= BW_ECN_ACCURATE)
        return !ace ? ECN_NONE : ace == ACE_ECN_SETUP ? ECN_CLASSIC : ECN_ACCURATE;
    return (ace & 3) == ACE_ECN_SETUP ? ECN_CLASSIC : ECN_NONE;
}

/* A SYN arrives: what we answer. As Linux, no RFC 3168 with a SYN that says ECT or CE itself: somebody on
 * the way writes that field at will; unless the congestion control sends such SYNs (DCTCP). */
void tcp_ecn_on_syn(struct tcb *t, const struct tcp_seg *seg)
{
    int mode = asked_for(t, seg->ace);
    t->ecn.mode = ECN_NONE;
    t->ecn.server = 1;
    t->ecn.syn_field = seg->pkt->tos & ECN_MASK;
    if (mode == ECN_NONE || (mode == ECN_CLASSIC && t->ecn.syn_field && !(cc_flags(t) & CC_ECN)))
        return;
    agree(t, mode);
    if (mode == ECN_ACCURATE)
        accecn_begin(t);
}

/* The SYN came again. One that asks for nothing takes RFC 3168 back (6.1.1); accurate ECN stays, without
 * ECT, and answers the latest (RFC 9768 3.1.5). -1: it asks for both kinds, which is to be reset. */
int tcp_ecn_on_syn_again(struct tcb *t, const struct tcp_seg *seg)
{
    int mode = asked_for(t, seg->ace);
    if (t->ecn.mode == ECN_NONE || (seg->flags & TCP_ACK))
        return 0;
    if (mode != ECN_NONE && mode != t->ecn.mode)
        return -1;
    t->ecn.syn_field = seg->pkt->tos & ECN_MASK;
    t->ecn.send_option = 0;
    if (mode != ECN_NONE)
        return 0;
    t->ecn.ect = 0;
    if (t->ecn.mode == ECN_CLASSIC)
        t->ecn.mode = ECN_NONE;
    return 0;
}

/* The SYN,ACK arrives. After a SYN that did not ask, nothing of ours says ECT with RFC 3168, but marks are
 * echoed: the peer may have answered the SYN that did. */
void tcp_ecn_on_synack(struct tcb *t, const struct tcp_seg *seg)
{
    uint32_t asked = wants_to_ask(t);
    t->ecn.mode = ECN_NONE;
    t->ecn.server = 0;
    if ((asked & ACE_AE) && accecn_agrees(seg->ace)) {
        agree(t, ECN_ACCURATE);
        if (accecn_on_synack(t, seg))
            answer_mark(t);
    } else if (asked && ((asked & ACE_AE) ? seg->ace : seg->ace & 3) == ACE_ECE) {
        agree(t, ECN_CLASSIC);
        t->ecn.ect = !t->ecn.plain_syn;
    }
}

/* The ACK that ends the handshake of one who opened to us. */
void tcp_ecn_on_third_ack(struct tcb *t, struct tcp_seg *seg)
{
    if (t->ecn.mode == ECN_ACCURATE && accecn_on_third_ack(t, seg))
        answer_mark(t);
}

/* ---- out ------------------------------------------------------------------------------------------------- */

/* RFC 9768 3.2.3.2.2: a SYN,ACK that was lost twice with accurate ECN goes without; then no ECT either. */
static struct ecn_bits syn_bits(struct tcb *t)
{
    if (t->state == BW_TCP_SYN_SENT)
        return header_bits(syn_asks(t), 0);
    if (t->ecn.mode != ECN_ACCURATE)
        return header_bits(t->ecn.mode == ECN_CLASSIC ? ACE_ECE : 0, 0);
    t->ecn.send_option &= !t->retries;
    if (t->retries > 1) {
        t->ecn.ect = 0;
        return header_bits(0, 0);
    }
    return header_bits(accecn_handshake_code(t->ecn.syn_field), 0);
}

/* The three bits of a segment after the handshake. Accurate ECN: the count of marks, or, in a bare ACK of
 * the SYN,ACK, how that one arrived. RFC 3168: ECE, and CWR with the first new data after a reduction
 * (6.1.2), so that it is as reliable as data are. */
static uint32_t ace_of(struct tcb *t, const struct tcp_emit *e, int fresh)
{
    struct tcp_ecn *n = &t->ecn;
    if (n->mode == ECN_ACCURATE) {
        uint8_t code = n->handshake;
        if (code && !e->len && !(e->flags & TCP_FIN) && !tcp_has_sack(t)) {
            n->handshake = 0;
            return code;
        }
        n->ce_untold = 0;
        return n->r_cep & 7;
    }
    uint32_t ace = n->echo ? ACE_ECE : 0;
    if (fresh && n->cwr) {
        ace |= ACE_CWR;
        n->cwr = 0;
    }
    return ace;
}

struct ecn_bits tcp_ecn_stamp(struct tcb *t, const struct tcp_emit *e)
{
    if (e->flags & TCP_SYN)
        return syn_bits(t);
    if (t->ecn.mode == ECN_NONE)
        return (struct ecn_bits){0};
    int fresh = e->len && !seq_lt(e->seq, t->snd_nxt);
    return header_bits(ace_of(t, e, fresh), fresh && t->ecn.ect && answers_marks(t) ? ECN_ECT0 : 0);
}

/* Would the segments that a super-segment is cut into say other things than it does? Who cuts takes CWR
 * for the first one's alone (RFC 9768 section 3.3.4). */
int tcp_ecn_uncut(const struct tcb *t)
{
    return t->ecn.mode == ECN_ACCURATE ? (t->ecn.r_cep & ACE_CWR) != 0 : t->ecn.cwr;
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
        tcp_emit(t, &ack);
    }
    t->ecn.echo = ce;
    tcp_send_ack(t);
}

/* An acceptable segment, before its data are taken (RFC 3168 6.1.3: only data count). */
void tcp_ecn_arrives(struct tcb *t, const struct tcp_seg *seg)
{
    uint8_t ce = (seg->pkt->tos & ECN_MASK) == ECN_CE;
    if (t->ecn.mode == ECN_ACCURATE) {
        accecn_arrives(t, seg);
        return;
    }
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
    if (t->ecn.mode == ECN_ACCURATE) {
        accecn_feedback(t, seg, d);
    } else if (t->ecn.ect && (seg->flags & TCP_ECE)) {
        d->ece = 1;
        d->ce = d->delivered;
    }
}

/* RFC 3168 6.1.2, RFC 8511: the window answers a mark. In recovery it has been answered; but what was
 * marked is congestion, so that nothing is undone. */
void tcp_ecn_react(struct tcb *t, const struct delivery *d)
{
    if (!d->ece)
        return;
    t->undo_valid = 0;
    if (!t->recovering && !t->ecn.reduced)
        answer_mark(t);
}
