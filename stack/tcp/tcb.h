/* SPDX-License-Identifier: MIT */
/* The TCP control block, field by field. Field names are the RFC's. */
#ifndef BW_TCB_H
#define BW_TCB_H

#include "../stack.h"
#include "ecn/ecn.h"

/* A set of sequence ranges [start, end), none touching another. */
struct range {
    uint32_t start, end;
};
struct ranges {
    struct range *r;
    uint16_t n, cap;
    uint32_t bytes; /* of all ranges; kept for sorted sets */
};

/* A transmission: [seq, end) left at `sent`; and how things were then, for delivery rates (rate.c). */
struct tx_record {
    uint32_t seq, end;
    int64_t sent;
    uint32_t serial;                         /* the order of transmissions, also of those of one instant */
    uint32_t delivered;                      /* the low half of t->delivered */
    uint32_t ack_age;                        /* since the last delivery */
    uint32_t send_age : 31, app_limited : 1; /* since the flight's first segment left */
};
enum { TXLOG_INLINE = 2, TXLOG_MAX = 1 << 16, TXLOG_RESENT_MAX = 4096 /* walked for each delivery */ };
struct tx_log {
    uint32_t n, head;
    struct tx_record *heap; /* of cap records; NULL: inl serves */
    uint32_t cap;
    struct tx_record inl[TXLOG_INLINE];
};

/* What a receiver needs to size its buffer by itself (buffers.c). */
struct rcv_tuning {
    int64_t rtt;                   /* round trip as the receiver sees it; 0: not known */
    int64_t rtt_begin, read_begin; /* when the two measurements began */
    uint32_t rtt_seq;              /* without timestamps: a round is over when rcv_nxt is here */
    uint32_t read, space;          /* bytes the program read in this round, and in the fullest so far */
};

/* In the order in which they are served when several are due: a probe stands in for the time-out. */
enum tcp_timer { TIMER_DELACK, TIMER_PROBE, TIMER_REXMT, TIMER_PACE, TIMER_KEEP, TIMER_STATE, TCP_TIMERS };

struct tcb;
struct listener;

/* What goes although it is short: the last segment, if all of it may go (Nagle, a cork), or whatever the
 * window takes (a probe). */
enum push { PUSH_LAST = 1, PUSH_PART = 2 };

/* A FIN has arrived out of order, and perhaps nothing since. */
enum ooo_fin { OOO_FIN = 1, OOO_FIN_NEWEST };

/* What only people ask for (info.c), in the words of RFC 4898. */
enum tcp_limit { LIMIT_IDLE, LIMIT_BUSY, LIMIT_RWND, LIMIT_SNDBUF, LIMITS = 3 };
struct tcp_stats {
    uint64_t bytes_received;
    int64_t last_data_received;
    uint32_t segs_in, data_segs_in;
    uint64_t bytes_acked;
    uint32_t delivered;           /* segments */
    uint32_t rate_bytes, rate_us; /* the last delivery-rate sample */
    uint8_t rate_app_limited;
    uint8_t limit; /* LIMIT_*: what the sender is doing since limit_begin */
    uint16_t timeouts;
    int64_t timeout_begin; /* 0: none */
    int64_t limit_begin;
    uint64_t limited[LIMITS]; /* ns in each LIMIT_* but idle */
    uint64_t bytes_sent, bytes_retrans;
    uint32_t segs_out, data_segs_out;
    uint32_t delivered_ce, dsack_dups, reorderings, ooo_segs; /* segments; events */
    uint32_t timeout_ms;                                      /* in recoveries of time-outs that are over */
    uint16_t timeout_recoveries;
};

/* Path MTU discovery by probes (mtu_probe.c); sizes are path MTUs less headers. */
enum { MTU_IDLE, MTU_SENT, MTU_LOST };
struct tcp_mtu {
    uint16_t low, high, size;     /* low 0: no search; the size of the probe under way */
    uint8_t state, tries, at_top; /* MTU_*; inconclusive probes; the next one tries `high` itself */
    uint32_t seq, end;            /* of the probe */
    int64_t next;                 /* none earlier */
};

/* Whether a connect has begun, and whether its success was told. A connection's end changes neither: a socket
 * connects anew only after a connect has told of the failure. */
enum ss_state { SS_UNCONNECTED, SS_CONNECTING, SS_CONNECTED, SS_DISCONNECTING };

/* The control block. What a segment in order and an acknowledgment touch stands together, in groups of a
 * cache line; the assertions below count the lines. What is seldom asked for stands at the end. */
struct tcb {
    struct bw_sock base;
    struct tcp_fast_open *tfo; /* a listener's; a pending child's reference to it; else NULL */

    /* ---- options of the user, up to state: a listener's children take all of them ------------------- */
    uint64_t max_pacing_rate;
    uint8_t nodelay, cork, keepalive, oobinline, offer_ts, offer_sack, offer_wscale;
    uint8_t syn_retries, keep_count, congestion, ecn_option; /* ecn_option: BW_ECN_* */
    uint16_t user_mss;
    int16_t linger2, defer_accept;
    uint32_t user_timeout;          /* ms, 0: R2 decides */
    uint32_t keep_idle, keep_intvl; /* seconds */

