/* SPDX-License-Identifier: MIT */
/* The driver's own view of EAL, of a port, and of an open device of it: eal.c starts the first, port.c
 * makes the others, burst.c moves frames. */
#ifndef BW_DPDK_DEVICE_H
#define BW_DPDK_DEVICE_H

#include <pthread.h>
#include <stdio.h>

#include <rte_config.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "../link_state.h"
#include "dpdk.h"

enum {
    DPDK_L2_HEADER = 14,
    DPDK_L2_TAGS = 8,
    DPDK_TSO_MAX = 65280, /* with its headers it is an IP packet */
    DPDK_LONGEST = 65535 + DPDK_L2_HEADER + DPDK_L2_TAGS,
};

/* What DPDK logged as errors since it was cleared: it never reaches the program's own output. */
struct dpdk_log {
    pthread_mutex_t lock;
    FILE *stream;
    size_t len;
    char text[DPDK_ERROR_MAX];
};

struct dpdk_port {
    char devargs[DPDK_DEVARGS_MAX + 1];
    char name[DPDK_NAME_MAX];
    uint32_t refs, taken; /* devices; a bit for each queue that one has */
    uint16_t id, queues, ring;
    uint8_t started;
    uint8_t irq;        /* 1: receive interrupts */
    int netns;          /* the namespace it was made in */
    int kernel_index;   /* of the kernel's interface under it, 0: none */
    uint32_t mtu, room; /* room: bytes of a frame in one mbuf */
    uint64_t rx_offloads, tx_offloads;
    struct rte_device *device;
    struct rte_mempool *pool;
    char driver[32];
};

struct dpdk_eal {
    pthread_mutex_t lock; /* of ports, while one is opened or closed */
    struct dpdk_log log;
    uint32_t pools; /* made so far */
    struct dpdk_port *ports[DPDK_PORTS_MAX];
};

struct dpdk {
    struct netdev dev;
    struct dpdk_eal *eal;
    struct dpdk_port *port;
    int failed;                  /* positive errno; 0: none */
    struct link_state interface; /* of the kernel's interface under the port; its socket -1: none */
    int epoll;                   /* with receive interrupts, else -1 */
    uint16_t queue, queues, next_queue;
    uint8_t sleeping, was_up, may_sleep, down_looks;
    uint64_t rx_too_long, tx_refused, tx_down;
    uint16_t lent_len, stash_len;
    struct rte_mbuf *lent[BW_RX_BURST];  /* of the last burst */
    struct rte_mbuf *stash[BW_RX_BURST]; /* came in while arm() looked */
    uint8_t *joined;                     /* BW_RX_BURST frames that came in several mbufs */
    uint32_t longest;                    /* bytes of such a frame */
};

/* eal.c */
void dpdk_log_clear(struct dpdk_log *log);
int dpdk_fail(struct dpdk_eal *eal, char *text, int err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* port.c */
struct dpdk_port *dpdk_port_open(struct dpdk_eal *eal, const struct dpdk_config *cfg, int *err, char *text);
void dpdk_port_close(struct dpdk_eal *eal, struct dpdk_port *port, uint32_t queues); /* a bit each */
uint32_t dpdk_queue_bits(uint32_t queue, uint32_t queues);

/* burst.c */
void dpdk_leave_sleep(struct dpdk *d);
int dpdk_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max);
int dpdk_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n);
int dpdk_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm);

#endif
