/* SPDX-License-Identifier: MIT */
/* Frames between the stack, its far end and its loopback, with faults on the way, and time. */
#include "world.h"

enum { ROUNDS = 100000, AGE = 2000, SLOW_FRAMES = 32 };

/* Gives back the n oldest frames that the device still reads. */
void reclaim(struct world *w, uint32_t n)
{
    n = n < w->tokens ? n : w->tokens;
    bw_reclaimed(w->st, OUTSIDE, w->token, (int)n);
    memmove(w->token, w->token + n, (w->tokens - n) * sizeof *w->token);
    w->tokens -= n;
}

static int pump_out(struct world *w)
{
    const struct tx_frame *frames;
    int n = bw_output(w->st, OUTSIDE, &frames, 16), async = w->dev.caps & NETDEV_TX_ASYNC;
    if (n <= 0 || w->faults.stuck)
        return 0;
    for (int i = 0; i < n; i++) {
        far_hears(w, &frames[i]);
        if (async && w->tokens == WORLD_TOKENS)
            n = i;
        else if (async)
            w->token[w->tokens++] = frames[i].token;
    }
    if (!n)
        reclaim(w, WORLD_TOKENS);
    bw_transmitted(w->st, OUTSIDE, n);
    return 1;
}

/* What a router does: the header says that there was congestion. */
static void mark_ce(uint8_t *ip)
{
    if (ip[1] & 3) {
        ip[1] |= 3;
        sum_header(ip);
    }
}

/* A middlebox that knows no ECN: other codepoints, other bits of ACE, an option that says something else. */
static void mangle_ecn(struct world *w, uint8_t *ip, uint32_t len)
{
    uint8_t how = w->faults.turn, *tcp = ip + 20;
    ip[1] = (uint8_t)((ip[1] & ~3) | (how & 3));
    sum_header(ip);
    if (len < 40 || ip[9] != 6)
        return;
    if (how & 4)
        tcp[13] ^= (uint8_t)(how << 3 & 0xc0);
    if (how & 8)
        tcp[12] ^= 1;
    for (uint32_t at = 20; how & 16 && at + 11 <= (uint32_t)(tcp[12] >> 4) * 4 && at + 31 <= len; at++)
        if (tcp[at] == 172 || tcp[at] == 174)
            memset(tcp + at + 2, how & 32 ? 0 : 0xff, 9);
}

static void deliver_held(struct world *w)
{
    struct rx_frame frame = w->held;
    w->held.data = NULL;
    if (frame.data)
        bw_input(w->st, IF_LOOPBACK, &frame, 1);
    free(frame.data);
}

/* A frame of the loopback through what the network does to it. */
static void carry(struct world *w, const struct rx_frame *frame)
{
    struct faults *f = &w->faults;
    uint16_t bit = (uint16_t)(1u << (f->turn++ & 15));
    if (f->lose & bit)
        return;
    if (f->mark & bit)
        mark_ce(frame->data);
    if (f->mangle & bit)
        mangle_ecn(w, frame->data, frame->len);
    struct rx_frame copy = *frame;
    if ((f->twice | f->late) & bit && (copy.data = malloc(frame->len)))
        memcpy(copy.data, frame->data, frame->len);
    if (f->late & bit && copy.data && !w->held.data) {
        w->held = copy;
        return;
    }
    struct rx_frame now = *frame;
    bw_input(w->st, IF_LOOPBACK, &now, 1);
    if (copy.data && copy.data != frame->data) {
        bw_input(w->st, IF_LOOPBACK, &copy, 1);
        free(copy.data);
    }
    deliver_held(w);
}

static int loopback_sends(struct world *w)
{
    struct netdev *lo = bw_loopback(w->st);
    const struct tx_frame *out;
    int n = bw_output(w->st, IF_LOOPBACK, &out, 16), moved = 0;
    if (n > 0) {
        moved = lo->tx_burst(lo, w->st->now, out, n);
        bw_transmitted(w->st, IF_LOOPBACK, moved);
    }
    return moved > 0;
}

/* What the loopback holds now comes in; where it is slow, only so much of it. */
static int loopback_delivers(struct world *w)
{
    struct netdev *lo = bw_loopback(w->st);
    struct rx_frame in[16];
    const struct faults *f = &w->faults;
    int faulty = f->lose || f->mark || f->mangle || f->twice || f->late, moved = 0;
    int left = (int)(lo->stats.tx_frames - lo->stats.rx_frames);
    left = f->slow && left > SLOW_FRAMES ? SLOW_FRAMES : left;
    while (left > 0) {
        int n = lo->rx_burst(lo, w->st->now, in, left < 16 ? left : 16);
        if (n <= 0)
            break;
        left -= n;
        moved = 1;
        if (!faulty)
            bw_input(w->st, IF_LOOPBACK, in, n);
        for (int i = 0; i < n && faulty; i++) { /* one by one: each is answered by itself */
            carry(w, &in[i]);
            loopback_sends(w);
        }
    }
    lo->rx_burst(lo, w->st->now, in, 0); /* the last ones are its own again */
    return moved;
}

static int pump_loopback(struct world *w)
{
    int sent = loopback_sends(w);
    return (!w->faults.slow && loopback_delivers(w)) || sent;
}

void pump(struct world *w)
{
    int rounds = 0;
    do {
        bw_run_timers(w->st);
        MUST(rounds++ < ROUNDS); /* it comes to rest */
    } while (pump_out(w) | pump_loopback(w));
    while (bw_pop_changed(w->st)) {
    }
}

void advance(struct world *w, int64_t ns)
{
    int64_t end = w->st->now + ns;
    for (int i = 0; i < AGE; i++) {
        int64_t next = bw_next_deadline(w->st);
        if (next > end)
            break;
        bw_set_now(w->st, next);
        pump(w);
    }
    bw_set_now(w->st, end);
    if (w->faults.slow)
        loopback_delivers(w);
    pump(w);
}

void call_faults(struct world *w)
{
    static const uint16_t patterns[] = {0, 0, 0, 1, 0x10, 0x8001, 0x0421, 0x5555, 0x0080, 0xffff};
    struct faults *f = &w->faults;
    uint8_t what = take8(&w->in), which = take8(&w->in);
    uint16_t bits = which < 250 ? patterns[which % 10] : take16(&w->in);
    switch (what % 8) {
    case 0:
    case 1: f->lose = bits; break;
    case 2: *(what & 8 ? &f->mangle : &f->mark) = bits; break;
    case 3: f->twice = bits; break;
    case 4: f->late = bits; break;
    case 5:
        f->slow = which & 1;
        f->stuck = which & 2;
        break;
    case 6: w->csum = which % 3; break;
    default: *f = (struct faults){.slow = which & 1};
    }
}

void network_ends(struct world *w)
{
    w->faults = (struct faults){0};
    deliver_held(w);
}
