/* SPDX-License-Identifier: MIT */
/* A broadcast goes to every socket that could have it. To a few at once; where many have the port, to
 * BROADCAST_TURN in one pass, and it goes on in the next: one such datagram waits, others are dropped
 * meanwhile, and counted. */
#include "udp.h"

enum {
    BROADCAST_TURN = BW_BROADCAST_TURN,
    BROADCAST_LOOKS = 4096 /* sockets of all sorts passed over in one pass */
};

static int hears(const struct bw_sock *s, const struct packet *pkt, uint16_t sport, uint16_t dport)
{
    if (s->kind != KIND_UDP || !(s->flags & SOCK_BOUND) || s->lport != dport)
        return 0;
    if (s->bound_if && s->bound_if != pkt->ifindex)
        return 0;
    if (!ip_is_any(s->laddr) && !ip_equal(s->laddr, pkt->dst))
        return 0;
    return !(s->flags & SOCK_CONNECTED) || (s->rport == sport && ip_equal(s->raddr, pkt->src));
}

static uint32_t group_size(const struct bw_sock *s)
{
    return s->group ? s->group->n : 1;
}

/* Have more than BROADCAST_TURN sockets this port? */
static int many(struct bw_stack *st, uint16_t dport)
{
    uint32_t n = 0;
    for (struct bw_sock *s = bind_each(st, KIND_UDP, dport, NULL); s && n <= BROADCAST_TURN;
         s = bind_each(st, KIND_UDP, dport, s))
        n += group_size(s);
    return n > BROADCAST_TURN;
}

static void to_a_few(struct bw_stack *st, const struct packet *pkt, uint32_t len)
{
    uint16_t sport = get16(pkt->l4), dport = get16(pkt->l4 + 2);
    int heard = 0;
    for (struct bw_sock *s = bind_each(st, KIND_UDP, dport, NULL); s; s = bind_each(st, KIND_UDP, dport, s))
        for (uint32_t i = 0; i < group_size(s); i++) {
            struct bw_sock *member = s->group ? s->group->member[i] : s;
            if (hears(member, pkt, sport, dport)) {
                udp_enqueue(udp_of(member), pkt, len);
                heard = 1;
            }
        }
    if (!heard)
        drop(st, DROP_UDP_NO_SOCKET, len);
}

void udp_broadcast_go_on(struct bw_stack *st)
{
    struct udp_broadcast *b = st->broadcast;
    const struct packet *pkt = &b->pkt;
    uint32_t last = b->at + BROADCAST_LOOKS, told = 0;
    for (; b->at < st->slab_touched && b->at < last && told < BROADCAST_TURN; b->at++) {
        struct bw_sock *s = sock_at(st, b->at);
        if (hears(s, pkt, get16(pkt->l4), get16(pkt->l4 + 2))) {
            udp_enqueue(udp_of(s), pkt, b->len - UDP_HLEN);
            told++;
        }
    }
    if (b->at >= st->slab_touched)
        b->len = 0;
}

int udp_broadcast_waits(const struct bw_stack *st)
{
    return st->broadcast->len != 0;
}

void udp_broadcast_input(struct bw_stack *st, const struct packet *pkt, uint32_t total)
{
    struct udp_broadcast *b = st->broadcast;
    if (!many(st, get16(pkt->l4 + 2))) {
        to_a_few(st, pkt, total - UDP_HLEN);
        return;
    }
    if (b->len) {
        drop(st, DROP_UDP_BROADCAST, total);
        return;
    }
    b->len = total;
    b->at = 0;
    b->pkt = *pkt;
    b->pkt.l4 = b->l4;
    memcpy(b->l4, pkt->l4, total);
    udp_broadcast_go_on(st);
}
