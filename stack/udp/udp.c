/* SPDX-License-Identifier: MIT */
/* UDP sockets (RFC 768, RFC 1122 section 4.1) with Linux's semantics. A datagram to send goes straight
 * to its interface's queue; a received one waits in its socket, bounded by rcvbuf. */
#include "udp.h"
#include "../icmp/icmp.h"

enum {
    UDP_BUF = 212992, /* Linux's default */
    UDP_SNDBUF_MIN = 4608,
    UDP_RCVBUF_MIN = 2304,
    UDP_BUF_MAX = 16 << 20,
    UDP_OVERHEAD = 256, /* counted for each queued datagram beside its bytes */
};

static int udp_take_error(struct bw_sock *s)
{
    int err = s->so_error;
    s->so_error = 0;
    return err;
}

static void udp_init(struct bw_sock *s)
{
    struct udp_sock *u = udp_of(s);
    memset((uint8_t *)u + sizeof u->base, 0, sizeof *u - sizeof u->base);
    byteq_init(&u->rcvq);
    s->mtu_discover = PMTUDISC_WANT;
    s->sndbuf = s->rcvbuf = UDP_BUF;
}

/* ---- in ------------------------------------------------------------------------------------------- */

void udp_enqueue(struct udp_sock *u, const struct packet *pkt, uint32_t len)
{
    struct chunk_pool *pool = &u->base.st->chunks;
    struct udp_record rec = {.when = u->base.st->now,
                             .zone = pkt->zone,
                             .ifindex = pkt->ifindex,
                             .len = (uint16_t)len,
                             .port = get16(pkt->l4),
                             .gso_size = pkt->gso_size < len ? pkt->gso_size : 0,
                             .ttl = pkt->ttl,
                             .tos = pkt->tos};
    memcpy(rec.ip, pkt->src, 16);
    memcpy(rec.dst, pkt->dst, 16);
    uint32_t at = u->rcvq.len, size = len + UDP_OVERHEAD;
    int full = u->rcv_used && u->rcv_used + size > u->base.rcvbuf; /* one is always let in */
    if (full || byteq_store(&u->rcvq, pool, at, &rec, sizeof rec) ||
        byteq_store(&u->rcvq, pool, at + sizeof rec, pkt->l4 + UDP_HLEN, len)) {
        if (!full)
            byteq_trim(&u->rcvq, pool);
        drop(u->base.st, DROP_UDP_RCVBUF, len);
        return;
    }
    byteq_extend(&u->rcvq, sizeof rec + len);
    u->rcv_used += size;
    count(u->base.st, COUNT_UDP_RX);
    sock_arrived(&u->base);
}

static inline __attribute__((always_inline)) struct bw_sock *udp_find(struct bw_stack *st,
                                                                      const uint8_t *laddr, uint16_t lport,
                                                                      const uint8_t *raddr, uint16_t rport,
                                                                      uint32_t zone, uint32_t ifindex)
{
    struct bw_sock *s = flow_find(st, KIND_UDP, laddr, lport, raddr, rport, zone);
    if (s && (!s->bound_if || s->bound_if == ifindex || !ifindex))
        return s;
    return bind_find(st, KIND_UDP, laddr, lport, raddr, rport, ifindex);
}

/* 0, or a drop counter. The datagram has `total` bytes; none may have been summed (RFC 768). */
static int udp_checksum(struct bw_stack *st, const struct packet *pkt, uint32_t total)
{
    if (pkt->csum != BW_CSUM_UNKNOWN || get16(pkt->l4 + 6) == 0)
        return 0;
    uint64_t sum = ip_pseudo_sum(pkt->src, pkt->dst, 17, total);
    if (likely(bw_sum_fold(bw_sum(pkt->l4, total, sum)) == 0))
        return 0;
    return (int)checksum_fault(st, pkt, pkt->l4 + 6, sum, DROP_UDP_CHECKSUM, DROP_UDP_UNFINISHED);
}

