/* SPDX-License-Identifier: MIT */
/* A connection in TIME-WAIT that no user holds: 128 bytes instead of a control block. */
#ifndef BW_TIME_WAIT_H
#define BW_TIME_WAIT_H

#include "../stack.h"

struct tcp_seg;

/* It stands in the flow table and in the bind table as the socket did: what these read lies where struct bw_sock
 * has it (asserted in time_wait.c). */
struct time_wait {
    uint8_t laddr[16], raddr[16];
    uint16_t lport, rport;
    uint32_t zone;
    sock_ref_t flow_next;
    uint32_t next; /* by age, oldest first: index + 1, 0: none. Of a free record: the next free one */
    uint8_t kind;  /* KIND_TIME_WAIT */
    uint8_t reuseaddr, reuseport;
    uint8_t ttl;
    uint32_t flags;
    struct bw_stack *st;
    sock_ref_t bind_next, bind_prev;
    struct bind_group *group; /* NULL: it is connected */
    uint32_t bound_if;
    uint32_t prev;
    int64_t until;
    uint32_t snd_nxt, rcv_nxt;
    uint32_t ts_recent, ts_offset;
    uint32_t challenge_start; /* ms */
    uint16_t window;          /* scaled */
    uint8_t rcv_wscale, tos;
    uint8_t ifindex;    /* where its path led */
    uint8_t challenges; /* since challenge_start */
    uint8_t ace;        /* AE, CWR, ECE of its ACKs */
    uint8_t use_ts : 1, use_sack : 1;
};

/* All of them: a slab of max_socks records, so that there is one for each socket. */
struct time_waits {
    struct time_wait *record;
    uint32_t touched, free, used; /* free: index + 1 */
    uint32_t oldest, newest;      /* index + 1 */
    struct timer timer;           /* the oldest one's; set while there is one */
};

static inline struct time_wait *time_wait_of(struct bw_sock *s)
{
    return (struct time_wait *)s;
}

/* The control block of a connection in TIME-WAIT gives way to a record, if no user holds it and nobody traces it. */
void tcp_time_wait_shrink(struct tcb *t);
void tcp_on_time_wait(struct time_wait *w, const struct tcp_seg *seg);
/* RFC 6191 and RFC 9293 3.6.1: a new SYN may take a name out of TIME-WAIT. */
int tcp_reopens(struct bw_sock *s, const struct tcp_seg *seg);
/* Ends it, a record or a whole one, for a new connection of its name; what it had sent up to. */
uint32_t tcp_time_wait_yield(struct bw_sock *s);
/* Ends the oldest record. 1: there was one. */
int tcp_time_wait_end_oldest(struct bw_stack *st);
void tcp_time_wait_expire(struct bw_stack *st);
void tcp_time_wait_if_down(struct bw_stack *st, uint32_t ifindex);
/* An ICMP error quotes it: is it about what it sent last? */
int tcp_time_wait_error(struct time_wait *w, uint32_t seq, int too_big);

#endif
