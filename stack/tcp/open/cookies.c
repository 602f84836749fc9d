/* SPDX-License-Identifier: MIT */
/* SYN cookies (RFC 4987 section 3.6): a SYN that finds no room among the half-open children is answered
 * from nothing but a keyed hash, and the third segment of the handshake, which brings the hash back,
 * makes the child that the SYN would have made.
 *
 * The sequence number is the hash of the flow and the peer's sequence number, plus the index of an MSS.
 * Its key is one of two: a fresh one every COOKIE_PERIOD, so that a cookie lives for one to two of them;
 * it is looked at only so long after one was sent. With timestamps the low bits of our TSval hold the
 * peer's window scale and whether it does SACK, as Linux does it; without, neither is used. */
#include "../tcp.h"

#define COOKIE_PERIOD (64 * SECOND)
static const uint16_t cookie_mss[] = {TCP_MIN_SND_MSS, 256, TCP_DEFAULT_MSS, 1220, 1400, 1440, 1460, 8960};
enum {
    COOKIE_MSS = sizeof cookie_mss / sizeof *cookie_mss,
    TS_BITS = 0x3f,   /* of TSval: */
    TS_WSCALE = 0x0f, /* the peer's window scale, TS_WSCALE: not offered */
    TS_SACK = 0x10,
};

/* Brings the two keys up to date and returns the one of so many epochs ago (0 or 1). */
static const uint8_t *cookie_key(struct bw_stack *st, int ago)
{
    struct tcp_globals *g = st->tcp;
    int64_t epoch = st->now / COOKIE_PERIOD + 2; /* from the first on both keys are made */
    if (epoch - g->cookie_epoch > 2)
        g->cookie_epoch = epoch - 2;
    while (g->cookie_epoch < epoch) {
        g->cookie_epoch++;
        random_bytes(st, g->cookie_key[g->cookie_epoch & 1], sizeof g->cookie_key[0]);
    }
    return g->cookie_key[(epoch - ago) & 1];
}

static uint64_t cookie_hash(struct bw_stack *st, const struct tcp_seg *seg, uint32_t irs, int ago)
{
    const struct packet *pkt = seg->pkt;
    return tcp_flow_hash(cookie_key(st, ago), pkt->dst, seg->dport, pkt->src, seg->sport, irs);
}

/* The timestamp offset that a connection of this flow has (tcp_make_isn). */
static uint32_t ts_of(const struct bw_stack *st, const struct tcp_seg *seg)
{
    const struct packet *pkt = seg->pkt;
    uint64_t h = tcp_flow_hash(st->isn_key, pkt->dst, seg->dport, pkt->src, seg->sport, 0);
    return (uint32_t)(st->now / MS) + (uint32_t)(h >> 32);
}

/* TSval, not after the present, with what the SYN offers in its low bits. */
static uint32_t ts_cookie(uint32_t ts, const struct tcb *tmpl, const struct tcp_seg *seg)
{
    uint32_t bits = tmpl->offer_wscale && seg->has_wscale ? seg->wscale : TS_WSCALE, with;
    if (tmpl->offer_sack && seg->has_sack_ok)
        bits |= TS_SACK;
    with = (ts & ~(uint32_t)TS_BITS) | bits;
    return seq_gt(with, ts) ? with - (TS_BITS + 1) : with;
}

static uint32_t our_mss(const struct listener *l, const struct ip_path *path)
{
    return tcp_mss_by(path, path->link_mtu, l->tmpl.user_mss, TCP_MIN_SND_MSS);
}

/* The options of the SYN,ACK; their length. */
static uint8_t cookie_options(const struct listener *l, const struct tcp_seg *seg, uint32_t mss, uint8_t *p)
{
    const struct tcb *t = &l->tmpl;
    const uint8_t *start = p;
    p = th_put_mss(p, mss);
    if (!t->offer_ts || !seg->has_ts)
        return (uint8_t)(p - start);
    p = th_put_timestamps(p, t->offer_sack && seg->has_sack_ok, ts_cookie(ts_of(t->base.st, seg), t, seg),
                          seg->tsval);
    if (t->offer_wscale && seg->has_wscale)
        p = th_put_wscale(p, tcp_window_scale(t));
    return (uint8_t)(p - start);
}

/* The window of a SYN,ACK, never scaled. */
static uint16_t first_window(const struct listener *l)
{
    return (uint16_t)(l->tmpl.base.rcvbuf > 65535 ? 65535 : l->tmpl.base.rcvbuf);
}