static void udp_one(struct bw_stack *st, struct packet *pkt)
{
    uint32_t total = pkt->l4_len < UDP_HLEN ? 0 : get16(pkt->l4 + 4);
    if (total < UDP_HLEN || total > pkt->l4_len) {
        drop(st, DROP_UDP_SHORT, pkt->l4_len);
        return;
    }
    uint16_t sport = get16(pkt->l4), dport = get16(pkt->l4 + 2);
    int bad = udp_checksum(st, pkt, total);
    if (bad) {
        drop(st, (enum bw_counter_id)bad, total);
        return;
    }
    if (pkt->ip_broadcast) {
        udp_broadcast_input(st, pkt, total);
        return;
    }
    struct bw_sock *s = udp_find(st, pkt->dst, dport, pkt->src, sport, pkt->zone, pkt->ifindex);
    if (likely(s != NULL)) {
        udp_enqueue(udp_of(s), pkt, total - UDP_HLEN);
        return;
    }
    drop(st, DROP_UDP_NO_SOCKET, total);
    if (!flow_of_others(st, pkt->src, sport, pkt->dst, dport))
        icmp_send_error(st, pkt, ICMP_UNREACHABLE, ICMP_PORT, 0);
}

/* Does a socket take them as one message (UDP_GRO)? Then it has it. */
static int udp_merged_wanted(struct bw_stack *st, const struct packet *pkt)
{
    if (pkt->ip_broadcast)
        return 0;
    struct bw_sock *s = udp_find(st, pkt->dst, get16(pkt->l4 + 2), pkt->src, get16(pkt->l4), pkt->zone,
                                 pkt->ifindex);
    if (!s || !udp_of(s)->gro || pkt->l4_len - UDP_HLEN > UDP_MAX)
        return 0;
    udp_enqueue(udp_of(s), pkt, pkt->l4_len - UDP_HLEN);
    return 1;
}

/* Several datagrams of one flow that a device has merged: each gets the header before its payload, over
 * the end of the one before. Their checksums need no look (netdev.h). */
void udp_input(struct bw_stack *st, struct packet *pkt)
{
    uint32_t size = pkt->gso_size;
    if (likely(!size || pkt->l4_len <= UDP_HLEN + size)) {
        udp_one(st, pkt);
        return;
    }
    if (udp_merged_wanted(st, pkt))
        return;
    uint8_t head[UDP_HLEN];
    memcpy(head, pkt->l4, UDP_HLEN);
    for (uint32_t left = pkt->l4_len - UDP_HLEN, n; left; left -= n, pkt->l4 += n) {
        n = left < size ? left : size;
        memcpy(pkt->l4, head, UDP_HLEN);
        put16(pkt->l4 + 4, (uint16_t)(UDP_HLEN + n));
        pkt->l4_len = UDP_HLEN + n;
        udp_one(st, pkt);
    }
}

static void udp_set_error(struct bw_sock *s, int err)
{
    s->so_error = err;
    sock_changed(s);
}

/* As Linux: a connected socket hears of hard errors, IP_RECVERR of all. That a packet was too big is news
 * whoever hears it: the path's MTU changes. */
int udp_error(struct bw_stack *st, const struct packet *sent, int err, int hard)
{
    struct bw_sock *s = udp_find(st, sent->src, get16(sent->l4), sent->dst, get16(sent->l4 + 2), sent->zone,
                                 sent->ifindex);
    if (!s) {
        drop(st, DROP_ICMP_NOT_OURS, sent->l4_len);
        return 0;
    }
    int too_big = err == EMSGSIZE, asked = !too_big || s->mtu_discover != PMTUDISC_DONT;
    int told = asked && (s->recverr || (hard && (s->flags & SOCK_CONNECTED)));
    if (told)
        udp_set_error(s, err);
    else if (!too_big)
        drop(st, DROP_ICMP_UNHEARD, sent->l4_len);
    return told || too_big;
}

