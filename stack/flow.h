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
/* Is the port one of another stack's that has the same addresses? What comes for it is not ours to refuse. */
static inline int port_of_others(const struct bw_stack *st, uint16_t port)
{
    return st->cfg.port_mod > 1 && port % st->cfg.port_mod != st->cfg.port_value;
}

#endif
