/* SPDX-License-Identifier: MIT */
/* The far end of the fuzzed interface: packets with right checksums, and numbers near those that the stack
 * expects, so that an input gets past the first checks. */
#include "world.h"

const uint8_t world_us[16] = {[10] = 0xff, 0xff, 198, 18, 0, 2},
              world_peer[16] = {[10] = 0xff, 0xff, 198, 18, 0, 1},
              world_far[16] = {[10] = 0xff, 0xff, 192, 0, 2, 7},
              world_all[16] = {[10] = 0xff, 0xff, 198, 18, 0, 255};

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

/* What a right receiver would say now of the flow that the input names; with data, or the end of them. */
void far_acknowledges(struct world *w)
{
    static const uint8_t usual[] = {0x10, 0x10, 0x10, 0x10, 0x18, 0x18, 0x11, 0x50, 0x30, 0x30};
    uint8_t ip[700], *options = ip + 40, more = take8(&w->in), flags = usual[more % 10];
    struct flow *f = some_flow(w);
    uint32_t len = f->stamped ? timestamp(w, f, options) : 0, data = flags & 0x28 ? 1 + more / 10 * 20u : 0;
    if (f->hole != f->sacked) {
        memcpy(options + len, "\1\1\5\x0a", 4);
        put32(options + len + 4, f->hole);
        put32(options + len + 8, f->sacked);
        len += 12;
    }
    uint32_t total = build_segment(f, ip, flags, f->snd, f->rcv, len, data);
    if (flags & 0x20) { /* the urgent byte is the last one, or far ahead */
        put16(ip + 38, (uint16_t)(more & 1 ? data : 1000));
        total = finish(ip, 6, world_peer, total - 20, 16);
    }
    deliver(w, ip, total, 0, BW_CSUM_UNKNOWN);
}

/* SYNs from many ports in one burst, some of them again: more than the stack answers at first sight. */
void far_floods(struct world *w)
{
    uint8_t packet[24][64];
    struct rx_frame frames[24];
    uint8_t first = take8(&w->in);
    uint32_t head = w->dev.layer == 2 ? 14 : 0;
    for (int i = 0; i < 24; i++) {
        struct flow f = {.ours = 80, .theirs = (uint16_t)(5000 + (first + i) % 64), .snd = 77};
        if (head) {
            memcpy(packet[i], w->dev.mac, 6);
            memcpy(packet[i] + 6, "\2\0\0\0\0\1\x08\0", 8);
        }
        uint32_t len = build_segment(&f, packet[i] + head, 0x02, f.snd, 0, 0, 0);
        frames[i] = (struct rx_frame){.data = packet[i], .len = head + len, .csum = BW_CSUM_VALID};
    }
    bw_input(w->st, OUTSIDE, frames, 24);
}

void far_sends_arp(struct world *w)
{
    uint8_t arp[14 + 28] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0},
                     how = take8(&w->in);
    const uint8_t *sender[] = {world_peer, world_us, world_far, world_all};
    static const uint16_t types[] = {0x0806, 0x0806, 0x0806, 0x0806, 0x8100, 0x88a8, 0x86dd, 0x0800};
    if (how & 1)
        memset(arp, 0xff, 6);
    put16(arp + 12, types[take8(&w->in) % 8]);
    put16(arp + 20, 1 + (how >> 1 & 1));
    memcpy(arp + 22, "\2\0\0\0\0", 5);
    arp[27] = 1 + (how >> 2 & 3);
    memcpy(arp + 28, sender[how >> 4 & 3] + 12, 4);
    memcpy(arp + 38, (how & 64 ? world_us : world_peer) + 12, 4);
    if (how >> 7)
        arp[14 + take8(&w->in) % 28] ^= take8(&w->in);
    uint32_t len = take8(&w->in) < 250 ? sizeof arp : take8(&w->in) % sizeof arp;
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        return;
    memcpy(exact, arp, len);
    bw_input(w->st, OUTSIDE, &(struct rx_frame){.data = exact, .len = len}, 1);
    free(exact);
}

void far_sends_segment(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = put_segment(w, ip);
    deliver(w, ip, len, 0, w->csum);
}

/* A segment of a burst: the next of the flow's stream, which may be merged with the one before; its packet may
 * end anywhere. Or any other. */
static uint32_t put_next(struct world *w, struct flow *f, uint32_t size, uint8_t *ip)
{
    uint8_t how = take8(&w->in);
    if (how >= 224)
        return put_segment(w, ip);
    uint32_t options = f->stamped ? timestamp(w, f, ip + 40) : 0, whole = how & 8 ? 0 : size;
    uint32_t total = build_segment(f, ip, how & 1 ? 0x18 : 0x10, f->snd, f->rcv, options, whole);
    if (how < 192)
        return total;
    return finish(ip, 6, world_peer, 20 + take8(&w->in) % (options + 20), 16);
}

