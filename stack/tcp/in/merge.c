/* SPDX-License-Identifier: MIT */
/* What a receive burst brings of one flow is merged, so that TCP sees one long segment instead of many.
 *
 * TCP_MERGES flows at once have a segment that waits here for what continues it. Whatever else comes of the flow
 * lets that segment in first, so that a flow's segments stay in order. Flows have no order among each other: a
 * network keeps none. Nothing waits beyond the burst, for whose time alone its frames are lent. */
#include "../tcp.h"

void tcp_merges_init(struct tcp_merges *m)
{
    for (uint8_t i = 0; i <= TCP_MERGES; i++)
        m->at[i] = i;
}

/* A byte that tells most flows from each other. */
static uint8_t tag_of(const struct packet *pkt)
{
    uint32_t src;
    memcpy(&src, pkt->src + 12, 4);
    return (uint8_t)((th_ports(pkt->l4) ^ src) * 0x9e3779b1u >> 24);
}

static void set_tag(struct tcp_merges *m, uint32_t place, uint8_t tag)
{
    m->tags = (m->tags & ~(0xffull << 8 * place)) | (uint64_t)tag << 8 * place;
}

static int is_flow_at(const struct tcp_merges *m, uint32_t place, const struct packet *pkt)
{
    const struct packet *first = &m->entry[m->at[place]].pkt;
    return th_ports(pkt->l4) == th_ports(first->l4) && ip_equal(pkt->src, first->src) &&
           ip_equal(pkt->dst, first->dst);
}

/* The place where something waits of the packet's flow, or -1. It is likely that of the packet before; else the
 * tags are compared, all eight at once (where a byte of x is 0, x - 1 borrows its top bit). */
static int find_merge(const struct tcp_merges *m, const struct packet *pkt)
{
    if (!m->n)
        return -1;
    if (likely(is_flow_at(m, m->latest, pkt)))
        return (int)m->latest;
    const uint64_t ones = 0x0101010101010101u, x = m->tags ^ ones * tag_of(pkt);
    uint64_t hits = (x - ones) & ~x & ones << 7 & ~0ull >> (64 - 8 * m->n);
    for (; hits; hits &= hits - 1) {
        uint32_t place = (uint32_t)__builtin_ctzll(hits) / 8;
        if (likely(is_flow_at(m, place, pkt)))
            return (int)place;
    }
    return -1;
}

/* How many segments like that one may be merged. Of marked ones seven: so many can be told of in one ACK
 * (RFC 9768 3.2.2.5.1). */
static uint32_t merge_limit(const struct packet *pkt)
{
    return (pkt->tos & ECN_MASK) == ECN_CE ? 7 : TCP_MERGE_PIECES;
}

/* The next bytes of the stream, saying nothing else that is new but PSH. */
static int extends_data(const struct tcp_seg *m, uint32_t most, const uint8_t *h, uint32_t n)
{
    return m->len && n && m->pieces < most && th_seq(h) == m->seq + m->len && th_ack(h) == m->ack &&
           th_window(h) == m->wnd;
}

/* A bare ACK that takes the place of the pending one, because it acknowledges more. Its window is the newer
 * one (RFC 9293 3.10.7.4, SND.WL2), but not the last word on the largest. */
static int extends_ack(const struct tcp_seg *m, uint32_t most, const uint8_t *h, uint32_t n)
{
    return !m->len && !n && m->segments < most && !(th_flags(h) & TCP_PSH) && th_seq(h) == m->seq &&
           seq_gt(th_ack(h), m->ack);
}

/* Does the packet, of the flow that e is of, continue it? It has the same flags and options and is marked
 * alike: a mark, and what is said of marks, belongs to one segment, and those around it are not merged with
 * it. */
static int extends(const struct tcp_merge *e, const struct packet *pkt)
{
    const struct tcp_seg *m = &e->seg;
    const uint8_t *h = pkt->l4, *of = e->pkt.l4;
    if (pkt->l4_len < m->hdr_len || ((th_offset_flags(h) ^ th_offset_flags(of)) & ~TCP_PSH) ||
        pkt->tos != e->pkt.tos || pkt->ifindex != e->pkt.ifindex)
        return 0;
    if (!th_same_options(h, of, m->hdr_len))
        return 0;
    uint32_t n = pkt->l4_len - m->hdr_len, most = merge_limit(pkt);
    return extends_data(m, most, h, n) || extends_ack(m, most, h, n);
}

