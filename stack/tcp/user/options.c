/* SPDX-License-Identifier: MIT */
/* Socket options of TCP, with tcp(7)'s ranges and errors. */
#include "../tcp.h"

static int set_bounded(int64_t value, int64_t low, int64_t high, uint32_t *field)
{
    if (value < low || value > high)
        return -EINVAL;
    *field = (uint32_t)value;
    return 0;
}

static int set_flag(int64_t value, uint8_t *field)
{
    *field = value != 0;
    return 0;
}

static int set_before_syn(struct tcb *t, int64_t value, uint8_t *field)
{
    if (t->state != BW_TCP_CLOSED && t->state != BW_TCP_LISTEN)
        return -EISCONN;
    return set_flag(value, field);
}

static int set_congestion(struct tcb *t, int64_t value)
{
    if (value < 0 || value > 255 || (value >= bw_cc_count() && value < BW_CC_PYTHON))
        return -ENOENT;
    t->congestion = (uint8_t)value;
    if (t->cc)
        cc_start(t);
    return 0;
}

/* TCP_FASTOPEN, tcp(7): how many children may be pending; 0 switches it off. */
static int set_fast_open(struct tcb *t, int64_t value)
{
    if (value < 0 || (t->state != BW_TCP_CLOSED && t->state != BW_TCP_LISTEN))
        return -EINVAL;
    if (!tfo_make(t))
        return -ENOMEM;
    t->tfo->qlen = (uint32_t)value;
    return 0;
}

static int set_fast_open_flag(struct tcb *t, int opt, int64_t value)
{
    uint8_t bit = opt == BW_OPT_FASTOPEN_CONNECT ? FASTOPEN_CONNECT : FASTOPEN_NO_COOKIE;
    if (value < 0 || value > 1)
        return -EINVAL;
    if (bit == FASTOPEN_CONNECT && !(t->base.st->cfg.fast_open & BW_FASTOPEN_CLIENT))
        return -EOPNOTSUPP;
    if (t->state != BW_TCP_CLOSED && (bit == FASTOPEN_CONNECT || t->state != BW_TCP_LISTEN))
        return -EINVAL;
    t->fast_open = (uint8_t)((t->fast_open & ~bit) | (value ? bit : 0));
    return 0;
}

int tcp_setopt(struct bw_sock *s, int opt, int64_t value)
{
    struct tcb *t = tcb_of(s);
    uint32_t v = 0;
    int err = 0;
    switch (opt) {
    case BW_OPT_KEEPALIVE:
        t->keepalive = value != 0;
        t->last_received = s->st->now;
        tcp_arm_keepalive(t);
        return 0;
    case BW_OPT_NODELAY:
        t->nodelay = value != 0;
        t->push_wanted |= t->nodelay ? PUSH_LAST : 0;
        tcp_want_output(t);
        return 0;
    case BW_OPT_CORK:
        t->cork = value != 0;
        t->more_coming &= t->cork; /* Nagle's algorithm still has a say, as on Linux */
        tcp_want_output(t);
        return 0;
    case BW_OPT_MAXSEG:
        if (value && (value < TCP_MIN_MSS || value > 32767))
            return -EINVAL;
        t->user_mss = (uint16_t)value;
        if (t->state != BW_TCP_CLOSED && t->state != BW_TCP_LISTEN)
            tcp_update_mss(t);
        return 0;
    case BW_OPT_KEEPIDLE:
        err = set_bounded(value, 1, 32767, &t->keep_idle);
        if (!err)
            tcp_arm_keepalive(t);
        return err;
    case BW_OPT_KEEPINTVL: return set_bounded(value, 1, 32767, &t->keep_intvl);
    case BW_OPT_KEEPCNT:
        err = set_bounded(value, 1, 127, &v);
        t->keep_count = err ? t->keep_count : (uint8_t)v;
        return err;
    case BW_OPT_SYNCNT:
        err = set_bounded(value, 1, 127, &v);
        t->syn_retries = err ? t->syn_retries : (uint8_t)v;
        return err;
    case BW_OPT_LINGER2: t->linger2 = value < 0 ? -1 : value > 120 ? 0 : (int32_t)value; return 0;
    case BW_OPT_DEFER_ACCEPT: t->defer_accept = value < 0 ? 0 : value > 255 ? 255 : (int32_t)value; return 0;
    case BW_OPT_QUICKACK:
        t->in_quickack = value ? TCP_QUICKACKS : 0;
        if (value && t->unacked)
            tcp_send_ack(t);
        return 0;
    case BW_OPT_USER_TIMEOUT:
        err = set_bounded(value, 0, INT32_MAX, &t->user_timeout);
        tcp_user_timeout_changed(t);
        return err;
    case BW_OPT_CONGESTION: return set_congestion(t, value);
    case BW_OPT_MAX_PACING_RATE:
        t->max_pacing_rate = value < 0 ? 0 : (uint64_t)value;
        pace_set(t, t->cc && t->cc->flags & CC_PACED ? t->pacing_rate : 0);
        t->pace_next = 0;
        if (t->cc)
            tcp_want_output(t);
        return 0;
    case BW_OPT_OOBINLINE: return set_flag(value, &t->oobinline);
    case BW_OPT_FASTOPEN: return set_fast_open(t, value);
    case BW_OPT_FASTOPEN_CONNECT:
    case BW_OPT_FASTOPEN_NO_COOKIE: return set_fast_open_flag(t, opt, value);
    case BW_OPT_TIMESTAMPS: return set_before_syn(t, value, &t->offer_ts);
    case BW_OPT_SACK: return set_before_syn(t, value, &t->offer_sack);
    case BW_OPT_WSCALE: return set_before_syn(t, value, &t->offer_wscale);
    case BW_OPT_ECN:
        if (t->state != BW_TCP_CLOSED && t->state != BW_TCP_LISTEN)
            return -EISCONN;
        err = set_bounded(value, BW_ECN_OFF, BW_ECN_ACCURATE_PASSIVE, &v);
        t->ecn_option = err ? t->ecn_option : (uint8_t)v;
        return err;
    case BW_OPT_TRACE: tcp_trace_set(t, value != 0); return 0;
    default: return -ENOPROTOOPT;
    }
}

