/* SPDX-License-Identifier: MIT */
/* The far end of the fuzzed interface: packets with right checksums, and numbers near those that the stack
 * expects, so that an input gets past the first checks. */
#include "world.h"

const uint8_t world_us[16] = {[10] = 0xff, 0xff, 198, 18, 0, 2},
              world_peer[16] = {[10] = 0xff, 0xff, 198, 18, 0, 1},
              world_far[16] = {[10] = 0xff, 0xff, 192, 0, 2, 7};

static const uint16_t ports[] = {80, 7, 2000, 2001};

static void sum_header(uint8_t *ip)
{
    memset(ip + 10, 0, 2);
    uint16_t field = bw_sum_fold(bw_sum(ip, 20, 0));
    memcpy(ip + 10, &field, 2);
}

/* Fills in the IPv4 header before l4_len bytes of a transport's, and both checksums. */
static uint32_t finish(uint8_t *ip, uint8_t proto, const uint8_t *src, uint32_t l4_len, int csum_at)
{
    static const uint8_t head[20] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64};
    memcpy(ip, head, sizeof head);
    put16(ip + 2, (uint16_t)(20 + l4_len));
    ip[9] = proto;
    memcpy(ip + 12, src + 12, 4);
    memcpy(ip + 16, world_us + 12, 4);
    sum_header(ip);
    if (csum_at >= 0) {
        uint8_t pseudo[4] = {0, proto, (uint8_t)(l4_len >> 8), (uint8_t)l4_len};
        uint64_t sum = proto == 1 ? 0 : bw_sum(ip + 12, 8, bw_sum(pseudo, 4, 0));
        memset(ip + 20 + csum_at, 0, 2);
        uint16_t field = bw_sum_fold(bw_sum(ip + 20, l4_len, sum));
        memcpy(ip + 20 + csum_at, &field, 2);
    }
    return 20 + l4_len;
}

/* Copied to where a device would lend it: memory of just its length, behind which nothing may be read. */
static void deliver(struct world *w, const uint8_t *packet, uint32_t len, uint16_t gso, uint8_t csum)
{
    uint32_t head = w->dev.layer == 2 ? 14 : 0;
    uint8_t *exact = malloc(head + len ? head + len : 1);
    if (!exact)
        return;
    if (head) {
        memcpy(exact, w->dev.mac, 6);
        memcpy(exact + 6, "\2\0\0\0\0\1\x08\0", 8);
    }
    memcpy(exact + head, packet, len);
    struct rx_frame frame = {.data = exact, .len = head + len, .gso_size = gso, .csum = csum};
    bw_input(w->st, OUTSIDE, &frame, 1);
    free(exact);
}

void far_sends_frame(struct world *w)
{
    uint8_t frame[1600];
    uint32_t len = take_bytes(&w->in, frame, take16(&w->in) % sizeof frame);
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        return;
    memcpy(exact, frame, len);
    struct rx_frame lent = {.data = exact, .len = len, .csum = take8(&w->in) % 3};
    bw_input(w->st, OUTSIDE, &lent, 1);
    free(exact);
}

static struct flow *some_flow(struct world *w)
{
    uint32_t made = w->flows < WORLD_FLOWS ? w->flows : WORLD_FLOWS;
    uint8_t which = take8(&w->in);
    if (!made || which >= 240) { /* a new one, which the far end opens */
        struct flow *f = &w->flow[w->flows++ % WORLD_FLOWS];
        *f = (struct flow){
            .ours = ports[which % 4], .theirs = (uint16_t)(3000 + w->flows), .snd = 0xfffff000};
        return f;
    }
    return &w->flow[which % made];
}

static uint32_t timestamp(struct world *w, const struct flow *f, uint8_t *to)
{
    memcpy(to, "\1\1\x08\x0a", 4);
    put32(to + 4, (uint32_t)(w->st->now / 1000000) + 9);
    put32(to + 8, f->stamp);
    return 12;
}

/* Options: none, those of a SYN, a timestamp and a SACK block, or bytes of the input. Their length. */
static uint32_t far_options(struct world *w, struct flow *f, uint8_t *to)
{
    static const uint8_t syn[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 3, 3, 7, 1};
    uint8_t how = take8(&w->in);
    if (how < 100)
        return f->stamped ? timestamp(w, f, to) : 0;
    if (how < 160) {
        memcpy(to, syn, sizeof syn);
        return sizeof syn;
    }
    if (how < 190) {
        memcpy(to, "\1\1\5\x0a", 4);
        put32(to + 4, f->rcv + take_near(&w->in));
        put32(to + 8, f->rcv + take_near(&w->in));
        return 12;
    }
    uint32_t len = take_bytes(&w->in, to, how % 41);
    while (len % 4)
        to[len++] = 0;
    return len;
}

