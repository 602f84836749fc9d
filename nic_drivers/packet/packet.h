/* SPDX-License-Identifier: MIT */
/* AF_PACKET: an interface of the kernel's, through rings that the kernel maps into this process.
 *
 * Python opens, binds and configures the socket (packet.py) and hands it over with its rings set up.
 * Receive lends frames where they lie in the ring and gives them back at the next burst; transmit
 * copies into the mapped ring and tells the kernel once a burst. PACKET_VNET_HDR is set, because a
 * sender on the same machine leaves checksums and segmentation undone; we may as well. */
#ifndef BW_PACKET_H
#define BW_PACKET_H

#include "../netdev.h"

/* cdef:begin */
enum { PACKET_TSO_MAX = 60000 }; /* with any alignment it fits the 17 pages a socket buffer may hold */
struct packet_config {
    const char *name;
    uint32_t mtu;
    uint8_t layer;   /* 2, or 3 where the interface has no link header */
    uint8_t version; /* TPACKET_V2 (1) or TPACKET_V3 (2) */
    uint8_t offload; /* 1: checksums and segmentation are left to the interface */
    uint8_t uso;     /* 1: of UDP's super-segments too; needs offload */
    uint8_t share;   /* 1: the stack has the interface's MAC address; set_addrs sets the filter */
    uint8_t filter;  /* 1: the socket has a filter */
    uint8_t mac[6];
    /* As given to PACKET_RX_RING and PACKET_TX_RING. */
    uint32_t rx_block_size, rx_blocks, rx_frame_size;
    uint32_t tx_block_size, tx_blocks, tx_frame_size;
};
/* fd: bound, with PACKET_VNET_HDR and its rings; the device's from now on. NULL: errno says why, the caller keeps fd. */
struct netdev *packet_new(int fd, const struct packet_config *cfg);
/* cdef:end */

#endif
