/* SPDX-License-Identifier: MIT */
/* TCP_INFO: a connection in the fields of Linux's struct tcp_info, and what is counted only for it.
 *
 * Linux counts segments where we count bytes; such figures are divided by the MSS, rounded up, and windows
 * rounded down. Of
 * tcpi_lost Linux also counts what it has sent again already; here that is tcpi_retrans alone. What we
 * keep no figure of is 0: tcpi_fackets, tcpi_last_ack_sent, tcpi_rehash. */
#include "../tcp.h"

/* ---- what limits the sender ------------------------------------------------------------------------- */

void tcp_chrono(struct tcb *t, enum tcp_limit limit)
{
    struct tcp_stats *s = &t->stats;
    if (s->limit == limit)
        return;
    if (s->limit != LIMIT_IDLE)
        s->limited[s->limit - 1] += (uint64_t)(t->base.st->now - s->limit_begin);
    s->limit_begin = t->base.st->now;
    s->limit = (uint8_t)limit;
}

/* After a turn of sending: why is there nothing more to send now? */
void tcp_chrono_sent(struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una, queued = t->sndq.len;
    enum tcp_limit limit = LIMIT_BUSY;
    if (!queued)
        limit = LIMIT_IDLE;
    else if (queued > flight && t->snd_wnd < flight + t->mss && t->snd_wnd < queued &&
             tcp_pipe(t) + t->mss <= t->cwnd)
        limit = LIMIT_RWND;
    else if (queued <= flight && queued >= t->base.sndbuf && tcp_pipe(t) + t->mss <= t->cwnd)
        limit = LIMIT_SNDBUF;
    tcp_chrono(t, limit);
}

/* ---- counters ------------------------------------------------------------------------------------------- */

/* Each ACK's rate sample (rate.c); one that the program limited counts only if it is faster. */
void tcp_info_rate(struct tcb *t, const struct rate_sample *rate)
{
    struct tcp_stats *s = &t->stats;
    if (!rate->valid || rate->interval <= 0)
        return;
    uint64_t us = ((uint64_t)rate->interval + 999) / 1000;
    uint32_t bytes = rate->delivered > UINT32_MAX ? UINT32_MAX : (uint32_t)rate->delivered;
    if (us > UINT32_MAX || (rate->app_limited && (uint64_t)bytes * s->rate_us < (uint64_t)s->rate_bytes * us))
        return;
    s->rate_bytes = bytes;
    s->rate_us = (uint32_t)us;
    s->rate_app_limited = rate->app_limited;
}

/* A time-out's recovery begins, with the first of its retransmissions. */
void tcp_info_timeout(struct tcb *t)
{
    struct tcp_stats *s = &t->stats;
    s->timeouts += s->timeouts < UINT16_MAX;
    if (s->timeout_begin)
        return;
    s->timeout_recoveries += s->timeout_recoveries < UINT16_MAX;
    s->timeout_begin = t->base.st->now;
}

/* The peer acknowledged new data: it is over. */
void tcp_info_progress(struct tcb *t)
{
    struct tcp_stats *s = &t->stats;
    s->timeout_ms += (uint32_t)((t->base.st->now - s->timeout_begin) / MS);
    s->timeout_begin = 0;
}

/* ---- the struct ------------------------------------------------------------------------------------------ */

static uint32_t segments(const struct tcb *t, uint64_t bytes)
{
    return (uint32_t)((bytes + t->mss - 1) / t->mss);
}

/* Of a window: a part of a segment is not sent. */
static uint32_t whole_segments(const struct tcb *t, uint32_t window)
{
    return window < t->mss ? 1 : window / t->mss;
}

static uint32_t us(int64_t ns)
{
    return ns == NEVER ? UINT32_MAX : (uint32_t)(ns / 1000);
}

/* ms since that time; before the first it is the age of the clock. */
static uint32_t ms_since(const struct tcb *t, int64_t then)
{
    return (uint32_t)((t->base.st->now - then) / MS);
}