/* ---- the association ---------------------------------------------------------------------------- */

static void udp_dissolve(struct bw_sock *s)
{
    flow_del(s);
    memset(s->raddr, 0, sizeof s->raddr);
    s->zone = 0;
    s->rport = 0;
    if (!(s->flags & SOCK_ADDR_BOUND))
        ip_from_v4(s->laddr, (const uint8_t[4]){0, 0, 0, 0});
    if (!(s->flags & SOCK_PORT_BOUND)) {
        bind_del(s);
        s->lport = 0;
    }
    bind_again(s);
}

/* The destination as Linux reads it: 0.0.0.0 is this host. 0, or -EAFNOSUPPORT. */
static int udp_dst(uint8_t *dst, const uint8_t *ip)
{
    if (!ip_is_v4(ip))
        return -EAFNOSUPPORT;
    if (ip_is_any(ip))
        ip_from_v4(dst, (const uint8_t[4]){127, 0, 0, 1});
    else
        memcpy(dst, ip, 16);
    return 0;
}

/* The path to the peer (to NULL), or to dst. 0, -EACCES (a broadcast nobody allowed), or what ip_path_find says. */
static int udp_path(struct bw_sock *s, const uint8_t *dst, int to_peer, struct ip_path **path)
{
    int err;
    *path = &s->path;
    if (to_peer)
        err = ip_path_get(s->st, dst, sock_interface(s), &s->path);
    else
        err = ip_path_to(s->st, dst, s->bound_if, path);
    if (err)
        return err;
    return ((*path)->flags & BW_ROUTE_BROADCAST) && !s->broadcast ? -EACCES : 0;
}

/* The source address: what is bound, if a packet can come from it, else the path's choice. */
static const uint8_t *udp_source(const struct bw_sock *s, const struct ip_path *path)
{
    int bound = !ip_is_any(s->laddr) && !ip_is_broadcast(s->st, s->laddr);
    return bound ? s->laddr : path->source;
}

int udp_autobind(struct bw_sock *s, const uint8_t *source, const struct bw_addr *to, uint32_t ifindex)
{
    uint8_t dst[16];
    struct ip_path *path;
    int err = to->port ? udp_dst(dst, to->ip) : -EINVAL;
    if (!err)
        err = ip_path_to(s->st, dst, ifindex, &path);
    if (err)
        return err;
    return bind_towards(s, ip_is_any(source) ? path->source : source, dst, to->port) ? -BW_NO_PORT : 0;
}

/* With ip all zero and port 0: dissolves the association. */
static int udp_connect(struct bw_sock *s, const struct bw_addr *addr)
{
    static const uint8_t zero[16];
    uint8_t dst[16];
    if (ip_equal(addr->ip, zero) && addr->port == 0) {
        udp_dissolve(s);
        return 0;
    }
    struct ip_path *path;
    int err = udp_dst(dst, addr->ip);
    if (!err)
        err = udp_path(s, dst, 0, &path);
    if (!err && !(s->flags & SOCK_BOUND))
        err = bind_towards(s, udp_source(s, path), dst, addr->port) ? -BW_NO_PORT : 0;
    if (err)
        return err;
    flow_del(s);
    s->path = *path;
    if (!(s->flags & SOCK_ADDR_BOUND))
        memcpy(s->laddr, path->source, 16);
    memcpy(s->raddr, dst, 16);
    s->zone = ip_zone(dst, addr->zone);
    s->rport = addr->port;
    flow_add(s);
    return 0;
}

static int udp_shutdown(struct bw_sock *s, int how)
{
    if (how < 0 || how > 2)
        return -EINVAL;
    s->flags |= (how != 1 ? SOCK_SHUT_RD : 0) | (how != 0 ? SOCK_SHUT_WR : 0);
    sock_changed(s);
    return s->flags & SOCK_CONNECTED ? 0 : -ENOTCONN;
}

