/* SPDX-License-Identifier: MIT */
/* UDP's messages with control bytes, as udp(7), ip(7) and socket(7) have them. */
#include "../message.h"
#include "udp.h"

/* ---- out ------------------------------------------------------------------------------------------- */

/* What a message says otherwise than its socket: these stand in the socket's place for one call. */
struct own_way {
    uint8_t ttl, tos, source[16];
    uint16_t segment;
    uint32_t ifindex;
};

static int read_int(const struct cmsg *head, const uint8_t *data, int32_t *value)
{
    if (head->len != sizeof *head + sizeof *value)
        return -EINVAL;
    memcpy(value, data, sizeof *value);
    return 0;
}

static int read_ip(const struct bw_stack *st, const struct cmsg *head, const uint8_t *data,
                   struct own_way *way)
{
    static const uint8_t unnamed[4];
    int32_t value = 0, ifindex;
    switch (head->type) {
    case CMSG_IP_TTL:
        if (read_int(head, data, &value) || value < 1 || value > 255)
            return -EINVAL;
        way->ttl = (uint8_t)value;
        return 0;
    case CMSG_IP_TOS:
        if (head->len == sizeof *head + 1)
            value = data[0];
        else if (read_int(head, data, &value))
            return -EINVAL;
        if (value < 0 || value > 255)
            return -EINVAL;
        way->tos = (uint8_t)value;
        return 0;
    case CMSG_IP_PKTINFO: /* struct in_pktinfo: interface, source, an address that is for receivers */
        if (head->len != sizeof *head + 12)
            return -EINVAL;
        memcpy(&ifindex, data, 4);
        if (ifindex < 0 || ifindex > st->ifaces)
            return -ENODEV;
        if (ifindex)
            way->ifindex = (uint32_t)ifindex;
        if ((data[4] & 0xf0) == 0xe0 || get32(data + 4) == UINT32_MAX) /* nobody's source */
            return -EINVAL;
        if (memcmp(data + 4, unnamed, 4) != 0)
            ip_from_v4(way->source, data + 4);
        return 0;
    default: return -EINVAL;
    }
}

static int read_control(const struct bw_stack *st, const struct bw_msg *m, struct own_way *way)
{
    struct cmsg head;
    const uint8_t *data;
    uint32_t at = 0;
    int there, err = 0;
    while (!err && (there = cmsg_next(m, &at, &head, &data)) != 0) {
        if (there < 0)
            return there;
        if (head.level == LEVEL_SOCKET) {
            err = cmsg_of_socket(&head);
        } else if (head.level == LEVEL_IP) {
            err = read_ip(st, &head, data, way);
        } else if (head.level == LEVEL_UDP) {
            err = head.type == CMSG_UDP_SEGMENT && head.len == sizeof head + 2 ? 0 : -EINVAL;
            if (!err)
                memcpy(&way->segment, data, 2);
        }
    }
    return err;
}

static void swap_way(struct udp_sock *u, struct own_way *way)
{
    struct bw_sock *s = &u->base;
    struct own_way was = {.ttl = s->ttl, .tos = s->tos, .segment = u->segment, .ifindex = s->bound_if};
    memcpy(was.source, s->laddr, 16);
    s->ttl = way->ttl;
    s->tos = way->tos;
    u->segment = way->segment;
    s->bound_if = way->ifindex;
    memcpy(s->laddr, way->source, 16);
    *way = was;
}

int64_t udp_sendmsg(struct bw_sock *s, const void *buf, size_t len, const struct bw_msg *m)
{
    struct udp_sock *u = udp_of(s);
    struct own_way way = {.ttl = s->ttl, .tos = s->tos, .segment = u->segment, .ifindex = s->bound_if};
    struct bw_addr to = m->name;
    memcpy(way.source, s->laddr, 16);
    if (!m->named && !(s->flags & SOCK_CONNECTED))
        return -EDESTADDRREQ;
    int err = read_control(s->st, m, &way);
    if (!err && !ip_equal(way.source, s->laddr) && !ip_is_ours(s->st, way.source))
        err = -ENETUNREACH;
    if (!err && !(s->flags & SOCK_BOUND))
        err = udp_autobind(s, way.source, &m->name, way.ifindex);
    if (err)
        return err;
    if (!m->named)
        bw_peername(s, &to);
    int elsewhere = m->named || way.ifindex != s->bound_if; /* not by the path that the socket keeps */
    swap_way(u, &way);
    int64_t n = udp_send(s, buf, len, m->flags, elsewhere ? &to : NULL);
    swap_way(u, &way);
    return n;
}

