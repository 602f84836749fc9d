/* SPDX-License-Identifier: MIT */
/* Fuzzing the pipe, the ends of it that Python drives (pipe_take, pipe_put: what a callback device is), and a
 * capture of what passes. Two ends send and receive by turns of the input's: each frame arrives once, in order and
 * whole, or was counted; and the file, read again, has what passed, as far as its bounds let it. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "../../nic_drivers/pcap/pcap.c"
#include "../../nic_drivers/pipe/pipe.c"
#include "exact.h"

enum { MTU = 300, RING = 4, LONGEST = MTU + 18, KEPT = 64 /* frames of the input's, one way */ };

/* What one end has sent and the other has yet to receive. */
struct way {
    uint8_t *frame[KEPT];
    uint32_t len[KEPT], sent, got;
};

struct pair {
    struct input *in;
    struct netdev *end[2]; /* of end 0 there is a capture */
    struct way to[2];
    uint32_t room, passed; /* of a frame; frames through the capture */
    int64_t now;
};

static void note_sent(struct pair *p, int from, const uint8_t *data, uint32_t len)
{
    struct way *w = &p->to[!from];
    w->frame[w->sent] = exact_copy(data, len);
    w->len[w->sent++] = len;
}

static void note_got(struct pair *p, int at, const uint8_t *data, uint32_t len)
{
    struct way *w = &p->to[at];
    MUST(w->got < w->sent && len == w->len[w->got] && !memcmp(data, w->frame[w->got], len));
    free(w->frame[w->got++]);
}

static void sends(struct pair *p, int from)
{
    uint8_t flat[2 * LONGEST];
    uint32_t len = take16(p->in) % (2 * LONGEST), first = take16(p->in) % (len + 1);
    memset(flat, take8(p->in), len);
    take_bytes(p->in, flat, take8(p->in) < len ? 8 : 0);
    uint8_t *one = exact_copy(flat, first), *two = exact_copy(flat + first, len - first);
    struct tx_frame f = {.piece = {{one, first}, {two, len - first}}, .pieces = 2, .len = len};
    struct netdev *dev = p->end[from];
    uint64_t full = dev->stats.tx_full;
    int may = p->to[!from].sent < KEPT, took = may && dev->tx_burst(dev, ++p->now, &f, 1);
    MUST(took || !may || dev->stats.tx_full > full);
    if (took && len && len <= p->room)
        note_sent(p, from, flat, len);
    p->passed += took && !from;
    free(one);
    free(two);
}

static void receives(struct pair *p, int at)
{
    struct rx_frame frames[BW_RX_BURST];
    struct netdev *dev = p->end[at];
    int n = dev->rx_burst(dev, ++p->now, frames, 1 + take8(p->in) % BW_RX_BURST);
    MUST(n >= 0 && n <= RING);
    for (int i = 0; i < n; i++) {
        note_got(p, at, frames[i].data, frames[i].len);
        p->passed += !at;
        memset(frames[i].data, 0xee, frames[i].len); /* the stack may write there */
    }
}

/* As Python moves them: end 1 has no capture. */
static void puts_many(struct pair *p)
{
    uint8_t flat[6 * LONGEST], *at = flat;
    uint32_t len[6], total = 0;
    int n = take8(p->in) % 7;
    if (p->to[0].sent + (uint32_t)n > KEPT)
        return;
    for (int i = 0; i < n; i++) {
        len[i] = 1 + take16(p->in) % p->room;
        memset(at, take8(p->in), len[i]);
        at += len[i];
        total += len[i];
    }
    uint8_t *data = exact_copy(flat, total);
    int put = pipe_put(p->end[1], data, len, n);
    MUST(put >= 0 && put <= n && put <= RING);
    at = flat;
    for (int i = 0; i < put; at += len[i++])
        note_sent(p, 1, at, len[i]);
    free(data);
}

