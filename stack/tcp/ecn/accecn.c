/* SPDX-License-Identifier: MIT */
/* Accurate ECN feedback (RFC 9768 section 3.2): what the receiver counts and tells, in three bits of each
 * segment (ACE) and in an option, and what the sender makes of it. The handshake is in ecn.c.
 *
 * The three bits tell how many packets came marked, modulo 8, and may have wrapped; the option tells the
 * bytes. With the option the bytes decide; without it, an ACK of more than seven packets is taken at its
 * worst (section 3.2.2.5.2). */
#include "../tcp.h"

enum {
    ACCECN_CEP = 5, /* section 3.2.1: the counters begin here, so that zeroing shows */
    ACCECN_BYTES = 1,
    ACCECN_ROOM = 12, /* of the full option, padded */
    FIELD_MASK = 0xffffff,
};

/* Table 2 and Table 3: how the ECN field of a SYN or SYN,ACK is told of. */
static const uint8_t handshake_code[4] = {2, 3, 4, 6};

void accecn_begin(struct tcb *t)
{
    struct tcp_ecn *n = &t->ecn;
    n->r_cep = n->s_cep = ACCECN_CEP;
    n->r_bytes[ECN_CE] = n->s_bytes[ECN_CE] = 0;
    n->r_bytes[ECN_ECT0] = n->s_bytes[ECN_ECT0] = ACCECN_BYTES;
    n->r_bytes[ECN_ECT1] = n->s_bytes[ECN_ECT1] = ACCECN_BYTES;
    n->send_option = n->tell_bytes = 1;
}

/* For people: packets that came marked, and a counter's bytes, without what the counters begin with. */
uint32_t accecn_marks(const struct tcb *t)
{
    return t->ecn.r_cep - ACCECN_CEP;
}

uint32_t accecn_bytes(const uint32_t bytes[4], uint8_t field)
{
    return bytes[field] - (field == ECN_CE ? 0 : ACCECN_BYTES);
}

uint8_t accecn_handshake_code(uint8_t field)
{
    return handshake_code[field & ECN_MASK];
}

/* ---- out ------------------------------------------------------------------------------------------------- */

/* Order 0 begins with ECT(0)'s bytes, order 1 with ECT(1)'s. */
static const uint8_t field_of[2][3] = {{ECN_ECT0, ECN_CE, ECN_ECT1}, {ECN_ECT1, ECN_CE, ECN_ECT0}};

static int field_touched(const struct tcp_ecn *n, uint8_t field)
{
    return n->r_bytes[field] != (field == ECN_CE ? 0 : ACCECN_BYTES);
}

/* Section 3.2.3.3: an option with each ACK that tells of new bytes, with the fields that ever changed; in
 * the handshake all of them, as a test of the path. What does not fit whole is left out: *p is not
 * touched. Returns the place behind. */
uint8_t *accecn_put(struct tcb *t, uint8_t *p, uint32_t room, const struct tcp_emit *e)
{
    struct tcp_ecn *n = &t->ecn;
    int opening = (e->flags & TCP_SYN) || !n->option_sent;
    if (!n->send_option || !(n->tell_bytes || opening))
        return p;
    int order = !field_touched(n, ECN_ECT0) && field_touched(n, ECN_ECT1);
    uint32_t fields = 3;
    if (!opening)
        while (fields > 1 && !field_touched(n, field_of[order][fields - 1]))
            fields--;
    if (th_accecn_len(fields) > room)
        return p;
    uint32_t bytes[3];
    for (uint32_t i = 0; i < fields; i++)
        bytes[i] = n->r_bytes[field_of[order][i]];
    n->tell_bytes = 0;
    n->option_sent = 1;
    return th_put_accecn(p, order ? OPT_ACCECN1 : OPT_ACCECN0, bytes, fields);
}

/* Room the option wants on a segment that carries data: only where it does not take theirs. */
uint32_t accecn_room(const struct tcb *t, const struct tcp_emit *e)
{
    return e->len && e->len + ACCECN_ROOM > t->mss ? 0 : ACCECN_ROOM;
}

/* ---- in: what came marked -------------------------------------------------------------------------------- */

