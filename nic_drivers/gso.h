/* SPDX-License-Identifier: MIT */
/* Cutting a super-segment into the frames it stands for (generic segmentation, as a network card does
 * it): for middleware that is a network, where single frames are lost, late or in disorder. TCP and UDP
 * over IPv4; the checksum of each is left partial. */
#ifndef BW_GSO_H
#define BW_GSO_H

#include <string.h>

#include "bytes.h"
#include "checksum.h"
#include "netdev.h"

enum { GSO_HEADERS = 18 + 60 + 60, GSO_FIN_PSH = 0x09, GSO_CWR = 0x80 };

struct gso_cut {
    const uint8_t *frame;
    uint32_t len, l3, l4, headers; /* of the whole: offsets of IP and transport header, bytes of headers */
    uint32_t size, done;           /* payload bytes of a segment, and of those given out */
    uint8_t proto;
    uint8_t head[GSO_HEADERS]; /* the next segment's */
};

/* 0: not a super-segment that can be cut. */
static inline int gso_begin(struct gso_cut *c, const uint8_t *frame, uint32_t len, int layer, uint32_t size)
{
    *c = (struct gso_cut){.frame = frame, .len = len, .l3 = layer == 2 ? 14 : 0, .size = size};
    if (layer == 2 && (len < 14 || get16(frame + 12) != 0x0800))
        return 0;
    if (!size || len < c->l3 + 20 || frame[c->l3] >> 4 != 4)
        return 0;
    c->l4 = c->l3 + (frame[c->l3] & 15u) * 4;
    c->proto = frame[c->l3 + 9];
    uint32_t least = c->proto == 6 ? 20 : 8;
    if (c->l4 < c->l3 + 20 || len < c->l4 + least)
        return 0;
    c->headers = c->l4 + (c->proto == 6 ? (frame[c->l4 + 12] >> 4) * 4u : 8u);
    return (c->proto == 6 || c->proto == 17) && c->headers >= c->l4 + least && c->headers < len;
}

static inline void gso_ip(struct gso_cut *c, uint32_t n)
{
    uint8_t *ip = c->head + c->l3;
    put16(ip + 2, (uint16_t)(c->headers - c->l3 + n));
    put16(ip + 4, (uint16_t)(get16(ip + 4) + c->done / c->size));
    memset(ip + 10, 0, 2);
    uint16_t sum = bw_sum_fold(bw_sum(ip, c->l4 - c->l3, 0));
    memcpy(ip + 10, &sum, 2);
}

static inline void gso_tcp(struct gso_cut *c, int last)
{
    uint8_t *tcp = c->head + c->l4;
    uint32_t seq;
    memcpy(&seq, tcp + 4, 4);
    seq = __builtin_bswap32(__builtin_bswap32(seq) + c->done);
    memcpy(tcp + 4, &seq, 4);
    if (!last)
        tcp[13] &= (uint8_t)~GSO_FIN_PSH;
    if (c->done)
        tcp[13] &= (uint8_t)~GSO_CWR;
}

/* The next frame: headers of c's, and a piece of the whole. 0: that was all. */
static inline int gso_next(struct gso_cut *c, struct tx_frame *tx)
{
    uint32_t left = c->len - c->headers - c->done, n = left < c->size ? left : c->size;
    if (!n)
        return 0;
    memcpy(c->head, c->frame, c->headers);
    gso_ip(c, n);
    uint32_t l4_len = c->headers - c->l4 + n, field = c->proto == 6 ? 16 : 6;
    if (c->proto == 6)
        gso_tcp(c, n == left);
    else
        put16(c->head + c->l4 + 4, (uint16_t)l4_len);
    uint64_t pseudo = bw_sum(c->head + c->l3 + 12, 8, 0);
    uint8_t tail[4] = {0, c->proto};
    put16(tail + 2, (uint16_t)l4_len);
    uint16_t sum = bw_sum_16(bw_sum(tail, 4, pseudo));
    memcpy(c->head + c->l4 + field, &sum, 2);
    *tx = (struct tx_frame){.piece = {{c->head, c->headers}, {c->frame + c->headers + c->done, n}},
                            .pieces = 2,
                            .len = c->headers + n,
                            .l3_off = (uint16_t)c->l3,
                            .csum_start = (uint16_t)c->l4,
                            .csum_offset = (uint16_t)field,
                            .csum_partial = 1};
    c->done += n;
    return 1;
}

#endif