    /* ---- every segment ------------------------------------------------------------------------------ */
    CACHE_LINE uint8_t state; /* BW_TCP_* */
    uint8_t fast_open;        /* FASTOPEN_*, of which FASTOPEN_OPTIONS are the user's */
    uint32_t trace_id;        /* its number in the trace, TRACE_WANTED before it is opened; 0: not traced */

    /* ---- one connection, from here to the end: tcp_renew() begins all of it anew ------------------ */
    /* sequence space, RFC 9293 3.3.1; rcv_adv: right edge of the window announced */
    uint32_t snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2, rcv_nxt, rcv_adv, last_ack_sent;
    uint32_t ts_recent; /* RFC 7323 */
    uint8_t use_ts, snd_wscale, recovering /* RECOVERY_* */, persisting, probes;
    uint8_t on_ready, ack_now, in_quickack, ooo_fin;
    uint8_t pushed;     /* what is not acknowledged yet ended with PSH */
    uint16_t urg_data;  /* URG_*, and the urgent byte; 0: no mark ahead */
    struct tcp_ecn ecn; /* on this line: its first bytes */

    /* ---- every segment: when, and what it leads to -------------------------------------------------- */
    CACHE_LINE struct timer timer; /* at the earliest deadline or before */
    int64_t last_received;
    struct tcb *ready_next, **ready_pprev; /* in the list on_ready - 1; 0: in none */
    int64_t deadline[TCP_TIMERS];          /* on this line: TIMER_DELACK, TIMER_PROBE */

    /* ---- an acknowledgment: timers' side of it (on a line with the other deadlines) ------------------ */
    int64_t first_unacked, rttvar_high; /* rttvar_high: what RTO counts with */
    uint32_t rttvar_end, newly_lost;    /* newly_lost: taken as lost since the last report to cc */
    uint8_t backoff, retries, syn_acked, fin_queued, fin_sent, fin_acked;
    uint8_t snd_urgent; /* there is urgent data up to snd_up, not acknowledged yet */
    uint8_t probing;    /* TIMER_PROBE: PROBE_* */

    /* ---- every segment: what makes it an unusual one ------------------------------------------------ */
    /* what is outstanding is sacked, or lost (and not sent again yet), or in flight */
    CACHE_LINE struct ranges ooo; /* received ahead of rcv_nxt, most recent first (RFC 2018) */
    struct ranges sacked, lost;   /* sorted */
    uint32_t dupacks;
    uint32_t unacked;          /* bytes received since the last ACK went out */
    struct tx_log resent;      /* retransmissions; on this line: how many */
    struct ranges undo_resent; /* sent again since a reduction that may prove wrong */
    uint32_t undo_bytes;       /* of these, and no D-SACK said that it was in vain */
    uint32_t undo_cwnd, undo_ssthresh, undo_ts;
    uint32_t prr_delivered, prr_out, prr_flight; /* proportional rate reduction, RFC 6937 */
    uint8_t undo_valid;
    uint8_t frto;           /* FRTO_*: the time-out may prove spurious by what arrives (RFC 5682) */
    uint8_t challenges;     /* RFC 5961, since challenge_start */
    uint8_t syn_data_acked; /* a SYN's data, ours or the peer's, was taken */

    /* ---- every segment: figures ---------------------------------------------------------------------- */
    CACHE_LINE int64_t ts_recent_age;
    struct tcp_stats stats; /* on this line: those that each segment moves */
    struct rcv_tuning tuning;
    int64_t challenge_start; /* RFC 5961 */

    /* ---- data ------------------------------------------------------------------------------------------ */
    CACHE_LINE struct byteq rcvq; /* its end is rcv_nxt */
    uint32_t rcv_mss, rcv_tsecr;  /* rcv_tsecr: the last echo that was measured (buffers.c) */

    /* ---- an acknowledgment ---------------------------------------------------------------------------- */
    CACHE_LINE struct byteq sndq; /* byte 0 is snd_una (after the SYN) */
    uint32_t cwnd, mss;
    struct tx_log sent;         /* first transmissions */
    int64_t srtt, rto, min_rtt; /* RFC 6298 */
    int64_t rttvar, rttvar_max; /* now; the largest since rttvar_end */
    uint64_t delivered;         /* bytes, in all */
    int64_t delivered_time, first_sent_time;
    uint64_t app_limited; /* until t->delivered exceeds this the samples tell of the program; 0: no */
    const struct tcp_cc *cc;
    uint32_t ssthresh, max_flight, flight_end; /* most in flight since snd_una passed the last flight_end */
    uint32_t rack_fack;
    uint64_t pacing_rate; /* bytes a second; 0: none */
    /* RACK, RFC 8985 section 5.3 */
    int64_t rack_rtt;
    uint32_t rack_serial, rack_end;
    uint8_t rack_valid, reordering_seen, reo_mult, reo_persist;
    uint8_t tlp_out, tlp_resent, tlp_new; /* RFC 8985 section 7; tlp_new: one segment more than cwnd lets */
    uint8_t use_sack;
    struct tcp_mtu mtu;
    uint32_t snd_sml; /* end of the last segment shorter than the MSS */
    uint32_t max_snd_wnd;
    uint64_t cc_state[16];

