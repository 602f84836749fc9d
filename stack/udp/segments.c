/* SPDX-License-Identifier: MIT */
/* Datagrams that leave as one super-segment (Linux's UDP_SEGMENT, udp(7)): equal ones to one place, the last
 * may be shorter. The device cuts them (NETDEV_USO4); for another they are cut here, from a message, or stay
 * what they are, in a batch. */
#include "udp.h"

/* Does the path's device cut? A next hop that has to be asked for first takes datagrams one by one. */
static int path_cuts(struct bw_stack *st, struct ip_path *path)
{
    const struct iface *out = &st->iface[path->ifindex];
    if (!(out->caps & NETDEV_USO4) || path->flags & (BW_ROUTE_BROADCAST | PATH_MULTICAST))
        return 0;
    return out->layer == 3 || ip_path_neigh(st, path);
}

static int super_fits(struct bw_stack *st, struct udp_way *way, const struct ip_rows *rows)
{
    uint32_t len = ip_rows_len(rows), most = st->iface[way->path.ifindex].tso_max;
    return way->ip.df && len <= most && len <= UDP_MAX && rows->count <= UDP_MAX_SEGMENTS &&
           20 + UDP_HLEN + rows->size <= way->path.mtu && path_cuts(st, &way->path);
}

static int send_super(struct udp_sock *u, struct udp_way *way, uint16_t dport, const struct ip_rows *rows)
{
    struct bw_stack *st = u->base.st;
    uint8_t head[UDP_HLEN];
    udp_header(u, head, dport, ip_rows_len(rows));
    int err = ip_send_super(st, &way->path, &way->ip, head, UDP_HLEN, UDP_SUM, rows);
    udp_keep_neigh(u, way);
    if (!err)
        st->counter[COUNT_UDP_TX] += rows->count;
    return err;
}

/* Once the first is on its way the rest that finds no memory is lost: nobody sends the message again. */
static int send_cut(struct udp_sock *u, const uint8_t *dst, uint16_t dport, const struct ip_rows *rows)
{
    const struct iface *out = &u->base.st->iface[u->base.path.ifindex];
    int err = rows->count > TXQ_SIZE - out->txq_len ? -EAGAIN : 0;
    for (uint32_t i = 0; i < rows->count && !err; i++) {
        err = udp_transmit(u, dst, dport, rows->data + (size_t)i * rows->stride, ip_row_len(rows, i));
        if (err && i)
            return 0;
    }
    return err;
}

int udp_send_segments(struct udp_sock *u, const uint8_t *dst, uint16_t dport, const uint8_t *buf,
                      uint32_t len)
{
    uint32_t size = u->segment, n = (len + size - 1) / size;
    struct udp_way way;
    int err = udp_way(u, dst, size, &way);
    if (err)
        return err;
    if (20 + UDP_HLEN + (len < size ? len : size) > way.path.mtu)
        return -EMSGSIZE;
    if (len <= size)
        return udp_transmit(u, dst, dport, buf, len);
    if (n > UDP_MAX_SEGMENTS)
        return -EINVAL;
    struct ip_rows rows = {
        .data = buf, .stride = size, .size = size, .last = len - (n - 1) * size, .count = n};
    return super_fits(u->base.st, &way, &rows) ? send_super(u, &way, dport, &rows)
                                               : send_cut(u, dst, dport, &rows);
}

/* Is a batch worth looking through? By the path of the datagram before: the first one goes by itself. */
static int may_run(struct udp_sock *u, uint32_t size)
{
    struct bw_sock *s = &u->base;
    if (!size || size + 20 + UDP_HLEN > s->path.mtu || (u->segment && size > u->segment))
        return 0;
    return s->mtu_discover >= PMTUDISC_WANT && s->mtu_discover <= PMTUDISC_PROBE &&
           path_cuts(s->st, &s->path);
}

int64_t udp_send_run(struct udp_sock *u, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    const struct bw_sock *s = &u->base;
    const struct bw_addr *slot = &b->addrs[first], *to = udp_batch_target(b, first);
    uint32_t size = __atomic_load_n(&b->lengths[first], __ATOMIC_RELAXED);
    struct ip_rows rows = {
        .data = b->data + (size_t)first * b->size, .stride = b->size, .size = size, .last = size, .count = 1};
    struct udp_way way;
    uint8_t dst[16];
    if (size > b->size || !may_run(u, size))
        return 0;
    uint32_t most = s->st->iface[s->path.ifindex].tso_max / size;
    most = most < UDP_MAX_SEGMENTS ? most : UDP_MAX_SEGMENTS;
    for (uint32_t i = first + 1; i < last && rows.last == size && rows.count < most; i++) {
        uint32_t len = __atomic_load_n(&b->lengths[i], __ATOMIC_RELAXED); /* another thread may write it */
        if (!len || len > size || memcmp(&b->addrs[i], slot, sizeof *slot) != 0)
            break;
        rows.last = len;
        rows.count++;
    }
    if (rows.count == 1)
        return 0;
    int err = udp_begin(u, to, 0, dst);
    if (err)
        return err;
    if (udp_way(u, dst, size, &way) || !super_fits(s->st, &way, &rows))
        return 0;
    err = send_super(u, &way, to ? to->port : s->rport, &rows);
    return err ? 0 : (int64_t)rows.count; /* one by itself needs less memory, and waits for the queue */
}
