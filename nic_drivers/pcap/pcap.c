/* SPDX-License-Identifier: MIT */
#include "pcap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../gather.h"
#include "../xstats.h"

enum { BUFFER = 2 * PCAP_SNAPLEN_MAX, LINKTYPE_ETHERNET = 1, LINKTYPE_RAW = 101, SECOND = 1000000000 };

struct pcap_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t reserved[2], snaplen, linktype; /* readers ignore the reserved ones */
};

struct pcap_entry {
    uint32_t sec, nsec, kept, len;
};

struct pcap {
    struct netdev dev;
    struct netdev *inner;
    struct tally *tally;
    struct pcap_config cfg;
    int fd;
    int failed;         /* a write failed: the rest of the traffic is only counted */
    uint64_t bytes;     /* of the file, buffered ones included */
    int64_t flush_next; /* earliest time of the next write at a sleep */
    uint32_t used;
    uint8_t *buffer; /* BUFFER bytes */
};

static void pcap_flush(struct pcap *p)
{
    uint32_t done = 0;
    while (done < p->used && !p->failed) {
        ssize_t n = write(p->fd, p->buffer + done, p->used - done);
        if (n > 0)
            done += (uint32_t)n;
        else if (n == 0 || errno != EINTR)
            p->failed = 1;
    }
    p->used = 0;
}

/* One frame, whichever way it went; the checksum of one we transmit is finished if all is kept. */
static void pcap_record(struct pcap *p, int64_t now, const struct tx_frame *f)
{
    int64_t when = now + p->cfg.wall_offset;
    uint32_t kept = f->len < p->cfg.snaplen ? f->len : p->cfg.snaplen;
    struct pcap_entry r = {(uint32_t)(when / SECOND), (uint32_t)(when % SECOND), kept, f->len};
    if (p->failed || f->len > PCAP_SNAPLEN_MAX || p->bytes + sizeof r + kept > p->cfg.max_bytes) {
        tally_add(p->tally, p->failed ? PCAP_FAILED : PCAP_SKIPPED, 1);
        return;
    }
    if (p->used + sizeof r + f->len > BUFFER)
        pcap_flush(p);
    memcpy(p->buffer + p->used, &r, sizeof r);
    bw_gather(p->buffer + p->used + sizeof r, f); /* whole; then only `kept` of it counts */
    p->used += (uint32_t)sizeof r + kept;
    p->bytes += sizeof r + kept;
    tally_add(p->tally, PCAP_FRAMES, 1);
    tally_add(p->tally, PCAP_BYTES, sizeof r + kept);
}

static int pcap_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct pcap *p = (struct pcap *)dev;
    int n = p->inner->rx_burst(p->inner, now, frames, max);
    dev->down = p->inner->down;
    for (int i = 0; i < n; i++) {
        struct tx_frame f = {.piece[0] = {frames[i].data, frames[i].len}, .pieces = 1, .len = frames[i].len};
        pcap_record(p, now, &f);
        dev->stats.rx_frames++;
        dev->stats.rx_bytes += frames[i].len;
    }
    return n;
}

static int pcap_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct pcap *p = (struct pcap *)dev;
    int took = p->inner->tx_burst(p->inner, now, frames, n);
    for (int i = 0; i < took; i++) {
        pcap_record(p, now, &frames[i]);
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += frames[i].len;
    }
    dev->stats.tx_full += took >= 0 && took < n;
    return took;
}

static int pcap_reclaim(struct netdev *dev, uint32_t *tokens, int max)
{
    struct pcap *p = (struct pcap *)dev;
    return p->inner->reclaim(p->inner, tokens, max);
}

static int pcap_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct pcap *p = (struct pcap *)dev;
    dev->stats.wakeups++;
    if (p->used && now >= p->flush_next) {
        pcap_flush(p);
        p->flush_next = now + SECOND;
    }
    return p->inner->arm(p->inner, now, want_tx, arm);
}

static int pcap_register_memory(struct netdev *dev, const struct netdev_memory *memory)
{
    struct netdev *inner = ((struct pcap *)dev)->inner;
    return inner->register_memory ? inner->register_memory(inner, memory) : 0;
}

static int pcap_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    struct netdev *inner = ((struct pcap *)dev)->inner;
    return inner->set_addrs ? inner->set_addrs(inner, addrs, n) : 0;
}

static int pcap_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    return xstats_of(((struct pcap *)dev)->inner, out, max);
}

static void pcap_forked(struct netdev *dev)
{
    struct pcap *p = (struct pcap *)dev;
    if (p->inner->forked)
        p->inner->forked(p->inner);
    close(p->fd);
}

static void pcap_close(struct netdev *dev)
{
    struct pcap *p = (struct pcap *)dev;
    p->inner->close(p->inner);
    pcap_flush(p);
    close(p->fd);
    tally_drop(p->tally);
    free(p->buffer);
    free(p);
}

struct netdev *pcap_new(struct netdev *inner, int fd, const struct pcap_config *cfg, struct tally **tally)
{
    struct pcap *p = calloc(1, sizeof *p);
    uint8_t *buffer = malloc(BUFFER);
    *tally = p && buffer ? tally_new() : NULL;
    if (!*tally) {
        free(buffer);
        free(p);
        return NULL;
    }
    p->inner = inner;
    p->tally = *tally;
    p->cfg = *cfg;
    p->fd = fd;
    p->buffer = buffer;
    p->flush_next = INT64_MIN;
    struct pcap_header h = {.magic = 0xa1b23c4d,
                            .major = 2,
                            .minor = 4,
                            .reserved = {0, PCAP_OWN},
                            .snaplen = cfg->snaplen,
                            .linktype = inner->layer == 2 ? LINKTYPE_ETHERNET : LINKTYPE_RAW};
    memcpy(buffer, &h, sizeof h);
    p->bytes = p->used = sizeof h;
    p->dev = *inner;
    p->dev.rx_burst = pcap_rx_burst;
    p->dev.tx_burst = pcap_tx_burst;
    p->dev.reclaim = inner->reclaim ? pcap_reclaim : NULL;
    p->dev.arm = pcap_arm;
    p->dev.close = pcap_close;
    p->dev.forked = pcap_forked;
    p->dev.xstats = pcap_xstats;
    p->dev.set_addrs = pcap_set_addrs;
    p->dev.register_memory = pcap_register_memory;
    memset(&p->dev.stats, 0, sizeof p->dev.stats);
    return &p->dev;
}
