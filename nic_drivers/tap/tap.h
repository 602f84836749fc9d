/* SPDX-License-Identifier: MIT */
/* TAP and TUN: one read or writev a frame on a descriptor of /dev/net/tun, or on one of several: each is
 * a queue of the interface.
 *
 * Python opens, names and configures the interface (tap.py) and hands the descriptor over. The
 * device is TX_SYNC: writev gathers straight from the send queue, no copy of ours. With the
 * virtio-net header, checksums stay unfinished in both directions, and TCP travels in
 * super-segments of up to 64 KB: the data never leaves the machine, or the kernel finishes and cuts
 * it when it forwards. */
#ifndef BW_TAP_H
#define BW_TAP_H

#include "../netdev.h"

/* cdef:begin */
enum {
    TAP_TSO_MAX = 65535 - 60 - 60, /* payload of an IP packet whose headers are as long as can be */
    TAP_QUEUES_MAX = 16,
};
struct tap_config {
    const char *name;
    uint32_t mtu;
    uint8_t layer;   /* 2: TAP, 3: TUN */
    uint8_t vnet;    /* 1: frames travel with a virtio-net header */
    uint8_t offload; /* 1: TUN_F_CSUM is set: checksums may be left unfinished; needs vnet */
    uint8_t gso;     /* 1: TUN_F_TSO4 is set too: super-segments both ways; needs offload */
    uint8_t uso;     /* 1: TUN_F_USO4 too: so do UDP's; needs gso */
    uint8_t mac[6];
    int guard;              /* descriptor of the SYN guard's map, the device's from now on; -1: none */
    uint8_t queues;         /* used entries of fd[] */
    int fd[TAP_QUEUES_MAX]; /* non-blocking, attached by TUNSETIFF */
};
extern const unsigned tap_uso; /* TUN_F_USO4 and TUN_F_USO6, for TUNSETOFFLOAD */
/* The descriptors are the device's from now on. NULL: errno says why, the caller keeps them. */
struct netdev *tap_new(const struct tap_config *cfg);
/* cdef:end */

#endif
