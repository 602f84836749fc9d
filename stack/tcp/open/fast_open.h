/* SPDX-License-Identifier: MIT */
/* Fast Open (RFC 7413): what a control block, a listener and the stack keep of it, and what fast_open.c
 * does. */
#ifndef BW_FAST_OPEN_H
#define BW_FAST_OPEN_H

#include "../tcp_header.h"

struct tcb;
struct listener;
struct tcp_seg;

enum {
    FASTOPEN_CONNECT = 1,   /* TCP_FASTOPEN_CONNECT */
    FASTOPEN_NO_COOKIE = 2, /* TCP_FASTOPEN_NO_COOKIE */
    FASTOPEN_OPTIONS = 3,   /* these are the user's */
    FASTOPEN_ASK = 4,       /* our SYN carries the option */
    FASTOPEN_DEFERRED = 8,  /* connected in name: the SYN waits for data */
    FASTOPEN_GRANT = 16,    /* our SYN,ACK carries a cookie */
    FASTOPEN_PENDING = 32,  /* a child in SYN-RECEIVED that is in use already */
};

/* What a listener grants (fast_open.c). */
struct tcp_fast_open {
    uint32_t refs, qlen, pending;
    uint32_t resets[2]; /* pending children that were reset: in this period, in the last */
    int64_t period;
    uint8_t keys, key[2][16];
};

/* What is known of a server. */
struct tfo_known {
    uint8_t ip[16], cookie[TCP_COOKIE_MAX];
    uint8_t len, losses;
    uint16_t mss;
    int64_t blocked_until;
};
enum { TFO_KNOWN = 512 };

struct tcp_fast_open *tfo_make(struct tcb *t); /* NULL: no memory */
void tfo_release(struct tcb *t);
void tfo_on_syn(struct listener *l, struct tcb *t, struct tcp_seg *seg);
void tfo_settled(struct tcb *t, int state);
int tfo_begin(struct tcb *t);
void tfo_not_taken(struct tcb *t);
uint8_t *tfo_put_option(struct tcb *t, uint8_t *p, uint32_t room);
uint32_t tfo_syn_data(const struct tcb *t);
void tfo_unanswered(struct tcb *t); /* a connection is given up */
void tfo_on_syn_ack(struct tcb *t, const struct tcp_seg *seg, int again);

#endif
