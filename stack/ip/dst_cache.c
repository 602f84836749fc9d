/* SPDX-License-Identifier: MIT */
/* Paths to destinations that no connection holds: unconnected datagrams and answers to strangers. A set of two
 * for each hash, of which the one used less recently is found again for another destination; so strangers can
 * cost a lookup of the routes, and nothing else. */
#include "../stack.h"

static struct dst_set *set_of(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if)
{
    uint64_t key[2], word[2];
    memcpy(key, st->hash_key, 16);
    memcpy(word, dst, 16);
    uint64_t hash = ((word[0] ^ key[0]) * (key[1] | 1)) ^
                    __builtin_bswap64(word[1]); /* what differs is low */
    hash = (hash + bound_if) * (key[0] | 1);
    return &st->dst[hash >> 32 & (DST_SETS - 1)];
}

static int is_for(const struct dst *d, const uint8_t *dst, uint32_t bound_if)
{
    return d->bound_if == bound_if && ip_equal(d->ip, dst);
}

int ip_path_to(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if, struct ip_path **path)
{
    struct dst_set *set = set_of(st, dst, bound_if);
    int place = is_for(&set->dst[0], dst, bound_if)   ? 0
                : is_for(&set->dst[1], dst, bound_if) ? 1
                                                      : !set->recent;
    struct dst *d = &set->dst[place];
    set->recent = (uint8_t)place;
    *path = &d->path;
    if (likely(ip_path_valid(st, &d->path) && is_for(d, dst, bound_if)))
        return 0;
    memcpy(d->ip, dst, 16);
    d->bound_if = bound_if;
    return ip_path_find(st, dst, bound_if, &d->path);
}

int ip_path_copy(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if, struct ip_path *path)
{
    struct ip_path *known;
    int err = ip_path_to(st, dst, bound_if, &known);
    *path = *known;
    return err;
}
