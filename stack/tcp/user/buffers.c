/* SPDX-License-Identifier: MIT */
/* How much a connection may hold: the window it announces, the room its program has to write, and how
 * both grow with what the path carries, between the bounds of the configuration.
 *
 * Receiving is dynamic right-sizing (Fisk and Feng, as in Linux): what the program
 * read in one round trip, doubled, is what the next may bring, and more while a sender still speeds up.
 * Sending follows the congestion window: twice of it, one half in flight
 * and one half waiting to be, as far as the path can use it. SO_RCVBUF and SO_SNDBUF fix a size. From AUTOTUNE_PRESSURE percent of the
 * common pool on nothing grows by itself, and what only the congestion window allowed is not refilled;
 * from 75 % on windows and writers are left with their guaranteed chunk. */
#include "../tcp.h"

enum {
    AUTOTUNE_PRESSURE = 50,
    WINDOW_PRESSURE = 75,
    SEND_BYTES_A_NS = 16,
    SEND_FAR = 10 * 1000000, /* ns: no local path */
    SEND_LOCAL = 2 << 20,    /* at least: on the shortest path, too, a thread may not run for a while */
};

static uint32_t pressure(const struct tcb *t)
{
    return chunk_pressure(&t->base.st->chunks);
}

/* ---- what the program says (socket(7)) ------------------------------------------------------------- */

void tcp_set_buffer(struct bw_sock *s, int opt, int64_t value)
{
    int sends = opt == BW_OPT_SNDBUF;
    const struct bw_bounds *b = sends ? &s->st->cfg.sndbuf : &s->st->cfg.rcvbuf;
    uint32_t size = value < b->min ? b->min : value > b->max ? b->max : (uint32_t)value;
    *(sends ? &s->sndbuf : &s->rcvbuf) = size;
    s->flags |= sends ? SOCK_SNDBUF_LOCK : SOCK_RCVBUF_LOCK;
}

/* ---- sending ----------------------------------------------------------------------------------------- */

/* What 64 Gbit/s carry in two round trips. On a local path, which takes all and loses nothing, the congestion
 * window grows whenever somebody looks away for a while; a queue that followed it would be full of bytes that
 * have left the cache before they leave the machine. */
static uint64_t path_bound(const struct tcb *t)
{
    if (t->min_rtt == NEVER || t->srtt >= SEND_FAR) /* not known, or no longer so */
        return UINT64_MAX;
    uint64_t carried = (uint64_t)t->min_rtt * SEND_BYTES_A_NS;
    return carried > SEND_LOCAL ? carried : SEND_LOCAL;
}

/* What the send queue may hold now. */
uint32_t tcp_send_bound(const struct tcb *t)
{
    uint32_t bound = t->base.sndbuf, max = t->base.st->cfg.sndbuf.max;
    uint64_t grown = 2 * (uint64_t)t->cwnd, path = path_bound(t);
    grown = grown < path ? grown : path;
    if (t->base.flags & SOCK_SNDBUF_LOCK || grown <= bound || pressure(t) >= AUTOTUNE_PRESSURE)
        return bound;
    return grown < max ? (uint32_t)grown : max;
}

/* Room in the send queue; under memory pressure only the guaranteed chunk's. */
uint32_t tcp_send_room(const struct tcb *t)
{
    uint32_t bound = tcp_send_bound(t), room = bound > t->sndq.len ? bound - t->sndq.len : 0;
    if (pressure(t) >= WINDOW_PRESSURE) {
        uint32_t end = (t->sndq.off + t->sndq.len) & (CHUNK_SIZE - 1);
        uint32_t own = !t->sndq.held ? CHUNK_SIZE : t->sndq.held == 1 && end ? CHUNK_SIZE - end : 0;
        room = room < own ? room : own;
    }
    return room;
}

/* ---- the receive window ------------------------------------------------------------------------------ */

/* RFC 7323 section 2.2: the smallest scale that can say the largest window this connection may come to:
 * the configured maximum, or what SO_RCVBUF fixed. */
uint8_t tcp_window_scale(const struct tcb *t)
{
    uint32_t most = t->base.flags & SOCK_RCVBUF_LOCK ? t->base.rcvbuf : t->base.st->cfg.rcvbuf.max;
    uint8_t scale = 0;
    while (scale < 14 && (most - 1) >> scale > 65535)
        scale++;
    return scale;
}

/* The window to announce. What was announced is a promise and never taken back; it grows by the
 * buffer's room, above 75 % of the common pool only into the guaranteed chunk, and not by silly
 * amounts (RFC 9293 3.8.6.2.2). Only where memory did not last for a promise the window says less than
 * it did (RFC 9293 3.8.6: SHOULD NOT, and peers must cope); what comes inside it is still welcome. */
