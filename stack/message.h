/* SPDX-License-Identifier: MIT */
/* Messages of sendmsg(2) and recvmsg(2), for every kind of socket: pieces, and control bytes (cmsg(3)). */
#ifndef BW_MESSAGE_H
#define BW_MESSAGE_H

#include "sock_ops.h"

/* struct cmsghdr, and its numbers. */
struct cmsg {
    uint64_t len; /* bytes, this header included */
    int32_t level, type;
};
enum { LEVEL_SOCKET = 1, LEVEL_IP = 0, LEVEL_UDP = 17 };
enum {
    CMSG_RIGHTS = 1,
    CMSG_CREDENTIALS = 2,
    CMSG_TIMESTAMP = 29,
    CMSG_TIMESTAMPNS = 35,
    CMSG_IP_TOS = 1,
    CMSG_IP_TTL = 2,
    CMSG_IP_PKTINFO = 8,
    CMSG_IP_ORIGDSTADDR = 20,
    CMSG_UDP_SEGMENT = 103,
    CMSG_UDP_GRO = 104,
};

/* The control record at *at of those to send, and *at behind it. 1; 0: there is none; -EINVAL. */
int cmsg_next(const struct bw_msg *m, uint32_t *at, struct cmsg *head, const uint8_t **data);
/* What every kind makes of a record of LEVEL_SOCKET: 0, -EINVAL. */
int cmsg_of_socket(const struct cmsg *head);
/* A record of n bytes more for the receiver; cut, with BW_MSG_CTRUNC, where its room ends. */
void cmsg_put(struct bw_msg *m, int level, int type, const void *data, uint32_t n);

int64_t msg_send(struct bw_sock *s, const void *buf, size_t len, const struct bw_msg *m);
/* As msg_send, of any number of pieces: 64 KiB of them at most. */
int64_t msg_send_pieces(struct bw_sock *s, const struct bw_msg *m);
int64_t msg_recv_stream(struct bw_sock *s, struct bw_msg *m);

#endif