/* ---- waiting for a transmit queue ---------------------------------------------------------------- */

static void udp_wait(struct udp_sock *u)
{
    struct bw_stack *st = u->base.st;
    if (u->wait_prev)
        return;
    list_push(&st->udp_waiting, u, wait_next, wait_prev);
}

static void udp_wait_over(struct udp_sock *u)
{
    if (u->wait_prev)
        list_remove(u, wait_next, wait_prev);
}

void udp_tx_ready(struct bw_stack *st)
{
    while (st->udp_waiting) {
        struct udp_sock *u = st->udp_waiting;
        udp_wait_over(u);
        sock_changed(&u->base);
    }
}

/* ---- out ------------------------------------------------------------------------------------------- */

int udp_prepare(struct udp_sock *u, const struct udp_target *target, uint32_t len, struct udp_out *out)
{
    struct bw_sock *s = &u->base;
    const struct iface *iface = &s->st->iface[target->path->ifindex];
    out->path = *target->path;
    out->path.sender = s->flags & SOCK_CONNECTED ? PATH_CONNECTED : PATH_DATAGRAM;
    out->ip = (struct ip_send){
        .src = udp_source(s, target->path), .dst = target->dst, .proto = 17, .ttl = s->ttl, .tos = s->tos};
    if (out->ip.src[12] == 127 && out->path.ifindex != IF_LOOPBACK)
        return -EINVAL;
    if (out->path.flags & PATH_MULTICAST)
        out->ip.ttl = 1; /* RFC 1112 section 6.1 */
    if (s->mtu_discover == PMTUDISC_PROBE)
        out->path.mtu = iface->mtu;
    out->ip.df = sock_dont_fragment(s, &out->path) &&
                 (s->mtu_discover != PMTUDISC_WANT || out->path.hlen + UDP_HLEN + len <= out->path.mtu);
    return iface->txq_len == TXQ_SIZE ? -EAGAIN : 0;
}

void udp_header(const struct udp_sock *u, uint8_t *head, uint16_t dport, uint32_t len)
{
    put16(head, u->base.lport);
    put16(head + 2, dport);
    put16(head + 4, (uint16_t)(UDP_HLEN + len));
}

void udp_sent(struct udp_sock *u, const struct udp_target *target, const struct udp_out *out)
{
    target->path->neigh = out->path.neigh;
    target->path->neigh_gen = out->path.neigh_gen;
    u->sent_if = out->path.ifindex;
}

int udp_transmit(struct udp_sock *u, const struct udp_target *target, const void *buf, uint32_t len)
{
    struct udp_out out;
    uint8_t head[UDP_HLEN];
    int err = udp_prepare(u, target, len, &out);
    if (err)
        return err;
    udp_header(u, head, target->port, len);
    err = ip_send_datagram(u->base.st, &out.path, &out.ip, head, UDP_HLEN, UDP_SUM, buf, len);
    udp_sent(u, target, &out);
    if (!err)
        count(u->base.st, COUNT_UDP_TX);
    return err;
}

int udp_begin(struct udp_sock *u, const struct bw_addr *to, size_t len, struct udp_target *target)
{
    struct bw_sock *s = &u->base;
    if (to && to->port == 0)
        return -EINVAL;
    if (!to && !(s->flags & SOCK_CONNECTED))
        return -EDESTADDRREQ;
    target->port = to ? to->port : s->rport;
    int err = udp_dst(target->dst, to ? to->ip : s->raddr);
    if (!err)
        err = udp_path(s, target->dst, !to, &target->path);
    if (!err && len > UDP_MAX)
        err = -EMSGSIZE;
    if (!err && s->so_error)
        err = -udp_take_error(s);
    if (!err && (s->flags & SOCK_SHUT_WR))
        err = -EPIPE;
    if (!err && !(s->flags & SOCK_BOUND))
        err = bind_towards(s, udp_source(s, target->path), target->dst, target->port) ? -BW_NO_PORT : 0;
    return err;
}

