/* SPDX-License-Identifier: MIT */
/* The TCP control block and what TCP's files share. Field names are the RFC's. */
#ifndef BW_TCP_H
#define BW_TCP_H

#include "../stack.h"
#include "cc/cc.h"
#include "ecn/ecn.h"
#include "open/fast_open.h"
#include "in/ooo.h"
#include "seq.h"

#define MS 1000000ll
#define SECOND 1000000000ll

/* ---- constants, with their sources ------------------------------------------------------------- */
#define TCP_RTO_INITIAL SECOND          /* RFC 6298 (2.1) */
#define TCP_RTO_UNMEASURED (3 * SECOND) /* RFC 6298 (5.7): the SYN was retransmitted */
#define TCP_RTO_MIN (200 * MS)          /* of its variance term, as Linux; see ARCHITECTURE.md */
#define TCP_RTO_MAX (60 * SECOND)       /* RFC 6298 (2.5): at least 60 s */
#define TCP_DELACK (40 * MS)            /* RFC 9293 3.8.6.3: less than 0.5 s */
#define TCP_QUICKACKS 16                /* segments acknowledged at once when the peer's window is small */
#define TCP_MSL_2 (60 * SECOND)         /* an MSL of 30 s, as Linux */
#define TCP_PAWS_IDLE (24ll * 86400 * SECOND) /* RFC 7323 5.5 */
enum {
    TCP_MIN_MSS = 88,          /* the least that TCP_MAXSEG takes, tcp(7) */
    TCP_MIN_SND_MSS = 48,      /* a peer's smaller MSS is taken as this; options included */
    TCP_DEFAULT_MSS = 536,     /* RFC 9293 MUST-15 */
    TCP_INITIAL_SEGMENTS = 10, /* RFC 6928 */
    TCP_DUP_THRESH = 3,
    TCP_MAX_REORDERING = 300, /* Linux's tcp_max_reordering */
    TCP_R1 = 3,               /* time-outs in a row */
    TCP_RETRIES = 15,         /* R2 */
    TCP_SYN_RETRIES = 7,      /* three minutes, RFC 9293 MUST-23 */
    TCP_SYNACK_RETRIES = 5,
    TCP_SYN_AGAIN = 2 * 1000000, /* ns: the SYN once more after an answer from an old connection */
    TCP_ORPHAN_RETRIES = 8,      /* nobody waits for it: given up earlier */
    TCP_MAX_RANGES = 512,        /* holes that a scoreboard or a reassembly queue remembers */
    TCP_CHALLENGES = 10,         /* challenge ACKs in 5 s and connection (RFC 5961 section 7) */
    TCP_CHALLENGES_ALL = 1000,   /* in a second and stack, about: the true limit is random */
    TCP_MERGE_PIECES = 64,       /* payloads merged before TCP sees them */
    TCP_TURN_BYTES = 65536,      /* what a connection sends before the next one's turn */
};

enum {
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RST = 4,
    TCP_PSH = 8,
    TCP_ACK = 16,
    TCP_URG = 32,
    TCP_ECE = 64,
    TCP_CWR = 128
};

/* ---- a received segment: header fields in host order, payload where it lies ------------------- */
struct tcp_seg {
    const struct packet *pkt; /* of the first frame: addresses, interface */
    uint32_t seq, ack, wnd;   /* wnd unscaled as received */
    uint32_t len;             /* payload bytes in all pieces */
    uint16_t sport, dport, urg;
    uint8_t flags;
    uint8_t ace; /* AE, CWR, ECE */
    uint8_t hdr_len;
    /* options */
    uint8_t has_ts, has_sack_ok, has_wscale, wscale, sacks;
    uint8_t reopens;          /* took its name out of TIME-WAIT, which had sent up to ... */
    uint32_t old_snd_nxt;     /* ... here: the new connection begins above (RFC 9293 3.6.1) */
    uint16_t mss;             /* 0: not given */
    uint8_t has_tfo, tfo_len; /* Fast Open: cookie bytes, 0: asks for one */
    const uint8_t *tfo_cookie;
    uint8_t accecn, accecn_fields; /* kind of the option, 0: none */
    uint32_t accecn_field[3];
    uint32_t tsval, tsecr;
    struct {
        uint32_t start, end;
    } sack[4];
    /* payload */
    uint16_t pieces;
    uint32_t segments; /* frames merged into this */
    struct tx_piece piece[TCP_MERGE_PIECES];
};

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
    struct tx_record *heap; /* NULL: inl serves */
    struct tx_record inl[TXLOG_INLINE];
    uint32_t head, n, cap;
};

