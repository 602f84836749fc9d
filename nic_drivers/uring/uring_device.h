/* SPDX-License-Identifier: MIT */
/* The driver's own view of an open device: setup.c makes it, receive.c and transmit.c move its frames. */
#ifndef BW_URING_DEVICE_H
#define BW_URING_DEVICE_H

#define _GNU_SOURCE
#include <liburing.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../link_state.h"
#include "../uapi_compat.h"
#include "../vnet.h"
#include "uring.h"

enum {
    URING_IP_AT = 128, /* the IP header of a received frame starts a cache line */
    URING_READS = 4,   /* most frames that a look reads one by one */
    URING_GROUP = 0,   /* of the ring of receive buffers */
    URING_SLOTS = 256, /* frames the kernel's thread may have, with sqpoll */
    URING_CONTROL = CMSG_SPACE(sizeof(struct tpacket_auxdata)),
};

/* Why a frame was dropped, and what else only this driver counts. */
enum {
    URING_RX_TOO_LONG,
    URING_RX_MALFORMED,
    URING_TX_TOO_LONG,
    URING_TX_DOWN,
    URING_TX_REFUSED,
    URING_ENTERS,     /* system calls for receiving */
    URING_ARMED,      /* receive requests made */
    URING_MOVED,      /* of them, because another thread drives now */
    URING_CANCELLED,  /* receive requests that ended with the thread that made them */
    URING_NO_BUFFERS, /* or because no buffer was free */
    URING_WITHDRAWN,  /* or because the thread spins, ... */
    URING_READ_CALLS, /* ... and reads instead: looks by a system call of their own */
    URING_KERNEL_SEEN,
    URING_KERNEL_DROPPED,
    URING_XSTATS
};

/* One frame to transmit as the kernel reads it. */
struct uring_gather {
    struct virtio_net_hdr hdr;
    struct msghdr message;
    struct iovec iov[BW_TX_PIECES + 1];
};

struct uring {
    struct netdev dev;
    int fd;
    int guard;                   /* the SYN guard's map, or -1 */
    int failed;                  /* positive errno; 0: none */
    struct link_state interface; /* of a packet socket */
    int started;
    uint8_t packet, filter, multishot, dedicated, sqpoll;
    uint32_t vnet, l2;   /* bytes of virtio-net header, and of link header, before the IP header */
    uint32_t room, most; /* longest frame that is no super-segment, and of all */
    uint64_t xstats[URING_XSTATS];

    struct io_uring rx;
    int event_fd; /* with dedicated: the ring's own does not tell of work that is deferred; else -1 */
    struct io_uring_buf_ring *buffers;
    struct netdev_memory memory;           /* the ring of buffers, the buffers, the slots */
    uint8_t *rx_base, *own_base, *tx_base; /* the kernel fills these; plain reads do; frames to send */
    uint32_t ring, stride, prefix;         /* prefix: bytes the kernel writes before the virtio-net header */
    int armed;                             /* a receive request stands, ... */
    uint64_t serial;                       /* ... this one, ... */
    pthread_t owner;                       /* ... made by this thread */
    int standing;                          /* requests that have not ended, the cancelled too */
    int quiet;                             /* looks at nothing in a row, since the last sleep */
    int reads; /* frames the next look may read one by one; 0: a request stands for all */
    uint16_t lent[BW_RX_BURST];
    int lent_len;
    struct msghdr message; /* RECVMSG: how much of which; it outlives the request */
    struct iovec payload;
    uint8_t control[URING_CONTROL];

    struct io_uring tx;
    struct uring_gather gather[BW_TX_BURST];
    uint16_t slots[URING_SLOTS]; /* free ones, with sqpoll */
    int slots_len;
};

/* receive.c */
void uring_cancel_all(struct uring *u);
int uring_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max);
int uring_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm);
void uring_give_all(struct uring *u);

/* transmit.c */
int uring_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n);
void uring_reap_slots(struct uring *u);

/* setup.c: enables the rings for the calling thread, once. 0 or -errno. */
int uring_start(struct uring *u);

/* Has the descriptor lost its interface for good? */
static inline int uring_gone(int err)
{
    return err == EBADFD || err == EBADF || err == ENODEV || err == ENXIO;
}

/* What a receive failed with: the interface is gone, or down (a packet socket says so once), or another errno. */
static inline void uring_receive_failed(struct uring *u, int err)
{
    if (err == ENETDOWN)
        link_lost(&u->interface, &u->dev);
    else
        u->failed = uring_gone(err) ? ENETDOWN : err;
}

/* Of a device that is down: is its interface back, or gone? */
static inline void uring_look(struct uring *u, int64_t now)
{
    if (u->dev.down && !u->failed)
        u->failed = link_look(&u->interface, &u->dev, now);
}

#endif
