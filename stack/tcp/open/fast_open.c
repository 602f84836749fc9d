/* SPDX-License-Identifier: MIT */
/* TCP Fast Open (RFC 7413): data in the SYN, for peers that proved their address before.
 *
 * Server: a cookie is a keyed hash of the two addresses, so nothing is kept for a client; a child whose
 * SYN brought a good one is accepted at once, in SYN-RECEIVED, and counts against its listener's
 * TCP_FASTOPEN limit until its handshake is done (section 5.1), and for a while after a reset.
 * Client: cookies and MSS are kept by destination in one small table; a destination to which SYNs with
 * the option seem to vanish is left alone for a while (section 4.1.3.1). */
#include "../tcp.h"

#define RESETS_COUNT (60 * SECOND) /* section 5.1: how long a reset child still counts, at least */
#define BLACKHOLE (60 * SECOND)    /* and twice that after each further loss */
enum { COOKIE_LEN = 8, LOSSES_MAX = 6 };

/* ---- server ---------------------------------------------------------------------------------------- */

struct tcp_fast_open *tfo_make(struct tcb *t)
{
    if (!t->tfo)
        t->tfo = calloc(1, sizeof *t->tfo);
    if (t->tfo && !t->tfo->refs)
        t->tfo->refs = 1;
    return t->tfo;
}

void tfo_release(struct tcb *t)
{
    if (t->tfo && --t->tfo->refs == 0)
        free(t->tfo);
    t->tfo = NULL;
}

static uint64_t server_cookie(const uint8_t key[16], const struct packet *pkt)
{
    return tcp_flow_hash(key, pkt->dst, 0, pkt->src, 0, 0);
}

/* The keys in use, newest first; how many. */
static int server_keys(const struct bw_stack *st, const struct tcp_fast_open *f, const uint8_t (**keys)[16])
{
    *keys = f && f->keys ? f->key : &st->tcp->fast_open_key;
    return f && f->keys ? f->keys : 1;
}

/* Which key made the cookie: 0, 1; -1: none. */
static int cookie_key_of(const struct bw_stack *st, const struct tcp_fast_open *f, const struct tcp_seg *seg)
{
    const uint8_t(*keys)[16];
    int n = server_keys(st, f, &keys);
    for (int i = 0; i < n && seg->tfo_len == COOKIE_LEN; i++) {
        uint64_t cookie = server_cookie(keys[i], seg->pkt);
        if (memcmp(&cookie, seg->tfo_cookie, COOKIE_LEN) == 0)
            return i;
    }
    return -1;
}

/* Children that count: pending, and those reset in this and the last period. */
static uint32_t pending(const struct bw_stack *st, struct tcp_fast_open *f)
{
    int64_t period = st->now / RESETS_COUNT;
    if (period != f->period) {
        f->resets[1] = period == f->period + 1 ? f->resets[0] : 0;
        f->resets[0] = 0;
        f->period = period;
    }
    return f->pending + f->resets[0] + f->resets[1];
}

/* The child takes the SYN's data and stands in the accept queue. */
static void accept_early(struct listener *l, struct tcb *t, struct tcp_seg *seg)
{
    uint32_t wnd = tcp_receive_window(t);
    t->fast_open |= FASTOPEN_PENDING;
    t->tfo = l->tmpl.tfo;
    t->tfo->refs++;
    t->tfo->pending++;
    t->rcv_adv = t->rcv_nxt + (wnd > 65535 ? 65535 : wnd);
    tcp_tuning_begin(t);
    tcp_child_established(t);
    seg->seq++;
    seg->flags &= (uint8_t)~TCP_SYN;
    tcp_trim(t, seg);
    t->syn_data_acked = seg->len != 0;
    if (seg->len)
        tcp_segment_text(t, seg);
    count(t->base.st, COUNT_TCP_FASTOPEN_PASSIVE);
}