/* What one segment's acknowledgment told. */
struct delivery {
    uint32_t acked;          /* how far snd_una moved */
    uint32_t sacked;         /* bytes newly sacked */
    uint32_t delivered;      /* bytes newly acknowledged in either way */
    uint32_t flight;         /* in flight before */
    uint32_t fack;           /* rack_fack before */
    int64_t rtt;             /* of the transmission that left last, if it was the only one; -1: none */
    uint8_t limited;         /* before, the congestion window was what limited sending */
    uint8_t spurious;        /* data taken as lost, and not sent again, has arrived */
    uint8_t dsack;           /* the peer saw something twice ... */
    uint8_t in_vain;         /* ... which may well be what we sent again */
    uint8_t ece;             /* the peer told of congestion ... */
    uint32_t ce;             /* ... on so many of the bytes delivered */
    struct tx_record newest; /* of what was delivered, the transmission that left last; empty: none */
    uint8_t newest_resent;
};

/* What a receiver needs to size its buffer by itself (buffers.c). */
struct rcv_tuning {
    int64_t rtt;                   /* round trip as the receiver sees it; 0: not known */
    int64_t rtt_begin, read_begin; /* when the two measurements began */
    uint32_t rtt_seq;              /* without timestamps: a round is over when rcv_nxt is here */
    uint32_t tsecr;                /* with them: the last echo measured */
    uint32_t read, space;          /* bytes the program read in this round, and in the fullest so far */
};

/* In the order in which they are served when several are due: a probe stands in for the time-out. */
enum tcp_timer { TIMER_PROBE, TIMER_REXMT, TIMER_PACE, TIMER_DELACK, TIMER_KEEP, TIMER_STATE, TCP_TIMERS };

struct tcb;
struct listener;

/* What only people ask for (info.c), in the words of RFC 4898. */
enum tcp_limit { LIMIT_IDLE, LIMIT_BUSY, LIMIT_RWND, LIMIT_SNDBUF, LIMITS = 3 };
struct tcp_stats {
    uint64_t bytes_acked, bytes_received, bytes_sent, bytes_retrans;
    uint32_t segs_out, segs_in, data_segs_out, data_segs_in;
    uint32_t delivered, delivered_ce, dsack_dups, reorderings, ooo_segs; /* segments; events */
    uint32_t timeout_ms; /* in recoveries of time-outs that are over */
    uint16_t timeouts, timeout_recoveries;
    uint8_t limit; /* LIMIT_*: what the sender is doing since limit_begin */
    uint8_t rate_app_limited;
    uint32_t rate_bytes, rate_us; /* the last delivery-rate sample */
    int64_t timeout_begin;        /* 0: none */
    int64_t last_data_received;
    int64_t limit_begin;
    uint64_t limited[LIMITS]; /* ns in each LIMIT_* but idle */
};

/* Path MTU discovery by probes (mtu_probe.c); sizes are path MTUs less 40. */
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

struct tcb {
    struct bw_sock base;
    uint8_t state;             /* BW_TCP_* */
    uint8_t fast_open;         /* FASTOPEN_*, of which FASTOPEN_OPTIONS are the user's */
    struct tcp_fast_open *tfo; /* a listener's; a pending child's reference to it; else NULL */

