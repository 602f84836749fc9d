/* SPDX-License-Identifier: MIT */
/* A port from its devargs to the first frame, and back: plugged in, configured as far as it is able,
 * given a pool of mbufs on its own NUMA node, started; at the end everything is unplugged again. What
 * belongs to the kernel's interface under a port (af_packet, af_xdp) is left as it is. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rte_config.h>
#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_errno.h>

#include "dpdk_device.h"

enum {
    POOL_MIN = 4095, /* net_af_xdp fills a ring of 2,048 of its own */
    ROOM_MIN = 2048,
    DRAIN = 1024, /* bursts, at most, that a port is emptied of before it closes */
};

#define THREAD_NETNS "/proc/thread-self/ns/net"

static const uint64_t CSUM_TX = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t CSUM_RX = RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t CUTS = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
static const uint64_t JOINS = RTE_ETH_RX_OFFLOAD_TCP_LRO | RTE_ETH_RX_OFFLOAD_SCATTER;

/* ---- the kernel's interface under a port ------------------------------------------------------- */

/* Its flags (IFF_*) and, if asked, MTU, or -errno when it is gone. */
static int kernel_flags(int control, int index, int *mtu)
{
    struct ifreq ifr = {.ifr_ifindex = index};
    if (ioctl(control, SIOCGIFNAME, &ifr) || (mtu && ioctl(control, SIOCGIFMTU, &ifr)))
        return -errno;
    if (mtu)
        *mtu = ifr.ifr_mtu;
    return ioctl(control, SIOCGIFFLAGS, &ifr) ? -errno : (int)(uint16_t)ifr.ifr_flags;
}

/* net_tap made its interface itself; any other's is somebody else's. */
static int foreign(const struct dpdk_port *p)
{
    return p->kernel_index && strcmp(p->driver, "net_tap") != 0;
}

/* The largest MTU of a port by its own words: of packets, and of frames with what DPDK takes for their
 * headers. */
static int largest_mtu(const struct rte_eth_dev_info *info)
{
    uint32_t headers = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN, most = info->max_mtu;
    if (most != UINT16_MAX && info->max_rx_pktlen > most)
        headers = info->max_rx_pktlen - most;
    return (int)RTE_MIN(most, info->max_rx_pktlen - headers);
}

/* The MTU the port is to have; 0: text says what is wrong with it. */
static uint32_t choose_mtu(struct dpdk_eal *eal, struct dpdk_port *p, const struct dpdk_config *cfg,
                           const struct rte_eth_dev_info *info, char *text)
{
    int most = largest_mtu(info), flags, kernel = 0;
    if (p->kernel_index) {
        int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        flags = kernel_flags(control, p->kernel_index, &kernel);
        close(control);
        if (flags >= 0 && kernel < most && foreign(p))
            most = kernel;
    }
    uint32_t mtu = cfg->mtu ? cfg->mtu : foreign(p) && kernel ? (uint32_t)kernel : RTE_ETHER_MTU;
    if (mtu > (uint32_t)most) {
        dpdk_fail(eal, text, EINVAL, "port %s carries an MTU of at most %d, not %u: %s %d", p->name, most,
                  mtu, cfg->mtu ? "ask for no more than" : "lower that of its interface to", most);
        return 0;
    }
    return mtu;
}

/* ---- configuring ------------------------------------------------------------------------------- */

static uint64_t all_of(uint64_t wanted, uint64_t able)
{
    return (able & wanted) == wanted ? wanted : 0;
}

static void choose_offloads(struct dpdk_port *p, const struct rte_eth_dev_info *info, int offload)
{
    uint64_t rx = info->rx_offload_capa, tx = info->tx_offload_capa;
    p->rx_offloads = p->tx_offloads = 0;
    if (!offload || strcmp(p->driver, "net_tap") == 0) /* its own are software, slower than the copy's */
        return;
    p->rx_offloads = all_of(CSUM_RX, rx);
    p->tx_offloads = all_of(CSUM_TX, tx);
    if (p->tx_offloads) {
        p->tx_offloads |= all_of(CUTS, tx);
        if (p->tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO)
            p->tx_offloads |= tx & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
    }
    if (p->rx_offloads)
        p->rx_offloads |= all_of(JOINS, rx);
}

