/* SPDX-License-Identifier: MIT */
/* TPACKET_V2 has one status word a frame: the kernel hands a frame over the moment it is there.
 * TPACKET_V3 packs frames into blocks and hands over whole blocks, full or timed out: for bulk and
 * capture. Transmit is alike in both but for the header's layout. A status word is read and written
 * with acquire and release; nothing else of a frame is touched while it is the kernel's. */
#include "packet.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_packet.h>

#include "../gather.h"
#include "../link_state.h"
#include "../packet_share.h"
#include "../vlan_tag.h"
#include "../vnet.h"
#include "../xstats.h"

enum { L2_HEADER = 14, L2_TAG = 4 };

/* Why a frame was dropped, and what the kernel counted: PACKET_STATISTICS, which starts anew at each look.
 * Its tp_packets counts those dropped too. */
enum {
    RX_TRUNCATED,
    RX_MALFORMED,
    RX_TOO_LONG,
    TX_LENGTH,
    TX_DOWN,
    KERNEL_SEEN,
    KERNEL_DROPPED,
    KERNEL_FREEZES,
    XSTATS
};
static const char *const xstat_names[XSTATS] = {"rx_truncated",      "rx_malformed",     "rx_too_long",
                                                "tx_bad_length",     "tx_down",          "kernel_rx_seen",
                                                "kernel_rx_dropped", "kernel_rx_freezes"};

struct packet_port {
    struct netdev dev;
    int fd;
    int filter; /* the socket has one */
    int failed; /* positive errno: the interface is gone; 0: it is there */
    struct link_state interface;
    uint32_t room; /* longest frame that is no super-segment */
    uint8_t *map;  /* both rings */
    size_t map_len;
    uint64_t xstats[XSTATS];

    uint8_t *rx;
    uint32_t rx_frame_size, rx_per_block, rx_block_size, rx_entries; /* frames (V2) or blocks (V3) */
    uint32_t rx_head, rx_lent;                                       /* next entry; entries lent */
    uint8_t *block_at;                                               /* V3: next frame in the block */
    uint32_t block_left;

    uint8_t *tx;
    uint32_t tx_frame_size, tx_per_block, tx_block_size, tx_entries, tx_head;
    uint32_t tx_status, tx_len, tx_data; /* offsets in a frame of the transmit ring */
    int kick;                            /* frames wait that the kernel was not told of */
};