/* A segment of the flow at ip, its options already behind where the header goes; its length. */
static uint32_t build_segment(struct flow *f, uint8_t *ip, uint8_t flags, uint32_t seq, uint32_t ack,
                              uint32_t options, uint32_t len)
{
    uint8_t *tcp = ip + 20;
    memset(tcp, 0, 20);
    put16(tcp, f->theirs);
    put16(tcp + 2, f->ours);
    put32(tcp + 4, seq);
    put32(tcp + 8, ack);
    tcp[12] = (uint8_t)((20 + options) / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, 0xffff);
    memset(tcp + 20 + options, (int)(seq & 0xff), len);
    if (seq == f->snd)
        f->snd += len + (flags & 1) + (flags >> 1 & 1);
    return finish(ip, 6, world_peer, 20 + options + len, 16);
}

/* A segment as the input chooses it, most often nearly right. */
static uint32_t put_segment(struct world *w, uint8_t *ip)
{
    static const uint8_t usual[] = {0x10, 0x10, 0x18, 0x11, 0x02, 0x12, 0x04, 0x14, 0x19, 0x30, 0xc2, 0x50};
    struct flow *f = some_flow(w);
    uint8_t which = take8(&w->in);
    uint8_t flags = which < 240 ? usual[which % sizeof usual] : take8(&w->in);
    uint32_t seq = f->snd + take_near(&w->in), ack = f->rcv + take_near(&w->in);
    uint32_t options = far_options(w, f, ip + 40), len = take_near(&w->in) % 1461;
    build_segment(f, ip, flags, seq, ack, options, len);
    if (which >= 250) /* the nonce-sum bit, or a window and urgent pointer of the input */
        ip[32] |= 1;
    if (which % 5 == 0)
        put16(ip + 34, take16(&w->in));
    if (flags & 0x20)
        put16(ip + 38, (uint16_t)take_near(&w->in));
    uint8_t ecn = which % 7 ? 0 : take8(&w->in) & 3;
    uint32_t total = finish(ip, 6, world_peer, 20 + options + len, 16);
    ip[1] = ecn;
    sum_header(ip);
    return total;
}

static const uint8_t everything[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 3, 3, 7, 1};

void far_opens(struct world *w, uint16_t port, int rich)
{
    uint8_t ip[128];
    struct flow *f = &w->flow[w->flows++ % WORLD_FLOWS];
    *f = (struct flow){.ours = port, .theirs = 3000, .snd = 0xfffff000};
    memcpy(ip + 40, everything, sizeof everything);
    deliver(w, ip, build_segment(f, ip, 0x02, f->snd, 0, rich ? sizeof everything : 4, 0), 0,
            BW_CSUM_UNKNOWN);
}

void far_answers(struct world *w, int syn, int rich)
{
    uint8_t ip[128];
    struct flow *f = &w->flow[(w->flows + WORLD_FLOWS - 1) % WORLD_FLOWS];
    uint32_t options = 0;
    if (syn) {
        memcpy(ip + 40, everything, sizeof everything);
        options = rich ? sizeof everything : 4;
    } else if (f->stamped) {
        options = timestamp(w, f, ip + 40);
    }
    uint8_t flags = syn ? 0x12 : 0x10;
    deliver(w, ip, build_segment(f, ip, flags, f->snd, f->rcv, options, 0), 0, BW_CSUM_UNKNOWN);
}

void far_sends_segment(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = put_segment(w, ip);
    deliver(w, ip, len, 0, BW_CSUM_UNKNOWN);
}

/* Segments of one burst: they may be merged. */
void far_sends_burst(struct world *w)
{
    uint8_t packet[4][1600];
    struct rx_frame frames[4];
    int n = 2 + take8(&w->in) % 3;
    for (int i = 0; i < n; i++) {
        uint32_t head = w->dev.layer == 2 ? 14 : 0;
        if (head) {
            memcpy(packet[i], w->dev.mac, 6);
            memcpy(packet[i] + 6, "\2\0\0\0\0\1\x08\0", 8);
        }
        uint32_t len = put_segment(w, packet[i] + head);
        frames[i] = (struct rx_frame){.data = packet[i], .len = head + len, .csum = BW_CSUM_VALID};
    }
    bw_input(w->st, OUTSIDE, frames, n);
}

