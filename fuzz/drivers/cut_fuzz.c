/* SPDX-License-Identifier: MIT */
/* Fuzzing what drivers do with frames in memory: super-segments cut into frames (gso.h), checksums finished
 * while a frame is flattened (gather.h), virtio-net headers read and built (vnet.h), VLAN tags put back, and
 * the fault device, which does the most of it to what another device receives. */
#include "../../nic_drivers/fault/fault.c"
#include "../../nic_drivers/vlan_tag.h"
#include "../../nic_drivers/vnet.h"
#include "exact.h"

enum { ROOM = 4000, HELD = 8 };

/* ---- cutting ------------------------------------------------------------------------------------------- */

/* A frame of the cut: its headers agree with its length, and its checksum is right when finished. */
static void look_at_cut(const struct gso_cut *c, const struct tx_frame *tx)
{
    uint8_t *flat = malloc(tx->len);
    MUST(flat && tx->pieces == 2 && tx->piece[0].len + tx->piece[1].len == tx->len);
    bw_gather(flat, tx);
    const uint8_t *ip = flat + c->l3;
    uint32_t l4_len = tx->len - c->l4;
    MUST(get16(ip + 2) == tx->len - c->l3);
    MUST(bw_sum_fold(bw_sum(ip, c->l4 - c->l3, 0)) == 0);
    uint8_t tail[4] = {0, c->proto, (uint8_t)(l4_len >> 8), (uint8_t)l4_len};
    uint64_t pseudo = bw_sum(tail, 4, bw_sum(ip + 12, 8, 0));
    if (l4_len > tx->csum_offset + 1u)
        MUST(bw_sum_fold(bw_sum(flat + c->l4, l4_len, pseudo)) == 0);
    free(flat);
}

static void cut(struct input *in)
{
    uint8_t packet[ROOM], how = take8(in);
    int layer = how & 1 ? 2 : 3;
    uint32_t size = how & 2 ? take16(in) : 1 + how, len = exact_packet(in, layer, packet, ROOM);
    uint8_t *frame = exact_copy(packet, len);
    struct gso_cut c;
    struct tx_frame tx;
    if (gso_begin(&c, frame, len, layer, size)) {
        uint32_t payload = 0, frames = 0;
        while (gso_next(&c, &tx)) {
            MUST(tx.piece[1].data == frame + c.headers + payload && tx.piece[1].len <= size);
            payload += tx.piece[1].len;
            frames++;
            look_at_cut(&c, &tx);
        }
        MUST(payload == len - c.headers && frames == (payload + size - 1) / size);
    }
    free(frame);
}

/* ---- headers beside a frame ----------------------------------------------------------------------------- */

static void vnet(struct input *in)
{
    uint8_t given[VNET_HDR_LEN] = {0}, caps = take8(in);
    take_bytes(in, given, sizeof given);
    uint8_t *hdr = exact_copy(given, VNET_HDR_LEN);
    struct rx_frame f = {.csum = BW_CSUM_UNKNOWN};
    int taken = vnet_parse(hdr, caps & 1 ? NETDEV_RX_GSO : 0, &f);
    MUST(!taken || !f.gso_size || (caps & 1));
    MUST(f.csum <= BW_CSUM_PARTIAL);
    struct tx_frame tx = {
        .pieces = 1, .gso_size = f.gso_size, .csum_offset = caps & 2 ? 6 : 16, .csum_start = 34};
    tx.piece[0].len = 54;
    tx.csum_partial = f.csum == BW_CSUM_PARTIAL;
    struct virtio_net_hdr built;
    vnet_build(&built, &tx);
    MUST(!f.gso_size == (built.gso_type == VIRTIO_NET_HDR_GSO_NONE));
    struct rx_frame again = {0};
    MUST(vnet_parse((const uint8_t *)&built, NETDEV_RX_GSO, &again) && again.gso_size == f.gso_size);
    free(hdr);
}

static void vlan(struct input *in)
{
    uint8_t packet[ROOM];
    uint32_t len = exact_packet(in, 2, packet + VLAN_TAG, ROOM - VLAN_TAG);
    len = len < 14 ? 14 : len; /* the kernel gives no shorter one */
    uint8_t *memory = exact_copy(packet, VLAN_TAG + len);
    struct rx_frame f = {.data = memory + VLAN_TAG, .len = len};
    vlan_put_back(&f, take8(in) & 1 ? TP_STATUS_VLAN_TPID_VALID : 0, take16(in), 0x88a8);
    MUST(f.data == memory && f.len == len + VLAN_TAG);
    MUST(!memcmp(f.data, packet + VLAN_TAG, VLAN_AT));
    MUST(!memcmp(f.data + 16, packet + VLAN_TAG + VLAN_AT, len - VLAN_AT));
    free(memory);
}

