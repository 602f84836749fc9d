/* SPDX-License-Identifier: MIT */
/* Fuzzing the packet driver's rings (TPACKET_V2 and V3). The kernel's part is played here: its headers are as the
 * kernel writes them, and what came from others, the frame, its virtio-net header, its tag, is the input's.
 * Each entry is taken once, lent whole, and given back. */
#include "../../nic_drivers/packet/packet.c"
#include "exact.h"

enum { FRAME = 2048, BLOCK = 8192, BLOCKS = 2, MAC_AT = 96 /* room for header, vnet header and tag */ };

struct ring {
    struct packet_port p;
    struct input *in;
    uint32_t at;            /* the entry that the kernel fills next */
    uint32_t filled, taken; /* frames */
};

static void set_up(struct ring *r, int version, int layer)
{
    static const struct packet_config cfg = {.rx_block_size = BLOCK,
                                             .rx_blocks = BLOCKS,
                                             .rx_frame_size = FRAME,
                                             .tx_block_size = BLOCK,
                                             .tx_blocks = BLOCKS,
                                             .tx_frame_size = FRAME};
    struct packet_config mine = cfg;
    mine.version = (uint8_t)version;
    struct packet_port *p = &r->p;
    p->fd = -1;
    p->room = 1500 + (layer == 2 ? L2_HEADER + L2_TAG : 0);
    p->map = calloc(2, (size_t)BLOCK * BLOCKS);
    MUST(p->map);
    lay_out(p, &mine);
    p->dev = (struct netdev){.rx_burst = version == TPACKET_V3 ? rx_burst_v3 : rx_burst_v2,
                             .caps = NETDEV_VNET_HDR | NETDEV_RX_CSUM | (layer == 2 ? NETDEV_RX_GSO : 0),
                             .mtu = 1500,
                             .layer = (uint8_t)layer};
}

/* A frame with its virtio-net header at `mac`, bytes of the ring; its length. */
static uint32_t put_received(struct ring *r, uint8_t *mac)
{
    uint8_t packet[FRAME - MAC_AT], hdr[VNET_HDR_LEN] = {0};
    uint32_t len = exact_packet(r->in, r->p.dev.layer, packet, sizeof packet);
    take_bytes(r->in, hdr, take8(r->in) & 1 ? sizeof hdr : 0);
    memcpy(mac - VNET_HDR_LEN, hdr, sizeof hdr);
    memcpy(mac, packet, len);
    return len;
}

static uint32_t marks(struct ring *r)
{
    uint8_t how = take8(r->in);
    return (how & 1 ? TP_STATUS_VLAN_VALID : 0) | (how & 2 ? TP_STATUS_VLAN_TPID_VALID : 0) |
           (how & 4 ? TP_STATUS_COPY : 0);
}

static void kernel_fills_v2(struct ring *r)
{
    uint8_t *entry = rx_entry(&r->p, r->at);
    struct tpacket2_hdr *h = (void *)entry;
    if (status_of(entry) != TP_STATUS_KERNEL)
        return;
    h->tp_mac = MAC_AT;
    h->tp_snaplen = put_received(r, entry + MAC_AT);
    h->tp_len = h->tp_snaplen + (take8(r->in) > 240 ? 100 : 0); /* cut off: the ring's frames are small */
    h->tp_vlan_tci = take16(r->in);
    h->tp_vlan_tpid = 0x88a8;
    set_status(entry, TP_STATUS_USER | marks(r));
    r->at = (r->at + 1) % r->p.rx_entries;
    r->filled++;
}

static void kernel_fills_v3(struct ring *r)
{
    uint8_t *block = rx_entry(&r->p, r->at);
    struct tpacket_block_desc *d = (void *)block;
    uint8_t *status = block + offsetof(struct tpacket_block_desc, hdr.bh1.block_status);
    uint32_t n = take8(r->in) % 4, at = sizeof *d + 8;
    if (status_of(status) != TP_STATUS_KERNEL)
        return;
    d->hdr.bh1.num_pkts = n;
    d->hdr.bh1.offset_to_first_pkt = at;
    for (uint32_t i = 0; i < n; i++) {
        struct tpacket3_hdr *h = (void *)(block + at);
        h->tp_mac = MAC_AT;
        h->tp_snaplen = put_received(r, block + at + MAC_AT);
        h->tp_len = h->tp_snaplen + (take8(r->in) > 240 ? 100 : 0);
        h->tp_status = marks(r);
        h->hv1.tp_vlan_tci = take16(r->in);
        h->hv1.tp_vlan_tpid = 0x88a8;
        h->tp_next_offset = i + 1 < n ? (MAC_AT + h->tp_snaplen + 15) & ~15u : 0;
        at += (MAC_AT + h->tp_snaplen + 15) & ~15u;
    }
    set_status(status, TP_STATUS_USER);
    r->at = (r->at + 1) % r->p.rx_entries;
    r->filled += n;
}

static int takes(struct ring *r)
{
    struct rx_frame frames[8];
    const uint8_t *ring = r->p.map, *end = ring + (size_t)BLOCK * BLOCKS;
    uint64_t dropped = r->p.dev.stats.rx_dropped;
    int n = r->p.dev.rx_burst(&r->p.dev, 1, frames, 1 + take8(r->in) % 8);
    MUST(n >= 0 && n <= 8);
    for (int i = 0; i < n; i++) {
        MUST(frames[i].data > ring && frames[i].data + frames[i].len <= end && frames[i].len);
        MUST(frames[i].gso_size ? r->p.dev.caps & NETDEV_RX_GSO : frames[i].len <= r->p.room + VLAN_TAG);
        frames[i].data[frames[i].len - 1] ^= 1; /* the stack may write there */
    }
    r->taken += (uint32_t)n + (uint32_t)(r->p.dev.stats.rx_dropped - dropped);
    return n;
}

/* The kernel has sent what it likes of the transmit ring; a frame goes in. */
static void sends(struct ring *r)
{
    struct packet_port *p = &r->p;
    uint8_t packet[3000], done = take8(r->in);
    for (uint32_t i = 0; i < p->tx_entries && i < done; i++)
        set_status(tx_entry(p, i) + p->tx_status, TP_STATUS_AVAILABLE);
    uint32_t len = exact_packet(r->in, p->dev.layer, packet, sizeof packet), cut = take8(r->in);
    cut = cut < len ? cut : len;
    struct tx_frame f = {.piece = {{packet, cut}, {packet + cut, len - cut}}, .pieces = 2, .len = len};
    f.gso_size = take8(r->in) & 1 ? 500 : 0;
    f.csum_partial = f.gso_size != 0;
    packet_tx_burst(&p->dev, 1, &f, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct ring r = {.in = &in};
    uint8_t how = take8(&in);
    int v3 = how & 1;
    set_up(&r, v3 ? TPACKET_V3 : TPACKET_V2, how & 2 ? 2 : 3);
    while (in.left)
        switch (take8(&in) % 4) {
        case 0: sends(&r); break;
        case 1: takes(&r); break;
        default: v3 ? kernel_fills_v3(&r) : kernel_fills_v2(&r);
        }
    while (rx_ready(&r.p)) /* empty blocks are taken without a frame */
        takes(&r);
    MUST(r.taken == r.filled);
    for (uint32_t i = 0; i < r.p.rx_entries; i++)
        MUST(status_of(rx_entry(&r.p, i) + (v3 ? offsetof(struct tpacket_block_desc, hdr.bh1.block_status)
                                               : 0)) == TP_STATUS_KERNEL);
    free(r.p.map);
    return 0;
}
