/* SPDX-License-Identifier: MIT */
/* Random numbers, the keyed hash and counters. */
#include "stack.h"

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

/* xoshiro256** (Blackman and Vigna), seeded from the configuration only. */
uint64_t random64(struct bw_stack *st)
{
    uint64_t *s = st->rng, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* SipHash-1-3 (Aumasson and Bernstein): tables keyed with it cannot be made slow by a peer. */
uint64_t siphash(const uint8_t key[16], const void *data, uint32_t len)
{
    const uint8_t *p = data;
    uint64_t k0, k1, m = 0;
    memcpy(&k0, key, 8);
    memcpy(&k1, key + 8, 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull, k0 ^ 0x6c7967656e657261ull,
                     k1 ^ 0x7465646279746573ull};
    for (uint32_t left = len; left >= 8; left -= 8, p += 8) {
        memcpy(&m, p, 8);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    m = 0;
    memcpy(&m, p, len & 7);
    m |= (uint64_t)len << 56;
    v[3] ^= m;
    sip_round(v);
    v[0] ^= m;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#define BW_AS_NAME(symbol, name) name,
static const char *const counter_names[] = {BW_DROPS(BW_AS_NAME) BW_COUNTS(BW_AS_NAME)};
#undef BW_AS_NAME

int bw_counter_count(void)
{
    return BW_COUNTERS;
}

const char *bw_counter_name(int i)
{
    return i >= 0 && i < BW_COUNTERS ? counter_names[i] : "";
}

uint64_t bw_counter(const struct bw_stack *st, int i)
{
    return i >= 0 && i < BW_COUNTERS ? st->counter[i] : 0;
}
