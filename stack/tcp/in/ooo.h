/* SPDX-License-Identifier: MIT */
/* What out-of-order data may hold (ooo.c). */
#ifndef BW_OOO_H
#define BW_OOO_H

#include "../../stack.h"

struct tcb;
struct tcp_globals;

/* Connections that hold out-of-order data, the longest without progress first (ooo.c). */
struct ooo_list {
    struct tcb *head, **tail;
    uint32_t chunks; /* of the common pool, that hold nothing else */
};
enum { OOO_OWN, OOO_DENSE, OOO_SPARSE, OOO_KINDS };

void tcp_ooo_init(struct tcp_globals *g);
/* Out-of-order data was stored, or joined the queue (progress). It may be given up here and now. */
void tcp_ooo_changed(struct tcb *t, int progress);
void tcp_ooo_forget(struct tcb *t);
/* Under pressure the out-of-order data of others gives way to what t has received. */
void tcp_ooo_make_room(struct tcb *t, int in_order);
void tcp_ooo_expire(struct bw_stack *st);

#endif
