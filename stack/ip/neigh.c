/* SPDX-License-Identifier: MIT */
/* The next-hop table C transmits through: a bounded hash table of what Python published. The
 * neighbour state machine (RFC 4861 states, for ARP too) lives in Python; an entry stays in use until
 * Python withdraws it. C notes only when an entry was used, by whom, and when progress confirmed it. An
 * entry that Python has asked for holds no address yet: it tells answers from what strangers say.
 * Bucket and chain links hold an index + 1, so that zeroed memory is an empty table. */
#include "../stack.h"

static uint32_t *neigh_chain(struct bw_stack *st, uint32_t ifindex, const uint8_t *ip)
{
    uint8_t key[20];
    memcpy(key, ip, 16);
    memcpy(key + 16, &ifindex, 4);
    return &st->neigh_bucket[(uint32_t)hsiphash(st->hash_key, key, sizeof key) & st->neigh_mask];
}

struct neigh *neigh_find(struct bw_stack *st, uint32_t ifindex, const uint8_t *ip)
{
    for (uint32_t i = *neigh_chain(st, ifindex, ip); i; i = st->neighs[i - 1].hash_next) {
        struct neigh *n = &st->neighs[i - 1];
        if (n->ifindex == ifindex && ip_equal(n->ip, ip))
            return n;
    }
    return NULL;
}

struct neigh *ip_path_neigh(struct bw_stack *st, struct ip_path *path)
{
    if (unlikely(path->neigh_gen != st->neigh_gen || st->neigh_gen == 0)) {
        struct neigh *n = neigh_find(st, path->ifindex, path->nexthop);
        path->neigh = n && n->usable ? (uint32_t)(n - st->neighs) : NEIGH_NONE;
        path->neigh_gen = st->neigh_gen;
    }
    return path->neigh == NEIGH_NONE ? NULL : &st->neighs[path->neigh];
}

void ip_path_confirm(struct bw_stack *st, struct ip_path *path)
{
    if (!ip_path_valid(st, path) || st->iface[path->ifindex].layer != 2)
        return;
    struct neigh *n = ip_path_neigh(st, path);
    if (n)
        n->confirmed = st->now;
}

/* Cached entries of paths are looked up again; 0 is kept for "never". */
static void neigh_changed(struct bw_stack *st)
{
    if (++st->neigh_gen == 0)
        st->neigh_gen = 1;
}

/* A place for a new entry, or NULL: the table is full. */
static struct neigh *neigh_place(struct bw_stack *st)
{
    if (st->neigh_free) {
        struct neigh *n = &st->neighs[st->neigh_free - 1];
        st->neigh_free = n->hash_next;
        return n;
    }
    return st->neigh_touched < st->cfg.max_neighs ? &st->neighs[st->neigh_touched++] : NULL;
}

/* The entry, made if there is none: 0, -EINVAL, -ENOSPC. */
static int neigh_make(struct bw_stack *st, int ifindex, const uint8_t ip[16], struct neigh **entry)
{
    if (ifindex < 1 || ifindex > st->ifaces || st->iface[ifindex].layer != 2)
        return -EINVAL;
    struct neigh *n = neigh_find(st, (uint32_t)ifindex, ip);
    if (!n) {
        n = neigh_place(st);
        if (!n)
            return -ENOSPC;
        uint32_t *chain = neigh_chain(st, (uint32_t)ifindex, ip);
        *n = (struct neigh){.ifindex = (uint32_t)ifindex, .wanted = INT64_MIN, .hash_next = *chain};
        memcpy(n->ip, ip, 16);
        *chain = (uint32_t)(n - st->neighs) + 1;
    }
    *entry = n;
    return 0;
}

int bw_neigh_ask(struct bw_stack *st, int ifindex, const uint8_t ip[16])
{
    struct neigh *n;
    int err = neigh_make(st, ifindex, ip, &n);
    if (!err)
        n->asked = 1;
    return err;
}

int bw_neigh_set(struct bw_stack *st, int ifindex, const uint8_t ip[16], const uint8_t mac[6])
{
    struct neigh *n;
    int err = mac[0] & 1 ? -EINVAL : neigh_make(st, ifindex, ip, &n);
    if (err)
        return err;
    if (!n->usable || memcmp(n->mac, mac, 6) != 0)
        n->confirmed = INT64_MIN;
    memcpy(n->mac, mac, 6);
    n->asked = 0;
    if (!n->usable) {
        n->usable = 1;
        n->used = st->now;
        neigh_changed(st);
    }
    return 0;
}

int bw_neigh_del(struct bw_stack *st, int ifindex, const uint8_t ip[16])
{
    struct neigh *n = neigh_find(st, (uint32_t)ifindex, ip);
    if (!n)
        return -ENOENT;
    uint32_t *at = neigh_chain(st, n->ifindex, n->ip);
    while (&st->neighs[*at - 1] != n)
        at = &st->neighs[*at - 1].hash_next;
    *at = n->hash_next;
    n->ifindex = 0;
    n->hash_next = st->neigh_free;
    st->neigh_free = (uint32_t)(n - st->neighs) + 1;
    if (n->usable)
        neigh_changed(st);
    return 0;
}

int bw_neigh_get(struct bw_stack *st, int ifindex, const uint8_t ip[16], struct bw_neigh_info *info)
{
    const struct neigh *n = neigh_find(st, (uint32_t)ifindex, ip);
    if (!n || !n->usable)
        return -ENOENT;
    *info = (struct bw_neigh_info){
        .ifindex = n->ifindex, .used = n->used, .wanted = n->wanted, .confirmed = n->confirmed};
    memcpy(info->ip, n->ip, 16);
    memcpy(info->mac, n->mac, 6);
    return 0;
}
