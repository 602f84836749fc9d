/* SPDX-License-Identifier: MIT */
/* Datagrams that leave as one super-segment (Linux's UDP_SEGMENT, udp(7)): equal ones to one place, the last
 * may be shorter. The device cuts them (NETDEV_USO4); for another they are cut here, from a message, or stay
 * what they are, in a batch. */
#include "udp.h"

/* Can the datagrams go as one frame? A next hop that has to be asked for first takes them one by one. */
static int super_fits(struct bw_stack *st, struct udp_way *way, const struct ip_rows *rows)
{
    const struct iface *out = &st->iface[way->path.ifindex];
    uint32_t len = (rows->count - 1) * rows->size + rows->last;
    if (!(out->caps & NETDEV_USO4) || !way->ip.df || len > out->tso_max || len > UDP_MAX)
        return 0;
    if (20 + UDP_HLEN + rows->size > way->path.mtu || rows->count > UDP_MAX_SEGMENTS)
        return 0;
    if (way->path.flags & (BW_ROUTE_BROADCAST | PATH_MULTICAST))
        return 0;
    return out->layer == 3 || ip_path_neigh(st, &way->path);
}

/* 1: sent, 0: one by one, -errno. */
static int send_super(struct udp_sock *u, const uint8_t *dst, uint16_t dport, const struct ip_rows *rows)
{
    struct bw_stack *st = u->base.st;
    struct udp_way way;
    uint8_t head[UDP_HLEN];
    int err = udp_way(u, dst, rows->size, &way);
    if (err)
        return err;
    if (!super_fits(st, &way, rows))
        return 0;
    udp_header(u, head, dport, (rows->count - 1) * rows->size + rows->last);
    err = ip_send_super(st, &way.path, &way.ip, head, UDP_HLEN, UDP_SUM, rows);
    udp_keep_neigh(u, &way);
    if (err)
        return err;
    st->counter[COUNT_UDP_TX] += rows->count;
    return 1;
}

int udp_send_segments(struct udp_sock *u, const uint8_t *dst, uint16_t dport, const uint8_t *buf,
                      uint32_t len)
{
    const struct bw_sock *s = &u->base;
    const struct iface *out = &s->st->iface[s->path.ifindex];
    uint32_t size = u->segment, n = (len + size - 1) / size;
    struct ip_rows rows = {
        .data = buf, .stride = size, .size = size, .last = len - (n - 1) * size, .count = n};
    if (20 + UDP_HLEN + size > s->path.mtu)
        return -EMSGSIZE;
    if (n > UDP_MAX_SEGMENTS)
        return -EINVAL;
    int rc = send_super(u, dst, dport, &rows);
    if (rc)
        return rc < 0 ? rc : 0;
    if (n > TXQ_SIZE - out->txq_len)
        return -EAGAIN;
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = udp_transmit(u, dst, dport, buf + (size_t)i * size, i + 1 < n ? size : rows.last);
    return rc;
}

int64_t udp_send_run(struct udp_sock *u, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    static const struct bw_addr peer;
    const struct bw_sock *s = &u->base;
    const struct iface *out = &s->st->iface[s->path.ifindex];
    const struct bw_addr *to = &b->addrs[first];
    uint32_t size = __atomic_load_n(&b->lengths[first], __ATOMIC_RELAXED), room = out->tso_max;
    struct ip_rows rows = {
        .data = b->data + (size_t)first * b->size, .stride = b->size, .size = size, .last = size, .count = 1};
    uint8_t dst[16];
    if (!(out->caps & NETDEV_USO4) || !size || size > b->size || size + 20 + UDP_HLEN > s->path.mtu)
        return 0;
    if (u->segment && size > u->segment)
        return 0;
    room = room < UDP_MAX ? room : UDP_MAX;
    for (uint32_t i = first + 1; i < last && rows.last == size && rows.count < UDP_MAX_SEGMENTS; i++) {
        uint32_t len = __atomic_load_n(&b->lengths[i], __ATOMIC_RELAXED); /* another thread may write it */
        if (!len || len > size || (rows.count + 1) * size > room || memcmp(&b->addrs[i], to, sizeof *to) != 0)
            break;
        rows.last = len;
        rows.count++;
    }
    if (rows.count == 1)
        return 0;
    if (memcmp(to, &peer, sizeof peer) == 0)
        to = NULL;
    int rc = udp_begin(u, to, dst);
    if (!rc)
        rc = send_super(u, dst, to ? to->port : s->rport, &rows);
    return rc > 0 ? (int64_t)rows.count : rc == -EAGAIN ? 0 : rc; /* one by itself waits for the queue */
}