/* Linux's TCP_CA_Open, Disorder, CWR, Recovery, Loss. */
static uint8_t ca_state(const struct tcb *t)
{
    if (t->recovering)
        return t->recovering == RECOVERY_FAST ? 3 : 4;
    return t->ecn.reduced ? 2 : t->sacked.n || t->dupacks ? 1 : 0;
}

static uint8_t options(const struct tcb *t)
{
    enum { OPT_TIMESTAMPS = 1, OPT_SACK = 2, OPT_WSCALE = 4, OPT_ECN = 8, OPT_SYN_DATA = 32 };
    return (uint8_t)((t->use_ts ? OPT_TIMESTAMPS : 0) | (t->use_sack ? OPT_SACK : 0) |
                     (t->use_wscale ? OPT_WSCALE : 0) | (t->ecn.mode ? OPT_ECN : 0) |
                     (t->syn_data_acked ? OPT_SYN_DATA : 0));
}

/* Sent again, not known lost since, not acknowledged. */
static uint32_t resent_bytes(struct tcb *t)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->resent.n; i++) {
        const struct tx_record *r = txlog_at(&t->resent, i);
        n += seq_gt(r->end, t->snd_una) ? r->end - seq_max(r->seq, t->snd_una) : 0;
    }
    return n;
}

static void about_sending(struct tcb *t, struct bw_tcp_info *out)
{
    const struct tcp_stats *s = &t->stats;
    uint32_t sent = t->snd_nxt - t->snd_una - (t->fin_sent && !t->fin_acked) - !t->syn_acked;
    int unopened = t->snd_nxt == t->iss;
    sent = unopened ? 0 : sent;
    out->tcpi_snd_mss = t->mss;
    out->tcpi_unacked = segments(t, t->snd_nxt - t->snd_una);
    out->tcpi_sacked = segments(t, t->sacked.bytes);
    out->tcpi_lost = segments(t, t->lost.bytes);
    out->tcpi_retrans = segments(t, resent_bytes(t));
    out->tcpi_snd_ssthresh = t->ssthresh == UINT32_MAX ? 0x7fffffff : whole_segments(t, t->ssthresh);
    out->tcpi_snd_cwnd = whole_segments(t, t->cwnd);
    out->tcpi_reordering = t->reordering;
    out->tcpi_total_retrans = t->retransmits;
    out->tcpi_pacing_rate = t->pacing_rate ? t->pacing_rate : UINT64_MAX;
    out->tcpi_max_pacing_rate = t->max_pacing_rate ? t->max_pacing_rate : UINT64_MAX;
    out->tcpi_bytes_acked = s->bytes_acked;
    out->tcpi_segs_out = s->segs_out;
    out->tcpi_data_segs_out = s->data_segs_out;
    out->tcpi_notsent_bytes = t->sndq.len > sent ? t->sndq.len - sent : 0;
    out->tcpi_delivery_rate = s->rate_us ? (uint64_t)s->rate_bytes * 1000000 / s->rate_us : 0;
    out->tcpi_limits = s->rate_app_limited; /* tcpi_delivery_rate_app_limited: 1 */
    out->tcpi_delivered = s->delivered;
    out->tcpi_delivered_ce = s->delivered_ce;
    out->tcpi_bytes_sent = s->bytes_sent;
    out->tcpi_bytes_retrans = s->bytes_retrans;
    out->tcpi_dsack_dups = s->dsack_dups;
    out->tcpi_reord_seen = s->reorderings;
    out->tcpi_snd_wnd = t->snd_wnd;
    out->tcpi_total_rto = s->timeouts;
    out->tcpi_total_rto_recoveries = s->timeout_recoveries;
    out->tcpi_total_rto_time = s->timeout_ms + (s->timeout_begin ? ms_since(t, s->timeout_begin) : 0);
}