static void ack_now(struct tcb *t)
{
    const struct tcp_emit ack = {.seq = t->snd_nxt, .flags = TCP_ACK};
    tcp_emit(t, &ack);
}

/* An acceptable segment, before its data are taken. Section 3.2.2.5.1: the first mark after none is told
 * of at once, and so is every second (third, if nothing waits for an ACK). A burst is merged, at most
 * seven marks at a time (tcp_input.c): ACE never wraps unseen. */
void accecn_arrives(struct tcb *t, const struct tcp_seg *seg)
{
    struct tcp_ecn *n = &t->ecn;
    uint8_t field = seg->pkt->tos & ECN_MASK, changed = field != n->last_field;
    uint32_t packets = seg->segments;
    n->last_field = field;
    if (seg->len && field) {
        n->r_bytes[field] += seg->len;
        n->tell_bytes = 1;
    }
    if (field != ECN_CE)
        return;
    t->base.st->counter[COUNT_TCP_ECN_CE] += packets;
    if (n->ce_untold && n->ce_untold + packets > 7)
        ack_now(t);
    n->r_cep += packets;
    n->ce_untold = (uint8_t)(n->ce_untold + packets > 255 ? 255 : n->ce_untold + packets);
    if ((seg->len && changed) || n->ce_untold >= (seg->len || t->unacked ? 2 : 3))
        tcp_send_ack(t);
}

/* ---- in: what the peer tells ------------------------------------------------------------------------------- */

/* The option's fields, of an ACK that is certainly the newest, or perhaps; *ceb: how much the count of
 * marked bytes grew. 1: it told of them. */
static int read_option(struct tcb *t, const struct tcp_seg *seg, int newest, uint32_t *ceb)
{
    struct tcp_ecn *n = &t->ecn;
    int told = 0;
    if (!seg->accecn || n->ignore_option)
        return 0;
    const uint8_t *fields = field_of[seg->accecn == OPT_ACCECN1];
    for (uint32_t i = 0; i < seg->accecn_fields; i++) {
        uint8_t field = fields[i];
        if (!n->option_seen && field != ECN_CE && seg->accecn_field[i] == 0) {
            n->ignore_option = 1; /* section 3.2.3.2.4: zeroed on the way */
            return 0;
        }
        uint32_t grown = (seg->accecn_field[i] - n->s_bytes[field]) & FIELD_MASK;
        if (!newest && grown > FIELD_MASK / 2) /* it went back */
            grown = 0;
        n->s_bytes[field] += grown;
        told |= field == ECN_CE;
        *ceb += field == ECN_CE ? grown : 0;
    }
    if (seg->accecn_fields == 1 && fields[0] != ECN_CE) /* an omitted field has not changed */
        told = n->s_bytes[ECN_CE] == 0;
    n->option_seen = 1;
    return told;
}

/* How many packets the ACK may have acknowledged. */
static uint32_t packets_of(const struct tcb *t, uint32_t bytes)
{
    return (bytes + t->mss - 1) / t->mss;
}

/* Were all those packets full, so that packets_of is exact? */
static int all_full(const struct tcb *t, const struct delivery *d)
{
    return seq_le(t->snd_sml, t->snd_una - d->acked) && !d->sacked;
}

/* Section 3.2.2.5.2: the smallest growth that agrees with ACE, or the largest that is likely. */
static uint32_t grown_packets(const struct tcb *t, uint32_t least, uint32_t packets, int told, uint32_t ceb)
{
    if (told) {
        uint32_t marked = packets_of(t, ceb);
        return marked > least ? least + ((marked - least + 7) & ~7u) : least;
    }
    return packets > 7 ? packets - ((packets - least) & 7) : least;
}

/* How many bytes more came marked: by the option, less what ACE alone has told of before; or by ACE. */
static uint32_t grown_bytes(struct tcb *t, uint32_t cep, int told, uint32_t ceb)
{
    uint32_t ahead = t->ecn.ahead;
    if (told) {
        t->ecn.ahead = 0;
        return ceb > ahead ? ceb - ahead : 0;
    }
    t->ecn.ahead += cep * t->mss;
    return cep * t->mss;
}

