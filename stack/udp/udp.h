/* SPDX-License-Identifier: MIT */
/* UDP sockets. All errors are -errno, with Linux's meaning. */
#ifndef BW_UDP_H
#define BW_UDP_H

#include "../stack.h"

enum { PMTUDISC_DONT = 0, PMTUDISC_WANT = 1, PMTUDISC_DO = 2, PMTUDISC_PROBE = 3 };

enum {
    UDP_HLEN = 8,
    UDP_SUM = 6,            /* offset of the checksum in the header */
    UDP_MAX = 65507,        /* bytes that fit an IPv4 packet */
    UDP_MAX_SEGMENTS = 128, /* of one call or super-segment, as Linux */
};

struct udp_sock {
    struct bw_sock base;
    struct byteq rcvq;            /* records: struct udp_record, then the datagram's bytes */
    uint32_t rcv_used;            /* bytes that count against rcvbuf, overhead included */
    uint32_t sent_if;             /* interface of the datagram before; 0: none yet */
    uint8_t keepalive, oobinline; /* kept to be read, as on Linux */
    uint8_t gro;                  /* BW_OPT_UDP_GRO */
    uint16_t segment; /* BW_OPT_UDP_SEGMENT: longer messages are several datagrams of so many bytes; 0: one */
    struct udp_sock *wait_next, **wait_prev; /* on st->udp_waiting; wait_prev NULL: not */
};

/* What stands before each datagram in the receive queue. */
struct udp_record {
    uint8_t ip[16], dst[16];
    int64_t when; /* it came, in the stack's time */
    uint32_t zone, ifindex;
    uint16_t len, port, gso_size; /* gso_size: of the datagrams that make it, 0: it is one */
    uint8_t ttl, tos;
};

static inline struct udp_sock *udp_of(struct bw_sock *s)
{
    return container_of(s, struct udp_sock, base);
}

int64_t udp_send(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to);
int64_t udp_recv(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from);
/* message.c */
int64_t udp_sendmsg(struct bw_sock *s, const void *buf, size_t len, const struct bw_msg *m);
int64_t udp_recvmsg(struct bw_sock *s, struct bw_msg *m);
int64_t udp_send_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
int64_t udp_recv_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);

/* A broadcast that is on its way to many sockets. */
struct udp_broadcast {
    struct packet pkt; /* its l4 is ours */
    uint32_t len;      /* UDP header included; 0: none */
    uint32_t at;       /* the next socket of the slab */
    uint8_t l4[65536];
};
/* total: bytes of header and data */
void udp_broadcast_input(struct bw_stack *st, const struct packet *pkt, uint32_t total);

/* ---- within udp/ ------------------------------------------------------------------------------------ */

/* Where datagrams go: `path` is the socket's own to its peer, or the cache's, until another destination is
 * looked up. */
struct udp_target {
    uint8_t dst[16];
    uint16_t port;
    struct ip_path *path;
};

/* How a datagram of the socket travels there. */
struct udp_out {
    struct ip_path path;
    struct ip_send ip; /* its dst is the target's */
};

/* What sending begins with: the target is `to`, or the peer (to NULL). */
int udp_begin(struct udp_sock *u, const struct bw_addr *to, size_t len, struct udp_target *target);
/* A socket without a port gets one, under its own name, by which what answers a datagram from that source (all zero: the
 * path's) by that interface comes to this stack. 0, or what sending it would answer. */
int udp_autobind(struct bw_sock *s, const uint8_t *source, const struct bw_addr *to, uint32_t ifindex);
/* Datagrams of up to len bytes to the target. 0, -EINVAL, -EAGAIN (transmit queue full). */
int udp_prepare(struct udp_sock *u, const struct udp_target *target, uint32_t len, struct udp_out *out);
/* The first datagram in the queue: 1; or what a read answers instead. */
int64_t udp_first(struct bw_sock *s, struct udp_record *rec);
/* It is read. */
void udp_forget_first(struct udp_sock *u, const struct udp_record *rec);
/* A received datagram of len bytes of data waits for its reader, if there is room. */
void udp_enqueue(struct udp_sock *u, const struct packet *pkt, uint32_t len);
void udp_header(const struct udp_sock *u, uint8_t *head, uint16_t dport, uint32_t len);
/* What was looked up for it holds for the next one. */
void udp_sent(struct udp_sock *u, const struct udp_target *target, const struct udp_out *out);
/* One datagram out. */
int udp_transmit(struct udp_sock *u, const struct udp_target *target, const void *buf, uint32_t len);

/* batch.c: where slot i goes; NULL: to the peer. */
const struct bw_addr *udp_batch_target(const struct bw_batch *b, uint32_t i);

/* segments.c: a message on a socket with a segment size, cut if it is longer. 0, -EMSGSIZE (a segment is longer
 * than the path's MTU), -EINVAL (more than UDP_MAX_SEGMENTS), -EAGAIN (no room for all of them), -ENOBUFS. */
int udp_send_segments(struct udp_sock *u, const struct udp_target *target, const uint8_t *buf, uint32_t len);
/* Slots of a batch from first on, before last, that go together in one super-segment: how many; 0: the first one
 * is to go by itself; -errno. */
int64_t udp_send_run(struct udp_sock *u, const struct bw_batch *b, uint32_t first, uint32_t last);

#endif
