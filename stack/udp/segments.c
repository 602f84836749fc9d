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

static int super_fits(struct bw_stack *st, struct udp_out *out, const struct ip_rows *rows)
{
    uint32_t len = ip_rows_len(rows), most = st->iface[out->path.ifindex].tso_max;
    return out->ip.df && len <= most && len <= UDP_MAX && rows->count <= UDP_MAX_SEGMENTS &&
           out->path.hlen + UDP_HLEN + rows->size <= out->path.mtu && path_cuts(st, &out->path);
}

static int send_super(struct udp_sock *u, const struct udp_target *target, struct udp_out *out,
                      const struct ip_rows *rows)
{
    struct bw_stack *st = u->base.st;
    uint8_t head[UDP_HLEN];
    udp_header(u, head, target->port, ip_rows_len(rows));
    int err = ip_send_super(st, &out->path, &out->ip, head, UDP_HLEN, UDP_SUM, rows);
    udp_sent(u, target, out);
    if (!err)
        st->counter[COUNT_UDP_TX] += rows->count;
    return err;
}

/* Once the first is on its way the rest that finds no memory is lost: nobody sends the message again. */
static int send_cut(struct udp_sock *u, const struct udp_target *target, const struct ip_rows *rows)
{
    const struct iface *out = &u->base.st->iface[target->path->ifindex];
    int err = rows->count > TXQ_SIZE - out->txq_len ? -EAGAIN : 0;
    for (uint32_t i = 0; i < rows->count && !err; i++) {
        err = udp_transmit(u, target, rows->data + (size_t)i * rows->stride, ip_row_len(rows, i));
        if (err && i)
            return 0;
    }
    return err;
}

int udp_send_segments(struct udp_sock *u, const struct udp_target *target, const uint8_t *buf, uint32_t len)
{
    uint32_t size = u->segment, n = (len + size - 1) / size;
    struct udp_out out;
    int err = udp_prepare(u, target, size, &out);
    if (err)
        return err;
    if (out.path.hlen + UDP_HLEN + (len < size ? len : size) > out.path.mtu)
        return -EMSGSIZE;
    if (len <= size)
        return udp_transmit(u, target, buf, len);
    if (n > UDP_MAX_SEGMENTS)
        return -EINVAL;
    struct ip_rows rows = {
        .data = buf, .stride = size, .size = size, .last = len - (n - 1) * size, .count = n};
    return super_fits(u->base.st, &out, &rows) ? send_super(u, target, &out, &rows)
                                               : send_cut(u, target, &rows);
}

/* May datagrams of that size run together? By the interface of the datagram before: the first goes by itself. */
static int may_run(const struct udp_sock *u, uint32_t size)
{
    const struct bw_sock *s = &u->base;
    if (!size || (u->segment && size > u->segment) || !(s->st->iface[u->sent_if].caps & NETDEV_USO4))
        return 0;
    return s->mtu_discover >= PMTUDISC_WANT && s->mtu_discover <= PMTUDISC_PROBE;
}

/* Slots from first on, before last, that are as the first one; the last of them may be shorter. */
static struct ip_rows rows_of(const struct bw_batch *b, uint32_t first, uint32_t last, uint32_t size,
                              uint32_t most)
{
    const struct bw_addr *slot = &b->addrs[first];
    struct ip_rows rows = {
        .data = b->data + (size_t)first * b->size, .stride = b->size, .size = size, .last = size, .count = 1};
    for (uint32_t i = first + 1; i < last && rows.last == size && rows.count < most; i++) {
        uint32_t len = __atomic_load_n(&b->lengths[i], __ATOMIC_RELAXED); /* another thread may write it */
        if (!len || len > size || memcmp(&b->addrs[i], slot, sizeof *slot) != 0)
            break;
        rows.last = len;
        rows.count++;
    }
    return rows;
}

int64_t udp_send_run(struct udp_sock *u, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    struct bw_stack *st = u->base.st;
    uint32_t size = __atomic_load_n(&b->lengths[first], __ATOMIC_RELAXED);
    struct udp_target target;
    struct udp_out out;
    if (size > b->size || !may_run(u, size))
        return 0;
    int err = udp_begin(u, udp_batch_target(b, first), 0, &target);
    if (err)
        return err;
    if (target.path->hlen + UDP_HLEN + size > target.path->mtu || !path_cuts(st, target.path))
        return 0;
    uint32_t most = st->iface[target.path->ifindex].tso_max / size;
    struct ip_rows rows = rows_of(b, first, last, size, most < UDP_MAX_SEGMENTS ? most : UDP_MAX_SEGMENTS);
    if (rows.count == 1 || udp_prepare(u, &target, size, &out) || !super_fits(st, &out, &rows))
        return 0;
    err = send_super(u, &target, &out, &rows);
    return err ? 0 : (int64_t)rows.count; /* one by itself needs less memory, and waits for the queue */
}