static int make_pool(struct dpdk_eal *eal, struct dpdk_port *p, char *text)
{
    char name[RTE_MEMPOOL_NAMESIZE];
    uint32_t wanted = p->queues * (2u * p->ring + 4 * BW_RX_BURST), n = POOL_MIN;
    while (n < wanted)
        n = 2 * n + 1;
    snprintf(name, sizeof name, "barewire%u", eal->pools++);
    dpdk_log_clear(&eal->log); /* what the port said before is not the reason */
    /* Last in, first out: the buffers of the next burst are still in the cache. No thread of ours is one
     * of EAL's, so a cache by thread would never be used. */
    p->pool = rte_pktmbuf_pool_create_by_ops(name, n, 0, 0, (uint16_t)(p->room + RTE_PKTMBUF_HEADROOM),
                                             rte_eth_dev_socket_id(p->id), "stack");
    if (p->pool)
        return 0;
    return dpdk_fail(eal, text, rte_errno ? rte_errno : ENOMEM,
                     "no memory for %u packet buffers of port %s with %u queues: use fewer, lower ring=, "
                     "raise memory=, or reserve more huge pages",
                     n, p->name, p->queues);
}

static int make_queues(struct dpdk_eal *eal, struct dpdk_port *p, const struct rte_eth_dev_info *info,
                       char *text)
{
    uint16_t rx = p->ring, tx = p->ring;
    int socket = rte_eth_dev_socket_id(p->id);
    int err = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);
    if (err && err != -ENOTSUP)
        return dpdk_fail(eal, text, -err, "port %s takes no rings of %u entries", p->name, p->ring);
    struct rte_eth_rxconf rxconf = info->default_rxconf;
    struct rte_eth_txconf txconf = info->default_txconf;
    rxconf.offloads = p->rx_offloads;
    txconf.offloads = p->tx_offloads;
    for (uint16_t q = 0; q < p->queues; q++) {
        if ((err = rte_eth_rx_queue_setup(p->id, q, rx, (unsigned)socket, &rxconf, p->pool)) < 0 ||
            (err = rte_eth_tx_queue_setup(p->id, q, tx, (unsigned)socket, &txconf)) < 0)
            return dpdk_fail(eal, text, -err, "port %s does not open queue %u", p->name, q);
    }
    return 0;
}

static int configure(struct dpdk_eal *eal, struct dpdk_port *p, const struct rte_eth_dev_info *info,
                     char *text)
{
    struct rte_eth_conf conf = {0};
    conf.rxmode.mtu = p->mtu;
    conf.rxmode.offloads = p->rx_offloads;
    conf.txmode.offloads = p->tx_offloads;
    conf.intr_conf.rxq = p->irq;
    if (p->rx_offloads & RTE_ETH_RX_OFFLOAD_TCP_LRO)
        conf.rxmode.max_lro_pkt_size = info->max_lro_pkt_size;
    if (p->queues > 1 && info->flow_type_rss_offloads) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = info->flow_type_rss_offloads &
                                           (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    }
    int err = rte_eth_dev_configure(p->id, p->queues, p->queues, &conf);
    if (err)
        return dpdk_fail(eal, text, -err, "port %s is not to be configured for an MTU of %u and %u queues",
                         p->name, p->mtu, p->queues);
    uint16_t mtu = 0;
    rte_eth_dev_get_mtu(p->id, &mtu);
    if (!foreign(p) && mtu != p->mtu && (err = rte_eth_dev_set_mtu(p->id, (uint16_t)p->mtu)) &&
        err != -ENOTSUP)
        return dpdk_fail(eal, text, -err, "port %s takes no MTU of %u", p->name, p->mtu);
    return make_queues(eal, p, info, text);
}

/* A port that has one listens to `mac` too; the others do not filter. */
static void listen_to(struct dpdk_port *p, const struct dpdk_config *cfg)
{
    struct rte_ether_addr mac;
    if (foreign(p)) {
        if (cfg->promiscuous)
            rte_eth_promiscuous_enable(p->id);
        return;
    }
    memcpy(mac.addr_bytes, cfg->mac, 6);
    if (cfg->promiscuous ||
        (cfg->own_mac && !p->kernel_index && rte_eth_dev_default_mac_addr_set(p->id, &mac)))
        rte_eth_promiscuous_enable(p->id);
    rte_eth_allmulticast_enable(p->id);
}

/* Some ports have as many queues as their arguments say. */
static int too_many_queues(struct dpdk_eal *eal, struct dpdk_port *p, unsigned most, char *text)
{
    const char *more = strcmp(p->driver, "net_af_packet") == 0 ? "qpairs"
                       : strcmp(p->driver, "net_af_xdp") == 0  ? "queue_count"
                                                               : NULL;
    dpdk_log_clear(&eal->log);
    if (more)
        return dpdk_fail(eal, text, EINVAL,
                         "port %s has %u of the %u queues asked for: give it more by its argument %s=%u",
                         p->name, most, p->queues, more, p->queues);
    return dpdk_fail(eal, text, EINVAL, "port %s has %u of the %u queues asked for, and no more: use fewer",
                     p->name, most, p->queues);
}

