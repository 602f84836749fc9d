/* SPDX-License-Identifier: MIT */
/* A device: some queues of a port, as the device contract has it. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_config.h>

#include "../xstats.h"
#include "dpdk_device.h"

static void dpdk_close(struct netdev *dev)
{
    struct dpdk *d = (struct dpdk *)dev;
    struct dpdk_port *p = d->port;
    rte_pktmbuf_free_bulk(d->lent, d->lent_len);
    rte_pktmbuf_free_bulk(d->stash, d->stash_len);
    dpdk_leave_sleep(d);
    if (d->interface.fd >= 0)
        close(d->interface.fd);
    dpdk_port_close(d->eal, p, dpdk_queue_bits(d->queue, d->queues));
    free(d->joined);
    free(d);
}

/* The port's own descriptors are DPDK's (dpdk.py closes those it can tell). */
static void dpdk_forked(struct netdev *dev)
{
    struct dpdk *d = (struct dpdk *)dev;
    if (d->interface.fd >= 0)
        close(d->interface.fd);
}

static int link_up(const struct dpdk_port *p)
{
    struct rte_eth_link link = {0};
    return !rte_eth_link_get_nowait(p->id, &link) && link.link_status == RTE_ETH_LINK_UP;
}

static uint32_t caps_of(const struct dpdk_port *p)
{
    uint32_t caps = NETDEV_TX_CSUM; /* the driver's own, where the port has none */
    if (p->rx_offloads)
        caps |= NETDEV_RX_CSUM;
    if (p->rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO || strstr(p->devargs, ",tso=1")) /* net_vhost's word */
        caps |= NETDEV_RX_GSO;
    if (p->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO)
        caps |= NETDEV_TSO4 | NETDEV_TSO6;
    return caps;
}

/* ---- statistics -------------------------------------------------------------------------------- */

/* `port_` and the name that DPDK gives the counter, in our letters. */
static void name_stat(char *out, size_t room, const char *name)
{
    snprintf(out, room, "port_%s", name);
    for (char *c = out; *c; c++) {
        *c = (char)tolower((unsigned char)*c);
        if (!isalnum((unsigned char)*c))
            *c = '_';
    }
}

/* What rte_eth_stats and the port's driver count, of all its queues. */
static int port_stats(uint16_t id, struct netdev_xstat *out, int n, int max)
{
    int count = rte_eth_xstats_get(id, NULL, 0);
    if (count <= 0)
        return n;
    struct rte_eth_xstat *values = calloc((size_t)count, sizeof *values);
    struct rte_eth_xstat_name *names = calloc((size_t)count, sizeof *names);
    if (values && names && rte_eth_xstats_get(id, values, (unsigned)count) == count &&
        rte_eth_xstats_get_names(id, names, (unsigned)count) == count) {
        for (int i = 0; i < count && n < max; i++, n++) {
            name_stat(out[n].name, sizeof out[n].name, names[values[i].id].name);
            out[n].value = values[i].value;
        }
    }
    free(values);
    free(names);
    return n;
}

static int dpdk_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    static const char *const names[] = {"rx_too_long", "tx_bad_length", "tx_refused", "tx_down"};
    struct dpdk *d = (struct dpdk *)dev;
    uint64_t values[] = {d->rx_too_long, dev->stats.tx_dropped - d->tx_refused - d->tx_down, d->tx_refused,
                         d->tx_down};
    int n = d->interface.fd >= 0 ? 4 : 3; /* what has no interface is never down for a while */
    return port_stats(d->port->id, out, xstats_put(out, 0, max, names, values, n), max);
}

/* ---- opening and looking -------------------------------------------------------------------------- */

struct netdev *dpdk_new(struct dpdk_eal *eal, const struct dpdk_config *cfg, int *err, char *text)
{
    struct dpdk *d = calloc(1, sizeof *d);
    struct dpdk_port *p = d ? dpdk_port_open(eal, cfg, err, text) : NULL;
    if (!p) {
        if (!d)
            *err = dpdk_fail(eal, text, ENOMEM, "no memory");
        free(d);
        return NULL;
    }
    d->eal = eal;
    d->port = p;
    d->queue = (uint16_t)cfg->queue;
    d->queues = (uint16_t)cfg->queues;
    d->longest = DPDK_LONGEST;
    d->interface.ifindex = p->kernel_index;
    d->interface.fd = p->kernel_index ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    d->epoll = -1;
    d->may_sleep = p->irq;
    d->dev = (struct netdev){.rx_burst = dpdk_rx_burst,
                             .tx_burst = dpdk_tx_burst,
                             .arm = dpdk_arm,
                             .close = dpdk_close,
                             .forked = dpdk_forked,
                             .xstats = dpdk_xstats,
                             .caps = caps_of(p),
                             .mtu = p->mtu,
                             .layer = 2};
    if (d->dev.caps & NETDEV_TSO4)
        d->dev.tso_max = DPDK_TSO_MAX;
    struct rte_ether_addr mac;
    rte_eth_macaddr_get(p->id, &mac);
    int chosen = cfg->own_mac || p->kernel_index || rte_is_zero_ether_addr(&mac);
    memcpy(d->dev.mac, chosen ? cfg->mac : mac.addr_bytes, 6);
    snprintf(d->dev.name, sizeof d->dev.name, "%s", p->name);
    return &d->dev;
}

int dpdk_get_info(struct netdev *dev, struct dpdk_info *info)
{
    struct dpdk *d = (struct dpdk *)dev;
    const struct dpdk_port *p = d->port;
    *info = (struct dpdk_info){.port = p->id,
                               .rx_queues = d->queues,
                               .numa = (int16_t)rte_eth_dev_socket_id(p->id),
                               .link_up = (uint8_t)link_up(p),
                               .rx_irq = d->may_sleep,
                               .buffers = p->pool->size,
                               .free_buffers = rte_mempool_avail_count(p->pool),
                               .rx_offloads = p->rx_offloads,
                               .tx_offloads = p->tx_offloads};
    return 0;
}
