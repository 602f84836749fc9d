/* SPDX-License-Identifier: MIT */
/* The driver's own view of an open device: setup.c makes it, rings.c moves its frames. */
#ifndef BW_XDP_DEVICE_H
#define BW_XDP_DEVICE_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <xdp/xsk.h>

#include "../link_state.h"
#include "../uapi_compat.h"
#include "steer.h"
#include "xdp.h"

enum { XDP_L2_HEADER = 14, XDP_L2_TAG = 4 };

/* Why the driver dropped a frame, and how many unfinished checksums it took for right. */
enum {
    RX_EMPTY,
    RX_TOO_LONG,
    TX_LENGTH,
    TX_DOWN,
    TX_REFUSED,
    RX_UNFINISHED,
    GROUP_FRAMES,
    GROUP_DROPPED,
    XDP_COUNTS
};
enum { GROUP_LOOK = 20000, GROUP_BURST = 8, GROUP_ROOM = 65664, GROUP_BUFFER = 1 << 20 };

struct xdp_queue {
    int fd;
    struct xsk_socket *socket;
    struct xsk_ring_prod fill, tx;
    struct xsk_ring_cons comp, rx;
    uint64_t *lent; /* chunks of the last burst, `ring` at most */
    uint32_t lent_len;
};

struct xdp {
    struct netdev dev;
    uint64_t count[XDP_COUNTS];
    int failed; /* positive errno: the interface is gone; 0: it is there */
    struct link_state interface;
    int fd;      /* to sleep on: the socket's, or an epoll of all */
    int control; /* a packet socket, to look at the interface with and hold its filter open */
    int ifindex;
    uint32_t queues, ring, chunk, room, slot_chunks, next_queue;
    uint8_t pseudo, shares, frags, native, zerocopy, hugepages, busy_poll;
    int kick; /* frames wait that the kernel was not told of */
    struct netdev_memory memory;
    uint8_t *umem; /* it lies there */
    size_t umem_len;
    struct xsk_umem *xsk;
    uint8_t *joined;     /* BW_RX_BURST frames of several chunks, with frags */
    uint32_t *free_slot; /* slots to send from */
    uint8_t *slot_left;  /* chunks of a slot that the kernel still has */
    uint32_t free_len;
    uint64_t tx_base;                 /* address of slot 0 */
    int link, verdicts, addrs, guard; /* descriptors: of the BPF link, of maps; guard -1: it is off */
    uint8_t group;                    /* above 1: stacks share the interface (group.c) */
    uint8_t group_turn;               /* the last burst came from there */
    int64_t group_look;               /* when to look there again */
    uint8_t *group_frames;            /* GROUP_BURST of GROUP_ROOM bytes */
    struct xdp_queue queue[XDP_QUEUES_MAX];
};

/* The XDP program, compiled; the build defines it. */
extern const unsigned char xdp_steer_object[];
extern const unsigned long xdp_steer_object_len;

/* setup.c: fails with a positive errno and a sentence. */
int xdp_fail(char *text, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* program.c: 0 or a positive errno and text. */
int xdp_start_program(struct xdp *x, const struct xdp_config *cfg, char *text);
void xdp_close_program(struct xdp *x);
/* group.c */
int xdp_group_open(struct xdp *x, const struct xdp_config *cfg, char *text);
int xdp_group_receive(struct xdp *x, int64_t now, struct rx_frame *frames, int max);
void xdp_group_count(struct xdp *x);
/* rings.c */
int xdp_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max);
int xdp_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n);
int xdp_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm);
void xdp_fill_all(struct xdp *x);
/* counters.c */
int xdp_xstats(struct netdev *dev, struct netdev_xstat *out, int max);
/* The XDP program's counters, summed over the CPUs: VERDICTS values. 0 or -errno. */
int xdp_read_verdicts(int map, uint64_t *values);
extern const char *const xdp_verdict_names[];

#endif