/* What the segment tells of our packets, unless a later ACK has told more (appendix A.1): one that
 * delivers nothing may have been overtaken. */
void accecn_feedback(struct tcb *t, const struct tcp_seg *seg, struct delivery *d)
{
    struct tcp_ecn *n = &t->ecn;
    uint32_t ceb = 0, packets = packets_of(t, d->delivered), least = (seg->ace - n->s_cep) & 7;
    if (!d->delivered)
        return;
    if (!n->checked && seg->ace == 0 && !seg->accecn) { /* section 3.2.2.4: the field is zeroed on the way */
        n->ignore = 1;
        n->ect = 0;
    }
    n->checked = 1;
    int told = read_option(t, seg, d->acked > 0, &ceb);
    if (n->ignore)
        return;
    if (ceb && !least && !n->ahead && packets <= 7 &&
        all_full(t, d)) { /* section 3.2.3.2.5: one of them lies */
        n->ect = 0;
        count(t->base.st, COUNT_TCP_ECN_MANGLED);
    }
    uint32_t cep = grown_packets(t, least, packets, told, ceb);
    uint32_t marked = grown_bytes(t, cep, told, ceb);
    n->s_cep += cep;
    d->ece = cep || marked;
    d->ce = marked < d->delivered ? marked : d->delivered;
}

/* ---- the handshake ----------------------------------------------------------------------------------------- */

/* The client's first ACK tells what became of our SYN,ACK (Table 4), which was not ECT. 1: congestion. */
int accecn_on_third_ack(struct tcb *t, struct tcp_seg *seg)
{
    struct tcp_ecn *n = &t->ecn;
    uint32_t ceb = 0;
    if (seg->len || seg->sacks)
        return 0;
    n->checked = 1;
    read_option(t, seg, 1, &ceb);
    if (seg->ace == 0) {
        n->ignore = 1;
        n->ect = 0;
    }
    if (seg->ace == handshake_code[ECN_ECT0] || seg->ace == handshake_code[ECN_ECT1] ||
        seg->ace == handshake_code[ECN_CE]) { /* section 3.2.2.3: somebody writes that field */
        n->ect = 0;
        count(t->base.st, COUNT_TCP_ECN_MANGLED);
    }
    int marked = seg->ace == handshake_code[ECN_CE];
    n->s_cep += (uint32_t)marked;
    seg->ace = n->s_cep & 7; /* from here on it is a counter */
    return marked;
}

/* The SYN,ACK agrees to it, and tells what became of our SYN. 1: congestion. */
int accecn_on_synack(struct tcb *t, const struct tcp_seg *seg)
{
    enum { RESERVED = 5 }; /* section 3.1.3: as if the SYN had arrived unchanged */
    struct tcp_ecn *n = &t->ecn;
    uint32_t ceb = 0;
    uint8_t field = seg->pkt->tos & ECN_MASK;
    accecn_begin(t);
    read_option(t, seg, 1, &ceb);
    n->r_cep += field == ECN_CE;
    n->handshake = handshake_code[field];
    if (seg->ace != handshake_code[0] && seg->ace != RESERVED) {
        n->ect = 0;
        count(t->base.st, COUNT_TCP_ECN_MANGLED);
    }
    return seg->ace == handshake_code[ECN_CE];
}

/* It came again: our ACK of it is lost, and is to tell of the latest (section 3.1.5). */
void accecn_on_synack_again(struct tcb *t, const struct tcp_seg *seg)
{
    uint8_t field = seg->pkt->tos & ECN_MASK;
    if (t->ecn.mode != ECN_ACCURATE || (seg->flags & (TCP_SYN | TCP_ACK)) != (TCP_SYN | TCP_ACK) ||
        seg->seq != t->irs || t->ecn.server || !accecn_agrees(seg->ace))
        return;
    if (field == ECN_CE && t->ecn.r_cep == ACCECN_CEP)
        t->ecn.r_cep++;
    t->ecn.handshake = handshake_code[field];
}

/* Does a SYN,ACK with these bits agree to accurate ECN (Table 2, and section 3.1.3)? */
int accecn_agrees(uint8_t ace)
{
    return ace >= 2 && ace <= 6;
}
