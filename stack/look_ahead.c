/* SPDX-License-Identifier: MIT */
/* Looking ahead over a receive burst: with more connections than the cache holds, each segment finds its own one
 * cold. So the flows of the burst are looked up first, and their lines are on the way from memory, all at once,
 * while the segments are worked on one by one. It decides nothing: a frame it does not understand is left out. */
#include "stack.h"
#include "../l2/ethernet.h"
#include "tcp/tcp.h"

enum { LOOK_AHEAD = 64 /* frames */ };

/* The hash of the flow whose segment the frame seems to be; 0: not known. *acks: it has no data. */
static uint32_t frame_flow(const struct bw_stack *st, const struct iface *in, const struct rx_frame *f,
                           int *acks)
{
    const uint8_t *p = f->data;
    uint32_t len = f->len;
    if (in->layer == 2) {
        if (len < ETH_HLEN || get16(p + 12) != ETHERTYPE_IPV4)
            return 0;
        p += ETH_HLEN;
        len -= ETH_HLEN;
    }
    if (len < IP4_HLEN + TCP_HLEN || p[0] != 0x45 || p[9] != 6 || (get16(p + 6) & 0x3fff)) /* or a fragment */
        return 0;
    uint8_t src[16], dst[16];
    ip_from_v4(src, p + 12);
    ip_from_v4(dst, p + 16);
    const uint8_t *tcp = p + IP4_HLEN;
    *acks = get16(p + 2) == IP4_HLEN + th_hlen(tcp);
    return flow_hash(st, 6, dst, th_dport(tcp), src, th_sport(tcp), 0);
}

static void fetch_lines(const struct bw_sock *s, const uint8_t *line, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        __builtin_prefetch((const uint8_t *)s + line[i] * LINE_SIZE, 1);
}

/* The hashes of the first frames' flows; for how many. 0: there is no need to look. */
static int look_ahead(struct bw_stack *st, const struct iface *in, const struct rx_frame *frames, int n,
                      uint32_t *hash)
{
    static const uint8_t data[] = TCB_DATA_LINES, ack[] = TCB_ACK_LINES;
    uint8_t acks[LOOK_AHEAD];
    if (n < 2 || st->socks_used < BW_LOOK_AHEAD_SOCKS)
        return 0;
    if (n > LOOK_AHEAD)
        n = LOOK_AHEAD;
    for (int i = 0; i < n; i++) {
        int bare = 0;
        if (i + 2 < n)
            __builtin_prefetch(frames[i + 2].data);
        hash[i] = frame_flow(st, in, &frames[i], &bare);
        acks[i] = (uint8_t)bare;
        __builtin_prefetch(&st->flow_bucket[hash[i] & st->flow_mask]);
    }
    for (int i = 0; i < n; i++) {
        sock_ref_t first = st->flow_bucket[hash[i] & st->flow_mask];
        if (hash[i] && first && (!i || hash[i] != hash[i - 1]))
            fetch_lines(sock_of(st, first), acks[i] ? ack : data, acks[i] ? sizeof ack : sizeof data);
    }
    return n;
}
