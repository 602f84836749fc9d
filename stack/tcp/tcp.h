/* SPDX-License-Identifier: MIT */
/* What TCP's files share, beside the control block (tcb.h). */
#ifndef BW_TCP_H
#define BW_TCP_H

#include "../stack.h"
#include "cc/cc.h"
#include "ecn/ecn.h"
#include "open/fast_open.h"
#include "in/ooo.h"
#include "seq.h"
#include "tcb.h"
#include "tcp_header.h"
#include "time_wait.h"

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
    TCP_MERGES = 8,              /* flows of a burst that are merged at once */
    TCP_TURN_BYTES = 65536,      /* what a connection sends before the next one's turn */
};

/* ---- a received segment: header fields in host order, payload where it lies ------------------- */
struct tcp_seg {
    const struct packet *pkt; /* of the first frame: addresses, interface */
    uint32_t seq, ack, wnd;   /* wnd unscaled as received */
    uint32_t wnd_most;        /* of the frames merged into this */
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

/* Where the last of the frames began that were merged into it. */
static inline uint32_t tcp_last_seq(const struct tcp_seg *seg)
{
    return seg->pieces ? seg->seq + seg->len - seg->piece[seg->pieces - 1].len : seg->seq;
}

/* A segment that the following frames of its burst may extend, and its first frame's packet. */
struct tcp_merge {
    struct tcp_seg seg;
    struct packet pkt;
    uint32_t asked; /* seg.segments when its place was last asked for */
};
/* Those that wait (in/merge.c), at places 0 to n - 1. */
struct tcp_merges {
    uint32_t n, latest; /* latest: the place that began or was extended last, if n */
    uint32_t hand;      /* whose place is asked for next */
    uint64_t tags;      /* a byte a place */
    uint8_t
        at[TCP_MERGES + 1]; /* their entries; behind them the free ones, of which the first is parsed into */
    struct tcp_merge entry[TCP_MERGES + 1];
};
_Static_assert(TCP_MERGES == sizeof(uint64_t), "tags has a byte for each place");
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

/* A listener: bounded half-open children and a bounded accept queue. */
struct listener {
    struct tcb tmpl; /* its own socket head, and the parameters children copy */
    struct tcb *half_open, *accept_head, **accept_tail;
    uint32_t half_open_len, accept_len, backlog;
    int64_t cookies_until; /* a cookie sent so late is still good then */
};

/* Connections that want to send. */
struct ready_list {
    struct tcb *head, **tail;
};

enum { SYN_FILTER_BITS = 1 << 22 };
struct tcp_globals {
    struct ooo_list ooo[OOO_KINDS];
    struct timer ooo_timer;                  /* set while somebody stands there */
    struct ready_list ready[MAX_IFACES + 1]; /* by interface; see out/ready.c */
    uint32_t ready_len;                      /* of all of them */
    struct custom *reports, **reports_tail;  /* rounds that Python is to be told of (cc/custom.c) */
    uint32_t cc_generation;
    struct tcp_merges merges;
    uint32_t orphans;  /* closed by their users, not yet in TIME-WAIT */
    uint32_t finished; /* of these, those in FIN-WAIT-2: nothing of them is left to deliver */
    struct time_waits time_waits;
    struct tcb *time_wait,
        **time_wait_tail;      /* whole ones, oldest first; its links are queue_next, queue_pprev */
    uint32_t half_open;        /* children of all listeners in SYN-RECEIVED */
    uint8_t cookie_key[2][16]; /* of the epochs that are even and odd */
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
/* Both ends have ended, or one has reset: to its user it is no connection any more. */
static inline int tcp_is_over(const struct tcb *t)
{
    return t->state == BW_TCP_CLOSED || t->state == BW_TCP_TIME_WAIT;
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

/* The MSS of an MTU on that path (RFC 6691), or less if the user wants; otherwise: of a path that is not known. */
static inline uint32_t tcp_mss_by(const struct ip_path *path, uint32_t mtu, uint32_t user, uint32_t otherwise)
{
    const uint32_t headers = path->hlen + TCP_HLEN, mss = mtu > headers ? mtu - headers : otherwise;
    return user && user < mss ? user : mss;
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
void tcp_time_wait_leave(struct tcb *t); /* a record goes on for it: the block is free */
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
int tcp_echo_is_ours(const struct tcb *t, const struct tcp_seg *seg);

/* ---- input ---- */
int tcp_parse(struct bw_stack *st, const struct packet *pkt, struct tcp_seg *seg); /* 0, or a drop counter */
int tcp_checksum_look(struct bw_stack *st, const struct packet *pkt);              /* the same */
static inline int tcp_checksum_fault(struct bw_stack *st, const struct packet *pkt)
{
    return pkt->csum != BW_CSUM_UNKNOWN ? 0 : tcp_checksum_look(st, pkt);
}
uint32_t tcp_segments_of(const struct packet *pkt, uint32_t len);
void tcp_merges_init(struct tcp_merges *m);
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
void tcp_segment_text(struct tcb *t, struct tcp_seg *seg);
void tcp_check_fin(struct tcb *t, const struct tcp_seg *seg);
int tcp_trim(struct tcb *t, struct tcp_seg *seg);
void tcp_saw_again(struct tcb *t, uint32_t start, uint32_t end);
void tcp_challenge_ack(struct tcb *t);
int tcp_challenge_budget(struct bw_stack *st);
static inline uint32_t tcp_seg_end(const struct tcp_seg *seg)
{
    return seg->seq + seg->len + !!(seg->flags & TCP_SYN) + !!(seg->flags & TCP_FIN);
}
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

/* ---- ready.c ---- */
void tcp_ready_init(struct tcp_globals *g);
void tcp_want_output(struct tcb *t);
void tcp_ready_remove(struct tcb *t);

/* ---- output.c ---- */
int tcp_path_ready(struct tcb *t);
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
void tcp_add_payload(struct tcb *t, struct tx_frame *f, const struct tcp_emit *e);
uint32_t tcp_emit_cut(struct tcb *t, struct iface *out, const struct tcp_emit *e); /* cut.c */
int tcp_has_sack(const struct tcb *t);
uint32_t tcp_sack_edge(const struct tcb *t);

/* ---- stateless.c ---- */
struct tcp_bare {
    const uint8_t *src, *dst; /* 16 bytes each */
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint16_t wnd;
    uint8_t flags, ttl, tos;
    uint8_t ace;          /* RFC 9768 */
    uint8_t may_fragment; /* without DF */
    uint8_t optlen;       /* a multiple of 4, at most TCP_OPTIONS_MAX */
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