static int start(struct dpdk_eal *eal, struct dpdk_port *p, const struct dpdk_config *cfg, char *text)
{
    struct rte_eth_dev_info info;
    int err = rte_eth_dev_info_get(p->id, &info);
    if (err)
        return dpdk_fail(eal, text, -err, "port %s says nothing of itself", p->name);
    p->device = info.device;
    p->kernel_index = (int)info.if_index;
    snprintf(p->driver, sizeof p->driver, "%s", info.driver_name);
    uint16_t most = info.max_rx_queues < info.max_tx_queues ? info.max_rx_queues : info.max_tx_queues;
    if (p->queues > most)
        return too_many_queues(eal, p, most, text);
    p->mtu = choose_mtu(eal, p, cfg, &info, text);
    if (!p->mtu)
        return EINVAL;
    p->room = RTE_MAX(p->mtu + DPDK_L2_HEADER + DPDK_L2_TAGS, (uint32_t)ROOM_MIN);
    choose_offloads(p, &info, cfg->offload);
    if ((err = make_pool(eal, p, text)))
        return err;
    /* Not every port has receive interrupts, nor says so. In net_virtio_user (22.11) EAL's interrupt thread
     * would look at a port that is being closed. */
    for (p->irq = strcmp(p->driver, "net_virtio_user") != 0;; p->irq = 0) {
        err = configure(eal, p, &info, text);
        if (!err && (err = rte_eth_dev_start(p->id)))
            err = dpdk_fail(eal, text, -err, "port %s does not start", p->name);
        if (!err || !p->irq)
            break;
        dpdk_log_clear(&eal->log);
    }
    if (!err) {
        p->started = 1;
        listen_to(p, cfg);
    }
    return err;
}

/* ---- plugging in and out ------------------------------------------------------------------------ */

/* Finds the port that the device of these devargs brought: by its name, otherwise the first of it. */
static int find_port(struct dpdk_port *p)
{
    struct rte_dev_iterator it;
    uint16_t id;
    if (!rte_eth_dev_get_port_by_name(p->name, &p->id))
        return 0;
    if (rte_eth_iterator_init(&it, p->name))
        return -ENODEV;
    id = rte_eth_iterator_next(&it);
    if (id == RTE_MAX_ETHPORTS)
        return -ENODEV;
    rte_eth_iterator_cleanup(&it);
    p->id = id;
    return 0;
}

static void unplug(struct dpdk_port *p)
{
    struct rte_mbuf *left[BW_RX_BURST];
    uint16_t n;
    for (uint16_t q = 0; p->started && q < p->queues; q++) {
        for (int i = 0; i < DRAIN && (n = rte_eth_rx_burst(p->id, q, left, BW_RX_BURST)); i++)
            rte_pktmbuf_free_bulk(left, n);
    }
    if (p->started)
        rte_eth_dev_stop(p->id);
    rte_eth_dev_close(p->id);
    if (p->device)
        rte_dev_remove(p->device);
    /* Another port may still have some of a ring's buffers: they keep the pool. */
    if (p->pool && (strcmp(p->driver, "net_ring") != 0 || rte_mempool_full(p->pool)))
        rte_mempool_free(p->pool);
}

static int plug(struct dpdk_eal *eal, struct dpdk_port *p, const struct dpdk_config *cfg, char *text)
{
    int err = rte_dev_probe(p->devargs);
    if (err)
        return dpdk_fail(eal, text, err == -EFAULT ? ENODEV : -err, "DPDK does not open %s: %s", p->devargs,
                         err == -EEXIST   ? "it is in use"
                         : err == -EFAULT ? "it has no driver of that name" /* EAL's word for it */
                                          : strerror(-err));
    if ((err = find_port(p)))
        return dpdk_fail(eal, text, -err, "DPDK has no port of the device %s", p->name);
    if ((err = start(eal, p, cfg, text)))
        unplug(p);
    else
        p->netns = open(THREAD_NETNS, O_RDONLY | O_CLOEXEC);
    return err;
}

