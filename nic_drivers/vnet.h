/* SPDX-License-Identifier: MIT */
/* The virtio-net header that TAP and AF_PACKET put before a frame: what is left undone in it. */
#ifndef BW_VNET_H
#define BW_VNET_H

#include <string.h>

#include <linux/virtio_net.h>

#include "netdev.h"
#include "uapi_compat.h"

enum {
    VNET_HDR_LEN = 10, /* struct virtio_net_hdr */
    VNET_UDP_SUM = 6,  /* where UDP has its checksum; TCP at 16 */
};

/* 0: a super-segment that was not agreed on, or without its segment size. */
static inline int vnet_parse(const uint8_t *p, uint32_t caps, struct rx_frame *f)
{
    struct virtio_net_hdr hdr;
    memcpy(&hdr, p, sizeof hdr);
    if (hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        if (!(caps & NETDEV_RX_GSO) || !hdr.gso_size)
            return 0;
        f->gso_size = hdr.gso_size;
    }
    if (hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        f->csum = BW_CSUM_PARTIAL;
    else if (hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID)
        f->csum = BW_CSUM_VALID;
    return 1;
}

static inline void vnet_build(struct virtio_net_hdr *hdr, const struct tx_frame *f)
{
    *hdr = (struct virtio_net_hdr){0};
    if (f->csum_partial) {
        hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
        hdr->csum_start = f->csum_start;
        hdr->csum_offset = f->csum_offset;
    }
    if (f->gso_size) {
        hdr->gso_type = f->csum_offset == VNET_UDP_SUM ? BW_VIRTIO_NET_HDR_GSO_UDP_L4
                                                       : VIRTIO_NET_HDR_GSO_TCPV4;
        hdr->gso_size = f->gso_size;
        hdr->hdr_len = (uint16_t)f->piece[0].len;
    }
}

#endif
