/* SPDX-License-Identifier: MIT */
/* How the fuzzed stack is configured, and where an input begins: with a connection of either direction, one
 * over the loopback, some UDP sockets, so that it need not find the way there first. */
#include "world.h"

void configure(struct world *w, struct bw_config *cfg)
{
    uint8_t choice = take8(&w->in), caps = take8(&w->in), more = take8(&w->in);
    *cfg = (struct bw_config){.seed = {1},
                              .now = SECOND,
                              .buffer_bytes = more & 1 ? 1 << 20 : 16 << 14,
                              .max_socks = more & 2 ? 4 : 16,
                              .max_orphans = 3,
                              .max_neighs = 8,
                              .port_first = 40000,
                              .port_last = 40007,
                              .rcvbuf = {2048, 65536, 1 << 20},
                              .sndbuf = {4096, 65536, 1 << 20},
                              .header_prediction = choice & 1,
                              .poison = 1,
                              .syn_cookies = choice >> 1 & 3,
                              .fast_open = choice >> 3 & 3,
                              .ecn = (choice >> 5) % 6,
                              .mtu_probing = (more >> 2) % 3,
                              .trace_records = more & 16 ? 64 : 16};
    if (cfg->syn_cookies == 3)
        cfg->syn_cookies = 1;
    if (more & 64)
        for (int i = 0; i < BW_PUNT_CLASSES; i++)
            cfg->punt_rate[i] = (struct bw_punt_rate){10, 2};
    w->narrow = more & 32;
    w->stranger = more & 128;
    w->dev = (struct netdev){.caps = (caps & 1 ? NETDEV_TX_CSUM : 0) | (caps & 2 ? NETDEV_TSO4 : 0) |
                                     (caps & 4 ? NETDEV_TX_ASYNC : 0) | (caps & 8 ? NETDEV_USO4 : 0) |
                                     NETDEV_RX_CSUM | NETDEV_RX_GSO,
                             .mtu = caps & 16 ? 576 : 1500,
                             .tso_max = caps & (2 | 8) ? 60000 : 0,
                             .layer = caps & 32 ? 2 : 3,
                             .mac = {2, 0, 0, 0, 0, 2}};
}

void set_tables(struct world *w)
{
    struct bw_ifaddr addrs[] = {{.ifindex = IF_LOOPBACK, .prefix_len = 96 + 8},
                                {.ifindex = OUTSIDE, .prefix_len = 96 + 24}};
    ip_from_v4(addrs[0].ip, (const uint8_t[]){127, 0, 0, 1});
    memcpy(addrs[1].ip, world_us, 16);
    struct bw_route routes[] = {
        {.ifindex = OUTSIDE, .prefix_len = 128, .flags = BW_ROUTE_BROADCAST},
        {.ifindex = OUTSIDE, .prefix_len = 96 + 24},
        {.ifindex = IF_LOOPBACK, .prefix_len = 96 + 8},
        {.ifindex = OUTSIDE, .prefix_len = 96, .flags = BW_ROUTE_GATEWAY},
    };
    ip_from_v4(routes[0].prefix, (const uint8_t[]){198, 18, 0, 255});
    ip_from_v4(routes[1].prefix, (const uint8_t[]){198, 18, 0, 0});
    ip_from_v4(routes[2].prefix, (const uint8_t[]){127, 0, 0, 0});
    ip_from_v4(routes[3].prefix, (const uint8_t[]){0, 0, 0, 0});
    memcpy(routes[3].gateway, world_peer, 16);
    MUST(!bw_set_addrs(w->st, addrs, 2));
    MUST(!bw_set_routes(w->st, routes, 4));
}

void settle_in(struct world *w)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    MUST(bw_if_add(w->st, &w->dev) == OUTSIDE);
    if (w->narrow) { /* a loopback as links outside are */
        struct netdev *lo = bw_loopback(w->st);
        lo->mtu = 1500;
        lo->caps &= ~(uint32_t)(NETDEV_TSO4 | NETDEV_USO4);
        bw_if_down(w->st, IF_LOOPBACK, ENETDOWN);
        MUST(!bw_if_up(w->st, IF_LOOPBACK, lo));
    }
    set_tables(w);
    if (!w->stranger)
        bw_neigh_set(w->st, OUTSIDE, world_peer, mac);
}

