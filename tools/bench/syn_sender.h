/* SPDX-License-Identifier: MIT */
/* SYNs from made-up sources of 198.19.0.0/16, as fast as asked or as the machine can. */
#ifndef BW_SYN_SENDER_H
#define BW_SYN_SENDER_H

#include <stdint.h>

/* cdef:begin */
struct syn_flood {
    int fd; /* AF_PACKET, SOCK_RAW, bound to an Ethernet interface */
    uint8_t src_mac[6], dst_mac[6];
    uint8_t dst[4]; /* IPv4 */
    uint16_t port;
    uint32_t rate;   /* a second; 0: no pause */
    uint32_t share;  /* of a processor that it may use, in thousandths; 0: all */
    int64_t seconds; /* ns it lasts */
    uint64_t seed;
    uint64_t sent, refused; /* results: frames taken by the interface, and not */
    int64_t took, cpu;      /* ns */
};
/* 0, or -errno. Lets nobody else run in the calling thread meanwhile. */
int syn_flood_run(struct syn_flood *f);
/* cdef:end */

#endif
