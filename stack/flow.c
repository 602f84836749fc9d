/* SPDX-License-Identifier: MIT */
/* The flow table: exact four-tuples, in a chained hash table of fixed size under a secret key. */
#include "stack.h"
#include "tcp/tcp.h"

struct flow_key {
    uint8_t laddr[16], raddr[16];
    uint16_t lport, rport;
    uint8_t proto;
    uint8_t pad[3];
    uint32_t zone;
};

static uint8_t kind_proto(enum sock_kind kind)
{
    return kind == KIND_UDP ? 17 : 6;
}

static struct flow_key flow_key(uint8_t proto, const uint8_t *laddr, uint16_t lport, const uint8_t *raddr,
                                uint16_t rport, uint32_t zone)
{
    struct flow_key key = {.lport = lport, .rport = rport, .proto = proto, .zone = zone};
    memcpy(key.laddr, laddr, 16);
    memcpy(key.raddr, raddr, 16);
    return key;
}

static uint32_t flow_hash(const struct bw_stack *st, uint8_t proto, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t zone)
{
    if (likely(ip_is_v4(laddr) && ip_is_v4(raddr))) {
        struct {
            uint8_t laddr[4], raddr[4];
            uint16_t lport, rport;
            uint32_t more;
        } key4 = {.lport = lport, .rport = rport, .more = zone << 8 | proto};
        memcpy(key4.laddr, laddr + 12, 4);
        memcpy(key4.raddr, raddr + 12, 4);
        return (uint32_t)hsiphash(st->hash_key, &key4, sizeof key4);
    }
    const struct flow_key key = flow_key(proto, laddr, lport, raddr, rport, zone);
    return (uint32_t)hsiphash(st->hash_key, &key, sizeof key);
}

static sock_ref_t *flow_chain(struct bw_stack *st, const struct bw_sock *s)
{
    uint32_t h = flow_hash(st, kind_proto(s->kind), s->laddr, s->lport, s->raddr, s->rport, s->zone);
    return &st->flow_bucket[h & st->flow_mask];
}

static struct bw_sock *chain_find(struct bw_stack *st, uint32_t h, enum sock_kind kind, const uint8_t *laddr,
                                  uint16_t lport, const uint8_t *raddr, uint16_t rport, uint32_t zone)
{
    sock_ref_t next = st->flow_bucket[h & st->flow_mask];
    while (next) {
        struct bw_sock *s = sock_of(st, next);
        if (s->lport == lport && s->rport == rport && s->zone == zone &&
            (s->kind == kind || (s->kind == KIND_TIME_WAIT && kind == KIND_TCP)) &&
            ip_equal(s->raddr, raddr) && ip_equal(s->laddr, laddr))
            return s;
        next = s->flow_next;
    }
    return NULL;
}

struct bw_sock *flow_find(struct bw_stack *st, enum sock_kind kind, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t zone)
{
    uint32_t h = flow_hash(st, kind_proto(kind), laddr, lport, raddr, rport, zone);
    return chain_find(st, h, kind, laddr, lport, raddr, rport, zone);
}

struct bw_sock *flow_of(struct bw_stack *st, const struct packet *pkt, uint16_t lport, uint16_t rport)
{
    uint32_t h = pkt->flow_hash ? pkt->flow_hash
                                : flow_hash(st, 6, pkt->dst, lport, pkt->src, rport, pkt->zone);
    return chain_find(st, h, KIND_TCP, pkt->dst, lport, pkt->src, rport, pkt->zone);
}

uint32_t flow_longest(const struct bw_stack *st)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i <= st->flow_mask; i++) {
        uint32_t n = 0;
        for (sock_ref_t next = st->flow_bucket[i]; next; next = sock_of(st, next)->flow_next)
            n++;
        most = n > most ? n : most;
    }
    return most;
}

void flow_add(struct bw_sock *s)
{
    sock_ref_t *head = flow_chain(s->st, s);
    s->flow_next = *head;
    *head = sock_ref(s);
    bind_set_connected(s, 1);
    if (sock_ops_of(s)->flows_hold_port)
        s->st->port_flows[s->lport]++;
}

void flow_replace(struct bw_sock *s, struct bw_sock *by)
{
    sock_ref_t *at = flow_chain(s->st, s), ref = sock_ref(s);
    while (*at != ref)
        at = &sock_of(s->st, *at)->flow_next;
    *at = sock_ref(by);
    by->flow_next = s->flow_next;
    s->flags &= ~(uint32_t)SOCK_CONNECTED;
}

void flow_del(struct bw_sock *s)
{
    if (!(s->flags & SOCK_CONNECTED))
        return;
    sock_ref_t *at = flow_chain(s->st, s), ref = sock_ref(s);
    while (*at != ref)
        at = &sock_of(s->st, *at)->flow_next;
    *at = s->flow_next;
    bind_set_connected(s, 0);
    if (sock_ops_of(s)->flows_hold_port)
        s->st->port_flows[s->lport]--;
}