static void takes_many(struct pair *p)
{
    uint32_t len[BW_RX_BURST];
    int max = 1 + take8(p->in) % RING;
    uint8_t *data = malloc((size_t)max * p->room), *at = data;
    MUST(data);
    int n = pipe_take(p->end[1], data, len, max);
    MUST(n >= 0 && n <= max);
    for (int i = 0; i < n; at += len[i++])
        note_got(p, 1, at, len[i]);
    free(data);
}

static void sleeps(struct pair *p, int at)
{
    struct netdev_arm arm;
    uint32_t waits = pipe_waiting(at ? p->end[1] : ((struct pcap *)p->end[0])->inner);
    int want = take8(p->in) & 1, rc = p->end[at]->arm(p->end[at], p->now += SECOND / 2, want, &arm);
    MUST(arm.fd >= 0 && (rc || !waits));
}

/* The file as a reader of captures has it. */
static void read_again(struct pair *p, int fd, const struct pcap_config *cfg, struct tally *tally)
{
    struct pcap_header h;
    struct pcap_entry e;
    uint8_t data[2 * LONGEST];
    uint64_t frames = tally_get(tally, PCAP_FRAMES), seen = 0, at = sizeof h,
             end = (uint64_t)lseek(fd, 0, SEEK_END);
    MUST(pread(fd, &h, sizeof h, 0) == sizeof h && h.magic == 0xa1b23c4d && h.snaplen == cfg->snaplen);
    for (; at < end; at += sizeof e + e.kept, seen++) {
        MUST(pread(fd, &e, sizeof e, (off_t)at) == sizeof e && e.nsec < SECOND);
        MUST(e.kept <= e.len && e.kept <= cfg->snaplen && e.len <= 2 * LONGEST);
        MUST(pread(fd, data, e.kept, (off_t)(at + sizeof e)) == (ssize_t)e.kept);
    }
    MUST(at == end && end <= cfg->max_bytes + sizeof h && seen == frames);
    MUST(frames + tally_get(tally, PCAP_SKIPPED) == p->passed && !tally_get(tally, PCAP_FAILED));
    MUST(tally_get(tally, PCAP_BYTES) + sizeof h == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct pair p = {.in = &in, .now = 1};
    struct tally *tally;
    uint8_t how = take8(&in);
    const struct pipe_config cfg = {
        .name = {"a", "b"}, .layer = how & 1 ? 2 : 3, .offload = how >> 1 & 1, .mtu = MTU, .ring = RING};
    const struct pcap_config capture = {.wall_offset = (int64_t)take32(&in) * SECOND,
                                        .max_bytes = how & 4 ? take16(&in) : 1 << 20,
                                        .snaplen = how & 8 ? 1 + take16(&in) : PCAP_SNAPLEN_MAX};
    int fd = memfd_create("capture", MFD_CLOEXEC);
    MUST(fd >= 0 && !pipe_pair(&cfg, p.end));
    int kept = dup(fd);
    p.end[0] = pcap_new(p.end[0], fd, &capture, &tally);
    MUST(p.end[0] && kept >= 0);
    p.room = MTU + (how & 1 ? 18 : 0);
    while (in.left) {
        uint8_t what = take8(&in);
        switch (what >> 1 & 3) {
        case 0: sends(&p, what & 1); break;
        case 1: receives(&p, what & 1); break;
        case 2: what & 1 ? puts_many(&p) : takes_many(&p); break;
        default: sleeps(&p, what & 1);
        }
    }
    for (int i = 0; i < 2; i++) /* one end closes, the other has what was on the way, and hears of it */
        for (uint32_t k = p.to[i].got; k < p.to[i].sent; k++)
            free(p.to[i].frame[k]);
    p.end[0]->close(p.end[0]);
    struct rx_frame frames[BW_RX_BURST];
    int left = p.end[1]->rx_burst(p.end[1], 1, frames, BW_RX_BURST);
    MUST(left >= 0 ? p.end[1]->rx_burst(p.end[1], 1, frames, BW_RX_BURST) == -ENETDOWN : left == -ENETDOWN);
    p.end[1]->close(p.end[1]);
    read_again(&p, kept, &capture, tally);
    tally_drop(tally);
    close(kept);
    return 0;
}