void far_sends_datagram(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = take_near(&w->in) % 1473;
    put16(ip + 20, ports[take8(&w->in) % 4]);
    put16(ip + 22, ports[take8(&w->in) % 4]);
    put16(ip + 24, (uint16_t)(take8(&w->in) < 240 ? 8 + len : take16(&w->in)));
    memset(ip + 28, 0x55, len);
    uint32_t total = finish(ip, 17, take8(&w->in) & 1 ? world_far : world_peer, 8 + len, 6);
    deliver(w, ip, total, take8(&w->in) < 250 ? 0 : 100, BW_CSUM_VALID);
}

/* An ICMP error about the stack's last packet, as it was or a little wrong. */
void far_sends_error(struct world *w)
{
    uint8_t ip[1600];
    uint32_t quoted = w->last_len < 60 ? w->last_len : 60;
    memset(ip + 20, 0, 8);
    ip[20] = (uint8_t[]){3, 3, 3, 11, 12, 4, 5, 0}[take8(&w->in) % 8];
    ip[21] = take8(&w->in) % 16;
    put16(ip + 26, take16(&w->in));
    memcpy(ip + 28, w->last, quoted);
    uint8_t wrong = take8(&w->in);
    if (wrong >= 128 && quoted)
        ip[28 + take8(&w->in) % quoted] ^= take8(&w->in);
    uint32_t total = finish(ip, 1, world_far, 8 + (wrong % 4 ? quoted : quoted / 2), 2);
    deliver(w, ip, total, 0, BW_CSUM_UNKNOWN);
}

void far_sends_ping(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = take_near(&w->in) % 1473;
    memset(ip + 20, 0, 8 + len);
    ip[20] = take8(&w->in) < 200 ? 8 : take8(&w->in);
    uint32_t total = finish(ip, 1, world_peer, 8 + len, 2);
    deliver(w, ip, total, 0, BW_CSUM_UNKNOWN);
}

/* A piece of a datagram; the pieces of one identification meet. */
void far_sends_fragment(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = (take_near(&w->in) % 1473) & ~(take8(&w->in) < 220 ? 7u : 0u);
    memset(ip + 20, 0x66, len);
    if (len >= 8)
        memcpy(ip + 20, "\x07\xd0\x00\x07\x10\0\0", 8);
    uint32_t total = finish(ip, take8(&w->in) < 200 ? 17 : 6, world_peer, len, -1);
    put16(ip + 4, take8(&w->in) % 4);
    put16(ip + 6, (uint16_t)((take8(&w->in) & 1) << 13 |
                             (take8(&w->in) < 250 ? take8(&w->in) % 64 * 23 : take16(&w->in) % 8192)));
    sum_header(ip);
    deliver(w, ip, total, 0, BW_CSUM_UNKNOWN);
}

/* What the far end learns of a frame of the stack's. */
void far_hears(struct world *w, const struct tx_frame *frame)
{
    uint32_t at = 0;
    for (int i = 0; i < frame->pieces; i++)
        for (uint32_t k = 0; k < frame->piece[i].len && at < sizeof w->last; k++)
            w->last[at++] = frame->piece[i].data[k];
    uint32_t skip = w->dev.layer == 2 ? frame->l3_off : 0;
    memmove(w->last, w->last + skip, at - skip);
    w->last_len = at - skip;
    const uint8_t *tcp = w->last + 20;
    if (w->last_len < 40 || w->last[9] != 6 || (get16(w->last + 6) & 0x1fff))
        return;
    struct flow *f = NULL;
    for (int i = 0; i < WORLD_FLOWS && !f; i++)
        if (w->flow[i].ours == get16(tcp) && w->flow[i].theirs == get16(tcp + 2))
            f = &w->flow[i];
    if (!f && (tcp[13] & 0x12) == 0x02) { /* the stack opens one */
        f = &w->flow[w->flows++ % WORLD_FLOWS];
        *f = (struct flow){.ours = get16(tcp), .theirs = get16(tcp + 2), .snd = 0xfffff000};
    }
    if (!f)
        return;
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4, total = get16(w->last + 2);
    f->rcv = get32(tcp + 4) + (frame->gso_size ? w->last_len - 20 - header : total - 20 - header) +
             (tcp[13] & 1) + (tcp[13] >> 1 & 1);
    for (uint32_t o = 20; o + 10 <= header; o += tcp[o] == 1 ? 1 : tcp[o + 1] > 1 ? tcp[o + 1] : 40)
        if (tcp[o] == 8) {
            f->stamp = get32(tcp + o + 2);
            f->stamped = 1;
        }
}