static uint32_t status_of(const uint8_t *p)
{
    return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void set_status(uint8_t *p, uint32_t status)
{
    __atomic_store_n((uint32_t *)(void *)p, status, __ATOMIC_RELEASE);
}

static uint8_t *rx_entry(const struct packet_port *p, uint32_t i)
{
    return p->rx + (size_t)(i / p->rx_per_block) * p->rx_block_size +
           (size_t)(i % p->rx_per_block) * p->rx_frame_size;
}

/* Of a device that is down: is its interface back, or gone? */
static void look(struct packet_port *p, int64_t now)
{
    if (!p->failed)
        p->failed = link_look(&p->interface, &p->dev, now);
}

/* ---- receive ------------------------------------------------------------------------------------ */

/* Is the frame whole, and no longer than agreed? */
static int accept_frame(struct packet_port *p, struct rx_frame *f, uint32_t whole)
{
    int why = -1;
    if (f->len != whole)
        why = RX_TRUNCATED;
    else if (!f->len || !vnet_parse(f->data - VNET_HDR_LEN, p->dev.caps, f))
        why = RX_MALFORMED;
    else if (!f->gso_size && f->len > p->room)
        why = RX_TOO_LONG;
    if (why < 0)
        return 1;
    p->dev.stats.rx_dropped++;
    p->xstats[why]++;
    return 0;
}

static void lend(struct packet_port *p, struct rx_frame *f, uint32_t status, uint16_t tci, uint16_t tpid)
{
    if (status & TP_STATUS_VLAN_VALID && p->dev.layer == 2)
        vlan_put_back(f, status, tci, tpid);
    p->dev.stats.rx_frames++;
    p->dev.stats.rx_bytes += f->len;
}

/* Entries of the last burst are the kernel's again. V3 keeps a block until its last frame was lent. */
static void give_back(struct packet_port *p)
{
    for (; p->rx_lent; p->rx_lent--) {
        uint8_t *entry = rx_entry(p, (p->rx_head + p->rx_entries - p->rx_lent) % p->rx_entries);
        uint8_t *status = p->block_at ? entry + offsetof(struct tpacket_block_desc, hdr.bh1.block_status)
                                      : entry;
        set_status(status, TP_STATUS_KERNEL);
    }
}

static int rx_burst_v2(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct packet_port *p = (struct packet_port *)dev;
    int n = 0;
    if (dev->down)
        look(p, now);
    give_back(p);
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    while (n < max && p->rx_lent < p->rx_entries) {
        uint8_t *entry = rx_entry(p, p->rx_head);
        uint32_t status = status_of(entry);
        if (!(status & TP_STATUS_USER))
            break;
        const struct tpacket2_hdr *h = (const void *)entry;
        frames[n] = (struct rx_frame){.data = entry + h->tp_mac, .len = h->tp_snaplen};
        __builtin_prefetch(frames[n].data);
        if (accept_frame(p, &frames[n], h->tp_len))
            lend(p, &frames[n++], status, h->tp_vlan_tci, h->tp_vlan_tpid);
        p->rx_head = (p->rx_head + 1) % p->rx_entries;
        p->rx_lent++;
    }
    return n ? n : p->failed ? -p->failed : 0;
}

/* The next block with frames in it. 0: none now. */
static int open_block(struct packet_port *p)
{
    const struct tpacket_block_desc *block = (const void *)rx_entry(p, p->rx_head);
    const uint8_t *status = (const uint8_t *)block +
                            offsetof(struct tpacket_block_desc, hdr.bh1.block_status);
    if (p->rx_lent == p->rx_entries || !(status_of(status) & TP_STATUS_USER))
        return 0;
    p->block_at = (uint8_t *)block + block->hdr.bh1.offset_to_first_pkt;
    p->block_left = block->hdr.bh1.num_pkts;
    p->rx_head = (p->rx_head + 1) % p->rx_entries;
    p->rx_lent++;
    return 1;
}

static int rx_burst_v3(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct packet_port *p = (struct packet_port *)dev;
    int n = 0;
    if (dev->down)
        look(p, now);
    if (!p->block_left)
        give_back(p);
    if (max > BW_RX_BURST)
        max = BW_RX_BURST;
    while (n < max && (p->block_left || (!n && open_block(p)))) {
        if (!p->block_left) /* a block that only its timer closed may be empty */
            continue;
        const struct tpacket3_hdr *h = (const void *)p->block_at;
        frames[n] = (struct rx_frame){.data = p->block_at + h->tp_mac, .len = h->tp_snaplen};
        if (accept_frame(p, &frames[n], h->tp_len))
            lend(p, &frames[n++], h->tp_status, (uint16_t)h->hv1.tp_vlan_tci, h->hv1.tp_vlan_tpid);
        p->block_at += h->tp_next_offset;
        p->block_left--;
    }
    return n ? n : p->failed ? -p->failed : 0;
}

/* ---- transmit ----------------------------------------------------------------------------------- */

static uint8_t *tx_entry(const struct packet_port *p, uint32_t i)
{
    return p->tx + (size_t)(i / p->tx_per_block) * p->tx_block_size +
           (size_t)(i % p->tx_per_block) * p->tx_frame_size;
}

/* Tells the kernel of the frames in the ring. What a full queue refuses stays there. */
static void kick(struct packet_port *p)
{
    if (!p->kick || p->dev.down)
        return;
    int err = send(p->fd, NULL, 0, MSG_DONTWAIT) < 0 ? errno : 0;
    if (err == ENETDOWN)
        link_lost(&p->interface, &p->dev);
    else if (err == ENXIO || err == ENODEV)
        p->failed = ENETDOWN;
    else if (err != EAGAIN && err != ENOBUFS && err != EINTR)
        p->kick = 0;
}

static void put_frame(const struct packet_port *p, uint8_t *entry, const struct tx_frame *f)
{
    uint8_t *data = entry + p->tx_data;
    struct virtio_net_hdr hdr;
    vnet_build(&hdr, f);
    memcpy(data, &hdr, VNET_HDR_LEN);
    bw_gather_plain(data + VNET_HDR_LEN, f);
    uint32_t len = f->len + VNET_HDR_LEN;
    memcpy(entry + p->tx_len, &len, sizeof len);
    set_status(entry + p->tx_status, TP_STATUS_SEND_REQUEST);
}

static int packet_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct packet_port *p = (struct packet_port *)dev;
    int i;
    if (dev->down)
        look(p, now);
    for (i = 0; i < n; i++) {
        const struct tx_frame *f = &frames[i];
        uint8_t *entry = tx_entry(p, p->tx_head);
        if (p->failed)
            break;
        if (dev->down) {
            dev->stats.tx_dropped++;
            p->xstats[TX_DOWN]++;
            continue;
        }
        if (!f->len || f->len > (f->gso_size ? p->tx_frame_size - p->tx_data - VNET_HDR_LEN : p->room)) {
            dev->stats.tx_dropped++;
            p->xstats[TX_LENGTH]++;
            continue;
        }
        if (status_of(entry + p->tx_status) != TP_STATUS_AVAILABLE) {
            dev->stats.tx_full++;
            break;
        }
        put_frame(p, entry, f);
        p->kick = 1;
        p->tx_head = (p->tx_head + 1) % p->tx_entries;
        dev->stats.tx_frames++;
        dev->stats.tx_bytes += f->len;
    }
    kick(p);
    return p->failed && !i ? -p->failed : i;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

static int rx_ready(const struct packet_port *p)
{
    if (p->rx_lent || p->block_left)
        return 1; /* to be given back */
    const uint8_t *entry = rx_entry(p, p->rx_head);
    if (p->dev.rx_burst == rx_burst_v3)
        entry += offsetof(struct tpacket_block_desc, hdr.bh1.block_status);
    return (status_of(entry) & TP_STATUS_USER) != 0;
}

/* The interface went down or away: the socket says so once, and link_look() which of the two. */
static void look_for_error(struct packet_port *p)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (!p->failed && !getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) && err)
        link_lost(&p->interface, &p->dev);
}