    /* ---- options of the user, up to iss: a listener's children take all of them ------------------- */
    uint8_t nodelay, cork, keepalive, oobinline, offer_ts, offer_sack, offer_wscale;
    uint8_t syn_retries, keep_count, congestion, ecn_option; /* ecn_option: BW_ECN_* */
    uint16_t user_mss;
    int32_t linger2, defer_accept;
    uint32_t user_timeout;          /* ms, 0: R2 decides */
    uint32_t keep_idle, keep_intvl; /* seconds */
    uint32_t trace_id; /* its number in the trace, TRACE_WANTED before it is opened; 0: not traced */
    uint64_t max_pacing_rate;

    /* ---- one connection, from here to the end: tcp_renew() begins all of it anew ------------------ */
    /* send sequence space, RFC 9293 3.3.1 */
    uint32_t iss, snd_una, snd_nxt, snd_wnd, snd_wl1, snd_wl2, max_snd_wnd;
    uint32_t snd_sml;  /* end of the last segment shorter than the MSS */
    struct byteq sndq; /* byte 0 is snd_una (after the SYN) */
    uint8_t syn_acked, fin_queued, fin_sent, fin_acked;
    uint8_t snd_wscale, rcv_wscale, use_ts, use_sack, use_wscale;
    uint8_t push_wanted, more_coming;
    uint8_t syn_again;  /* the SYN or SYN,ACK is to be sent again */
    uint8_t snd_urgent; /* there is urgent data up to snd_up, not acknowledged yet */
    uint32_t snd_up;

    /* receive sequence space */
    uint32_t irs, rcv_nxt, rcv_adv; /* rcv_adv: right edge of the window announced */
    uint32_t last_ack_sent, rcv_mss;
    uint32_t unacked;  /* bytes received since the last ACK went out */
    struct byteq rcvq; /* its end is rcv_nxt */
    struct ranges ooo; /* received ahead of rcv_nxt, most recent first (RFC 2018) */
    uint8_t fin_received, ack_now, in_quickack;
    uint8_t rcv_no_memory; /* a promised window could not be kept: only what there is room for is announced */
    uint8_t pushed;        /* what is not acknowledged yet ended with PSH */
    uint8_t ooo_kind;      /* OOO_*, if ooo_pprev is set */
    uint32_t ooo_chunks, ooo_since; /* what it is charged; since it last made progress, in seconds */
    struct tcb *ooo_next, **ooo_pprev;
    uint8_t ooo_fin;
    uint32_t ooo_fin_seq;
    uint16_t urg_data; /* URG_*, and the urgent byte; 0: no mark ahead */
    uint32_t urg_seq;  /* of the urgent byte */

    struct rcv_tuning tuning;

    /* timestamps, RFC 7323 */
    uint32_t ts_recent, ts_offset;
    int64_t ts_recent_age;

    /* round-trip time and timers, RFC 6298 */
    int64_t srtt, rto, min_rtt;
    int64_t rttvar, rttvar_max, rttvar_high; /* now; the largest since rttvar_end; what RTO counts with */
    uint32_t rttvar_end;
    uint8_t backoff, retries, probes, persisting;
    int64_t deadline[TCP_TIMERS];
    struct timer timer; /* at the earliest deadline or before */
    int64_t last_sent;  /* something that occupies sequence space */
    int64_t last_received, first_unacked;

