/* SPDX-License-Identifier: MIT */
/* From a packet to a segment: checks of the TCP header, its checksum, options. */
#include "../tcp.h"

enum { OPT_END, OPT_NOP, OPT_MSS, OPT_WSCALE, OPT_SACK_OK, OPT_SACK, OPT_TIMESTAMPS = 8, OPT_TFO = 34 };

static void read_sack(struct tcp_seg *seg, const uint8_t *p, uint32_t len)
{
    for (; len >= 8 && seg->sacks < 4; len -= 8, p += 8) {
        seg->sack[seg->sacks].start = get32(p);
        seg->sack[seg->sacks].end = get32(p + 4);
        seg->sacks++;
    }
}

/* RFC 9768 section 3.2.3: of any length; whole fields that we know, the rest is padding. */
static void read_accecn(struct tcp_seg *seg, uint8_t kind, const uint8_t *p, uint32_t len)
{
    seg->accecn = kind;
    seg->accecn_fields = 0;
    for (; len >= 3 && seg->accecn_fields < 3; len -= 3, p += 3)
        seg->accecn_field[seg->accecn_fields++] = (uint32_t)p[0] << 16 | get16(p + 1);
}

/* Reads the options; unknown ones are skipped. -1: a malformed one ends it, what stood before it counts, as
 * on Linux. */
int tcp_parse_options(struct tcp_seg *seg, const uint8_t *opt, uint32_t len)
{
    for (uint32_t i = 0; i < len;) {
        uint8_t kind = opt[i];
        if (kind == OPT_END)
            return 0;
        if (kind == OPT_NOP) {
            i++;
            continue;
        }
        if (i + 1 >= len || opt[i + 1] < 2 || i + opt[i + 1] > len)
            return -1;
        uint8_t size = opt[i + 1];
        const uint8_t *p = opt + i + 2;
        if (kind == OPT_TIMESTAMPS && size == 10) {
            seg->has_ts = 1;
            seg->tsval = get32(p);
            seg->tsecr = get32(p + 4);
        } else if (kind == OPT_SACK) {
            read_sack(seg, p, size - 2u);
        } else if (kind == OPT_MSS && size == 4) {
            seg->mss = get16(p);
        } else if (kind == OPT_WSCALE && size == 3) {
            seg->has_wscale = 1;
            seg->wscale = p[0] > 14 ? 14 : p[0]; /* RFC 7323 2.3 */
        } else if (kind == OPT_SACK_OK && size == 2) {
            seg->has_sack_ok = 1;
        } else if (kind == OPT_TFO && (size == 2 || (size >= 6 && size <= 18 && size % 2 == 0))) {
            seg->has_tfo = 1;
            seg->tfo_len = (uint8_t)(size - 2);
            seg->tfo_cookie = p;
        } else if (kind == OPT_ACCECN0 || kind == OPT_ACCECN1) {
            read_accecn(seg, kind, p, size - 2u);
        }
        i += size;
    }
    return 0;
}

/* The usual segment carries nothing but NOP NOP Timestamps. */
static int parse_timestamps_only(struct tcp_seg *seg, const uint8_t *opt, uint32_t len)
{
    static const uint8_t usual[4] = {OPT_NOP, OPT_NOP, OPT_TIMESTAMPS, 10};
    if (len != 12 || memcmp(opt, usual, 4))
        return 0;
    seg->has_ts = 1;
    seg->tsval = get32(opt + 4);
    seg->tsecr = get32(opt + 8);
    return 1;
}

/* 0, or a drop counter. */
int tcp_checksum_look(struct bw_stack *st, const struct packet *pkt)
{
    uint64_t sum = ip_pseudo_sum(pkt->src, pkt->dst, 6, pkt->l4_len);
    if (likely(bw_sum_fold(bw_sum(pkt->l4, pkt->l4_len, sum)) == 0))
        return 0;
    return (int)checksum_fault(st, pkt, pkt->l4 + 16, sum, DROP_TCP_CHECKSUM, DROP_TCP_UNFINISHED);
}

/* Segments that a frame with len bytes of payload stands for. */
uint32_t tcp_segments_of(const struct packet *pkt, uint32_t len)
{
    return pkt->gso_size && len ? (len - 1) / pkt->gso_size + 1 : 1;
}

/* 0, or a drop counter. */
int tcp_parse(struct bw_stack *st, const struct packet *pkt, struct tcp_seg *seg)
{
    const uint8_t *h = pkt->l4;
    if (pkt->l4_len < 20)
        return DROP_TCP_SHORT;
    uint32_t hdr = (uint32_t)(h[12] >> 4) * 4;
    if (hdr < 20 || hdr > pkt->l4_len)
        return DROP_TCP_OFFSET;
    int bad = tcp_checksum_fault(st, pkt);
    if (bad)
        return bad;
    seg->pkt = pkt;
    seg->sport = get16(h);
    seg->dport = get16(h + 2);
    seg->seq = get32(h + 4);
    seg->ack = get32(h + 8);
    seg->flags = h[13];
    seg->ace = (uint8_t)((h[12] & 1) << 2 | h[13] >> 6);
    seg->wnd = seg->wnd_most = get16(h + 14);
    seg->urg = get16(h + 18);
    seg->hdr_len = (uint8_t)hdr;
    seg->len = pkt->l4_len - hdr;
    seg->has_ts = seg->has_sack_ok = seg->has_wscale = seg->wscale = seg->sacks = seg->reopens = 0;
    seg->has_tfo = seg->tfo_len = 0;
    seg->mss = 0;
    seg->accecn = 0;
    seg->segments = tcp_segments_of(pkt, seg->len);
    seg->pieces = seg->len ? 1 : 0;
    seg->piece[0] = (struct tx_piece){h + hdr, seg->len};
    if (!parse_timestamps_only(seg, h + 20, hdr - 20) && tcp_parse_options(seg, h + 20, hdr - 20))
        count(st, COUNT_TCP_BROKEN_OPTIONS);
    return seg->sport && seg->dport ? 0 : DROP_TCP_PORT;
}
