/* SPDX-License-Identifier: MIT */
/* Frames of a port in and out, and the wait for them. A burst's mbufs are lent until the next burst. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <rte_config.h>
#include <rte_interrupts.h>

#include "../gather.h"
#include "dpdk_device.h"

enum { TCP_FIELD = 16, UDP_FIELD = 6 };
enum { LINK_SLEEP = 1000000000, RETRY = 1000000 }; /* ns */
enum { DOWN_LOOKS = 100 };                         /* a RETRY apart */

/* Of a port over an interface of the kernel's: is that up, down for now, or gone? The port says only that it has
 * no link, and net_af_packet not even that. */
static void look_at_interface(struct dpdk *d, int64_t now)
{
    if (d->interface.fd >= 0 && !d->failed)
        d->failed = link_look(&d->interface, &d->dev, now);
}

/* ---- receive ----------------------------------------------------------------------------------- */

static uint8_t checksum_of(const struct rte_mbuf *m)
{
    uint64_t told = m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    return told == RTE_MBUF_F_RX_L4_CKSUM_GOOD   ? BW_CSUM_VALID
           : told == RTE_MBUF_F_RX_L4_CKSUM_NONE ? BW_CSUM_PARTIAL
                                                 : BW_CSUM_UNKNOWN;
}

/* A frame of several mbufs, in one piece. 0: there is no room for it. */
static int join_pieces(struct dpdk *d, const struct rte_mbuf *m, int n, struct rx_frame *f)
{
    if (!d->joined && !(d->joined = malloc((size_t)BW_RX_BURST * d->longest)))
        return 0;
    f->data = d->joined + (size_t)n * d->longest;
    for (uint32_t at = 0; m; at += m->data_len, m = m->next)
        memcpy(f->data + at, rte_pktmbuf_mtod(m, uint8_t *), m->data_len);
    return 1;
}

static int describe(struct dpdk *d, struct rte_mbuf *m, int n, struct rx_frame *f)
{
    *f = (struct rx_frame){.data = rte_pktmbuf_mtod(m, uint8_t *), .len = m->pkt_len, .csum = checksum_of(m)};
    if (m->ol_flags & RTE_MBUF_F_RX_LRO && m->tso_segsz) {
        f->gso_size = m->tso_segsz;
        if (!f->csum)
            f->csum = BW_CSUM_VALID; /* the port merged them: it had to look */
    }
    return m->nb_segs == 1 || (m->pkt_len <= d->longest && join_pieces(d, m, n, f));
}

/* One burst of one queue, each in its turn. */
static uint16_t take(struct dpdk *d, struct rte_mbuf **mbufs, uint16_t max)
{
    uint16_t n = 0;
    for (uint16_t i = 0; i < d->queues && !n; i++) {
        n = rte_eth_rx_burst(d->port->id, d->queue + d->next_queue, mbufs, max);
        d->next_queue = d->next_queue + 1 == d->queues ? 0 : (uint16_t)(d->next_queue + 1);
    }
    return n;
}

/* Receive interrupts are for sleepers. */
static void awake(struct dpdk *d)
{
    struct rte_epoll_event events[DPDK_QUEUES_MAX];
    d->sleeping = 0;
    rte_epoll_wait(d->epoll, events, DPDK_QUEUES_MAX, 0);
    for (uint16_t q = 0; q < d->queues; q++)
        rte_eth_dev_rx_intr_disable(d->port->id, d->queue + q);
}

int dpdk_rx_burst(struct netdev *dev, int64_t now, struct rx_frame *frames, int max)
{
    struct dpdk *d = (struct dpdk *)dev;
    uint16_t got = d->stash_len, room = (uint16_t)(max < BW_RX_BURST ? max : BW_RX_BURST);
    int n = 0;
    if (d->lent_len)
        rte_pktmbuf_free_bulk(d->lent, d->lent_len);
    d->lent_len = 0;
    if (d->sleeping)
        awake(d);
    look_at_interface(d, now);
    if (got) {
        got = got < room ? got : room;
        memcpy(d->lent, d->stash, got * sizeof d->stash[0]);
        d->stash_len -= got;
        memmove(d->stash, d->stash + got, d->stash_len * sizeof d->stash[0]);
    } else if (!d->failed) {
        got = take(d, d->lent, room);
    }
    d->lent_len = got;
    for (uint16_t i = 0; i < got; i++) {
        struct rte_mbuf *m = d->lent[i];
        if (i + 4 < got)
            rte_prefetch0(rte_pktmbuf_mtod(d->lent[i + 4], void *));
        if (describe(d, m, n, &frames[n])) {
            dev->stats.rx_bytes += m->pkt_len;
            n++;
        } else {
            dev->stats.rx_dropped++;
            d->rx_too_long++;
        }
    }
    dev->stats.rx_frames += (uint64_t)n;
    return n ? n : -d->failed;
}