/* 1 to BURST frames at once, each in memory of just its length. */
void far_sends_burst(struct world *w)
{
    enum { BURST = 16 };
    struct rx_frame frames[BURST];
    uint8_t packet[1700], count = take8(&w->in);
    uint32_t head = w->dev.layer == 2 ? 14 : 0, size = take_near(&w->in) % 1461;
    struct flow *f = some_flow(w);
    int n = 0;
    while (n <= count % BURST) {
        uint32_t len = head + put_next(w, f, size, packet + head);
        if (head) {
            memcpy(packet, w->dev.mac, 6);
            memcpy(packet + 6, "\2\0\0\0\0\1\x08\0", 8);
        }
        uint8_t *exact = malloc(len);
        if (!exact)
            break;
        memcpy(exact, packet, len);
        frames[n++] = (struct rx_frame){
            .data = exact, .len = len, .csum = count & 64 ? w->csum : BW_CSUM_VALID};
    }
    bw_input(w->st, OUTSIDE, frames, n);
    while (n--)
        free(frames[n].data);
}

void far_sends_datagram(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = take_near(&w->in) % 1473;
    put16(ip + 20, ports[take8(&w->in) % 4]);
    uint8_t port = take8(&w->in);
    put16(ip + 22, ports[port < 128 ? 0 : port % 4]);
    put16(ip + 24, (uint16_t)(take8(&w->in) < 240 ? 8 + len : take16(&w->in)));
    memset(ip + 28, 0x55, len);
    uint8_t from = take8(&w->in);
    uint32_t total = finish(ip, 17, from & 1 ? world_far : world_peer, 8 + len, 6);
    if (from >= 192) { /* to all */
        memcpy(ip + 16, world_all + 12, 4);
        sum_header(ip);
    }
    deliver(w, ip, total, take8(&w->in) < 240 ? 0 : 100, from & 32 ? w->csum : BW_CSUM_VALID);
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

/* Options between the header of an IP packet and its data; the new length. */
static uint32_t add_ip_options(struct world *w, uint8_t *ip, uint32_t total)
{
    static const uint8_t usual[][12] = {{7, 11, 4},
                                        {7, 7, 8, 1, 2, 3, 4},
                                        {68, 12, 5, 0},
                                        {68, 12, 5, 1},
                                        {68, 12, 5, 3, 198, 18, 0, 2},
                                        {68, 12, 13, 0xf0},
                                        {131, 7, 4, 198, 18, 0, 1},
                                        {137, 7, 8, 198, 18, 0, 1},
                                        {148, 4, 0, 0},
                                        {7, 3, 2},
                                        {1, 1, 7, 39, 4}};
    uint8_t options[40] = {0}, which = take8(&w->in);
    uint32_t len = 12;
    if (which < 200)
        memcpy(options, usual[which % 11], 12);
    else
        len = (take_bytes(&w->in, options, which % 41) + 3) & ~3u;
    if (which >= 100 && which < 200) { /* two of them */
        memcpy(options + 12, usual[take8(&w->in) % 11], 12);
        len = 24;
    }
    if (total + len > 1600)
        return total;
    memmove(ip + 20 + len, ip + 20, total - 20);
    memcpy(ip + 20, options, len);
    ip[0] = (uint8_t)(0x45 + len / 4);
    put16(ip + 2, (uint16_t)(total + len));
    memset(ip + 10, 0, 2);
    uint16_t field = bw_sum_fold(bw_sum(ip, 20 + len, 0));
    memcpy(ip + 10, &field, 2);
    return total + len;
}

void far_sends_ping(struct world *w)
{
    uint8_t ip[1600];
    uint32_t len = take_near(&w->in) % 1473;
    memset(ip + 20, 0, 8 + len);
    ip[20] = take8(&w->in) < 200 ? 8 : take8(&w->in);
    put16(ip + 24, take8(&w->in) & 1 ? 7 : 0);
    uint32_t total = finish(ip, 1, world_peer, 8 + len, 2);
    uint8_t odd = take8(&w->in);
    if (odd >= 160) {
        total = add_ip_options(w, ip, total);
    } else if (odd >= 128) { /* another protocol, source or destination */
        ip[9 + take8(&w->in) % 11] ^= take8(&w->in);
        sum_header(ip);
    }
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

static void hears_data(struct flow *f, uint32_t seq, uint32_t end, int first)
{
    if (first)
        f->rcv = f->hole = f->sacked = end;
    if ((int32_t)(seq - f->rcv) > 0) { /* behind a gap */
        f->hole = f->hole == f->sacked || (int32_t)(f->hole - seq) > 0 ? seq : f->hole;
        f->sacked = f->hole == seq || (int32_t)(end - f->sacked) > 0 ? end : f->sacked;
        return;
    }
    if ((int32_t)(end - f->rcv) > 0)
        f->rcv = end;
    if ((int32_t)(f->rcv - f->hole) >= 0) {
        if ((int32_t)(f->sacked - f->rcv) > 0)
            f->rcv = f->sacked;
        f->hole = f->sacked = f->rcv;
    }
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
    uint32_t header = (uint32_t)(tcp[12] >> 4) * 4, total = get16(w->last + 2), seq = get32(tcp + 4);
    uint32_t data = frame->gso_size ? w->last_len - 20 - header : total - 20 - header;
    if ((w->faults.lose & (1u << (w->faults.turn++ & 15))) && data)
        return;
    hears_data(f, seq, seq + data + (tcp[13] & 1) + (tcp[13] >> 1 & 1), tcp[13] & 2);
    for (uint32_t o = 20; o + 10 <= header; o += tcp[o] == 1 ? 1 : tcp[o + 1] > 1 ? tcp[o + 1] : 40)
        if (tcp[o] == 8) {
            f->stamp = get32(tcp + o + 2);
            f->stamped = 1;
        }
}