static int packet_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct packet_port *p = (struct packet_port *)dev;
    dev->stats.wakeups++;
    kick(p);
    look_for_error(p);
    if (dev->down)
        look(p, now);
    *arm = (struct netdev_arm){
        .fd = p->fd, .events = want_tx ? POLLIN | POLLOUT : POLLIN, .deadline = INT64_MAX};
    if (p->failed)
        return -p->failed;
    if (p->kick && !dev->down) /* the interface's queue was full: nothing tells when it is not */
        arm->deadline = now + 1000000;
    link_arm(&p->interface, dev, arm);
    return rx_ready(p) ||
           (want_tx && status_of(tx_entry(p, p->tx_head) + p->tx_status) == TP_STATUS_AVAILABLE);
}

static void packet_forked(struct netdev *dev)
{
    close(((struct packet_port *)dev)->fd);
}

static void packet_close(struct netdev *dev)
{
    struct packet_port *p = (struct packet_port *)dev;
    munmap(p->map, p->map_len);
    close(p->fd);
    free(p);
}

static int packet_set_addrs(struct netdev *dev, const struct netdev_addr *addrs, int n)
{
    const struct packet_port *p = (struct packet_port *)dev;
    return packet_share(p->fd, dev->layer == 2 ? L2_HEADER : 0, p->filter, addrs, n);
}