static struct dpdk_port **slot_of(struct dpdk_eal *eal, const char *name)
{
    struct dpdk_port **free_slot = NULL;
    for (int i = 0; i < DPDK_PORTS_MAX; i++) {
        if (!eal->ports[i])
            free_slot = free_slot ? free_slot : &eal->ports[i];
        else if (name && strcmp(eal->ports[i]->name, name) == 0)
            return &eal->ports[i];
    }
    return free_slot;
}

uint32_t dpdk_queue_bits(uint32_t queue, uint32_t queues)
{
    return ((1u << queues) - 1) << queue;
}

/* Another device of an open port: it has to agree with the first, on queues of its own. */
static int join(struct dpdk_eal *eal, struct dpdk_port *p, const struct dpdk_config *cfg, char *text)
{
    if (strcmp(p->devargs, cfg->devargs) != 0)
        return dpdk_fail(eal, text, EBUSY, "port %s is open in this process as %s", p->name, p->devargs);
    if (p->queues != cfg->port_queues)
        return dpdk_fail(eal, text, EBUSY, "port %s is open in this process with %u queues, not %u", p->name,
                         p->queues, cfg->port_queues);
    if (p->taken & dpdk_queue_bits(cfg->queue, cfg->queues))
        return dpdk_fail(eal, text, EBUSY, "queue %u of port %s is in use in this process", cfg->queue,
                         p->name);
    return 0;
}

struct dpdk_port *dpdk_port_open(struct dpdk_eal *eal, const struct dpdk_config *cfg, int *err, char *text)
{
    struct dpdk_port *p = calloc(1, sizeof *p), **slot;
    if (!p) {
        *err = dpdk_fail(eal, text, ENOMEM, "no memory");
        return NULL;
    }
    snprintf(p->devargs, sizeof p->devargs, "%s", cfg->devargs);
    snprintf(p->name, sizeof p->name, "%.*s", (int)strcspn(cfg->devargs, ","), cfg->devargs);
    p->queues = (uint16_t)cfg->port_queues;
    p->ring = (uint16_t)cfg->ring;
    pthread_mutex_lock(&eal->lock);
    dpdk_log_clear(&eal->log);
    slot = slot_of(eal, p->name);
    if (!slot)
        *err = dpdk_fail(eal, text, ENFILE, "%d ports are open in this process, which is all there may be",
                         DPDK_PORTS_MAX);
    else if (*slot)
        *err = join(eal, *slot, cfg, text);
    else if (!(*err = plug(eal, p, cfg, text))) {
        *slot = p;
        p = NULL;
    }
    free(p);
    p = *err ? NULL : *slot;
    if (p) {
        p->refs++;
        p->taken |= dpdk_queue_bits(cfg->queue, cfg->queues);
    }
    pthread_mutex_unlock(&eal->lock);
    return p;
}

/* In the namespace that the port was made in (some drivers undo their work by the interface's index), and
 * where no signal goes (SIGPIPE, of a peer that is gone). */
static void *unplug_at_home(void *port)
{
    struct dpdk_port *p = port;
    struct stat here, there;
    if (!stat(THREAD_NETNS, &here) && !fstat(p->netns, &there) && here.st_ino != there.st_ino)
        setns(p->netns, CLONE_NEWNET);
    unplug(p);
    return NULL;
}

struct closing {
    struct dpdk_port *port;
    sem_t done;
};

static void unplug_now(void *work)
{
    struct closing *c = work;
    unplug(c->port);
    sem_post(&c->done);
}

/* net_memif lets EAL's interrupt thread take a port down when its peer goes, and closing it meanwhile
 * frees the same memory: so that thread closes it. 0: it could not be asked. */
static int unplug_between_interrupts(struct dpdk_port *p)
{
    struct closing c = {.port = p};
    sem_init(&c.done, 0, 0);
    int asked = !rte_eal_alarm_set(1, unplug_now, &c);
    while (asked && sem_wait(&c.done))
        ;
    sem_destroy(&c.done);
    return asked;
}

static void unplug_in_thread(struct dpdk_port *p)
{
    if (strcmp(p->driver, "net_memif") == 0 && unplug_between_interrupts(p))
        return;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, unplug_at_home, p))
        unplug(p);
    else
        pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void dpdk_port_close(struct dpdk_eal *eal, struct dpdk_port *p, uint32_t queues)
{
    pthread_mutex_lock(&eal->lock);
    p->taken &= ~queues;
    if (--p->refs == 0) {
        unplug_in_thread(p);
        close(p->netns);
        *slot_of(eal, p->name) = NULL;
        free(p);
    }
    pthread_mutex_unlock(&eal->lock);
}
