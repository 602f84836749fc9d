/* SPDX-License-Identifier: MIT */
/* A small seeded generator (xoshiro256**, Blackman and Vigna) for the devices that play dice. */
#ifndef BW_RANDOM_H
#define BW_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t s[4];
};

/* Fills the state by splitmix64, so that any seed, 0 too, gives a good one. */
static inline void random_seed(struct random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        r->s[i] = z ^ z >> 31;
    }
}

static inline uint64_t random_rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

static inline uint64_t random_next(struct random *r)
{
    uint64_t result = random_rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = random_rotl(r->s[3], 45);
    return result;
}

/* A number in [0, n), n > 0. The bias of the modulo is below n / 2^64. */
static inline uint64_t random_below(struct random *r, uint64_t n)
{
    return random_next(r) % n;
}

/* 1 with probability p; p of 0 or 1 is certain, and 0 takes nothing from the sequence. */
static inline int random_chance(struct random *r, double p)
{
    return p > 0 && (double)(random_next(r) >> 11) < p * 9007199254740992.0; /* 2^53 */
}

#endif