/* A socket with the options that the input's second byte is about. */
static struct bw_sock *ready_sock(struct world *w, int i, int type)
{
    static const uint8_t cc[] = {0, 1, 2, 3, BW_CC_PYTHON, 0, 2, BW_CC_PYTHON};
    struct bw_sock *s;
    uint8_t p = w->profile;
    if (w->sock[i] || bw_socket(w->st, type, &s))
        return NULL;
    w->sock[i] = s;
    bw_observe(s, 1);
    if (type == BW_SOCK_UDP) {
        bw_setopt(s, BW_OPT_REUSEPORT, p & 1);
        bw_setopt(s, BW_OPT_REUSEADDR, 1);
        bw_setopt(s, BW_OPT_BROADCAST, 1);
        bw_setopt(s, BW_OPT_UDP_SEGMENT, p & 2 ? 500 : 0);
        return s;
    }
    bw_setopt(s, BW_OPT_CONGESTION, cc[p & 7]);
    bw_setopt(s, BW_OPT_TRACE, p >> 3 & 1);
    bw_setopt(s, BW_OPT_MAXSEG, p & 16 ? 536 : 0);
    bw_setopt(s, BW_OPT_OOBINLINE, p >> 5 & 1);
    bw_setopt(s, BW_OPT_FASTOPEN, i == 0 && (p & 64) ? 5 : 0);
    if (p & 128) {
        bw_setopt(s, BW_OPT_SNDBUF, 200000);
        bw_setopt(s, BW_OPT_KEEPALIVE, 1);
        bw_setopt(s, BW_OPT_KEEPIDLE, 1);
        bw_setopt(s, BW_OPT_KEEPINTVL, 1);
        bw_setopt(s, BW_OPT_KEEPCNT, 2);
        bw_setopt(s, BW_OPT_USER_TIMEOUT, p & 32 ? 5000 : 0);
    }
    return s;
}

static struct bw_addr at_port(const uint8_t *ip, uint16_t port)
{
    struct bw_addr a = {.port = port};
    memcpy(a.ip, ip, 16);
    return a;
}

static int listens(struct world *w, int backlog)
{
    struct bw_addr here = at_port(world_us, 80);
    struct bw_sock *s = ready_sock(w, 0, BW_SOCK_TCP);
    return s && !bw_bind(s, &here) && !bw_listen(s, backlog);
}

static void accepts(struct world *w)
{
    struct bw_addr from;
    if (!w->sock[1] && bw_accept(w->sock[0], &w->sock[1], &from))
        w->sock[1] = NULL;
    if (w->sock[1])
        bw_observe(w->sock[1], 1);
}

/* Both ends of a connection are the stack's. */
static void begin_inside(struct world *w)
{
    struct bw_addr there = at_port(world_us, 80);
    struct bw_sock *s = listens(w, 3) ? ready_sock(w, 2, BW_SOCK_TCP) : NULL;
    if (s)
        bw_connect(s, &there);
    pump(w);
    if (s)
        accepts(w);
}

/* As before, twice: the first asks for a cookie, the second opens with data. */
static void begin_fast(struct world *w)
{
    struct bw_addr there = at_port(world_us, 80);
    w->profile |= 64;
    if (!listens(w, 3))
        return;
    for (int i = 2; i < 4; i++) {
        struct bw_sock *s = ready_sock(w, i, BW_SOCK_TCP);
        if (s && (w->profile & 32))
            bw_setopt(s, BW_OPT_FASTOPEN_NO_COOKIE, i == 3);
        if (s)
            bw_sendto(s, w->buffer, 100 * (size_t)(i - 2), BW_MSG_FASTOPEN, &there);
        pump(w);
    }
    accepts(w);
}

static void begin_passive(struct world *w, int rich)
{
    if (!listens(w, 2))
        return;
    far_opens(w, 80, rich);
    pump(w);
    far_answers(w, 0, 0);
    pump(w);
    accepts(w);
}

static void begin_active(struct world *w, int rich)
{
    struct bw_addr there = at_port(world_peer, 2000);
    struct bw_sock *s = ready_sock(w, 0, BW_SOCK_TCP);
    if (s && (w->profile & 64))
        bw_setopt(s, BW_OPT_FASTOPEN_CONNECT, 1);
    if (s)
        bw_connect(s, &there);
    pump(w);
    if (s)
        far_answers(w, 1, rich);
}

static void begin_datagrams(struct world *w, int connected)
{
    struct bw_addr here = at_port(world_us, 80), any = {.port = 80};
    for (int i = 0; i < 3; i++) {
        struct bw_sock *s = ready_sock(w, i, BW_SOCK_UDP);
        if (s && (connected ? i == 0 : 1))
            bw_bind(s, connected ? &here : &any);
        else if (s)
            bw_connect(s, &here);
    }
}

void begin(struct world *w)
{
    uint8_t scene = take8(&w->in);
    w->profile = take8(&w->in);
    if (scene & 64) { /* and the first packets have it hard */
        w->faults.turn = take8(&w->in);
        w->faults.lose = take8(&w->in);
        w->faults.mangle = 0xffff;
    }
    switch (scene % 16) {
    case 0: break;
    case 1: begin_datagrams(w, 1); break;
    case 2: begin_datagrams(w, 0); break;
    case 3:
    case 4: begin_active(w, scene & 16); break;
    case 5:
    case 6:
    case 7: begin_passive(w, scene & 16); break;
    case 8:
    case 9: begin_fast(w); break;
    default: begin_inside(w);
    }
    pump(w);
    w->faults.slow = scene >> 7;
}