    /* loss recovery: what is outstanding is sacked, or lost (and not sent again yet), or in flight */
    struct ranges sacked, lost; /* sorted */
    struct tx_log sent, resent; /* first transmissions, retransmissions */
    uint32_t recover, dupacks, retransmits, sent_serial;
    uint8_t recovering; /* RECOVERY_* */
    uint8_t probing;    /* TIMER_PROBE: PROBE_* */
    /* RACK, RFC 8985 section 5.3 */
    int64_t rack_rtt;
    uint32_t rack_serial, rack_end, rack_fack, rack_round;
    uint32_t rack_judged; /* first transmissions below are lost, sacked or acknowledged */
    uint8_t reordering_seen, reo_mult, reo_persist, rack_valid;
    uint16_t reordering; /* segments that overtook another, at most; Linux's tcpi_reordering */
    /* tail loss probe, RFC 8985 section 7 */
    uint8_t tlp_out, tlp_resent, tlp_new; /* tlp_new: one segment more than cwnd lets */
    uint32_t tlp_end, tlp_flight;         /* tlp_flight: max_flight then */
    /* proportional rate reduction, RFC 6937 */
    uint32_t prr_delivered, prr_out, prr_flight;
    /* undo of a reduction that proves wrong */
    uint8_t undo_valid;
    uint8_t frto; /* FRTO_*: the time-out may prove spurious by what arrives (RFC 5682) */
    uint32_t undo_cwnd, undo_ssthresh, undo_ts;
    uint32_t undo_bytes;       /* sent again since, and no D-SACK said that it was in vain; ... */
    struct ranges undo_resent; /* ... which */
    /* D-SACK to report, RFC 2883 */
    uint32_t dsack_start, dsack_end;
    uint8_t dsack_of_this; /* it is of the segment being read */

    /* congestion control */
    const struct tcp_cc *cc;
    uint32_t cwnd, ssthresh, mss;
    uint32_t newly_lost;             /* taken as lost since the last report to cc */
    uint32_t max_flight, flight_end; /* most in flight since snd_una passed the last flight_end */
    uint32_t peer_mss;
    struct tcp_mtu mtu;
    struct tcp_ecn ecn;
    uint64_t cc_state[16];
    /* delivery rate */
    uint64_t delivered; /* bytes, in all */
    int64_t delivered_time, first_sent_time;
    uint64_t app_limited; /* until t->delivered exceeds this the samples tell of the program; 0: no */
    /* pacing, in bytes a second; 0: none */
    uint64_t pacing_rate;
    int64_t pace_next; /* the next quantum may leave */
    uint32_t pace_left;

    /* RFC 5961 */
    int64_t challenge_start;
    uint8_t challenges;

    uint8_t ss;            /* enum ss_state: what connect and listen go by */
    uint8_t was_connected; /* reached ESTABLISHED */
    uint8_t orphan;        /* its user has let go; counted */
    uint8_t on_ready;
    struct tcb *ready_next, **ready_pprev; /* connections that want to send */

    struct tcp_stats stats;
    uint16_t syn_data;      /* bytes that our SYN took along (Fast Open, RFC 7413) */
    uint8_t syn_data_acked; /* a SYN's data, ours or the peer's, was taken */

    struct listener *listener; /* while in its queues */
    struct tcb *queue_next, **queue_pprev;
};

enum { RECOVERY_NONE, RECOVERY_FAST, RECOVERY_TIMEOUT };
enum { FRTO_NONE, FRTO_FIRST, FRTO_NEW, FRTO_WATCH };
enum { URG_VALID = 0x100, URG_NOTYET = 0x200, URG_READ = 0x400 };
enum { PROBE_NONE, PROBE_REORDER, PROBE_TAIL };

/* A listener: bounded half-open children and a bounded accept queue. */
struct listener {
    struct tcb tmpl; /* its own socket head, and the parameters children copy */
    struct tcb *half_open, *accept_head, **accept_tail;
    uint32_t half_open_len, accept_len, backlog;
    int64_t cookies_until; /* a cookie sent so late is still good then */
};