    /* ---- the rest of sending --------------------------------------------------------------------------- */
    uint32_t iss, snd_up;
    uint8_t push_wanted; /* enum push */
    uint8_t more_coming;
    uint8_t syn_again; /* the SYN or SYN,ACK is to be sent again */
    uint8_t use_wscale;
    uint32_t recover, retransmits, sent_serial;
    uint32_t rack_round;
    uint32_t rack_judged;         /* first transmissions below are lost, sacked or acknowledged */
    uint16_t reordering;          /* segments that overtook another, at most; Linux's tcpi_reordering */
    uint16_t syn_data;            /* bytes that our SYN took along (Fast Open, RFC 7413) */
    uint32_t tlp_end, tlp_flight; /* tlp_flight: max_flight then */
    uint32_t peer_mss;
    uint32_t pace_left;
    int64_t pace_next; /* the next quantum may leave */
    int64_t last_sent; /* something that occupies sequence space */

    /* ---- the rest of receiving -------------------------------------------------------------------------- */
    uint32_t irs, ts_offset, urg_seq; /* urg_seq: of the urgent byte */
    uint32_t peek_least;              /* bytes that the last read with BW_MSG_WAITALL asked for */
    uint8_t rcv_wscale, fin_received;
    uint8_t rcv_no_memory; /* a promised window could not be kept: only what there is room for is announced */
    uint8_t ooo_kind;      /* OOO_*, if ooo_pprev is set */
    uint32_t ooo_chunks, ooo_since; /* what it is charged; since it last made progress, in seconds */
    struct tcb *ooo_next, **ooo_pprev;
    uint32_t ooo_fin_seq;
    uint32_t dsack_start, dsack_end; /* to report, RFC 2883 */
    uint8_t dsack_of_this;           /* it is of the segment being read */

    uint8_t ss;                /* enum ss_state: what connect and listen go by */
    uint8_t was_connected;     /* reached ESTABLISHED */
    uint8_t orphan;            /* its user has let go; counted */
    struct listener *listener; /* while in its queues */
    struct tcb *queue_next, **queue_pprev;
};

/* What a segment in order touches: the six lines that begin here. It has no other field of the block. */
#define LINE_OF(field) (offsetof(struct tcb, field) / LINE_SIZE)
#define LINE_AT_END(field) ((offsetof(struct tcb, field) + sizeof(((struct tcb *)0)->field) - 1) / LINE_SIZE)
#define ONE_LINE(first, last) _Static_assert(LINE_OF(first) == LINE_AT_END(last), #first " to " #last)
ONE_LINE(base.laddr, base.st);
ONE_LINE(state, ecn.mode);
ONE_LINE(timer, deadline[TIMER_DELACK]);
ONE_LINE(ooo, resent.n);
ONE_LINE(ts_recent_age, stats.data_segs_in);
ONE_LINE(rcvq, rcv_tsecr);
/* And an acknowledgment of new data, beside them: */
ONE_LINE(base.soft_error, base.path.neigh_gen);
ONE_LINE(timer, deadline[TIMER_PROBE]);
ONE_LINE(deadline[TIMER_REXMT], probing);
ONE_LINE(ts_recent_age, stats.timeout_begin);
ONE_LINE(sndq, mss);
_Static_assert(LINE_AT_END(rttvar_max) == LINE_OF(sent) + 1, "the log and the round trip: two lines");
ONE_LINE(delivered, pacing_rate);
ONE_LINE(rack_rtt, mtu.state);
ONE_LINE(cc_state[0], cc_state[4]);
#define TCB_DATA_LINES \
    { \
        LINE_OF(base), LINE_OF(state), LINE_OF(timer), LINE_OF(ooo), LINE_OF(ts_recent_age), LINE_OF(rcvq) \
    }
#define TCB_ACK_LINES \
    { \
        LINE_OF(base), LINE_OF(state), LINE_OF(timer), LINE_OF(ooo), LINE_OF(ts_recent_age), \
            LINE_OF(base.path), LINE_OF(probing), LINE_OF(sndq), LINE_OF(sent), LINE_OF(rttvar), \
            LINE_OF(delivered), LINE_OF(rack_rtt), LINE_OF(cc_state) \
    }

enum { RECOVERY_NONE, RECOVERY_FAST, RECOVERY_TIMEOUT };
enum { FRTO_NONE, FRTO_FIRST, FRTO_NEW, FRTO_WATCH };
enum { URG_VALID = 0x100, URG_NOTYET = 0x200, URG_READ = 0x400 };
enum { PROBE_NONE, PROBE_REORDER, PROBE_TAIL };

#endif
