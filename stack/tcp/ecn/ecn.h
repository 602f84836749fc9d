/* SPDX-License-Identifier: MIT */
/* Explicit Congestion Notification: what a connection remembers of it, and where TCP asks. */
#ifndef BW_TCP_ECN_H
#define BW_TCP_ECN_H

#include <stdint.h>

struct tcb;
struct tcp_seg;
struct tcp_emit;
struct delivery;

/* The ECN field of the IP header (RFC 3168 section 5), and AE, CWR, ECE as one number (RFC 9768). */
enum { ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3, ECN_MASK = 3 };
enum { ACE_ECE = 1, ACE_CWR = 2, ACE_ECN_SETUP = 3, ACE_AE = 4 };

/* Explicit Congestion Notification (ecn.c). */
enum { ECN_NONE, ECN_CLASSIC, ECN_ACCURATE };
struct tcp_ecn {
    uint8_t mode;         /* what was agreed on: ECN_* */
    uint8_t plain_syn;    /* a SYN of ours asked for nothing, after one that did */
    uint8_t ect;          /* new data leaves as ECT(0) */
    uint8_t echo;         /* ECE goes with each segment */
    uint8_t cwr;          /* CWR goes with the next new data */
    uint8_t reduced;      /* marks on what was sent ... */
    uint32_t reduced_end; /* ... up to here have been answered */
    uint8_t server;       /* the peer's SYN asked */
    uint8_t syn_field;    /* ECN field of the peer's latest SYN */
    /* accurate ECN, RFC 9768 (accecn.c): r_ what we count, s_ what the peer counts. Bytes by ECN field */
    uint8_t handshake;     /* ACE of the ACK of a SYN,ACK; 0: nothing to tell */
    uint8_t last_field;    /* ECN field of the last packet */
    uint8_t ce_untold;     /* marks since the last ACK */
    uint8_t tell_bytes;    /* bytes since the last option */
    uint8_t send_option;   /* the peer gets options */
    uint8_t option_sent;   /* one has gone, with all fields */
    uint8_t option_seen;   /* one has come */
    uint8_t ignore_option; /* they are zeroed on the way */
    uint8_t checked;       /* the first ACE was looked at */
    uint8_t ignore;        /* ... and nothing is believed */
    uint32_t r_cep, s_cep; /* packets with CE */
    uint32_t r_bytes[4], s_bytes[4];
    uint32_t ahead; /* marked bytes told of by ACE since the last option */
};

/* ---- ecn.c ---- */
struct ecn_bits {
    uint8_t ace, ip; /* for the TCP header; for the TOS byte */
};
void tcp_ecn_on_syn(struct tcb *t, const struct tcp_seg *seg);
int tcp_ecn_on_syn_again(struct tcb *t, const struct tcp_seg *seg);
void tcp_ecn_on_synack(struct tcb *t, const struct tcp_seg *seg);
struct ecn_bits tcp_ecn_stamp(struct tcb *t, const struct tcp_emit *e);
void tcp_ecn_arrives(struct tcb *t, const struct tcp_seg *seg);
void tcp_ecn_feedback(struct tcb *t, const struct tcp_seg *seg, struct delivery *d);
void tcp_ecn_react(struct tcb *t, const struct delivery *d);
void tcp_ecn_reduced(struct tcb *t);
void tcp_ecn_on_third_ack(struct tcb *t, struct tcp_seg *seg);
int tcp_ecn_uncut(const struct tcb *t);

/* ---- accecn.c ---- */
void accecn_begin(struct tcb *t);
uint32_t accecn_marks(const struct tcb *t);
uint32_t accecn_bytes(const uint32_t bytes[4], uint8_t field);
uint8_t accecn_handshake_code(uint8_t field);
int accecn_agrees(uint8_t ace);
int accecn_on_synack(struct tcb *t, const struct tcp_seg *seg);
void accecn_on_synack_again(struct tcb *t, const struct tcp_seg *seg);
int accecn_on_third_ack(struct tcb *t, struct tcp_seg *seg);
void accecn_arrives(struct tcb *t, const struct tcp_seg *seg);
void accecn_feedback(struct tcb *t, const struct tcp_seg *seg, struct delivery *d);
uint8_t *accecn_put(struct tcb *t, uint8_t *p, uint32_t room, const struct tcp_emit *e);
uint32_t accecn_room(const struct tcb *t, const struct tcp_emit *e);

#endif