enum { SYN_FILTER_BITS = 1 << 22 };
struct tcp_globals {
    struct ooo_list ooo[OOO_KINDS];
    struct timer ooo_timer; /* set while somebody stands there */
    struct tcb *ready_head, **ready_tail;
    struct tcb *reports, **reports_tail; /* rounds that Python is to be told of (cc/custom.c) */
    uint32_t cc_generation;
    struct tcp_seg merge; /* the segment that a burst's following frames may extend */
    struct packet merge_pkt;
    uint8_t merging;
    uint32_t orphans;                        /* closed by their users, not yet in TIME-WAIT */
    struct tcb *time_wait, **time_wait_tail; /* oldest first; its links are queue_next, queue_pprev */
    uint32_t half_open;                      /* children of all listeners in SYN-RECEIVED */
    uint8_t cookie_key[2][16];               /* of the epochs that are even and odd */
    int64_t cookie_epoch, syn_period;
    struct bucket syn_bucket;                   /* cookies sent at first sight */
    uint32_t syn_answers;                       /* and beyond them in this receive burst */
    uint64_t syn_seen[2][SYN_FILTER_BITS / 64]; /* SYNs not answered: see syn_filter.c */
    uint8_t fast_open_key[16];
    struct tfo_known fast_open_known[TFO_KNOWN]; /* by the keyed hash of ip */
    int64_t challenges_until;                    /* the stack's budget of challenge ACKs is for so long */
    uint32_t challenges_left;
};

enum verdict { GO_ON, DONE };

static inline struct tcb *tcb_of(struct bw_sock *s)
{
    return (struct tcb *)s;
}
static inline struct listener *listener_of(struct bw_sock *s)
{
    return (struct listener *)s;
}

/* RFC 6928 (1): ten segments, but of large ones no more than 14,600 bytes, or two. */
static inline uint32_t tcp_initial_window(uint32_t mss)
{
    uint32_t most = 2 * mss > 14600 ? 2 * mss : 14600;
    return TCP_INITIAL_SEGMENTS * mss < most ? TCP_INITIAL_SEGMENTS * mss : most;
}

/* ---- ranges.c ---- */
int ranges_add_sorted(struct ranges *set, uint32_t start, uint32_t end, uint32_t *fresh);
void ranges_cut(struct ranges *set, uint32_t below);
int ranges_add_recent(struct ranges *set, uint32_t start, uint32_t end);
int ranges_cover(const struct ranges *set, uint32_t seq, uint32_t *end);
uint32_t ranges_end(const struct ranges *set, uint32_t seq);
uint32_t ranges_next(const struct ranges *set, uint32_t seq, uint32_t limit);
void ranges_subtract(struct ranges *set, uint32_t start, uint32_t end);
int ranges_takes(const struct ranges *set, uint32_t start, uint32_t end);
uint32_t ranges_stretch(const struct ranges *set, uint32_t seq, uint32_t limit, int *in);
uint32_t ranges_overlap(const struct ranges *set, uint32_t start, uint32_t end);
void ranges_free(struct ranges *set);

/* ---- state.c ---- */
void tcp_set_state(struct tcb *t, int state);
/* The connection dies: err (positive) goes to the user, 0: nothing to say. */
void tcp_drop(struct tcb *t, int err);
void tcp_release(struct tcb *t); /* state CLOSED and no user: memory goes back */
void tcp_time_wait(struct tcb *t);
/* Ends the oldest TIME-WAIT that no user holds, to make room. 1: one ended. */
int tcp_recycle_time_wait(struct bw_stack *st);
/* May a new connection of ours take this flow's name (RFC 6191, active side)? */
int tcp_name_reusable(const struct bw_sock *s);
void tcp_established(struct tcb *t);
void tcp_orphan(struct tcb *t); /* the user has let go of a connection that goes on */
int tcp_draining(const struct tcb *t);

/* ---- timer.c ---- */
void tcp_timer_set(struct tcb *t, enum tcp_timer which, int64_t when);
static inline void tcp_timer_cancel(struct tcb *t, enum tcp_timer which)
{
    t->deadline[which] = NEVER;
}
void tcp_timer_fired(struct bw_stack *st, struct timer *timer);
int64_t tcp_backed_off(const struct tcb *t); /* the time-out that is running */
void tcp_arm_rexmt(struct tcb *t);
void tcp_rearm_rexmt(struct tcb *t);
void tcp_user_timeout_changed(struct tcb *t);
void tcp_arm_keepalive(struct tcb *t);
void tcp_rtt_sample(struct tcb *t, int64_t rtt);
uint32_t tcp_ts_now(const struct tcb *t);
uint32_t tcp_ts_then(const struct tcb *t, int64_t when);