uint32_t tcp_receive_window(struct tcb *t)
{
    uint32_t promised = seq_gt(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0;
    uint32_t room = t->base.rcvbuf > t->rcvq.len ? t->base.rcvbuf - t->rcvq.len : 0;
    if (pressure(t) >= WINDOW_PRESSURE) {
        uint32_t own = t->rcvq.held > 1 ? 0
                       : t->rcvq.held ? CHUNK_SIZE - 1 - ((t->rcvq.off + t->rcvq.len - 1) & (CHUNK_SIZE - 1))
                                      : CHUNK_SIZE;
        room = room < own ? room : own;
    }
    uint32_t most = 65535u << t->rcv_wscale, step = t->base.rcvbuf / 2;
    uint32_t mss = t->rcv_mss ? t->rcv_mss : TCP_DEFAULT_MSS;
    if (room > most)
        room = most;
    if (step > mss)
        step = mss;
    if (step > CHUNK_SIZE / 2) /* under pressure there is no more than a chunk to announce */
        step = CHUNK_SIZE / 2;
    if (t->rcv_no_memory) {
        if (room < promised)
            return room >= step ? room : 0;
        t->rcv_no_memory = 0;
    }
    return room >= promised + step ? room : promised;
}

/* ---- dynamic right-sizing ---------------------------------------------------------------------------- */

void tcp_tuning_begin(struct tcb *t)
{
    int64_t now = t->base.st->now;
    uint32_t flight = TCP_INITIAL_SEGMENTS * t->mss, half = t->base.rcvbuf / 2;
    t->tuning = (struct rcv_tuning){
        .rtt_begin = now, .read_begin = now, .space = flight < half ? flight : half};
    t->rcv_tsecr = 0;
    t->tuning.rtt_seq = seq_max(t->rcv_adv, t->rcv_nxt + 1);
}

/* A round trip as the receiver sees it. Each sample is an upper bound, because the sender may have
 * waited: the smallest counts, and one that is larger pulls slowly. */
static void rtt_seen(struct rcv_tuning *r, int64_t rtt)
{
    if (rtt < MS) /* timestamps tick in milliseconds */
        rtt = MS;
    if (!r->rtt || rtt < r->rtt)
        r->rtt = rtt;
    else
        r->rtt += (rtt - r->rtt) / 8;
}

/* Data has come, still outside the queue. With timestamps a full segment that echoes another of our
 * ACKs is a sample; without, a window's worth of data takes a round trip at least. */
void tcp_tuning_data(struct tcb *t, const struct tcp_seg *seg)
{
    struct rcv_tuning *r = &t->tuning;
    if (t->use_ts) {
        if (!seg->has_ts || seg->tsecr == t->rcv_tsecr || seg->len < t->rcv_mss)
            return;
        int32_t ms = (int32_t)(tcp_ts_now(t) - seg->tsecr);
        t->rcv_tsecr = seg->tsecr;
        if (ms >= 0 && ms < 120000)
            rtt_seen(r, ms * MS);
    } else if (seq_ge(t->rcv_nxt, r->rtt_seq)) {
        int64_t now = t->base.st->now;
        rtt_seen(r, now - r->rtt_begin);
        r->rtt_begin = now;
        r->rtt_seq = seq_max(t->rcv_adv, t->rcv_nxt + 1);
    }
}

/* The program has read n bytes. Once a round trip: if it read more than in any before, the sender may
 * send twice as much in the next, and more by as much as it speeds up, which is to the double at most. */
void tcp_tuning_read(struct tcb *t, uint32_t n)
{
    struct rcv_tuning *r = &t->tuning;
    int64_t now = t->base.st->now, rtt = r->rtt ? r->rtt : t->srtt;
    r->read += n;
    if (!rtt || now - r->read_begin < rtt)
        return;
    if (r->read > r->space) {
        uint64_t want = 2 * (uint64_t)r->read + 16 * t->rcv_mss, max = t->base.st->cfg.rcvbuf.max;
        uint32_t faster = r->read - r->space;
        want += 2 * (want * (faster < r->space ? faster : r->space) / r->space);
        want = want < max ? want : max;
        if (want > t->base.rcvbuf && !(t->base.flags & SOCK_RCVBUF_LOCK) && pressure(t) < AUTOTUNE_PRESSURE)
            t->base.rcvbuf = (uint32_t)want;
        r->space = r->read;
    }
    r->read = 0;
    r->read_begin = now;
}
