/* SPDX-License-Identifier: MIT */
/* io_uring: a TAP descriptor or an AF_PACKET socket through rings shared with the kernel.
 *
 * One receive request stands for all frames (multishot) and fills buffers from a ring of them; a look at
 * the mapped ring costs no system call. A burst to transmit is one submit. Python opens the descriptor
 * (../tun.py, ../packet_socket.py) and hands it over. */
#ifndef BW_URING_H
#define BW_URING_H

#include "../netdev.h"

/* cdef:begin */
enum { URING_ERROR_MAX = 160, URING_RING_MAX = 4096 };
struct uring_config {
    const char *name; /* of the interface */
    uint32_t mtu;
    uint32_t ring;       /* receive buffers, a power of two */
    uint32_t sqpoll;     /* ms without work after which the kernel's submitting thread sleeps; 0: no thread */
    uint32_t sqpoll_cpu; /* which it is pinned to, with ... */
    uint8_t sqpoll_pinned;
    uint8_t layer;     /* 2 or 3 */
    uint8_t packet;    /* 1: an AF_PACKET socket with PACKET_VNET_HDR and PACKET_AUXDATA; 0: TAP or TUN */
    uint8_t share;     /* 1: the stack has the interface's MAC address; set_addrs sets the filter */
    uint8_t filter;    /* 1: the socket has a filter */
    uint8_t vnet;      /* 1: frames travel with a virtio-net header */
    uint8_t offload;   /* 1: what is sent may leave checksums unfinished; needs vnet */
    uint8_t gso;       /* 1: super-segments come in, and with offload go out; needs vnet */
    uint8_t uso;       /* 1: so do UDP's; needs gso */
    uint8_t multishot; /* 0: one request a frame, as on older kernels */
    uint8_t dedicated; /* 1: only the background thread drives */
    uint8_t hugepages; /* 1: only with buffers on huge pages */
    uint8_t mac[6];
    int guard; /* descriptor of the SYN guard's map; -1: none */
};
/* What this kernel's io_uring lacks, in one sentence; 0: nothing, else a positive errno. */
int uring_probe(char *text);
/* 1: this kernel can keep one receive request for many frames, on such a descriptor. */
int uring_has_multishot(int packet);
/* fd: non-blocking; it and cfg->guard are the device's from now on. NULL: *err is a positive errno, and text
 * (URING_ERROR_MAX bytes) says what failed; the caller keeps them. */
struct netdev *uring_new(int fd, const struct uring_config *cfg, int *err, char *text);
/* cdef:end */

#endif
