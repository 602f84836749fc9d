/* SPDX-License-Identifier: MIT */
/* The Internet checksum (RFC 1071), for drivers and the stack alike.
 *
 * Sums are kept as unfolded 64-bit totals of 32-bit native-endian words, so that they can be added
 * in any order; bw_sum_fold() ends a sum. The result is in network order as stored in memory:
 * store it with memcpy, without a byte swap. A sum that starts at an odd offset of its packet must
 * go through bw_sum_swap(). */
#ifndef BW_CHECKSUM_H
#define BW_CHECKSUM_H

#include <stdint.h>
#include <string.h>

/* The part of bw_sum for whole blocks of 32 bytes: eight independent lanes, so that the compiler
 * vectorises it. */
static inline uint64_t bw_sum_blocks(const uint8_t *p, uint32_t blocks)
{
    uint64_t lane[8] = {0};
    for (; blocks; blocks--, p += 32) {
        uint32_t word[8];
        memcpy(word, p, 32);
        for (int i = 0; i < 8; i++)
            lane[i] += word[i];
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* Adds len bytes at p to sum. Headers are short: they never meet the blocks. */
static inline uint64_t bw_sum(const uint8_t *p, uint32_t len, uint64_t sum)
{
    if (len >= 32) {
        sum += bw_sum_blocks(p, len / 32);
        p += len & ~31u;
        len &= 31;
    }
    while (len >= 4) {
        uint32_t word;
        memcpy(&word, p, 4);
        sum += word;
        p += 4;
        len -= 4;
    }
    if (len) {
        uint8_t tail[4] = {0};
        memcpy(tail, p, len);
        uint32_t word;
        memcpy(&word, tail, 4);
        sum += word;
    }
    return sum;
}

/* The same, copying the bytes to dst on the way. */
static inline uint64_t bw_sum_copy(uint8_t *restrict dst, const uint8_t *restrict p, uint32_t len,
                                   uint64_t sum)
{
    uint64_t lane[8] = {0};
    while (len >= 32) {
        uint32_t word[8];
        memcpy(word, p, 32);
        memcpy(dst, word, 32);
        for (int i = 0; i < 8; i++)
            lane[i] += word[i];
        p += 32;
        dst += 32;
        len -= 32;
    }
    sum += ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    memcpy(dst, p, len);
    return bw_sum(dst, len, sum);
}

static inline uint16_t bw_sum_16(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* The checksum field's value: the complement of the folded sum, ready to be stored. */
static inline uint16_t bw_sum_fold(uint64_t sum)
{
    return (uint16_t)~bw_sum_16(sum);
}

/* A sum taken from an odd offset: its bytes change places. */
static inline uint64_t bw_sum_swap(uint64_t sum)
{
    uint16_t s = bw_sum_16(sum);
    return (uint16_t)(s << 8 | s >> 8);
}

#endif