/* ---- transmit ---------------------------------------------------------------------------------- */

/* What the port is to do: its checksum, and cutting it into segments. 0: it cannot. */
static int ask_port(const struct dpdk *d, struct rte_mbuf *m, const struct tx_frame *f, uint8_t *ip)
{
    int v6 = ip[0] >> 4 == 6;
    if ((!v6 && ip[0] >> 4 != 4) || f->csum_start < f->l3_off ||
        (f->csum_offset != TCP_FIELD && f->csum_offset != UDP_FIELD))
        return 0;
    m->l2_len = f->l3_off;
    m->l3_len = (uint32_t)(f->csum_start - f->l3_off);
    m->ol_flags |= v6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4;
    m->ol_flags |= f->csum_offset == TCP_FIELD ? RTE_MBUF_F_TX_TCP_CKSUM : RTE_MBUF_F_TX_UDP_CKSUM;
    if (!f->gso_size)
        return 1;
    uint8_t *tcp = ip + m->l3_len;
    m->l4_len = (tcp[12] >> 4) * 4u;
    m->tso_segsz = f->gso_size;
    m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
    if (!v6 && d->port->tx_offloads & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) {
        m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
        memset(ip + 10, 0, 2);
    }
    /* Each segment has a length of its own: DPDK wants it left out of the pseudo header's sum. */
    uint8_t tail[4] = {0, 6};
    uint64_t pseudo = v6 ? bw_sum(ip + 8, 32, 0) : bw_sum(ip + 12, 8, 0);
    uint16_t sum = bw_sum_16(bw_sum(tail, 4, pseudo));
    memcpy(tcp + TCP_FIELD, &sum, 2);
    return 1;
}

/* The bytes of a frame into a chain of mbufs, the first of which is m. 0: no more mbufs. */
static int fill_chain(struct dpdk *d, struct rte_mbuf *m, const struct tx_frame *f)
{
    struct rte_mbuf *last = m;
    uint32_t room = d->port->room;
    for (int i = 0; i < f->pieces; i++) {
        const uint8_t *p = f->piece[i].data;
        for (uint32_t len = f->piece[i].len; len;) {
            if (last->data_len == room) {
                last->next = rte_pktmbuf_alloc(d->port->pool);
                if (!last->next)
                    return 0;
                last = last->next;
                m->nb_segs++;
            }
            uint32_t n = room - last->data_len < len ? room - last->data_len : len;
            memcpy(rte_pktmbuf_mtod_offset(last, uint8_t *, last->data_len), p, n);
            last->data_len += (uint16_t)n;
            p += n;
            len -= n;
        }
    }
    m->pkt_len = f->len;
    return 1;
}

/* 0: no more mbufs. */
static int fill(struct dpdk *d, struct rte_mbuf *m, const struct tx_frame *f)
{
    uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
    int able = f->csum_partial && d->port->tx_offloads && f->pieces && f->piece[0].len >= f->csum_start + 20u;
    if (f->gso_size || able) {
        if (!fill_chain(d, m, f))
            return 0;
        if (able && ask_port(d, m, f, data + f->l3_off))
            return 1;
        m->ol_flags = 0;
    }
    if (f->len <= d->port->room) {
        bw_gather(data, f);
        m->data_len = (uint16_t)f->len;
        m->pkt_len = f->len;
    }
    return 1;
}

static int too_long(const struct dpdk *d, const struct tx_frame *f)
{
    uint32_t most = f->gso_size ? DPDK_LONGEST : d->port->mtu + DPDK_L2_HEADER + 4;
    return f->len > most || f->len < DPDK_L2_HEADER || (f->gso_size && !d->dev.tso_max);
}

/* Fills mbufs with the frames that can be sent at all; origin[k] is the frame of the k-th. Returns how many
 * frames it went through: fewer than n if mbufs ran out. */
static int prepare(struct dpdk *d, struct rte_mbuf **mbufs, int *origin, const struct tx_frame *frames, int n,
                   uint16_t *made)
{
    int i;
    for (i = 0; i < n; i++) {
        if (too_long(d, &frames[i]))
            continue;
        if (!fill(d, mbufs[*made], &frames[i]))
            break;
        origin[(*made)++] = i;
    }
    return i;
}