int64_t udp_send(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to)
{
    struct udp_sock *u = udp_of(s);
    struct udp_target target;
    if (len > 65535)
        return -EMSGSIZE;
    if (flags & BW_MSG_MORE)
        return -EOPNOTSUPP;
    int err = udp_begin(u, to, len, &target);
    if (err)
        return err;
    if (unlikely(u->segment))
        err = udp_send_segments(u, &target, buf, (uint32_t)len);
    else
        err = udp_transmit(u, &target, buf, (uint32_t)len);
    if (err == -EAGAIN)
        udp_wait(u);
    return err ? err : (int64_t)len;
}

/* ---- options ---------------------------------------------------------------------------------------- */

static int udp_setopt(struct bw_sock *s, int opt, int64_t value)
{
    switch (opt) {
    case BW_OPT_KEEPALIVE: udp_of(s)->keepalive = value != 0; return 0;
    case BW_OPT_OOBINLINE: udp_of(s)->oobinline = value != 0; return 0;
    case BW_OPT_UDP_SEGMENT:
        if (value < 0 || value > UINT16_MAX)
            return -EINVAL;
        udp_of(s)->segment = (uint16_t)value;
        return 0;
    case BW_OPT_UDP_GRO: udp_of(s)->gro = value != 0; return 0;
    default: return -ENOPROTOOPT;
    }
}

static int udp_getopt(struct bw_sock *s, int opt, int64_t *value)
{
    const struct udp_sock *u = udp_of(s);
    switch (opt) {
    case BW_OPT_KEEPALIVE: *value = u->keepalive; return 0;
    case BW_OPT_OOBINLINE: *value = u->oobinline; return 0;
    case BW_OPT_ATMARK:
    case BW_OPT_ACCEPTCONN: *value = 0; return 0;
    case BW_OPT_UDP_SEGMENT: *value = u->segment; return 0;
    case BW_OPT_UDP_GRO: *value = u->gro; return 0;
    default: return -ENOPROTOOPT;
    }
}

/* ---- to the user ---------------------------------------------------------------------------------- */

int64_t udp_first(struct bw_sock *s, struct udp_record *rec)
{
    struct udp_sock *u = udp_of(s);
    if (s->so_error)
        return -udp_take_error(s);
    if (!u->rcvq.len)
        return s->flags & SOCK_SHUT_RD ? 0 : -EAGAIN;
    byteq_copy(&u->rcvq, &s->st->chunks, 0, rec, sizeof *rec);
    return 1;
}

void udp_forget_first(struct udp_sock *u, const struct udp_record *rec)
{
    byteq_drop(&u->rcvq, &u->base.st->chunks, (uint32_t)sizeof *rec + rec->len);
    u->rcv_used -= rec->len + UDP_OVERHEAD;
}

int64_t udp_recv(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from)
{
    struct udp_sock *u = udp_of(s);
    struct udp_record rec;
    int64_t there = udp_first(s, &rec);
    if (there <= 0)
        return there;
    uint32_t n = len < rec.len ? (uint32_t)len : rec.len;
    byteq_copy(&u->rcvq, &s->st->chunks, sizeof rec, buf, n);
    if (from) {
        *from = (struct bw_addr){.zone = rec.zone, .port = rec.port};
        memcpy(from->ip, rec.ip, 16);
    }
    if (!(flags & BW_MSG_PEEK))
        udp_forget_first(u, &rec);
    return flags & BW_MSG_TRUNC ? (int64_t)rec.len : (int64_t)n;
}

