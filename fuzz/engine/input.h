/* SPDX-License-Identifier: MIT */
/* The fuzzer's bytes, read as choices: past their end every choice is 0. */
#ifndef BW_FUZZ_INPUT_H
#define BW_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take8(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static inline uint16_t take16(struct input *in)
{
    uint8_t high = take8(in);
    return (uint16_t)(high << 8 | take8(in));
}

static inline uint32_t take32(struct input *in)
{
    uint32_t high = take16(in);
    return high << 16 | take16(in);
}

/* Up to max bytes as they come; how many. */
static inline uint32_t take_bytes(struct input *in, uint8_t *to, uint32_t max)
{
    uint32_t n = in->left < max ? (uint32_t)in->left : max;
    memcpy(to, in->at, n);
    in->at += n;
    in->left -= n;
    return n;
}

/* A number near 0 in both directions: most windows, offsets and lengths that matter are. */
static inline uint32_t take_near(struct input *in)
{
    static const int32_t usual[] = {0,     0,    0,     0,      1,       -1,       100,     -100,
                                    1400,  1460, -1460, 2920,   65535,   -65535,   1 << 20, INT32_MIN,
                                    10000, 536,  -536,  200000, 1000000, INT32_MAX};
    uint8_t which = take8(in);
    if (which < 2 * sizeof usual / sizeof *usual)
        return (uint32_t)usual[which % (sizeof usual / sizeof *usual)];
    return which < 250 ? (uint32_t)(which - 150) : take32(in);
}

#endif
