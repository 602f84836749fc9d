/* SPDX-License-Identifier: MIT */
/* UDP sockets: what sock.c dispatches to. All errors are -errno, with Linux's meaning. */
#ifndef BW_UDP_H
#define BW_UDP_H

#include "../stack.h"

struct udp_sock {
    struct bw_sock base;
    struct byteq rcvq; /* records: struct udp_record, then the datagram's bytes */
    uint32_t rcv_used; /* bytes that count against rcvbuf, overhead included */
    uint32_t path_if;  /* base.path leads to path_dst, restricted to this bound_if */
    uint8_t path_dst[16];
    struct udp_sock *wait_next, **wait_prev; /* on st->udp_waiting; wait_prev NULL: not */
};

void udp_init(struct bw_sock *s);
/* With ip all zero and port 0: dissolves the association. */
int udp_connect(struct bw_sock *s, const struct bw_addr *addr);
int64_t udp_sendto(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to);
int64_t udp_recvfrom(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from);
int64_t udp_send_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
int64_t udp_recv_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
int udp_shutdown(struct bw_sock *s, int how); /* SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2 */
/* Leaves every table and frees the socket. */
void udp_close(struct bw_sock *s);
uint32_t udp_readiness(const struct bw_sock *s);
/* which 0: length of the next datagram (FIONREAD), 1: bytes on their way (always 0). */
int64_t udp_queued_bytes(const struct bw_sock *s, int which);

#endif
