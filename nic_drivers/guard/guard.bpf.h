/* SPDX-License-Identifier: MIT */
/* The guard's judgement, for programs of two types: LOAD(ctx, offset, to, len) is bpf_skb_load_bytes or
 * bpf_xdp_load_bytes. Counts are not atomic: the guard is a limit, not an account. */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include <bpf/bpf_helpers.h>

#include "guard.h"

struct guard_block {
    __u8 cell[GUARD_CELLS]; /* when a SYN of this hash was last seen; a Bloom filter that ages by itself */
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, GUARD_BLOCKS); /* 1 where the guard is off */
    __type(key, __u32);
    __type(value, struct guard_block);
} guard_seen SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct guard_state);
} guard_state SEC(".maps");

/* What tells one SYN from another: addresses, ports and sequence number. */
struct guard_syn {
    __u64 address[4];
    __u32 ports, seq;
};

static __always_inline __u64 guard_mix(__u64 x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Age in seconds as a byte that is never 0, and the ones of a second and two seconds ago. */
static __always_inline __u8 guard_epoch(__u64 now, __u64 ago)
{
    return (__u8)(((now >> 30) - ago) % 255 + 1);
}

static __always_inline int guard_fresh(__u8 cell, __u64 now)
{
    return cell == guard_epoch(now, 0) || cell == guard_epoch(now, 1) || cell == guard_epoch(now, 2);
}

static __always_inline int guard_admits(struct guard_state *state, const struct guard_syn *syn)
{
    __u64 now = bpf_ktime_get_ns(), hash = state->key;
    for (int i = 0; i < 4; i++)
        hash = guard_mix(hash ^ syn->address[i]) + state->key;
    hash = guard_mix(hash ^ ((__u64)syn->ports << 32 | syn->seq));
    __u32 at = (__u32)(hash >> 32) % GUARD_BLOCKS;
    struct guard_block *block = bpf_map_lookup_elem(&guard_seen, &at);
    if (!block)
        return 1;
    __u8 *a = &block->cell[hash % GUARD_CELLS], *b = &block->cell[hash / GUARD_CELLS % GUARD_CELLS];
    int repeated = guard_fresh(*a, now) && guard_fresh(*b, now);
    *a = *b = guard_epoch(now, 0);
    if (repeated) {
        state->repeated++;
        return 1;
    }
    if (state->window != now >> 20) {
        state->window = now >> 20;
        state->used = 0;
    }
    if (state->used < state->allowance) {
        state->used++;
        state->first++;
        return 1;
    }
    state->held++;
    return 0;
}

/* Reads a SYN without ACK from TCP's header; 0: it is none. */
#define GUARD_TCP(ctx, offset, syn) \
    ({ \
        __u32 tcp_[4]; \
        int is_ = !LOAD(ctx, offset, tcp_, sizeof tcp_) && (((__u8 *)tcp_)[13] & 0x17) == 0x02; \
        (syn)->ports = is_ ? tcp_[0] : 0; \
        (syn)->seq = is_ ? tcp_[1] : 0; \
        is_; \
    })

/* Fills in the SYN that a frame is; 0: it is none, or one behind IPv6 extension headers or in fragments,
 * which the engine sees. */
static __always_inline int guard_parse(GUARD_CONTEXT *ctx, __u32 link, struct guard_syn *syn)
{
    __u8 ip[40];
    if (LOAD(ctx, link, ip, 20))
        return 0;
    if (ip[0] >> 4 == 4) {
        if (ip[9] != 6 || (ip[6] & 0x3f) || ip[7])
            return 0;
        __builtin_memcpy(syn->address, ip + 12, 8);
        return GUARD_TCP(ctx, link + (__u32)(ip[0] & 15) * 4, syn);
    }
    if (ip[0] >> 4 != 6 || LOAD(ctx, link, ip, 40) || ip[6] != 6)
        return 0;
    __builtin_memcpy(syn->address, ip + 8, 32);
    return GUARD_TCP(ctx, link + 40, syn);
}

/* May the frame come in? */
static __always_inline int guard_lets_in(GUARD_CONTEXT *ctx)
{
    __u32 zero = 0;
    struct guard_syn syn = {0};
    struct guard_state *state = bpf_map_lookup_elem(&guard_state, &zero);
    if (!state || !state->allowance)
        return 1;
    __u32 link = state->link ? ETH_HLEN : 0;
    return !guard_parse(ctx, link, &syn) || guard_admits(state, &syn);
}
