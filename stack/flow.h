/* SPDX-License-Identifier: MIT */
/* The tables that sockets are found in: flows (flow.c) and bound ports (bind.c). A part of stack.h. */
#ifndef BW_FLOW_H
#define BW_FLOW_H

/* ---- flow table (flow.c): exact four-tuples, and bound ports ---------------------------------- */
struct bw_sock *flow_find(struct bw_stack *st, enum sock_kind kind, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t zone);
/* The connection that a segment is of, or its TIME-WAIT. */
struct bw_sock *flow_of(struct bw_stack *st, const struct packet *pkt, uint16_t lport, uint16_t rport);
void flow_add(struct bw_sock *s);
/* Another one stands there for s from now on, under the same name; s is in the table no more. */
void flow_replace(struct bw_sock *s, struct bw_sock *by);
uint32_t flow_longest(const struct bw_stack *st); /* chain, walked: for tests */
void flow_del(struct bw_sock *s);
/* Best bound socket (listener or unconnected UDP) for a local address and port: an exact address
 * before the unspecified one. With SO_REUSEPORT siblings, the one the flow's hash chooses. */
struct bw_sock *bind_find(struct bw_stack *st, enum sock_kind kind, const uint8_t *laddr, uint16_t lport,
                          const uint8_t *raddr, uint16_t rport, uint32_t ifindex);
/* First (prev NULL) or next socket of that kind bound to lport, for broadcasts and checks. Kinds
 * KIND_TCP and KIND_LISTENER are one protocol and found alike. */
struct bw_sock *bind_each(struct bw_stack *st, enum sock_kind kind, uint16_t lport, struct bw_sock *prev);
/* Checks for a conflict and enters the socket under s->laddr, lport (0: choose one by RFC 6056
 * without a peer). 0, -EADDRINUSE. */
int bind_add(struct bw_sock *s, uint16_t lport);
/* bind_add(s, 0) for a datagram socket whose first packet goes to that peer: the port is one by which the answers
 * come to this stack. */
int bind_towards(struct bw_sock *s, const uint8_t *laddr, const uint8_t *raddr, uint16_t rport);
void bind_del(struct bw_sock *s);
void bind_replace(struct bw_sock *s, struct bw_sock *by); /* as flow_replace, for one that is connected */
/* The socket's name, kind or options have changed since it was entered. */
void bind_again(struct bw_sock *s);
/* Does it, or one of its group, wait for packets of this kind? */
int bind_waits(const struct bw_sock *s, enum sock_kind kind);
/* Sets SOCK_CONNECTED or takes it back: the packets of others are not for a connected socket. */
void bind_set_connected(struct bw_sock *s, int connected);
/* RFC 6056 algorithm 4: enters the socket under a free local port towards (raddr, rport) and returns
 * it. 0: none free. */
uint16_t port_choose(struct bw_stack *st, struct bw_sock *s);
/* Is a flow, as its packets come in, one of another stack's that has the same addresses? It is not ours to refuse,
 * nor to begin. */
static inline int flow_of_others(const struct bw_stack *st, const uint8_t *src, uint16_t sport,
                                 const uint8_t *dst, uint16_t dport)
{
    const struct bw_share *share = &st->cfg.share;
    if (share->group <= 1)
        return 0;
    if (!share->table_len)
        return dport % share->group != share->mine;
    uint32_t size = ip_is_v4(dst) ? 4 : 16;
    uint8_t name[36];
    memcpy(name, src + 16 - size, size);
    memcpy(name + size, dst + 16 - size, size);
    put16(name + 2 * size, sport);
    put16(name + 2 * size + 2, dport);
    return share->table[toeplitz(share->key, name, 2 * size + 4) % share->table_len] != share->mine;
}

#endif