/* Before there is a connection, what the user asked for: of a listener, too. */
static uint32_t shown_mss(const struct tcb *t)
{
    int unconnected = t->state == BW_TCP_CLOSED || t->state == BW_TCP_LISTEN;
    return unconnected && t->user_mss ? t->user_mss : t->mss;
}

int tcp_getopt(struct bw_sock *s, int opt, int64_t *value)
{
    const struct tcb *t = tcb_of(s);
    switch (opt) {
    case BW_OPT_KEEPALIVE: *value = t->keepalive; return 0;
    case BW_OPT_NODELAY: *value = t->nodelay; return 0;
    case BW_OPT_CORK: *value = t->cork; return 0;
    case BW_OPT_MAXSEG: *value = shown_mss(t); return 0;
    case BW_OPT_KEEPIDLE: *value = t->keep_idle; return 0;
    case BW_OPT_KEEPINTVL: *value = t->keep_intvl; return 0;
    case BW_OPT_KEEPCNT: *value = t->keep_count; return 0;
    case BW_OPT_SYNCNT: *value = t->syn_retries; return 0;
    case BW_OPT_LINGER2: *value = t->linger2 ? t->linger2 : TCP_MSL_2 / SECOND; return 0;
    case BW_OPT_DEFER_ACCEPT: *value = t->defer_accept; return 0;
    case BW_OPT_QUICKACK: *value = t->in_quickack != 0; return 0;
    case BW_OPT_USER_TIMEOUT: *value = t->user_timeout; return 0;
    case BW_OPT_CONGESTION: *value = t->congestion; return 0;
    case BW_OPT_TCP_STATE: *value = t->state; return 0;
    case BW_OPT_ACCEPTCONN: *value = s->kind == KIND_LISTENER; return 0;
    case BW_OPT_MAX_PACING_RATE: *value = (int64_t)t->max_pacing_rate; return 0;
    case BW_OPT_OOBINLINE: *value = t->oobinline; return 0;
    case BW_OPT_ATMARK: *value = tcp_at_mark(t); return 0;
    case BW_OPT_FASTOPEN: *value = t->tfo ? t->tfo->qlen : 0; return 0;
    case BW_OPT_FASTOPEN_CONNECT: *value = (t->fast_open & FASTOPEN_CONNECT) != 0; return 0;
    case BW_OPT_FASTOPEN_NO_COOKIE: *value = (t->fast_open & FASTOPEN_NO_COOKIE) != 0; return 0;
    case BW_OPT_TIMESTAMPS: *value = t->offer_ts; return 0;
    case BW_OPT_SACK: *value = t->offer_sack; return 0;
    case BW_OPT_WSCALE: *value = t->offer_wscale; return 0;
    case BW_OPT_ECN: *value = t->ecn_option; return 0;
    case BW_OPT_TRACE: *value = t->trace_id != 0; return 0;
    default: return -ENOPROTOOPT;
    }
}