static int packet_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    struct packet_port *p = (struct packet_port *)dev;
    struct tpacket_stats_v3 now = {0}; /* a V2 socket fills the first two */
    socklen_t len = sizeof now;
    if (getsockopt(p->fd, SOL_PACKET, PACKET_STATISTICS, &now, &len))
        return -errno;
    p->xstats[KERNEL_SEEN] += now.tp_packets;
    p->xstats[KERNEL_DROPPED] += now.tp_drops;
    p->xstats[KERNEL_FREEZES] += now.tp_freeze_q_cnt;
    return xstats_put(out, 0, max, xstat_names, p->xstats, XSTATS);
}

static void lay_out(struct packet_port *p, const struct packet_config *cfg)
{
    int blocks = cfg->version == TPACKET_V3;
    p->rx = p->map;
    p->rx_frame_size = cfg->rx_frame_size;
    p->rx_block_size = cfg->rx_block_size;
    p->rx_per_block = blocks ? 1 : cfg->rx_block_size / cfg->rx_frame_size;
    p->rx_entries = p->rx_per_block * cfg->rx_blocks;
    p->tx = p->map + (size_t)cfg->rx_block_size * cfg->rx_blocks;
    p->tx_frame_size = cfg->tx_frame_size;
    p->tx_block_size = cfg->tx_block_size;
    p->tx_per_block = cfg->tx_block_size / cfg->tx_frame_size;
    p->tx_entries = p->tx_per_block * cfg->tx_blocks;
    p->tx_status = blocks ? offsetof(struct tpacket3_hdr, tp_status)
                          : offsetof(struct tpacket2_hdr, tp_status);
    p->tx_len = blocks ? offsetof(struct tpacket3_hdr, tp_len) : offsetof(struct tpacket2_hdr, tp_len);
    p->tx_data = (uint32_t)((blocks ? TPACKET3_HDRLEN : TPACKET2_HDRLEN) - sizeof(struct sockaddr_ll));
}

struct netdev *packet_new(int fd, const struct packet_config *cfg)
{
    struct packet_port *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->fd = fd;
    p->interface = (struct link_state){.fd = fd, .ifindex = bound_to(fd)};
    p->filter = cfg->filter;
    p->room = cfg->mtu + (cfg->layer == 2 ? L2_HEADER + L2_TAG : 0);
    p->map_len = (size_t)cfg->rx_block_size * cfg->rx_blocks + (size_t)cfg->tx_block_size * cfg->tx_blocks;
    p->map = mmap(NULL, p->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (p->map == MAP_FAILED) {
        int err = errno;
        free(p);
        errno = err;
        return NULL;
    }
    madvise(p->map, p->map_len, MADV_DONTFORK);
    lay_out(p, cfg);
    p->dev = (struct netdev){.rx_burst = cfg->version == TPACKET_V3 ? rx_burst_v3 : rx_burst_v2,
                             .tx_burst = packet_tx_burst,
                             .arm = packet_arm,
                             .close = packet_close,
                             .forked = packet_forked,
                             .set_addrs = cfg->share ? packet_set_addrs : NULL,
                             .xstats = packet_xstats,
                             .caps = NETDEV_VNET_HDR | NETDEV_RX_CSUM | NETDEV_RX_GSO,
                             .mtu = cfg->mtu,
                             .layer = cfg->layer};
    if (cfg->offload) {
        p->dev.caps |= NETDEV_TX_CSUM | NETDEV_TSO4 | (cfg->uso ? NETDEV_USO4 : 0);
        p->dev.tso_max = PACKET_TSO_MAX;
    }
    memcpy(p->dev.mac, cfg->mac, 6);
    snprintf(p->dev.name, sizeof p->dev.name, "%s", cfg->name);
    return &p->dev;
}
