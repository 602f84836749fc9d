/* SPDX-License-Identifier: MIT */
/* The kinds of sockets, and what each does. */
#ifndef BW_SOCK_OPS_H
#define BW_SOCK_OPS_H

#include "engine.h"

enum sock_kind { KIND_FREE = 0, KIND_TCP, KIND_LISTENER, KIND_UDP, KIND_TIME_WAIT /* tcp/time_wait.h */ };

/* What the sockets of a kind do. A call that a kind lacks is NULL, and answers EOPNOTSUPP. */
struct sock_ops {
    uint8_t tos_mask;  /* bits of IP_TOS that a program may set */
    uint8_t hears_all; /* it may be bound to a broadcast or multicast address */
    uint8_t
        flows_hold_port; /* its flows keep a port from being bound, though they do not stand in the bind table */
    void (*init)(struct bw_sock *s);
    void (*close)(struct bw_sock *s);   /* for the program */
    void (*discard)(struct bw_sock *s); /* with its stack, at once */
    int (*listen)(struct bw_sock *s, int backlog);
    int (*accept)(struct bw_sock *s, struct bw_sock **out, struct bw_addr *peer);
    int (*connect)(struct bw_sock *s, const struct bw_addr *addr);
    int (*has_peer)(const struct bw_sock *s); /* of one in the flow table: is its name to be told? */
    int64_t (*send)(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to);
    int64_t (*recv)(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from);
    /* The bytes of a message in one piece, and what else it says; NULL: its control bytes mean nothing to the kind. */
    int64_t (*sendmsg)(struct bw_sock *s, const void *buf, size_t len, const struct bw_msg *m);
    int64_t (*recvmsg)(struct bw_sock *s, struct bw_msg *m); /* NULL: a stream */
    int64_t (*send_batch)(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
    int64_t (*recv_batch)(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
    int (*shutdown)(struct bw_sock *s, int how);
    uint32_t (*readiness)(struct bw_sock *s);
    int (*await)(struct bw_sock *s, uint32_t events); /* NULL: nothing is to be done for who waits */
    int64_t (*queued_bytes)(struct bw_sock *s, int which);
    int (*snapshot)(struct bw_sock *s, struct bw_tcp_snapshot *out);
    void (*set_buffer)(struct bw_sock *s, int opt, int64_t value);
    uint32_t (*send_bound)(const struct bw_sock *s);
    int (*setopt)(struct bw_sock *s, int opt, int64_t value);
    int (*getopt)(struct bw_sock *s, int opt, int64_t *value);
};
extern const struct sock_ops tcp_ops, udp_ops;
/* The kinds' table: a listener is TCP's. */
const struct sock_ops *sock_ops_of(const struct bw_sock *s);

#endif
