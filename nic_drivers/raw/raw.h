/* SPDX-License-Identifier: MIT */
/* Raw IP: bare IPv4 packets on an interface and an address that are the kernel's (layer 3, no ARP).
 *
 * Python opens the sockets (raw.py) and hands them over: a packet socket, whose BPF filter lets in what
 * is for the stack's ports, because it sees packets before the firewall does; and a raw IP socket, which
 * sends by the kernel's routes. What keeps the kernel from answering for those ports is held open with
 * them, and goes with them. */
#ifndef BW_RAW_H
#define BW_RAW_H

#include "../netdev.h"

/* cdef:begin */
enum { RAW_HELD = 2 };
struct raw_config {
    const char *name;
    uint32_t mtu;
    uint8_t link_header; /* bytes before the IP header of a frame received */
    uint8_t tcp;         /* 0: the kernel would answer for the stack: TCP is not sent */
    uint8_t pad[2];
    int rx_fd;          /* AF_PACKET, SOCK_RAW, with PACKET_VNET_HDR; bound */
    int tx_fd;          /* AF_INET, SOCK_RAW, with IP_HDRINCL */
    int held[RAW_HELD]; /* closed with the device; -1: none */
};
/* The descriptors are the device's from now on. NULL: no memory, the caller keeps them. */
struct netdev *raw_new(const struct raw_config *cfg);
/* cdef:end */

#endif
