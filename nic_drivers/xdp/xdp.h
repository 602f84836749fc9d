/* SPDX-License-Identifier: MIT */
/* AF_XDP: the frames of an interface in memory that the kernel and this process share.
 *
 * An XDP program of ours (steer.bpf.c) sends what is the stack's to the socket of its queue and passes
 * the rest to the kernel. Receive lends frames where they lie; transmit copies into frames of the
 * driver's own, finishing checksums in the same pass. The program is attached as a BPF link and the
 * sockets are this process's, so nothing is left when it ends, however it ends. Stacks that share an
 * interface, a queue each, hold the link together (program.c), and get by a packet socket what their
 * queue does not bring (group.c). */
#ifndef BW_XDP_H
#define BW_XDP_H

#include "../netdev.h"

/* cdef:begin */
enum { XDP_QUEUES_MAX = 16, XDP_CHUNK_MAX = 4096, XDP_ERROR_MAX = 160, XDP_VERDICTS = 5 };
enum { XDP_MODE_AUTO, XDP_MODE_NATIVE, XDP_MODE_GENERIC, XDP_MODE_ZEROCOPY };
enum { XDP_STEER_OWN, XDP_STEER_SHARE, XDP_STEER_ALL };
struct xdp_config {
    const char *name; /* of the interface */
    uint32_t ifindex, mtu;
    uint32_t queue, queues; /* the first, and how many */
    uint32_t ring;          /* entries of each ring, a power of two */
    uint32_t busy_poll;     /* us a call may poll the device, 0: off */
    uint32_t syn_guard;     /* SYNs a second let in at first sight; 0: all */
    uint64_t guard_key;     /* secret */
    uint8_t mode;           /* XDP_MODE_* */
    uint8_t steer;          /* XDP_STEER_* */
    uint8_t hugepages;      /* 1: only on huge pages */
    uint8_t pseudo;         /* 1: a checksum that is the pseudo header's sum is taken as unfinished */
    uint8_t mac[6];
    uint8_t group;       /* above 1: so many stacks share the interface, and this is number `queue` */
    uint16_t filter_len; /* of a group: instructions of ... */
    uint16_t table_len;  /* of a card's indirection table; 0: the stacks have flows by the port */
    uint8_t rss_key[40], table[512];
    const uint8_t *filter; /* ... the classic BPF for what comes to this stack beside its queue */
};
/* What an open device runs as. */
struct xdp_info {
    uint8_t native, zerocopy, hugepages, frags;
};
/* A program of ours on some interface, and its verdicts. */
struct xdp_running {
    uint32_t ifindex; /* in the network namespace of its interface; 0: the interface is gone */
    uint32_t program; /* id */
    struct netdev_xstat verdict[XDP_VERDICTS];
};
/* Opens sockets and attaches the program, in the calling thread's network namespace. NULL: *err is a
 * positive errno, and text (XDP_ERROR_MAX bytes) says what failed. */
struct netdev *xdp_new(const struct xdp_config *cfg, int *err, char *text);
void xdp_get_info(struct netdev *dev, struct xdp_info *info);
/* Those of all processes; how many, or -errno (-EPERM without CAP_SYS_ADMIN). */
int xdp_list_running(struct xdp_running *out, int max);
/* cdef:end */

#endif
