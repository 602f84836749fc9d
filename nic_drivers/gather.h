/* SPDX-License-Identifier: MIT */
/* Flattening a frame to transmit: for devices that copy (pipe, fault, pcap). The bytes are read once:
 * an unfinished checksum is summed while they are copied. */
#ifndef BW_GATHER_H
#define BW_GATHER_H

#include "checksum.h"
#include "netdev.h"

static inline void bw_gather_plain(uint8_t *dst, const struct tx_frame *f)
{
    for (int i = 0; i < f->pieces; i++) {
        if (!f->piece[i].len)
            continue;
        memcpy(dst, f->piece[i].data, f->piece[i].len);
        dst += f->piece[i].len;
    }
}

/* Copies the f->len bytes of a frame to dst and finishes its checksum. A sum of zero is stored as
 * 0xffff: the same number, and to UDP not the mark of an absent checksum (RFC 768). */
static inline void bw_gather(uint8_t *dst, const struct tx_frame *f)
{
    uint32_t field = (uint32_t)f->csum_start + f->csum_offset;
    if (!f->csum_partial || field + 2 > f->len) {
        bw_gather_plain(dst, f);
        return;
    }
    uint64_t sum = 0;
    uint32_t at = 0;
    for (int i = 0; i < f->pieces; i++) {
        const uint8_t *p = f->piece[i].data;
        uint32_t len = f->piece[i].len;
        if (len && at < f->csum_start) {
            uint32_t before = f->csum_start - at < len ? f->csum_start - at : len;
            memcpy(dst + at, p, before);
            at += before;
            p += before;
            len -= before;
        }
        if (!len)
            continue;
        uint64_t part = bw_sum_copy(dst + at, p, len, 0);
        sum += (at - f->csum_start) & 1 ? bw_sum_swap(part) : part;
        at += len;
    }
    uint16_t value = bw_sum_fold(sum);
    if (!value)
        value = 0xffff;
    memcpy(dst + field, &value, 2);
}

#endif
