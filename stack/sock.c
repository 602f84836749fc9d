/* SPDX-License-Identifier: MIT */
/* What sockets of every kind share: their slab, names, common options, and the way from the public
 * calls to the protocol. */
#include "stack.h"
#include "tcp/tcp.h"
#include "udp/udp.h"
#include "message.h"

/* ---- the slab ------------------------------------------------------------------------------------------ */

/* stack.c lays the slab out in entries of a struct listener, the largest kind. */
union any_sock {
    struct listener tcp;
    struct udp_sock udp;
};
_Static_assert(sizeof(union any_sock) == sizeof(struct listener), "a slab entry holds every kind");
_Static_assert(sizeof(struct listener) <= 1664, "an idle connection is as small as ARCHITECTURE.md says");

/* Those in TIME-WAIT count, too. */
uint32_t socks_all(const struct bw_stack *st)
{
    return st->socks_used + st->tcp->time_waits.used;
}

struct bw_sock *sock_alloc(struct bw_stack *st, enum sock_kind kind)
{
    if (socks_all(st) >= st->cfg.max_socks && !tcp_recycle_time_wait(st))
        return NULL;
    uint32_t id = st->slab_free;
    if (id != CHUNK_NONE)
        st->slab_free = sock_at(st, id)->id;
    else
        id = st->slab_touched++;
    struct bw_sock *s = sock_at(st, id);
    memset(s, 0, sizeof(union any_sock));
    *s = (struct bw_sock){
        .st = st, .kind = (uint8_t)kind, .id = id, .ttl = 64, .mtu_discover = 1, .linger = -1};
    st->socks_used++;
    return s;
}

static void forget_change(struct bw_sock *s)
{
    struct bw_stack *st = s->st;
    sock_ref_t ref = sock_ref(s), *at = &st->changed_head, previous = 0;
    while (*at != ref) {
        previous = *at;
        at = &sock_of(st, previous)->changed_next;
    }
    *at = s->changed_next;
    if (st->changed_tail == ref)
        st->changed_tail = previous;
}

struct bw_sock *sock_next(const struct bw_stack *st, uint32_t *at, int kind)
{
    while (*at < st->slab_touched) {
        struct bw_sock *s = sock_at(st, (*at)++);
        if (s->kind == kind)
            return s;
    }
    return NULL;
}

void sock_free(struct bw_sock *s)
{
    struct bw_stack *st = s->st;
    if (s->flags & SOCK_CHANGED)
        forget_change(s);
    s->kind = KIND_FREE;
    s->flags = 0;
    uint32_t id = s->id;
    s->id = st->slab_free;
    st->slab_free = id;
    st->socks_used--;
}

/* ---- the kinds ------------------------------------------------------------------------------------------ */

static const struct sock_ops *const kinds[] = {
    [KIND_TCP] = &tcp_ops, [KIND_LISTENER] = &tcp_ops, [KIND_UDP] = &udp_ops, [KIND_TIME_WAIT] = &tcp_ops};

const struct sock_ops *sock_ops_of(const struct bw_sock *s)
{
    return kinds[s->kind];
}

/* ---- open, bind, close ---------------------------------------------------------------------------------- */

int bw_socket(struct bw_stack *st, int type, struct bw_sock **out)
{
    if (type != BW_SOCK_TCP && type != BW_SOCK_UDP)
        return -ESOCKTNOSUPPORT;
    struct bw_sock *s = sock_alloc(st, type == BW_SOCK_TCP ? KIND_TCP : KIND_UDP);
    if (!s)
        return -ENFILE;
    sock_ops_of(s)->init(s);
    s->flags |= SOCK_OPEN;
    *out = s;
    return 0;
}