void tcp_cookie_answer(struct listener *l, const struct tcp_seg *seg)
{
    struct bw_stack *st = l->tmpl.base.st;
    const struct packet *pkt = seg->pkt;
    struct ip_path path = {0};
    uint8_t opt[TCP_OPTIONS_MAX];
    uint32_t index = COOKIE_MSS - 1, theirs = seg->mss ? seg->mss : TCP_DEFAULT_MSS;
    uint64_t hash = cookie_hash(st, seg, seg->seq, 0);
    if (!tcp_syn_admitted(st, hash)) {
        drop(st, DROP_TCP_SYN_FLOOD, seg->len);
        return;
    }
    if (ip_path_copy(st, pkt->src, l->tmpl.base.bound_if ? l->tmpl.base.bound_if : pkt->zone, &path))
        return;
    while (index && cookie_mss[index] > theirs)
        index--;
    struct tcp_bare b = {.src = pkt->dst,
                         .dst = pkt->src,
                         .sport = seg->dport,
                         .dport = seg->sport,
                         .seq = (uint32_t)hash + index,
                         .ack = seg->seq + 1,
                         .wnd = first_window(l),
                         .flags = TCP_SYN | TCP_ACK,
                         .ttl = l->tmpl.base.ttl,
                         .tos = l->tmpl.base.tos,
                         .opt = opt};
    b.optlen = cookie_options(l, seg, our_mss(l, &path), opt);
    if (!tcp_emit_bare(st, &b, &path, 1))
        return;
    l->cookies_until = st->now + 2 * COOKIE_PERIOD;
    count(st, COUNT_TCP_COOKIES_SENT);
}

/* The MSS that a cookie holds; 0: it is none of ours, or too old. */
static uint16_t cookie_check(struct bw_stack *st, const struct tcp_seg *seg)
{
    for (int ago = 0; ago < 2; ago++) {
        uint32_t index = seg->ack - 1 - (uint32_t)cookie_hash(st, seg, seg->seq - 1, ago);
        if (index < COOKIE_MSS)
            return cookie_mss[index];
    }
    return 0;
}

/* The SYN, as far as the cookie and the timestamp tell. */
static struct tcp_seg syn_again(const struct listener *l, const struct tcp_seg *seg, uint16_t mss)
{
    struct tcp_seg syn = {.pkt = seg->pkt,
                          .seq = seg->seq - 1,
                          .wnd = seg->wnd,
                          .sport = seg->sport,
                          .dport = seg->dport,
                          .flags = TCP_SYN,
                          .mss = mss};
    if (!l->tmpl.offer_ts || !seg->has_ts)
        return syn;
    syn.has_ts = 1;
    syn.tsval = seg->tsval;
    syn.has_sack_ok = (seg->tsecr & TS_SACK) != 0;
    syn.wscale = seg->tsecr & TS_WSCALE;
    syn.has_wscale = syn.wscale != TS_WSCALE;
    syn.wscale = syn.wscale > 14 ? 14 : syn.wscale;
    return syn;
}

int tcp_cookie_accepts(struct listener *l, struct tcp_seg *seg)
{
    struct bw_stack *st = l->tmpl.base.st;
    if ((seg->flags & TCP_SYN) || st->now >= l->cookies_until)
        return 0;
    uint16_t mss = cookie_check(st, seg);
    if (!mss) {
        count(st, COUNT_TCP_COOKIES_FAILED);
        return 0;
    }
    if (l->accept_len > l->backlog) {
        drop(st, DROP_TCP_BACKLOG, seg->len); /* the peer's data will bring it again */
        return 1;
    }
    struct tcp_seg syn = syn_again(l, seg, mss);
    const uint32_t iss = seg->ack - 1;
    struct tcb *t = tcp_child_new(l, &syn, &iss);
    if (!t) {
        drop(st, DROP_TCP_NO_MEMORY, seg->len);
        return 1;
    }
    count(st, COUNT_TCP_COOKIES_RECEIVED);
    t->snd_nxt = seg->ack;
    t->rcv_adv = t->rcv_nxt + first_window(l);
    t->first_unacked = st->now - 256 * SECOND; /* TCP_DEFER_ACCEPT waited for this: there is no telling */
    if (traced(t))
        tcp_trace_received(t, seg);
    tcp_on_connection(t, seg);
    return 1;
}