/* ---- input ---- */
int tcp_parse(struct bw_stack *st, const struct packet *pkt, struct tcp_seg *seg);
int tcp_parse_options(struct tcp_seg *seg, const uint8_t *opt, uint32_t len);
void tcp_segment(struct bw_stack *st, struct tcp_seg *seg);
int tcp_fast_path(struct tcb *t, struct tcp_seg *seg);
void tcp_on_listen(struct listener *l, struct tcp_seg *seg);
void tcp_on_syn_sent(struct tcb *t, struct tcp_seg *seg);
void tcp_learn_syn(struct tcb *t, const struct tcp_seg *seg);
enum verdict tcp_check_ack(struct tcb *t, struct tcp_seg *seg);
struct delivery tcp_delivery(const struct tcb *t);
void tcp_report(struct tcb *t, const struct tcp_seg *seg, struct delivery *d);
void tcp_take_rtt(struct tcb *t, struct delivery *d);
void tcp_ack_advances(struct tcb *t, const struct tcp_seg *seg, struct delivery *d);
void tcp_window_from(struct tcb *t, const struct tcp_seg *seg);
void tcp_deliver(struct tcb *t, struct tcp_seg *seg);
void tcp_check_fin(struct tcb *t, const struct tcp_seg *seg);
int tcp_trim(struct tcb *t, struct tcp_seg *seg);
void tcp_saw_again(struct tcb *t, uint32_t start, uint32_t end);
void tcp_challenge_ack(struct tcb *t);
int tcp_reader_waits(struct tcb *t);

/* ---- recovery.c ---- */
void tcp_sack_blocks(struct tcb *t, const struct tcp_seg *seg, struct delivery *d);
void tcp_delivered(struct tcb *t, const struct tcp_seg *seg, uint32_t start, uint32_t end,
                   struct delivery *d);
void tcp_detect_loss(struct tcb *t, const struct tcp_seg *seg, struct delivery *d);
uint32_t tcp_pipe(const struct tcb *t);
void tcp_recovery_timeout(struct tcb *t);
void tcp_resend_all(struct tcb *t);
void tcp_undo(struct tcb *t);
void tcp_undo_resent(struct tcb *t, uint32_t start, uint32_t end);

/* ---- rack.c ---- */
void rack_update(struct tcb *t, const struct tx_record *r, uint32_t end);
void rack_dsack(struct tcb *t);
void rack_reordered(struct tcb *t, uint32_t low, uint32_t high);
void rack_detect(struct tcb *t);
void rack_timed_out(struct tcb *t);
uint32_t rack_mark_lost(struct tcb *t, uint32_t start, uint32_t end); /* how far: the set may be full */
void tlp_schedule(struct tcb *t);
void tlp_cancel(struct tcb *t);
void tlp_ack(struct tcb *t, const struct tcp_seg *seg, const struct delivery *d);
void rack_timer(struct tcb *t);

/* ---- txlog.c ---- */
struct tx_record *txlog_first(struct tx_log *log);
const struct tx_record *txlog_at(struct tx_log *log, uint32_t i);
void txlog_clear(struct tx_log *log);
void txlog_pop(struct tx_log *log);
void txlog_add(struct tx_log *log, const struct tx_record *record);
void txlog_acked(struct tx_log *log, uint32_t una);
void txlog_acked_any(struct tx_log *log, uint32_t una);
const struct tx_record *txlog_find(struct tx_log *log, uint32_t start, uint32_t end);
const struct tx_record *txlog_next(struct tx_log *log, uint32_t *i, uint32_t seq);
const struct tx_record *txlog_find_any(struct tx_log *log, uint32_t start, uint32_t end);

