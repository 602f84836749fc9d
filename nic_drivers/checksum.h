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
 * and a test. So many blocks at least are worth it. */
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
    return BW_HAS_WIDE() ? bw_sum_avx2(dst, p, blocks) : bw_sum_portable(dst, p, blocks);
}

/* Less than BW_SUM_WIDE blocks, added to sum, and copied to dst unless it is NULL: too short for vectors, whose lanes
 * have to be added up in the end. Words have 64 bits; 2^64 counts as 1, so carries are gathered and added in the end. */
static inline __attribute__((always_inline)) uint64_t
bw_sum_short(uint8_t *restrict dst, const uint8_t *restrict p, uint32_t len, uint64_t sum)
{
    uint64_t carries = 0;
#define BW_SUM_WORD(type) \
    do { \
        type word; \
        memcpy(&word, p, sizeof word); \
        carries += __builtin_add_overflow(sum, word, &sum); \
        p += sizeof word; \
        if (dst) { \
            memcpy(dst, &word, sizeof word); \
            dst += sizeof word; \
        } \
    } while (0)
    for (; len >= 32; len -= 32) {
        BW_SUM_WORD(uint64_t);
        BW_SUM_WORD(uint64_t);
        BW_SUM_WORD(uint64_t);
        BW_SUM_WORD(uint64_t);
    }
    for (; len >= 8; len -= 8)
        BW_SUM_WORD(uint64_t);
    if (len & 4)
        BW_SUM_WORD(uint32_t);
    if (len & 2)
        BW_SUM_WORD(uint16_t);
#undef BW_SUM_WORD
    if (len & 1) {
        const uint8_t last[2] = {*p, 0};
        uint16_t word;
        memcpy(&word, last, 2);
        carries += __builtin_add_overflow(sum, word, &sum);
        if (dst)
            *dst = *p;
    }
    return (sum & UINT32_MAX) + (sum >> 32) + carries;
}

static inline uint64_t bw_sum_any(const uint8_t *p, uint32_t len, uint64_t sum)
{
    if (len < 32 * BW_SUM_WIDE)
        return bw_sum_short(NULL, p, len, sum);
    sum += bw_sum_blocks(NULL, p, len / 32);
    return len & 31 ? bw_sum_short(NULL, p + (len & ~31u), len & 31, sum) : sum;
}

/* Adds len bytes at p to sum. Of a header, of a constant length, nothing but its words is left: of 32 bits, without
 * carries. */
static inline __attribute__((always_inline)) uint64_t bw_sum(const uint8_t *p, uint32_t len, uint64_t sum)
{
    if (!__builtin_constant_p(len) || len % 4 || len > 20)
        return bw_sum_any(p, len, sum);
    for (uint32_t at = 0; at < len; at += 4) {
        uint32_t word;
        memcpy(&word, p + at, 4);
        sum += word;
    }
    return sum;
}

/* The same, copying the bytes to dst on the way. */
static inline uint64_t bw_sum_copy(uint8_t *restrict dst, const uint8_t *restrict p, uint32_t len,
                                   uint64_t sum)
{
    if (len < 32 * BW_SUM_WIDE)
        return bw_sum_short(dst, p, len, sum);
    const uint32_t whole = len & ~31u;
    return bw_sum_short(dst + whole, p + whole, len - whole, sum + bw_sum_blocks(dst, p, len / 32));
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