/* 1: the packet went into what waits of its flow. */
static int extend(struct bw_stack *st, struct tcp_merge *e, const struct packet *pkt)
{
    struct tcp_seg *m = &e->seg;
    if (!extends(e, pkt))
        return 0;
    int bad = tcp_checksum_fault(st, pkt);
    if (unlikely(bad)) {
        drop(st, (enum bw_counter_id)bad, pkt->l4_len);
        return 1;
    }
    const uint8_t *h = pkt->l4;
    uint32_t n = pkt->l4_len - m->hdr_len;
    if (n) {
        m->piece[m->pieces++] = (struct tx_piece){h + m->hdr_len, n};
        m->len += n;
        m->flags |= th_flags(h) & TCP_PSH;
    } else {
        m->ack = th_ack(h);
        m->wnd = th_window(h);
        m->wnd_most = m->wnd > m->wnd_most ? m->wnd : m->wnd_most;
    }
    m->segments += tcp_segments_of(pkt, n);
    count(st, COUNT_TCP_RX_MERGED);
    return 1;
}

/* Lets in what waits at that place; the last one takes it. */
static void let_in(struct bw_stack *st, uint32_t place)
{
    struct tcp_merges *m = &st->tcp->merges;
    const uint8_t entry = m->at[place];
    const uint32_t last = --m->n;
    set_tag(m, place, (uint8_t)(m->tags >> 8 * last));
    m->at[place] = m->at[last];
    m->at[last] = entry;
    m->latest = 0;
    tcp_segment(st, &m->entry[entry].seg);
}

/* Where all places are taken: one after the other is asked for, and gives way unless what waits there began, or
 * was extended, since it was last asked for. So of nine flows eight are merged, and one that has fallen silent
 * keeps nobody out. What was just parsed stays in the first free entry. 0: there is no place. */
static int give_way(struct bw_stack *st)
{
    struct tcp_merges *m = &st->tcp->merges;
    const uint32_t place = m->hand % TCP_MERGES;
    const uint8_t parsed = m->at[TCP_MERGES];
    struct tcp_merge *e = &m->entry[m->at[place]];
    count(st, COUNT_TCP_MERGES_FULL);
    if (e->asked != e->seg.segments) {
        e->asked = e->seg.segments;
        m->hand++;
        return 0;
    }
    let_in(st, place);
    m->at[TCP_MERGES] = m->at[m->n];
    m->at[m->n] = parsed;
    return 1;
}

/* The segment that was just parsed, of this packet, waits for what continues it. */
static void wait_for_more(struct tcp_merges *m, const struct packet *pkt)
{
    struct tcp_merge *e = &m->entry[m->at[m->n]];
    e->pkt = *pkt;
    e->seg.pkt = &e->pkt;
    e->asked = 0;
    set_tag(m, m->n, tag_of(pkt));
    m->latest = m->n++;
}

void tcp_flush_burst(struct bw_stack *st)
{
    struct tcp_merges *m = &st->tcp->merges;
    const uint32_t n = m->n;
    m->n = m->hand = 0;
    for (uint32_t i = 0; i < n; i++)
        tcp_segment(st, &m->entry[m->at[i]].seg);
    st->tcp->syn_answers = 0;
}

void tcp_input(struct bw_stack *st, struct packet *pkt)
{
    struct tcp_merges *m = &st->tcp->merges;
    count(st, COUNT_TCP_RX_SEGMENTS);
    if (unlikely(pkt->ip_broadcast | pkt->l2_broadcast)) { /* RFC 9293 3.9.2.3 */
        drop(st, DROP_TCP_BROADCAST, pkt->l4_len);
        return;
    }
    int place = pkt->l4_len >= TCP_HLEN ? find_merge(m, pkt) : -1;
    if (place >= 0) {
        if (extend(st, &m->entry[m->at[place]], pkt)) {
            m->latest = (uint32_t)place;
            return;
        }
        let_in(st, (uint32_t)place);
    }
    struct tcp_seg *seg = &m->entry[m->at[m->n]].seg;
    int bad = tcp_parse(st, pkt, seg);
    if (bad) {
        drop(st, (enum bw_counter_id)bad, pkt->l4_len);
        return;
    }
    /* the next frame may continue it */
    if ((seg->flags & ~(TCP_PSH | TCP_ECE | TCP_CWR)) == TCP_ACK && (m->n < TCP_MERGES || give_way(st)))
        wait_for_more(m, pkt);
    else
        tcp_segment(st, seg);
}
