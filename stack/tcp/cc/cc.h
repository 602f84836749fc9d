/* SPDX-License-Identifier: MIT */
/* Congestion control: what an algorithm is told and what it answers. Bytes and nanoseconds.
 *
 * An algorithm owns t->cwnd outside of recovery, and t->cc_state. In recovery the window follows
 * PRR (RFC 6937) towards the ssthresh it answered with, unless it says CC_OWN_WINDOW. */
#ifndef BW_TCP_CC_H
#define BW_TCP_CC_H

#include <stdint.h>

struct tcb;
struct delivery;

/* How fast data was delivered over the flight of the segment that was acknowledged last
 * (draft-cheng-iccrg-delivery-rate-estimation). */
struct rate_sample {
    uint64_t delivered;       /* bytes delivered over the interval */
    int64_t interval;         /* ns */
    uint64_t prior_delivered; /* t->delivered when that segment left */
    uint8_t app_limited;      /* the application, not the network, limited the rate */
    uint8_t valid;
};

/* One for each ACK that delivered something or told of congestion, after loss detection. */
struct cc_ack {
    uint32_t acked;      /* newly acknowledged cumulatively */
    uint32_t delivered;  /* newly delivered, cumulatively or selectively */
    uint32_t lost;       /* newly taken as lost */
    uint32_t flight;     /* in flight before this ACK */
    uint32_t ce;         /* bytes delivered that the peer says carried CE */
    int64_t rtt;         /* -1: none */
    uint8_t in_recovery; /* RECOVERY_* */
    uint8_t limited;     /* the congestion window was what limited sending */
    uint8_t ece;
    struct rate_sample rate;
};

enum {
    CC_PACED = 1,      /* sets the pacing rate, by pace_set */
    CC_OWN_WINDOW = 2, /* governs cwnd in recovery, after idling and marks; no ECT without ecn_ssthresh */
    CC_ECN = 4,        /* asks for ECN */
    CC_CE_STATE = 8,   /* as receiver, it echoes the mark of the last segment (RFC 8257 section 3.2) */
};

struct tcp_cc {
    const char *name;
    uint32_t flags;
    void (*init)(struct tcb *t); /* cc_state is zero */
    void (*ack)(struct tcb *t, const struct cc_ack *ack);
    uint32_t (*ssthresh)(struct tcb *t);     /* loss was found: the new slow start threshold */
    void (*timeout)(struct tcb *t);          /* the retransmission timer fired */
    void (*undo)(struct tcb *t);             /* the last reduction was wrong; may be NULL */
    void (*restart)(struct tcb *t);          /* data leaves while nothing is in flight; may be NULL */
    void (*stop)(struct tcb *t);             /* the connection ends, or gets another algorithm; may be NULL */
    uint32_t (*ecn_ssthresh)(struct tcb *t); /* a CE mark, at most once a round trip; NULL: as ssthresh */
};

extern const struct tcp_cc tcp_cc_newreno, tcp_cc_cubic, tcp_cc_bbr, tcp_cc_dctcp, tcp_cc_custom;

#define CC_WINDOW_MAX (1u << 30) /* the largest window that TCP can announce */

enum { DCTCP_ALPHA_SHIFT = 20 };
/* DCTCP's share of marks, in 2^-20; 0 with another algorithm. */
uint32_t dctcp_alpha(const struct tcb *t);

/* ---- hystart.c: an algorithm keeps one of these; round-trip times in us ---- */
struct hystart {
    uint32_t last_min, round_min, baseline;
    uint32_t window_end; /* the round ends when this is acknowledged */
    uint8_t samples;
    uint8_t css_rounds; /* 0: standard slow start; else the round of conservative slow start */
};
void hystart_init(const struct tcb *t, struct hystart *h);
void hystart_ack(struct tcb *t, struct hystart *h, const struct cc_ack *ack);

/* ---- cc.c ---- */
/* CC_* of the algorithm that the user chose. */
uint32_t cc_flags(const struct tcb *t);
/* The algorithm lets go of what it holds. */
void cc_stop(struct tcb *t);
/* The connection begins with the algorithm its user chose, or changes to it. */
void cc_start(struct tcb *t);
/* What an ACK found goes to the algorithm. */
void cc_report(struct tcb *t, const struct delivery *d);
void cc_grow(struct tcb *t, uint64_t bytes);
uint32_t cc_slow_start(struct tcb *t, uint32_t acked);
/* What a mark reduces: the window as far as it was used. An ACK of a whole burst leaves nothing in flight. */
uint32_t cc_used_window(const struct tcb *t);
uint32_t cc_two_segments(const struct tcb *t, uint64_t window);

#endif