/* Section 4.2.2. t is the half-open child that the SYN has made. */
void tfo_on_syn(struct listener *l, struct tcb *t, struct tcp_seg *seg)
{
    struct bw_stack *st = l->tmpl.base.st;
    struct tcp_fast_open *f = l->tmpl.tfo;
    if (!f || !f->qlen || !(st->cfg.fast_open & BW_FASTOPEN_SERVER) || seg->reopens)
        return;
    int free_for_all = (l->tmpl.fast_open & FASTOPEN_NO_COOKIE) && seg->len;
    if (!seg->has_tfo && !free_for_all)
        return;
    int key = free_for_all ? 0 : cookie_key_of(st, f, seg);
    if (seg->has_tfo && key != 0)
        t->fast_open |= FASTOPEN_GRANT;
    if (key < 0) {
        count(st, seg->tfo_len ? COUNT_TCP_FASTOPEN_PASSIVE_FAIL : COUNT_TCP_FASTOPEN_REQUESTS);
        return;
    }
    if (pending(st, f) >= f->qlen) {
        count(st, COUNT_TCP_FASTOPEN_OVERFLOW);
        return;
    }
    accept_early(l, t, seg);
}

/* The child leaves SYN-RECEIVED. */
void tfo_settled(struct tcb *t, int state)
{
    struct tcp_fast_open *f = t->tfo;
    pending(t->base.st, f);
    f->pending--;
    f->resets[0] += state == BW_TCP_CLOSED;
    t->fast_open &= (uint8_t)~FASTOPEN_PENDING;
    tfo_release(t);
}

int bw_fastopen_key(struct bw_sock *s, const uint8_t *set, int n, uint8_t get[32])
{
    const uint8_t(*keys)[16];
    if (sock_ops_of(s) != &tcp_ops)
        return -ENOPROTOOPT;
    struct tcb *t = tcb_of(s);
    if (n && (n != 16 && n != 32))
        return -EINVAL;
    if (n && (t->fast_open & FASTOPEN_PENDING))
        return -EINVAL;
    if (n) {
        if (!tfo_make(t))
            return -ENOMEM;
        memcpy(t->tfo->key, set, (size_t)n);
        t->tfo->keys = (uint8_t)(n / 16);
    }
    int bytes = 16 * server_keys(s->st, t->tfo, &keys);
    memcpy(get, keys, (size_t)bytes);
    return bytes;
}

/* ---- client ---------------------------------------------------------------------------------------- */

static struct tfo_known *known_slot(struct bw_stack *st, const uint8_t *ip)
{
    return &st->tcp->fast_open_known[hsiphash(st->hash_key, ip, 16) % TFO_KNOWN];
}

static struct tfo_known *known(struct bw_stack *st, const uint8_t *ip)
{
    struct tfo_known *k = known_slot(st, ip);
    return ip_equal(k->ip, ip) ? k : NULL;
}

/* The entry for ip, made if need be; another one may give way. */
static struct tfo_known *remember_server(struct bw_stack *st, const uint8_t *ip)
{
    struct tfo_known *k = known_slot(st, ip);
    if (!ip_equal(k->ip, ip)) {
        *k = (struct tfo_known){0};
        memcpy(k->ip, ip, 16);
    }
    return k;
}

/* May this connection's SYN carry the option? 1: and data too. */
int tfo_begin(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    const struct tfo_known *k = known(st, t->base.raddr);
    t->fast_open &= FASTOPEN_OPTIONS;
    if (!(st->cfg.fast_open & BW_FASTOPEN_CLIENT) || (k && st->now < k->blocked_until))
        return 0;
    int has_cookie = k && k->len;
    if (k && k->mss) {
        t->peer_mss = k->mss;
        tcp_update_mss(t);
    }
    if (t->fast_open & FASTOPEN_NO_COOKIE) {
        t->fast_open |= FASTOPEN_DEFERRED;
        return 1;
    }
    t->fast_open |= FASTOPEN_ASK | (has_cookie ? FASTOPEN_DEFERRED : 0);
    return has_cookie;
}