int bw_bind(struct bw_sock *s, const struct bw_addr *addr)
{
    int any = ip_is_any(addr->ip);
    if ((s->flags & (SOCK_BOUND | SOCK_CONNECTED)) || s->kind == KIND_LISTENER)
        return -EINVAL;
    if (!any && !ip_is_ours(s->st, addr->ip) &&
        !(sock_ops_of(s)->hears_all && ip_is_broadcast(s->st, addr->ip)))
        return -EADDRNOTAVAIL;
    memcpy(s->laddr, addr->ip, 16);
    int err = bind_add(s, addr->port);
    if (err) {
        memset(s->laddr, 0, 16);
        return err;
    }
    s->flags |= (any ? 0 : SOCK_ADDR_BOUND) | (addr->port ? SOCK_PORT_BOUND : 0u);
    return 0;
}

void bw_close(struct bw_sock *s)
{
    s->flags &= ~(uint32_t)SOCK_OBSERVED;
    s->user = NULL;
    sock_ops_of(s)->close(s);
}

void bw_abort(struct bw_sock *s)
{
    s->linger = 0;
    bw_close(s);
}

/* ---- calls that go to the protocol ---------------------------------------------------------------------- */

int bw_listen(struct bw_sock *s, int backlog)
{
    const struct sock_ops *ops = sock_ops_of(s);
    return ops->listen ? ops->listen(s, backlog) : -EOPNOTSUPP;
}

int bw_accept(struct bw_sock *s, struct bw_sock **out, struct bw_addr *peer)
{
    const struct sock_ops *ops = sock_ops_of(s);
    return ops->accept ? ops->accept(s, out, peer) : -EOPNOTSUPP;
}

int bw_connect(struct bw_sock *s, const struct bw_addr *addr)
{
    return sock_ops_of(s)->connect(s, addr);
}

int64_t bw_send(struct bw_sock *s, const void *buf, size_t len, int flags)
{
    return sock_ops_of(s)->send(s, buf, len, flags, NULL);
}

int64_t bw_recv(struct bw_sock *s, void *buf, size_t len, int flags)
{
    return sock_ops_of(s)->recv(s, buf, len, flags, NULL);
}

int64_t bw_sendto(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to)
{
    return sock_ops_of(s)->send(s, buf, len, flags, to);
}

/* *from stays zeroed where there is nothing to say. */
int64_t bw_recvfrom(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from)
{
    *from = (struct bw_addr){0};
    return sock_ops_of(s)->recv(s, buf, len, flags, from);
}

int64_t bw_sendmsg(struct bw_sock *s, const struct bw_msg *m)
{
    return m->pieces == 1 ? msg_send(s, m->iov->base, m->iov->len, m) : msg_send_pieces(s, m);
}

int64_t bw_recvmsg(struct bw_sock *s, struct bw_msg *m)
{
    const struct sock_ops *ops = sock_ops_of(s);
    m->control_used = m->named = 0;
    m->told = 0;
    return ops->recvmsg ? ops->recvmsg(s, m) : msg_recv_stream(s, m);
}

int64_t bw_send_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    const struct sock_ops *ops = sock_ops_of(s);
    return ops->send_batch ? ops->send_batch(s, b, first, last) : -EOPNOTSUPP;
}

int64_t bw_recv_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    const struct sock_ops *ops = sock_ops_of(s);
    return ops->recv_batch ? ops->recv_batch(s, b, first, last) : -EOPNOTSUPP;
}

int bw_shutdown(struct bw_sock *s, int how)
{
    return sock_ops_of(s)->shutdown(s, how);
}

uint32_t bw_readiness(struct bw_sock *s)
{
    return sock_ops_of(s)->readiness(s);
}

int bw_await(struct bw_sock *s, uint32_t events)
{
    const struct sock_ops *ops = sock_ops_of(s);
    return ops->await ? ops->await(s, events) : 0;
}

int64_t bw_queued_bytes(struct bw_sock *s, int which)
{
    return sock_ops_of(s)->queued_bytes(s, which);
}

int bw_snapshot(struct bw_sock *s, struct bw_tcp_snapshot *out)
{
    const struct sock_ops *ops = sock_ops_of(s);
    return ops->snapshot ? ops->snapshot(s, out) : -EOPNOTSUPP;
}

/* ---- names ------------------------------------------------------------------------------------------------ */

