/* SPDX-License-Identifier: MIT */
/* DPDK's poll-mode drivers (ethdev): network cards without the kernel, and virtual devices.
 *
 * EAL, DPDK's environment, is started once in a process and stays; ports are plugged in and out by name
 * (devargs) while it runs. Receive lends mbufs where they lie; transmit copies into mbufs of the port's
 * pool, finishing checksums in the same pass where the port does not. Devices of one port share it:
 * each polls queues of its own, and the last one to close unplugs the port. */
#ifndef BW_DPDK_H
#define BW_DPDK_H

#include "../netdev.h"

/* cdef:begin */
enum {
    DPDK_QUEUES_MAX = 16,
    DPDK_PORTS_MAX = 32,
    DPDK_NAME_MAX = 64,
    DPDK_DEVARGS_MAX = 255,
    DPDK_ERROR_MAX = 512
};
struct dpdk_eal; /* EAL in this process, and its open ports; lives as long as the process */
struct dpdk_config {
    const char *devargs;    /* name[,argument=value...], or a PCI address */
    uint32_t queue, queues; /* first of the device, how many */
    uint32_t port_queues;   /* of the port */
    uint32_t ring;          /* descriptors of a queue, each way */
    uint32_t mtu;           /* 0: the port's own */
    uint8_t offload;        /* 0: no checksums, no segmentation by the port */
    uint8_t promiscuous;
    uint8_t own_mac; /* 1: mac; 0: the port's own, or mac where the port is an interface of the kernel's */
    uint8_t mac[6];
};
/* What an open device runs as. */
struct dpdk_info {
    uint16_t port, rx_queues;
    int16_t numa;    /* node of the port and its buffers, -1: any */
    uint8_t link_up; /* now */
    uint8_t rx_irq;  /* 1: it has a descriptor to sleep on */
    uint32_t buffers, free_buffers;
    uint64_t rx_offloads, tx_offloads; /* RTE_ETH_RX_OFFLOAD_*, RTE_ETH_TX_OFFLOAD_* */
};
/* Starts EAL with these arguments, in a thread of the caller's that it may pin. NULL: text says why,
 * and *err is a positive errno. */
struct dpdk_eal *dpdk_eal_start(int argc, char **argv, int *err, char *text);
int dpdk_eal_has_huge_pages(void);
/* Plugs the port in, in the calling thread's network namespace, or joins the devices of an open one.
 * NULL: *err is a positive errno and text (DPDK_ERROR_MAX bytes) says what failed. */
struct netdev *dpdk_new(struct dpdk_eal *eal, const struct dpdk_config *cfg, int *err, char *text);
int dpdk_get_info(struct netdev *dev, struct dpdk_info *info);
int dpdk_ports(struct dpdk_eal *eal); /* open ones */
/* cdef:end */

#endif