static void about_receiving(struct tcb *t, struct bw_tcp_info *out)
{
    const struct tcp_stats *s = &t->stats;
    uint32_t mss = tcp_mss_by(&t->base.path, t->base.path.mtu, t->user_mss, TCP_DEFAULT_MSS);
    out->tcpi_advmss = mss - (t->use_ts ? TCP_TS_LEN : 0);
    out->tcpi_ato = TCP_DELACK / 1000;
    out->tcpi_rcv_mss = t->rcv_mss;
    out->tcpi_rcv_ssthresh = t->base.rcvbuf;
    out->tcpi_rcv_rtt = us(t->tuning.rtt);
    out->tcpi_rcv_space = t->tuning.space;
    out->tcpi_bytes_received = s->bytes_received;
    out->tcpi_segs_in = s->segs_in;
    out->tcpi_data_segs_in = s->data_segs_in;
    out->tcpi_rcv_ooopack = s->ooo_segs;
    out->tcpi_rcv_wnd = seq_gt(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0;
}

/* Accurate ECN's counters (RFC 9768), without the values they begin with. */
static void about_marks(const struct tcb *t, struct bw_tcp_info *out)
{
    const struct tcp_ecn *n = &t->ecn;
    if (n->mode != ECN_ACCURATE)
        return;
    out->tcpi_received_ce = accecn_marks(t);
    out->tcpi_received_ce_bytes = accecn_bytes(n->r_bytes, ECN_CE);
    out->tcpi_received_e0_bytes = accecn_bytes(n->r_bytes, ECN_ECT0);
    out->tcpi_received_e1_bytes = accecn_bytes(n->r_bytes, ECN_ECT1);
    out->tcpi_delivered_ce_bytes = accecn_bytes(n->s_bytes, ECN_CE);
    out->tcpi_delivered_e0_bytes = accecn_bytes(n->s_bytes, ECN_ECT0);
    out->tcpi_delivered_e1_bytes = accecn_bytes(n->s_bytes, ECN_ECT1);
    out->tcpi_accecn_opt_seen = n->option_seen && !n->ignore_option;
}

static void about_time(struct tcb *t, struct bw_tcp_info *out)
{
    const struct tcp_stats *s = &t->stats;
    uint64_t limited[LIMITS] = {s->limited[0], s->limited[1], s->limited[2]};
    if (s->limit != LIMIT_IDLE)
        limited[s->limit - 1] += (uint64_t)(t->base.st->now - s->limit_begin);
    out->tcpi_retransmits = t->persisting ? 0 : t->retries;
    out->tcpi_probes = t->persisting ? t->retries : t->probes;
    out->tcpi_backoff = t->backoff;
    out->tcpi_rto = us(tcp_backed_off(t));
    out->tcpi_rtt = us(t->srtt);
    out->tcpi_rttvar = us(t->rttvar);
    out->tcpi_min_rtt = us(t->min_rtt);
    out->tcpi_last_data_sent = ms_since(t, t->last_sent);
    out->tcpi_last_data_recv = ms_since(t, s->last_data_received);
    out->tcpi_last_ack_recv = ms_since(t, t->last_received);
    out->tcpi_busy_time = (limited[0] + limited[1] + limited[2]) / 1000;
    out->tcpi_rwnd_limited = limited[LIMIT_RWND - 1] / 1000;
    out->tcpi_sndbuf_limited = limited[LIMIT_SNDBUF - 1] / 1000;
}

int bw_tcp_info(struct bw_sock *sock, struct bw_tcp_info *out)
{
    if (sock->kind != KIND_TCP && sock->kind != KIND_LISTENER)
        return -EOPNOTSUPP;
    struct tcb *t = tcb_of(sock);
    *out = (struct bw_tcp_info){.tcpi_state = t->state};
    if (sock->kind == KIND_LISTENER) {
        out->tcpi_unacked = listener_of(sock)->accept_len;
        out->tcpi_sacked = listener_of(sock)->backlog;
        return 0;
    }
    out->tcpi_ca_state = ca_state(t);
    out->tcpi_options = options(t);
    out->tcpi_wscale = t->use_wscale ? (uint8_t)(t->rcv_wscale << 4 | t->snd_wscale) : 0;
    out->tcpi_pmtu = t->base.path.mtu;
    about_sending(t, out);
    about_receiving(t, out);
    about_marks(t, out);
    about_time(t, out);
    return 0;
}
