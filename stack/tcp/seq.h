/* SPDX-License-Identifier: MIT */
/* Sequence number arithmetic (RFC 9293 section 3.4): the only place that compares them. */
#ifndef BW_SEQ_H
#define BW_SEQ_H

#include <stdint.h>

static inline int seq_lt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}
static inline int seq_le(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) <= 0;
}
static inline int seq_gt(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) > 0;
}
static inline int seq_ge(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) >= 0;
}
static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
    return seq_gt(a, b) ? a : b;
}
static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
    return seq_lt(a, b) ? a : b;
}
/* low <= x < high */
static inline int seq_in(uint32_t x, uint32_t low, uint32_t high)
{
    return x - low < high - low;
}

#endif
