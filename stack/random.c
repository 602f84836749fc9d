/* SPDX-License-Identifier: MIT */
/* Random numbers and keyed hashes: all that a peer can see or gain from, all from the configured seed.
 *
 * Random numbers are the key stream of ChaCha20 (RFC 8439) with fast key erasure (Bernstein, 2017): the
 * first 32 bytes of what a key makes are the next key, the others are given out, and erased as they
 * are. No output tells of another, and memory read later tells of none that was given out.
 * siphash (SipHash-2-4) is for values that a peer sees, hsiphash (SipHash-1-3) for places in our own
 * tables, which a peer must not be able to choose. */
#include "stack.h"

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void add_xor_turn(uint32_t v[16], int a, int b, int d, int n)
{
    v[a] += v[b];
    v[d] ^= v[a];
    v[d] = v[d] << n | v[d] >> (32 - n);
}

static inline void quarter_round(uint32_t v[16], int a, int b, int c, int d)
{
    add_xor_turn(v, a, b, d, 16);
    add_xor_turn(v, c, d, b, 12);
    add_xor_turn(v, a, b, d, 8);
    add_xor_turn(v, c, d, b, 7);
}

/* The block function of RFC 8439 section 2.3, with a nonce of zero; little-endian. */
static void chacha20_block(const uint32_t key[8], uint32_t counter, uint8_t out[64])
{
    uint32_t in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, v[16];
    memcpy(in + 4, key, 32);
    in[12] = counter;
    memcpy(v, in, sizeof v);
    for (int i = 0; i < 10; i++) {
        for (int k = 0; k < 4; k++)
            quarter_round(v, k, 4 + k, 8 + k, 12 + k);
        for (int k = 0; k < 4; k++)
            quarter_round(v, k, 4 + (k + 1) % 4, 8 + (k + 2) % 4, 12 + (k + 3) % 4);
    }
    for (int i = 0; i < 16; i++)
        v[i] += in[i];
    memcpy(out, v, sizeof v);
}

void random_bytes(struct bw_stack *st, void *out, uint32_t n)
{
    struct drbg *r = &st->drbg;
    for (uint8_t *to = out; n;) {
        if (r->used == sizeof r->bytes) {
            uint32_t key[8];
            memcpy(key, r->bytes, sizeof key);
            for (uint32_t i = 0; i < sizeof r->bytes / 64; i++)
                chacha20_block(key, i, r->bytes + (size_t)i * 64);
            r->used = sizeof key;
        }
        uint32_t some = sizeof r->bytes - r->used;
        some = some < n ? some : n;
        memcpy(to, r->bytes + r->used, some);
        memset(r->bytes + r->used, 0, some);
        r->used += some;
        to += some;
        n -= some;
    }
}

void random_seed(struct bw_stack *st, const uint8_t seed[32])
{
    memcpy(st->drbg.bytes, seed, 32);
    st->drbg.used = sizeof st->drbg.bytes;
}

uint64_t random64(struct bw_stack *st)
{
    uint64_t x;
    random_bytes(st, &x, sizeof x);
    return x;
}

static inline void sip_round(uint64_t v[4])
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

static inline void sip_word(uint64_t v[4], uint64_t m, int rounds)
{
    v[3] ^= m;
    for (int i = 0; i < rounds; i++)
        sip_round(v);
    v[0] ^= m;
}

/* Aumasson and Bernstein, "SipHash: a fast short-input PRF", with so many rounds a word and at the end. */
static inline uint64_t sip(const uint8_t key[16], const void *data, uint32_t len, int rounds, int last)
{
    const uint8_t *p = data;
    uint64_t k0, k1, m = 0;
    memcpy(&k0, key, 8);
    memcpy(&k1, key + 8, 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull, k0 ^ 0x6c7967656e657261ull,
                     k1 ^ 0x7465646279746573ull};
    for (uint32_t left = len; left >= 8; left -= 8, p += 8) {
        memcpy(&m, p, 8);
        sip_word(v, m, rounds);
    }
    m = 0;
    memcpy(&m, p, len & 7);
    sip_word(v, m | (uint64_t)len << 56, rounds);
    v[2] ^= 0xff;
    for (int i = 0; i < last; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t siphash(const uint8_t key[16], const void *data, uint32_t len)
{
    return sip(key, data, len, 2, 4);
}

uint64_t hsiphash(const uint8_t key[16], const void *data, uint32_t len)
{
    return sip(key, data, len, 1, 3);
}
