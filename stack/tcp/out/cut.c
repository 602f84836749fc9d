/* SPDX-License-Identifier: MIT */
/* A large segment for a device that does not cut it (NETDEV_TSO4): its first frame is written as any segment is,
 * and in one loop the others follow, as copies of that header in which length, sequence number, flags and checksum
 * are their own. */
#include "../tcp.h"

enum { LAST_ONLY = TCP_FIN | TCP_PSH };

/* e after the frame `first`, which has the same flags but LAST_ONLY, and a whole MSS. -1: no room. */
static int emit_like(struct tcb *t, struct iface *out, const struct tx_frame *first, const struct tcp_emit *e)
{
    struct bw_stack *st = t->base.st;
    uint8_t *hdr;
    struct tx_frame *f = tx_room(st, out) > 0 ? tx_begin(st, out, &hdr) : NULL;
    if (!f)
        return -1;
    uint8_t *ip = hdr + HDR_IP, *tcp = ip + t->base.path.hlen;
    const uint32_t hdr_len = first->piece[0].len - first->l3_off,
                   l4_len = hdr_len - t->base.path.hlen + e->len;
    memcpy(ip, first->piece[0].data + first->l3_off, hdr_len);
    if (e->len != t->mss)
        ip_set_length(&t->base.path, ip, l4_len);
    th_put_seq(tcp, e->seq);
    th_set_flags(tcp, e->flags & LAST_ONLY);
    th_put_partial(tcp, f, ip_pseudo_sum(t->base.laddr, t->base.raddr, 6, l4_len), t->base.path.hlen);
    tcp_add_payload(t, f, e);
    tx_end(st, out, f, hdr_len, &t->base.path);
    count(st, COUNT_TCP_TX_SEGMENTS);
    return 0;
}

/* Sends e, of more than a segment, as far as there is room: how many of its bytes went. */
uint32_t tcp_emit_cut(struct tcb *t, struct iface *out, const struct tcp_emit *e)
{
    struct tcp_emit part = {.seq = e->seq, .len = t->mss, .flags = e->flags & (uint8_t)~LAST_ONLY};
    const struct tx_frame *first = &out->txq[(out->txq_head + out->txq_len) % TXQ_SIZE];
    const uint32_t queued = out->txq_len;
    uint32_t sent = t->mss, frames = 0;
    if (tcp_emit(t, &part))
        return 0;
    while (sent < e->len &&
           out->txq_len > queued) { /* the first went to the queue, not to wait for its next hop */
        part.seq = e->seq + sent;
        part.len = e->len - sent < t->mss ? e->len - sent : t->mss;
        part.flags = sent + part.len == e->len ? e->flags : e->flags & (uint8_t)~LAST_ONLY;
        if (emit_like(t, out, first, &part))
            break;
        sent += part.len;
        frames++;
    }
    t->stats.bytes_sent += sent - t->mss;
    t->stats.segs_out += frames;
    t->stats.data_segs_out += frames;
    return sent;
}
