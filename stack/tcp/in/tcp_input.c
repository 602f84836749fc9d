/* SPDX-License-Identifier: MIT */
/* From a packet to a segment: checks of the TCP header, its checksum, options. */
#include "../tcp.h"

/* 0, or a drop counter. */
int tcp_checksum_look(struct bw_stack *st, const struct packet *pkt)
{
    uint64_t sum = ip_pseudo_sum(pkt->src, pkt->dst, 6, pkt->l4_len);
    if (likely(bw_sum_fold(bw_sum(pkt->l4, pkt->l4_len, sum)) == 0))
        return 0;
    return (int)checksum_fault(st, pkt, th_sum(pkt->l4), sum, DROP_TCP_CHECKSUM, DROP_TCP_UNFINISHED);
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
    if (pkt->l4_len < TCP_HLEN)
        return DROP_TCP_SHORT;
    const uint32_t hdr = th_hlen(h);
    if (hdr < TCP_HLEN || hdr > pkt->l4_len)
        return DROP_TCP_OFFSET;
    int bad = tcp_checksum_fault(st, pkt);
    if (bad)
        return bad;
    seg->pkt = pkt;
    seg->sport = th_sport(h);
    seg->dport = th_dport(h);
    seg->seq = th_seq(h);
    seg->ack = th_ack(h);
    seg->flags = th_flags(h);
    seg->ace = th_ace(h);
    seg->wnd = seg->wnd_most = th_window(h);
    seg->urg = th_urgent(h);
    seg->hdr_len = (uint8_t)hdr;
    seg->len = pkt->l4_len - hdr;
    seg->has_ts = seg->has_sack_ok = seg->has_wscale = seg->wscale = seg->sacks = seg->reopens = 0;
    seg->has_tfo = seg->tfo_len = 0;
    seg->mss = 0;
    seg->accecn = 0;
    seg->segments = tcp_segments_of(pkt, seg->len);
    seg->pieces = seg->len ? 1 : 0;
    seg->piece[0] = (struct tx_piece){h + hdr, seg->len};
    if (tcp_parse_options(seg, h, hdr))
        count(st, COUNT_TCP_BROKEN_OPTIONS);
    return seg->sport && seg->dport ? 0 : DROP_TCP_PORT;
}