/* ---- in -------------------------------------------------------------------------------------------- */

static void tell_time(struct bw_msg *m, uint8_t kind, int64_t when)
{
    int64_t time[2] = {when / 1000000000, when % 1000000000};
    if (kind == BW_TIMESTAMP_US)
        time[1] /= 1000;
    cmsg_put(m, LEVEL_SOCKET, kind == BW_TIMESTAMP_US ? CMSG_TIMESTAMP : CMSG_TIMESTAMPNS, time, sizeof time);
}

/* struct in_pktinfo: the interface, what an answer would come from, and where it was sent to. */
static void tell_pktinfo(struct bw_sock *s, struct bw_msg *m, const struct udp_record *rec)
{
    uint8_t info[12];
    struct ip_path *path;
    const uint8_t *source = rec->dst;
    if (ip_is_broadcast(s->st, rec->dst) && !ip_path_to(s->st, rec->ip, rec->ifindex, &path))
        source = path->source;
    memcpy(info, &rec->ifindex, 4);
    memcpy(info + 4, source + 12, 4);
    memcpy(info + 8, rec->dst + 12, 4);
    cmsg_put(m, LEVEL_IP, CMSG_IP_PKTINFO, info, sizeof info);
}

/* struct sockaddr_in */
static void tell_destination(struct bw_sock *s, struct bw_msg *m, const struct udp_record *rec)
{
    uint8_t name[16] = {2, 0};
    put16(name + 2, s->lport);
    memcpy(name + 4, rec->dst + 12, 4);
    cmsg_put(m, LEVEL_IP, CMSG_IP_ORIGDSTADDR, name, sizeof name);
}

/* The order is that of a kernel's udp_recvmsg: tests/sockets/test_messages.py. */
static void tell(struct bw_sock *s, struct bw_msg *m, const struct udp_record *rec)
{
    int32_t size = rec->gso_size, ttl = rec->ttl;
    if (s->timestamp)
        tell_time(m, s->timestamp, rec->when);
    if (udp_of(s)->gro && size)
        cmsg_put(m, LEVEL_UDP, CMSG_UDP_GRO, &size, sizeof size);
    if (s->tells & TELL_PKTINFO)
        tell_pktinfo(s, m, rec);
    if (s->tells & TELL_TTL)
        cmsg_put(m, LEVEL_IP, CMSG_IP_TTL, &ttl, sizeof ttl);
    if (s->tells & TELL_TOS)
        cmsg_put(m, LEVEL_IP, CMSG_IP_TOS, &rec->tos, 1);
    if (s->tells & TELL_ORIGDSTADDR)
        tell_destination(s, m, rec);
}

int64_t udp_recvmsg(struct bw_sock *s, struct bw_msg *m)
{
    struct udp_sock *u = udp_of(s);
    struct udp_record rec;
    int64_t there = udp_first(s, &rec);
    if (there <= 0)
        return there;
    uint32_t done = 0;
    for (uint32_t i = 0; i < m->pieces && done < rec.len; i++) {
        size_t left = rec.len - done, n = m->iov[i].len < left ? m->iov[i].len : left;
        byteq_copy(&u->rcvq, &s->st->chunks, (uint32_t)sizeof rec + done, m->iov[i].base, (uint32_t)n);
        done += (uint32_t)n;
    }
    if (done < rec.len)
        m->told |= BW_MSG_TRUNC;
    m->name = (struct bw_addr){.zone = rec.zone, .port = rec.port};
    memcpy(m->name.ip, rec.ip, 16);
    m->named = 1;
    tell(s, m, &rec);
    if (!(m->flags & BW_MSG_PEEK))
        udp_forget_first(u, &rec);
    return m->flags & BW_MSG_TRUNC ? rec.len : done;
}