static uint32_t udp_readiness(struct bw_sock *s)
{
    const struct udp_sock *u = udp_of(s);
    uint32_t shut = s->flags & (SOCK_SHUT_RD | SOCK_SHUT_WR), ready = u->wait_prev ? 0 : BW_OUT;
    if (s->so_error)
        ready |= BW_ERR;
    if (shut & SOCK_SHUT_RD)
        ready |= BW_IN | BW_RDHUP;
    if (shut == (SOCK_SHUT_RD | SOCK_SHUT_WR))
        ready |= BW_HUP;
    if (u->rcvq.len)
        ready |= BW_IN;
    return ready;
}

/* which 0: length of the next datagram (FIONREAD), 1: bytes on their way (always 0). */
static int64_t udp_queued_bytes(struct bw_sock *s, int which)
{
    const struct udp_sock *u = udp_of(s);
    struct udp_record rec = {.len = 0};
    if (which == 0 && u->rcvq.len)
        byteq_copy(&u->rcvq, &s->st->chunks, 0, &rec, sizeof rec);
    return rec.len;
}

static void udp_close(struct bw_sock *s)
{
    struct udp_sock *u = udp_of(s);
    udp_wait_over(u);
    flow_del(s);
    bind_del(s);
    byteq_free(&u->rcvq, &s->st->chunks);
    sock_free(s);
}

static int udp_has_peer(const struct bw_sock *s)
{
    (void)s;
    return 1;
}

static void udp_set_buffer(struct bw_sock *s, int opt, int64_t value)
{
    int sends = opt == BW_OPT_SNDBUF;
    int64_t least = sends ? UDP_SNDBUF_MIN : UDP_RCVBUF_MIN;
    *(sends ? &s->sndbuf : &s->rcvbuf) = value < least         ? (uint32_t)least
                                         : value > UDP_BUF_MAX ? UDP_BUF_MAX
                                                               : (uint32_t)value;
}

static uint32_t udp_send_bound(const struct bw_sock *s)
{
    return s->sndbuf;
}

const struct sock_ops udp_ops = {
    .tos_mask = 0xff,
    .hears_all = 1,
    .init = udp_init,
    .close = udp_close,
    .discard = udp_close,
    .connect = udp_connect,
    .has_peer = udp_has_peer,
    .send = udp_send,
    .recv = udp_recv,
    .sendmsg = udp_sendmsg,
    .recvmsg = udp_recvmsg,
    .send_batch = udp_send_batch,
    .recv_batch = udp_recv_batch,
    .shutdown = udp_shutdown,
    .readiness = udp_readiness,
    .queued_bytes = udp_queued_bytes,
    .set_buffer = udp_set_buffer,
    .send_bound = udp_send_bound,
    .setopt = udp_setopt,
    .getopt = udp_getopt,
};

/* ---- a device that is gone -------------------------------------------------------------------------- */

static int udp_depends_on(const struct bw_sock *s, uint32_t ifindex, int last)
{
    const struct bw_stack *st = s->st;
    if (s->bound_if)
        return s->bound_if == ifindex;
    if ((s->flags & SOCK_CONNECTED) && s->path.ifindex == ifindex)
        return 1;
    if (ip_is_any(s->laddr))
        return last && (s->flags & SOCK_BOUND);
    for (int i = 0; i < st->addrs; i++)
        if (ip_equal(st->addr[i].ip, s->laddr))
            return st->addr[i].ifindex == ifindex;
    return 0;
}

/* Sockets that can hear or speak only through the interface are told; those bound to any address when
 * it was the last one beside the loopback. */
void udp_if_down(struct bw_stack *st, uint32_t ifindex, int err)
{
    int last = 1;
    for (int i = IF_LOOPBACK + 1; i <= st->ifaces; i++)
        if ((uint32_t)i != ifindex && !st->iface[i].gone)
            last = 0;
    uint32_t at = 0;
    for (struct bw_sock *s; (s = sock_next(st, &at, KIND_UDP));)
        if (udp_depends_on(s, ifindex, last))
            udp_set_error(s, err);
}