/* The option of a SYN or SYN,ACK, if it has one and it fits; the place behind. */
uint8_t *tfo_put_option(struct tcb *t, uint8_t *p, uint32_t room)
{
    struct bw_stack *st = t->base.st;
    uint8_t cookie[TCP_COOKIE_MAX], len = 0;
    uint8_t why = t->state == BW_TCP_SYN_SENT ? FASTOPEN_ASK : FASTOPEN_GRANT; /* not if both open at once */
    if (t->retries || !(t->fast_open & why))
        return p;
    if (t->fast_open & FASTOPEN_GRANT) {
        const uint8_t(*keys)[16];
        struct packet pkt;
        if (!t->listener)
            return p;
        memcpy(pkt.src, t->base.raddr, 16);
        memcpy(pkt.dst, t->base.laddr, 16);
        server_keys(st, t->listener->tmpl.tfo, &keys);
        uint64_t made = server_cookie(keys[0], &pkt);
        memcpy(cookie, &made, len = COOKIE_LEN);
    } else if (known(st, t->base.raddr)) {
        const struct tfo_known *k = known(st, t->base.raddr);
        memcpy(cookie, k->cookie, len = k->len);
    }
    return th_fast_open_len(len) > room ? p : th_put_fast_open(p, cookie, len);
}

/* Bytes of data that the SYN now takes along. */
uint32_t tfo_syn_data(const struct tcb *t)
{
    uint32_t most = t->mss > TCP_OPTIONS_MAX ? t->mss - TCP_OPTIONS_MAX : 0; /* room for every option */
    if (t->state != BW_TCP_SYN_SENT || t->retries || !t->sndq.len)
        return 0;
    return t->sndq.len < most ? t->sndq.len : most;
}

/* The option seems to vanish on the way to that server: without it for a while, and for longer each time. */
static void black_hole(struct tcb *t)
{
    struct bw_stack *st = t->base.st;
    struct tfo_known *k = remember_server(st, t->base.raddr);
    k->blocked_until = st->now + (BLACKHOLE << k->losses);
    k->losses += k->losses < LOSSES_MAX;
    count(st, COUNT_TCP_FASTOPEN_BLACKHOLES);
}

void tfo_unanswered(struct tcb *t)
{
    if (t->state == BW_TCP_SYN_SENT && (t->fast_open & FASTOPEN_ASK))
        black_hole(t);
}

/* What the other end did not take of our SYN's data goes as if it never had gone. */
void tfo_not_taken(struct tcb *t)
{
    if (t->snd_una != t->snd_nxt) {
        t->snd_nxt = t->recover = t->rack_fack = t->snd_una;
        txlog_clear(&t->sent);
        txlog_clear(&t->resent);
        tcp_timer_cancel(t, TIMER_REXMT);
        tcp_want_output(t);
    }
    t->syn_data = 0;
}

/* Sections 4.1.3 and 4.2.1: what the SYN,ACK says about the server and its path, when its ACK has been
 * applied; `again`: the SYN had been sent more than once. */
void tfo_on_syn_ack(struct tcb *t, const struct tcp_seg *seg, int again)
{
    struct bw_stack *st = t->base.st;
    int used = t->fast_open & FASTOPEN_ASK, sent = t->syn_data, acked = sent && t->snd_una != t->iss + 1;
    if (used && seg->tfo_len) {
        struct tfo_known *k = remember_server(st, t->base.raddr);
        memcpy(k->cookie, seg->tfo_cookie, k->len = seg->tfo_len);
        k->mss = seg->mss;
    } else if (used && again && !acked) { /* only the plain SYN seems to have arrived */
        black_hole(t);
    } else if (used && sent && !acked && known(st, t->base.raddr)) {
        known(st, t->base.raddr)->len = 0; /* it did not help: ask anew */
    }
    if (!sent)
        return;
    count(st, acked ? COUNT_TCP_FASTOPEN_ACTIVE : COUNT_TCP_FASTOPEN_ACTIVE_FAIL);
    t->syn_data_acked = t->snd_una == t->snd_nxt;
    if (acked && known(st, t->base.raddr))
        known(st, t->base.raddr)->losses = 0;
    tfo_not_taken(t);
}
