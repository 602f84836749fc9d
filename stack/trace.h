/* SPDX-License-Identifier: MIT */
/* Trace records: what traced connections did, event by event, in one bounded ring a stack.
 * Nothing is recorded unless somebody asks (bw_trace_all, BW_OPT_TRACE); then the newest records are
 * kept, and a record says how many were overwritten before they were read. */
#ifndef BW_TRACE_H
#define BW_TRACE_H

#include <stdint.h>

/* cdef:begin */
enum {
    BW_TRACE_GAP = 1,  /* len records were overwritten here */
    BW_TRACE_DROP,     /* a packet of len bytes was dropped; code: the counter's index */
    BW_TRACE_STATE,    /* code: old state << 8 | new state; addr: local, remote; seq, ack: their ports */
    BW_TRACE_SENT,     /* a segment: seq, ack, len, wnd, flags, sack; code: BW_SENT_*; pipe: before it */
    BW_TRACE_RECEIVED, /* a segment, likewise; code: frames merged into it */
    BW_TRACE_WINDOW,   /* an ACK was processed: cwnd, ssthresh, pipe, snd_wnd */
    BW_TRACE_RTT,      /* time: the sample, SRTT, RTO in ns */
    BW_TRACE_RECOVERY, /* code: BW_RECOVERY_*; seq: where it ends; and the windows after it */
    BW_TRACE_LOST,     /* [seq, seq + len) is taken as lost */
    BW_TRACE_TIMER,    /* code: BW_TIMER_* */
};
enum { BW_SENT_NEW, BW_SENT_AGAIN, BW_SENT_PROBE };
enum { BW_RECOVERY_FAST = 1, BW_RECOVERY_TIMEOUT, BW_RECOVERY_LEFT, BW_RECOVERY_UNDONE, BW_RECOVERY_TAIL };
enum {
    BW_TIMER_REXMT = 1,
    BW_TIMER_PERSIST,
    BW_TIMER_REORDER,
    BW_TIMER_TAIL,
    BW_TIMER_DELACK,
    BW_TIMER_KEEP,
    BW_TIMER_STATE,
};

/* Sequence numbers are relative: 0 is the SYN of whoever sent the byte. Windows in bytes. */
struct bw_trace_record {
    int64_t when;  /* ns */
    uint32_t conn; /* the connection's number in this stack's trace, from 1; 0: none */
    uint8_t kind;  /* BW_TRACE_* */
    uint8_t flags; /* of a segment: TCP's */
    uint16_t code;
    uint32_t seq, ack, len, wnd;
    uint32_t cwnd, ssthresh, pipe, snd_wnd;
    union {
        uint32_t sack[8]; /* start, end of up to four blocks; 0, 0: none */
        uint8_t addr[32];
        int64_t time[4];
    };
};
/* cdef:end */

struct trace_ring {
    struct bw_trace_record *record;
    uint32_t size, head, len;
    uint32_t conns; /* connections numbered so far */
    uint32_t gap;   /* overwritten since the last pop */
    uint8_t all;    /* every connection, and drops */
};

#endif