void bw_sockname(struct bw_sock *s, struct bw_addr *addr)
{
    *addr = (struct bw_addr){.zone = s->zone, .port = s->lport};
    memcpy(addr->ip, s->laddr, 16);
}

int bw_peername(struct bw_sock *s, struct bw_addr *addr)
{
    if (!(s->flags & SOCK_CONNECTED) || !sock_ops_of(s)->has_peer(s))
        return -ENOTCONN;
    *addr = (struct bw_addr){.zone = s->zone, .port = s->rport};
    memcpy(addr->ip, s->raddr, 16);
    return 0;
}

/* ---- options of every kind ---------------------------------------------------------------------------------- */

static int set_buffer(struct bw_sock *s, int opt, int64_t value)
{
    sock_ops_of(s)->set_buffer(s, opt, value);
    sock_changed(s);
    return 0;
}

/* IP_MTU_DISCOVER, and what the path has taught. */
int sock_dont_fragment(const struct bw_sock *s, const struct ip_path *path)
{
    if (s->mtu_discover == PMTUDISC_WANT)
        return !(path->flags & PATH_FRAGMENTS);
    return s->mtu_discover == PMTUDISC_DO || s->mtu_discover == PMTUDISC_PROBE;
}

static int set_byte(int64_t value, int64_t low, int64_t high, uint8_t *field)
{
    if (value < low || value > high)
        return -EINVAL;
    *field = (uint8_t)value;
    return 0;
}

static int set_interface(struct bw_sock *s, int64_t value)
{
    if (value < 0 || value > s->st->ifaces)
        return -ENODEV;
    s->bound_if = (uint32_t)value;
    s->path.gen = 0;
    bind_again(s);
    return 0;
}

static int set_time(int64_t ms, uint32_t *field)
{
    *field = ms < 0 ? UINT32_MAX : ms >= UINT32_MAX ? UINT32_MAX - 1 : (uint32_t)ms;
    return 0;
}

/* As Linux, the type of service says what is urgent. */
static int set_tos(struct bw_sock *s, int64_t value)
{
    static const uint8_t priority[] = {0, 2, 6, 4};
    s->tos = (uint8_t)(value & sock_ops_of(s)->tos_mask);
    s->priority = priority[s->tos >> 3 & 3];
    return 0;
}

static int get_mtu(struct bw_sock *s, int64_t *value)
{
    if (!(s->flags & SOCK_CONNECTED))
        return -ENOTCONN;
    int err = ip_path_get(s->st, s->raddr, sock_interface(s), &s->path);
    *value = s->path.mtu;
    return err;
}

/* The bit of s->tells that an option is, or 0. */
static uint8_t tell_of(int opt)
{
    switch (opt) {
    case BW_OPT_PKTINFO: return TELL_PKTINFO;
    case BW_OPT_RECVTTL: return TELL_TTL;
    case BW_OPT_RECVTOS: return TELL_TOS;
    case BW_OPT_RECVORIGDSTADDR: return TELL_ORIGDSTADDR;
    default: return 0;
    }
}

int bw_setopt(struct bw_sock *s, int opt, int64_t value)
{
    switch (opt) {
    case BW_OPT_REUSEADDR: s->reuseaddr = value != 0; return 0;
    case BW_OPT_REUSEPORT:
        s->reuseport = value != 0;
        bind_again(s);
        return 0;
    case BW_OPT_BROADCAST: s->broadcast = value != 0; return 0;
    case BW_OPT_RECVERR: s->recverr = value != 0; return 0;
    case BW_OPT_SNDBUF:
    case BW_OPT_RCVBUF: return set_buffer(s, opt, value);
    case BW_OPT_LINGER: s->linger = value < -2 ? -1 : value > INT32_MAX ? INT32_MAX : (int)value; return 0;
    case BW_OPT_RCVTIMEO: return set_time(value, &s->rcvtimeo);
    case BW_OPT_SNDTIMEO: return set_time(value, &s->sndtimeo);
    case BW_OPT_PRIORITY: s->priority = (int32_t)value; return 0;
    case BW_OPT_TIMESTAMP: return set_byte(value, BW_TIMESTAMP_OFF, BW_TIMESTAMP_NS, &s->timestamp);
    case BW_OPT_TTL: return set_byte(value == -1 ? 64 : value, 1, 255, &s->ttl);
    case BW_OPT_TOS: return set_tos(s, value);
    case BW_OPT_MTU_DISCOVER: return set_byte(value, 0, 5, &s->mtu_discover);
    case BW_OPT_BINDTOIF: return set_interface(s, value);
    case BW_OPT_PKTINFO:
    case BW_OPT_RECVTTL:
    case BW_OPT_RECVTOS:
    case BW_OPT_RECVORIGDSTADDR:
        s->tells = (uint8_t)(value ? s->tells | tell_of(opt) : s->tells & ~tell_of(opt));
        return 0;
    default: break;
    }
    return sock_ops_of(s)->setopt(s, opt, value);
}

