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

typedef uint64_t bw_lanes __attribute__((vector_size(32), aligned(1), may_alias));

/* Sums 32-bit words of whole blocks of 32 bytes, the even and the odd ones by themselves; with dst (or NULL) they
 * are copied there on the way. The compiler makes of a vector what the processor has. */
static inline __attribute__((always_inline)) uint64_t bw_sum_lanes(uint8_t *restrict dst,
                                                                   const uint8_t *restrict p, uint32_t blocks)
{
    bw_lanes even[2] = {{0}}, odd[2] = {{0}};
    for (; blocks >= 2; blocks -= 2, p += 64) {
        const bw_lanes *block = (const bw_lanes *)p;
        const bw_lanes first = block[0], second = block[1];
        if (dst) {
            ((bw_lanes *)dst)[0] = first;
            ((bw_lanes *)dst)[1] = second;
            dst += 64;
        }
        even[0] += first & UINT32_MAX;
        odd[0] += first >> 32;
        even[1] += second & UINT32_MAX;
        odd[1] += second >> 32;
    }
    if (blocks) {
        const bw_lanes last = *(const bw_lanes *)p;
        if (dst)
            *(bw_lanes *)dst = last;
        even[0] += last & UINT32_MAX;
        odd[0] += last >> 32;
    }
    const bw_lanes all = (even[0] + even[1]) + (odd[0] + odd[1]);
    return (all[0] + all[1]) + (all[2] + all[3]);
}

static inline uint64_t bw_sum_portable(uint8_t *restrict dst, const uint8_t *restrict p, uint32_t blocks)
{
    return dst ? bw_sum_lanes(dst, p, blocks) : bw_sum_lanes(NULL, p, blocks);
}

/* The same with wide vectors. A wheel runs on any machine of its kind, so the processor is asked each time: a load
 * and a test, which short headers do without. */
enum { BW_SUM_WIDE = 4 };
#if defined(__x86_64__)
#define BW_HAS_WIDE() __builtin_cpu_supports("avx2")
__attribute__((target("avx2"))) static inline uint64_t bw_sum_avx2(uint8_t *restrict dst,
                                                                   const uint8_t *restrict p, uint32_t blocks)
{
    return dst ? bw_sum_lanes(dst, p, blocks) : bw_sum_lanes(NULL, p, blocks);
}
#else
#define BW_HAS_WIDE() 0
#define bw_sum_avx2 bw_sum_portable
#endif

static inline uint64_t bw_sum_blocks(uint8_t *restrict dst, const uint8_t *restrict p, uint32_t blocks)
{
    return blocks >= BW_SUM_WIDE && BW_HAS_WIDE() ? bw_sum_avx2(dst, p, blocks)
                                                  : bw_sum_portable(dst, p, blocks);
}

/* Adds len bytes at p to sum. Headers are short: they never meet the blocks. */
static inline uint64_t bw_sum(const uint8_t *p, uint32_t len, uint64_t sum)
{
    if (len >= 32) {
        sum += bw_sum_blocks(NULL, p, len / 32);
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
    uint32_t whole = len & ~31u;
    if (whole)
        sum += bw_sum_blocks(dst, p, whole / 32);
    dst += whole;
    p += whole;
    len -= whole;
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