int dpdk_tx_burst(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n)
{
    struct dpdk *d = (struct dpdk *)dev;
    struct rte_mbuf *mbufs[BW_TX_BURST];
    int origin[BW_TX_BURST], done;
    uint16_t made = 0, fit, sent, port = d->port->id;
    look_at_interface(d, now);
    if (d->failed)
        return -d->failed;
    n = n < BW_TX_BURST ? n : BW_TX_BURST;
    if (dev->down) {
        dev->stats.tx_dropped += (uint64_t)n;
        d->tx_down += (uint64_t)n;
        return n;
    }
    if (n <= 0 || rte_pktmbuf_alloc_bulk(d->port->pool, mbufs, (unsigned)n)) {
        dev->stats.tx_full += n > 0;
        return 0;
    }
    done = prepare(d, mbufs, origin, frames, n, &made);
    fit = d->port->tx_offloads ? rte_eth_tx_prepare(port, d->queue, mbufs, made) : made;
    sent = rte_eth_tx_burst(port, d->queue, mbufs, fit);
    if (sent < made)
        done = origin[sent];
    if (sent == fit && fit < made) { /* never to be sent as it is */
        d->tx_refused++;
        done++;
    }
    rte_pktmbuf_free_bulk(mbufs + sent, (unsigned)n - sent);
    for (uint16_t k = 0; k < sent; k++)
        dev->stats.tx_bytes += frames[origin[k]].len;
    dev->stats.tx_frames += sent;
    dev->stats.tx_dropped += (uint64_t)done - sent;
    dev->stats.tx_full += done < n;
    return done;
}

/* ---- before a sleep ---------------------------------------------------------------------------- */

/* A port without an interface that had a link and lost it is gone, if DOWN_LOOKS in a row find it so: vhost's goes
 * down and up when its peer negotiates. */
static void look_at_link(struct dpdk *d)
{
    struct rte_eth_link link = {0};
    if (rte_eth_dev_is_removed(d->port->id))
        d->failed = ENETDOWN;
    if (d->failed || rte_eth_link_get_nowait(d->port->id, &link))
        return;
    if (link.link_status == RTE_ETH_LINK_UP) {
        d->was_up = 1;
        d->down_looks = 0;
    } else if (d->interface.fd < 0 && (d->was_up || d->dev.stats.rx_frames) &&
               ++d->down_looks >= DOWN_LOOKS) {
        d->failed = ENETDOWN;
    }
}

static int something_came(struct dpdk *d)
{
    if (!d->stash_len)
        d->stash_len = take(d, d->stash, BW_RX_BURST);
    return d->stash_len != 0;
}

/* ---- receive interrupts -------------------------------------------------------------------------- */

void dpdk_leave_sleep(struct dpdk *d)
{
    for (uint16_t q = 0; d->epoll >= 0 && q < d->queues; q++)
        rte_eth_dev_rx_intr_ctl_q(d->port->id, d->queue + q, d->epoll, RTE_INTR_EVENT_DEL, NULL);
    if (d->epoll >= 0)
        close(d->epoll);
    d->epoll = -1;
    d->may_sleep = 0;
}

/* A descriptor that is readable when a frame came in, once the port has its link (net_vhost has none
 * before); ports that have no such thing are found out here. */
static void make_epoll(struct dpdk *d)
{
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint16_t q = 0; d->may_sleep && q < d->queues; q++) {
        if (d->epoll < 0 ||
            rte_eth_dev_rx_intr_ctl_q(d->port->id, d->queue + q, d->epoll, RTE_INTR_EVENT_ADD, NULL))
            dpdk_leave_sleep(d);
    }
}

/* The descriptor, with the interrupts on; -1: naps. */
static int sleep_on(struct dpdk *d)
{
    if (d->may_sleep && d->was_up && d->epoll < 0)
        make_epoll(d);
    if (d->epoll < 0)
        return -1;
    awake(d); /* of what has been seen */
    d->sleeping = 1;
    for (uint16_t q = 0; q < d->queues; q++) {
        if (rte_eth_dev_rx_intr_enable(d->port->id, d->queue + q)) {
            awake(d);
            dpdk_leave_sleep(d);
            return -1;
        }
    }
    return d->epoll;
}

int dpdk_arm(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm)
{
    struct dpdk *d = (struct dpdk *)dev;
    dev->stats.wakeups++;
    look_at_interface(d, now);
    look_at_link(d);
    if (d->failed)
        return -d->failed;
    int soon = want_tx || d->down_looks;
    *arm = (struct netdev_arm){.fd = -1, .deadline = now + (soon ? RETRY : LINK_SLEEP)};
    link_arm(&d->interface, dev, arm);
    if (something_came(d))
        return 1;
    arm->fd = sleep_on(d);
    arm->events = arm->fd < 0 ? 0 : POLLIN;
    return arm->fd >= 0 && something_came(d); /* it came before they were on */
}