int bw_getopt(struct bw_sock *s, int opt, int64_t *value)
{
    switch (opt) {
    case BW_OPT_REUSEADDR: *value = s->reuseaddr; return 0;
    case BW_OPT_REUSEPORT: *value = s->reuseport; return 0;
    case BW_OPT_BROADCAST: *value = s->broadcast; return 0;
    case BW_OPT_RECVERR: *value = s->recverr; return 0;
    case BW_OPT_SNDBUF: *value = sock_ops_of(s)->send_bound(s); return 0;
    case BW_OPT_RCVBUF: *value = s->rcvbuf; return 0;
    case BW_OPT_LINGER: *value = s->linger; return 0;
    case BW_OPT_RCVTIMEO: *value = (int32_t)s->rcvtimeo == -1 ? -1 : (int64_t)s->rcvtimeo; return 0;
    case BW_OPT_SNDTIMEO: *value = (int32_t)s->sndtimeo == -1 ? -1 : (int64_t)s->sndtimeo; return 0;
    case BW_OPT_PRIORITY: *value = s->priority; return 0;
    case BW_OPT_TIMESTAMP: *value = s->timestamp; return 0;
    case BW_OPT_MTU: return get_mtu(s, value);
    case BW_OPT_TTL: *value = s->ttl; return 0;
    case BW_OPT_TOS: *value = s->tos; return 0;
    case BW_OPT_MTU_DISCOVER: *value = s->mtu_discover; return 0;
    case BW_OPT_BINDTOIF: *value = s->bound_if; return 0;
    case BW_OPT_PKTINFO:
    case BW_OPT_RECVTTL:
    case BW_OPT_RECVTOS:
    case BW_OPT_RECVORIGDSTADDR: *value = (s->tells & tell_of(opt)) != 0; return 0;
    default: break;
    }
    return sock_ops_of(s)->getopt(s, opt, value);
}

/* SO_ERROR: what ended the connection; else, as on Linux, the last error that did not (RFC 9293 MUST-47). */
int bw_take_error(struct bw_sock *s)
{
    int32_t *from = s->so_error ? &s->so_error : &s->soft_error, err = *from;
    *from = 0;
    return err;
}

/* ---- observers ------------------------------------------------------------------------------------------------ */

void bw_observe(struct bw_sock *s, int observed)
{
    if (observed)
        s->flags |= SOCK_OBSERVED;
    else
        s->flags &= ~(uint32_t)SOCK_OBSERVED;
}

void **bw_sock_user(struct bw_sock *s)
{
    return &s->user;
}

struct bw_stack *bw_sock_stack(struct bw_sock *s)
{
    return s->st;
}

int bw_arrived(struct bw_sock *s)
{
    int arrived = (s->flags & SOCK_ARRIVED) != 0;
    s->flags &= ~(uint32_t)SOCK_ARRIVED;
    return arrived;
}

struct bw_sock *bw_pop_changed(struct bw_stack *st)
{
    if (!st->changed_head)
        return NULL;
    struct bw_sock *s = sock_of(st, st->changed_head);
    st->changed_head = s->changed_next;
    if (!st->changed_head)
        st->changed_tail = 0;
    s->flags &= ~(uint32_t)SOCK_CHANGED;
    return s;
}