/* A frame to transmit in pieces of any length, with a checksum that lies anywhere. */
static void gather(struct input *in)
{
    uint8_t packet[ROOM], plain[ROOM], *piece[BW_TX_PIECES];
    uint32_t len = exact_packet(in, 2, packet, 600), at = 0;
    struct tx_frame f = {.len = len, .csum_partial = take8(in) & 1};
    while (at < len && f.pieces < BW_TX_PIECES) {
        uint32_t n = f.pieces == BW_TX_PIECES - 1 ? len - at : take8(in) * 2u;
        n = n < len - at ? n : len - at;
        piece[f.pieces] = exact_copy(packet + at, n);
        f.piece[f.pieces] = (struct tx_piece){piece[f.pieces], n};
        f.pieces++;
        at += n;
    }
    f.csum_start = (uint16_t)(take8(in) < 200 ? take8(in) % (len + 1) : take16(in));
    f.csum_offset = (uint16_t)(take8(in) < 200 ? take8(in) % 20 : take16(in));
    uint8_t *flat = malloc(len ? len : 1);
    MUST(flat);
    bw_gather(flat, &f);
    uint32_t field = (uint32_t)f.csum_start + f.csum_offset;
    bw_gather_plain(plain, &f);
    if (f.csum_partial && field + 2 <= len) {
        uint16_t sum = bw_sum_fold(bw_sum(plain + f.csum_start, len - f.csum_start, 0));
        sum = sum ? sum : 0xffff;
        memcpy(plain + field, &sum, 2);
    }
    MUST(!memcmp(flat, plain, len));
    free(flat);
    for (int i = 0; i < f.pieces; i++)
        free(piece[i]);
}

/* ---- the fault device, over one that receives what the input says ------------------------------------------ */

struct source {
    struct netdev dev;
    struct input *in;
    uint8_t *lent;
};

static int source_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct source *s = (struct source *)dev;
    uint8_t packet[ROOM];
    free(s->lent);
    s->lent = NULL;
    if (!s->in->left)
        return 0;
    uint8_t how = take8(s->in);
    uint32_t len = exact_packet(s->in, dev->layer, packet, ROOM);
    s->lent = exact_copy(packet, len);
    *frames = (struct rx_frame){.data = s->lent, .len = len, .csum = how % 3};
    frames->gso_size = (uint16_t)(how & 4 ? 1 + how : how & 8 ? take16(s->in) : 0);
    return 1;
}

static int source_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    uint8_t *flat = malloc(frames->len ? frames->len : 1);
    MUST(flat && n == 1);
    bw_gather(flat, frames);
    free(flat);
    return take8(((struct source *)dev)->in) < 200;
}

static int source_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    *arm = (struct netdev_arm){.fd = -1, .deadline = INT64_MAX};
    return 0;
}

static void source_close(struct netdev *dev)
{
    free(((struct source *)dev)->lent);
}

static void fault(struct input *in)
{
    uint8_t how = take8(in);
    struct source s = {.in = in};
    s.dev = (struct netdev){.rx_burst = source_rx_burst,
                            .tx_burst = source_tx_burst,
                            .arm = source_arm,
                            .close = source_close,
                            .mtu = 1500,
                            .layer = how & 1 ? 2 : 3};
    struct fault_way way = {.loss = how & 2 ? 0.2 : 0,
                            .duplicate = how & 4 ? 0.3 : 0,
                            .reorder = how & 8 ? 0.3 : 0,
                            .corrupt = how & 16 ? 0.5 : 0,
                            .hold = 3000000,
                            .delay = how & 32 ? 2000000 : 0,
                            .jitter = how & 32 ? 1000000 : 0,
                            .rate = how & 64 ? 1e8 : 0,
                            .backlog = 5000,
                            .mark = how & 128 ? 0.5 : 0,
                            .mark_above = -1};
    struct fault_way ways[2] = {way, way};
    struct tally *tally;
    struct netdev *dev = fault_new(&s.dev, ways, how, HELD, &tally);
    MUST(dev);
    for (int64_t now = 1; in->left; now += 500000) {
        struct rx_frame frames[4];
        struct netdev_arm arm;
        int n = dev->rx_burst(dev, now, frames, 4);
        MUST(n <= 4);
        for (int i = 0; i < n; i++) {
            struct tx_frame tx = {
                .piece[0] = {frames[i].data, frames[i].len}, .pieces = 1, .len = frames[i].len};
            MUST(frames[i].len <= s.dev.mtu + 18);
            dev->tx_burst(dev, now, &tx, 1);
        }
        dev->arm(dev, now, 0, &arm);
    }
    dev->close(dev);
    tally_drop(tally);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    switch (take8(&in) % 5) {
    case 0: cut(&in); break;
    case 1: vnet(&in); break;
    case 2: vlan(&in); break;
    case 3: gather(&in); break;
    default: fault(&in);
    }
    return 0;
}
