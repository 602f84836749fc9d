/* SPDX-License-Identifier: MIT */
/* Floods, as fast as asked or as the machine can: SYNs from made-up sources of 198.19.0.0/16, or the frames
 * of a table. */
#ifndef BW_SYN_SENDER_H
#define BW_SYN_SENDER_H

#include <stdint.h>

/* cdef:begin */
struct flood_pace {
    int fd;                 /* AF_PACKET, SOCK_RAW, bound to an Ethernet interface */
    uint32_t rate;          /* a second; 0: no pause */
    uint32_t share;         /* of a processor that it may use, in thousandths; 0: all */
    int64_t seconds;        /* ns it lasts */
    uint64_t sent, refused; /* results: frames taken by the interface, and not */
    int64_t took, cpu;      /* ns */
};
struct syn_flood {
    struct flood_pace pace;
    uint8_t src_mac[6], dst_mac[6];
    uint8_t dst[4]; /* IPv4 */
    uint16_t port;
    uint64_t seed;
};
/* `count` frames of `len` bytes, one behind the other; sent in turn. */
struct frame_flood {
    struct flood_pace pace;
    const uint8_t *frames;
    uint32_t count, len;
};
/* 0, or -errno. Lets nobody else run in the calling thread meanwhile. */
int syn_flood_run(struct syn_flood *f);
int frame_flood_run(struct frame_flood *f);
/* cdef:end */

#endif