/* ---- rate.c ---- */
struct tx_record rate_sent(struct tcb *t, uint32_t seq, uint32_t end);
void rate_delivered(struct delivery *d, const struct tx_record *r, int resent);
struct rate_sample rate_sample(struct tcb *t, const struct delivery *d);
void rate_check_app_limited(struct tcb *t);

/* ---- pace.c ---- */
void pace_set(struct tcb *t, uint64_t rate);
uint32_t pace_quantum(const struct tcb *t);
uint32_t pace_budget(struct tcb *t);
void pace_sent(struct tcb *t, uint32_t n);

/* ---- output.c ---- */
void tcp_want_output(struct tcb *t);
int tcp_path_ready(struct tcb *t);
void tcp_ready_remove(struct tcb *t);
int tcp_output(struct tcb *t, struct iface *out); /* 1: done for now, 0: more to send, no room or turn over */
void tcp_send_ack(struct tcb *t);
void tcp_update_mss(struct tcb *t);
void tcp_sent_new(struct tcb *t, uint32_t seq, uint32_t n);
uint32_t tcp_data_end(const struct tcb *t); /* sequence number after the last queued byte */

/* ---- mtu_probe.c ---- */
uint32_t tcp_mss_ceiling(const struct tcb *t);
void tcp_mtu_open(struct tcb *t);
void tcp_mtu_black_hole(struct tcb *t);
void tcp_mtu_unclear(struct tcb *t);
void tcp_mtu_resent(struct tcb *t, uint32_t seq);
void tcp_mtu_acked(struct tcb *t);
int tcp_mtu_lost(struct tcb *t);
int tcp_mtu_probe(struct tcb *t);

/* ---- urgent.c ---- */
void tcp_mark_urgent(struct tcb *t);
uint16_t tcp_urgent_pointer(const struct tcb *t, uint32_t seq);
void tcp_check_urg(struct tcb *t, const struct tcp_seg *seg);
int tcp_at_mark(const struct tcb *t);
uint32_t tcp_readable(const struct tcb *t);
uint32_t tcp_inq(const struct tcb *t);
int64_t tcp_recv_urgent(struct tcb *t, void *buf, size_t len, int flags);
uint32_t tcp_up_to_mark(const struct tcb *t, uint32_t n, uint32_t *skip);
void tcp_pass_mark(struct tcb *t);

/* ---- buffers.c ---- */
uint32_t tcp_receive_window(struct tcb *t);
uint32_t tcp_send_bound(const struct tcb *t);
uint32_t tcp_send_room(const struct tcb *t);
uint8_t tcp_window_scale(const struct tcb *t);
void tcp_set_buffer(struct bw_sock *s, int opt, int64_t value);
void tcp_tuning_begin(struct tcb *t);
void tcp_tuning_data(struct tcb *t, const struct tcp_seg *seg);
void tcp_tuning_read(struct tcb *t, uint32_t n);

/* ---- emit.c ---- */
struct tcp_emit {
    uint32_t seq, len;
    uint8_t flags;
    uint8_t probe; /* an old sequence number on purpose (keepalive, window probe) */
    uint8_t whole; /* one segment whatever the MSS (a probe of the path MTU) */
};
int tcp_emit(struct tcb *t, const struct tcp_emit *e);
int tcp_has_sack(const struct tcb *t);
uint32_t tcp_sack_edge(const struct tcb *t);

/* ---- stateless.c ---- */
struct tcp_bare {
    const uint8_t *src, *dst; /* 16 bytes each */
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint16_t wnd;
    uint8_t flags, ttl, tos;
    uint8_t optlen; /* a multiple of 4, at most 40 */
    const uint8_t *opt;
};
/* A segment without data and without a connection, the path found; `answer`: to a stranger, from a
 * bounded share of the transmit queue. 1: it is on its way. */
int tcp_emit_bare(struct bw_stack *st, const struct tcp_bare *b, struct ip_path *path, int answer);
void tcp_send_rst(struct bw_stack *st, const struct tcp_seg *seg); /* answer without a connection */
void tcp_abort_rst(struct tcb *t);

/* ---- info.c ---- */
void tcp_chrono(struct tcb *t, enum tcp_limit limit);
void tcp_chrono_sent(struct tcb *t);
void tcp_info_rate(struct tcb *t, const struct rate_sample *rate);
void tcp_info_timeout(struct tcb *t);
void tcp_info_progress(struct tcb *t);

/* ---- tcp_trace.c: behind traced(t) ---- */
#define TRACE_WANTED UINT32_MAX
static inline int traced(const struct tcb *t)
{
    return unlikely(t->trace_id != 0);
}
void tcp_trace_set(struct tcb *t, int on);
void tcp_trace_state(struct tcb *t, int old);
void tcp_trace_sent(struct tcb *t, const struct tcp_emit *e, const uint8_t *tcp, uint32_t hdr_len);
void tcp_trace_reset(struct tcb *t);
void tcp_trace_received(struct tcb *t, const struct tcp_seg *seg);
void tcp_trace_window(struct tcb *t);
void tcp_trace_rtt(struct tcb *t, int64_t sample);
void tcp_trace_recovery(struct tcb *t, int what);
void tcp_trace_lost(struct tcb *t, uint32_t start, uint32_t end);
void tcp_trace_timer(struct tcb *t, enum tcp_timer which);

/* ---- options, listen, user ---- */
void tcp_listener_close(struct listener *l);
void tcp_child_leaves(struct tcb *child); /* out of its listener's queues */
void tcp_child_established(struct tcb *child);
void tcp_init(struct tcb *t);
void tcp_renew(struct tcb *t);
uint32_t tcp_make_isn(struct tcb *t);
uint64_t tcp_flow_hash(const uint8_t key[16], const uint8_t *laddr, uint16_t lport, const uint8_t *raddr,
                       uint16_t rport, uint32_t number);
struct tcb *tcp_child_new(struct listener *l, const struct tcp_seg *seg,
                          const uint32_t *iss); /* NULL: no memory, no path */
void tcp_on_connection(struct tcb *t, struct tcp_seg *seg);

/* ---- fast_open.c ---- */
/* SYN-RECEIVED, and yet the user reads and writes already. */
static inline int tcp_is_early(const struct tcb *t)
{
    return (t->fast_open & FASTOPEN_PENDING) != 0;
}
int64_t tcp_sendto(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to);

/* ---- syn_filter.c ---- */
void tcp_syn_filter_init(struct tcp_globals *g);
int tcp_syn_admitted(struct bw_stack *st, uint64_t hash);

/* ---- cookies.c ---- */
void tcp_cookie_answer(struct listener *l, const struct tcp_seg *seg);
int tcp_cookie_accepts(struct listener *l, struct tcp_seg *seg); /* 1: the segment is dealt with */

int tcp_connect(struct bw_sock *s, const struct bw_addr *addr);
int tcp_listen(struct bw_sock *s, int backlog);
int tcp_accept(struct bw_sock *s, struct bw_sock **out, struct bw_addr *peer);
int64_t tcp_send(struct bw_sock *s, const void *buf, size_t len, int flags);
int64_t tcp_recv(struct bw_sock *s, void *buf, size_t len, int flags);
int tcp_shutdown(struct bw_sock *s, int how);
void tcp_close(struct bw_sock *s);
void tcp_abort(struct bw_sock *s);
int tcp_setopt(struct bw_sock *s, int opt, int64_t value);
int tcp_getopt(struct bw_sock *s, int opt, int64_t *value);
uint32_t tcp_readiness(struct bw_sock *s);
int64_t tcp_queued_bytes(struct bw_sock *s, int which);
void tcp_snapshot(struct bw_sock *s, struct bw_tcp_snapshot *out);

#endif
