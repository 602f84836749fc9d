/* SPDX-License-Identifier: MIT */
/* The path to a destination: own addresses, routes and path MTUs as Python published them, and the
 * choice of interface, next hop and source address. Addresses and routes are replaced whole; a change moves
 * route_gen on, and cached paths are found again. A path MTU concerns the paths of its set alone. */
#include "../stack.h"

static const uint8_t limited_broadcast[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 255, 255, 255, 255};
static const uint8_t localhost4[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1};

void ip_paths_changed(struct bw_stack *st)
{
    if (++st->route_gen == 0)
        st->route_gen = 1;
    tcp_paths_changed(st);
}

static int prefix_match(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
    uint32_t bytes = bits / 8, rest = bits % 8;
    return memcmp(a, b, bytes) == 0 && (!rest || !((a[bytes] ^ b[bytes]) >> (8 - rest)));
}

static int is_loopback4(const uint8_t *ip)
{
    return ip[12] == 127 && ip_is_v4(ip);
}

static int is_multicast4(const uint8_t *ip)
{
    return (ip[12] & 0xf0) == 0xe0 && ip_is_v4(ip);
}

/* ---- what Python publishes ------------------------------------------------------------------- */

static int prefix_valid(const struct bw_stack *st, const uint8_t *ip, uint32_t len, uint32_t ifindex)
{
    return ifindex >= 1 && ifindex <= (uint32_t)st->ifaces && len <= 128 && (len >= 96 || !ip_is_v4(ip));
}

int bw_set_addrs(struct bw_stack *st, const struct bw_ifaddr *addrs, int n)
{
    if (n < 0 || n > MAX_ADDRS)
        return -ENOSPC;
    for (int i = 0; i < n; i++)
        if (!prefix_valid(st, addrs[i].ip, addrs[i].prefix_len, addrs[i].ifindex) || ip_is_any(addrs[i].ip))
            return -EINVAL;
    if (n)
        memcpy(st->addr, addrs, (size_t)n * sizeof *addrs);
    st->addrs = n;
    ip_paths_changed(st);
    return 0;
}

static int route_before(const struct bw_route *a, const struct bw_route *b)
{
    return a->prefix_len != b->prefix_len ? a->prefix_len > b->prefix_len : a->metric < b->metric;
}

int bw_set_routes(struct bw_stack *st, const struct bw_route *routes, int n)
{
    if (n < 0 || n > MAX_ROUTES)
        return -ENOSPC;
    for (int i = 0; i < n; i++) {
        const struct bw_route *r = &routes[i];
        if (!prefix_valid(st, r->prefix, r->prefix_len, r->ifindex))
            return -EINVAL;
        if ((r->flags & BW_ROUTE_GATEWAY) && (ip_is_any(r->gateway) || is_multicast4(r->gateway)))
            return -EINVAL;
        if (r->mtu && r->mtu < 68)
            return -EINVAL;
    }
    st->routes = 0;
    for (int i = 0; i < n; i++) { /* insertion keeps the order given among equals */
        int at = st->routes++;
        for (; at > 0 && route_before(&routes[i], &st->route[at - 1]); at--)
            st->route[at] = st->route[at - 1];
        st->route[at] = routes[i];
    }
    ip_paths_changed(st);
    return 0;
}

static uint32_t pmtu_set_of(const struct bw_stack *st, const uint8_t *ip)
{
    return (uint32_t)hsiphash(st->hash_key, ip, 16) % PMTU_SETS;
}

static int pmtu_is_of(const struct path_mtu *known, const uint8_t *ip, uint32_t zone)
{
    return known->mtu && known->zone == zone && ip_equal(known->ip, ip);
}

/* The address's place in its set, or one for it: a free one, or any. */
static uint32_t pmtu_place(struct bw_stack *st, uint32_t set, const uint8_t *ip, uint32_t zone)
{
    uint32_t place = PMTU_WAYS;
    for (uint32_t i = 0; i < PMTU_WAYS; i++) {
        if (!st->pmtu[set][i].mtu)
            place = i;
        else if (pmtu_is_of(&st->pmtu[set][i], ip, zone))
            return i;
    }
    return place < PMTU_WAYS ? place : (uint32_t)(random64(st) % PMTU_WAYS);
}

int bw_set_path_mtu(struct bw_stack *st, const uint8_t ip[16], uint32_t zone, uint32_t mtu, int fragments)
{
    if (mtu && (mtu < 68 || mtu > 65535))
        return -EINVAL;
    zone = ip_zone(ip, zone);
    uint32_t set = pmtu_set_of(st, ip);
    struct path_mtu *known = &st->pmtu[set][pmtu_place(st, set, ip, zone)];
    if (!mtu && !pmtu_is_of(known, ip, zone))
        return 0;
    memcpy(known->ip, ip, 16);
    known->zone = zone;
    known->mtu = mtu;
    known->fragments = fragments != 0;
    st->pmtu_gen[set]++; /* only paths of this set are found again */
    return 0;
}

static void take_path_mtu(const struct bw_stack *st, const uint8_t *ip, struct ip_path *path)
{
    for (uint32_t i = 0; i < PMTU_WAYS; i++) {
        const struct path_mtu *known = &st->pmtu[path->pmtu_set][i];
        if (!pmtu_is_of(known, ip, ip_zone(ip, path->ifindex)))
            continue;
        if (known->mtu < path->mtu)
            path->mtu = known->mtu;
        path->flags |= known->fragments ? PATH_FRAGMENTS : 0;
        return;
    }
}

/* ---- questions about addresses ---------------------------------------------------------------- */

static const struct bw_ifaddr *own_address(const struct bw_stack *st, const uint8_t *ip)
{
    for (int i = 0; i < st->addrs; i++)
        if (ip_equal(st->addr[i].ip, ip))
            return st->addr[i].flags & BW_ADDR_TENTATIVE ? NULL : &st->addr[i];
    return NULL;
}

int ip_is_ours(struct bw_stack *st, const uint8_t *ip)
{
    return own_address(st, ip) != NULL || is_loopback4(ip);
}

/* RFC 919: the address of a subnet with all host bits set; a /31 (RFC 3021) and a /32 have none. */
static int is_subnet_broadcast(const struct bw_ifaddr *a, const uint8_t *ip)
{
    if (a->prefix_len > 126 || !ip_is_v4(a->ip) || !prefix_match(a->ip, ip, a->prefix_len))
        return 0;
    uint32_t host = UINT32_MAX >> (a->prefix_len - 96);
    return a->prefix_len > 96 && (get32(ip + 12) & host) == host;
}

int ip_is_broadcast(struct bw_stack *st, const uint8_t *ip)
{
    if (!ip_is_v4(ip))
        return ip[0] == 0xff;
    if (is_multicast4(ip) || ip_equal(ip, limited_broadcast))
        return 1;
    for (int i = 0; i < st->addrs; i++)
        if (is_subnet_broadcast(&st->addr[i], ip))
            return 1;
    return 0;
}

/* ---- paths -------------------------------------------------------------------------------------- */

/* The interface's address in the next hop's subnet, else its first, else the first of any other
 * interface (a host has one face, RFC 1122 section 3.3.4.2); untouched if there is none. */
static void choose_source(const struct bw_stack *st, uint32_t ifindex, const uint8_t *nexthop,
                          uint8_t *source)
{
    const struct bw_ifaddr *best = NULL;
    int best_rank = 0;
    for (int i = 0; i < st->addrs; i++) {
        const struct bw_ifaddr *a = &st->addr[i];
        if ((a->flags & BW_ADDR_TENTATIVE) || ip_is_v4(a->ip) != ip_is_v4(nexthop) || is_loopback4(a->ip))
            continue;
        int rank = a->ifindex != ifindex ? 1 : prefix_match(a->ip, nexthop, a->prefix_len) ? 3 : 2;
        if (rank > best_rank) {
            best = a;
            best_rank = rank;
        }
    }
    if (best)
        memcpy(source, best->ip, 16);
}

static void path_fill(struct bw_stack *st, struct ip_path *path, uint32_t ifindex, const uint8_t *nexthop)
{
    memset(path, 0, sizeof *path);
    path->hlen = IP4_HLEN;
    path->ifindex = ifindex;
    path->mtu = st->iface[ifindex].mtu;
    path->link_mtu = (uint16_t)path->mtu;
    path->neigh = NEIGH_NONE;
    memcpy(path->nexthop, nexthop, 16);
    ip_from_v4(path->source, (const uint8_t[4]){0, 0, 0, 0});
    path->gen = st->route_gen;
    path->pmtu_set = PMTU_SETS;
}

/* An interface that is down for now is as one without routes. */
static int no_path(const struct iface *i)
{
    return i->gone ? -ENETDOWN : -ENETUNREACH;
}

int ip_path_via(struct bw_stack *st, int ifindex, const uint8_t *nexthop, struct ip_path *path)
{
    if (ifindex < 1 || ifindex > st->ifaces)
        return -EINVAL;
    if (!st->iface[ifindex].up)
        return -ENETDOWN;
    path_fill(st, path, (uint32_t)ifindex, nexthop);
    return 0;
}

static int path_to_self(struct bw_stack *st, const uint8_t *dst, const struct bw_ifaddr *own,
                        uint32_t bound_if, struct ip_path *path)
{
    if (bound_if && bound_if != IF_LOOPBACK && !(own && own->ifindex == bound_if))
        return -ENETUNREACH;
    path_fill(st, path, IF_LOOPBACK, dst);
    path->flags = BW_ROUTE_LOCAL;
    memcpy(path->source, own ? dst : localhost4, 16);
    return 0;
}

static int path_to_everybody(struct bw_stack *st, uint32_t bound_if, struct ip_path *path)
{
    uint32_t first = bound_if ? bound_if : IF_LOOPBACK + 1;
    uint32_t last = bound_if ? bound_if : (uint32_t)st->ifaces;
    for (uint32_t i = first; i <= last && i <= (uint32_t)st->ifaces; i++) {
        if (!st->iface[i].up)
            continue;
        path_fill(st, path, i, limited_broadcast);
        path->flags = BW_ROUTE_BROADCAST;
        choose_source(st, i, limited_broadcast, path->source);
        return 0;
    }
    return bound_if && bound_if <= (uint32_t)st->ifaces ? no_path(&st->iface[bound_if]) : -ENETUNREACH;
}

static void path_by_route(struct bw_stack *st, const struct bw_route *r, const uint8_t *dst,
                          struct ip_path *path)
{
    path_fill(st, path, r->ifindex, r->flags & BW_ROUTE_GATEWAY ? r->gateway : dst);
    path->flags = r->flags;
    for (int i = 0; i < st->addrs; i++)
        if (st->addr[i].ifindex == r->ifindex && is_subnet_broadcast(&st->addr[i], dst))
            path->flags |= BW_ROUTE_BROADCAST;
    if (is_multicast4(dst)) {
        path->flags |= PATH_MULTICAST;
        memcpy(path->nexthop, dst, 16);
    }
    if (r->mtu && r->mtu < path->mtu)
        path->mtu = r->mtu;
    path->link_mtu = (uint16_t)path->mtu;
    path->pmtu_set = (uint16_t)pmtu_set_of(st, dst);
    path->pmtu_gen = st->pmtu_gen[path->pmtu_set];
    take_path_mtu(st, dst, path);
    if (ip_is_any(r->source))
        choose_source(st, r->ifindex, path->nexthop, path->source);
    else
        memcpy(path->source, r->source, 16);
}

int ip_path_find(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if, struct ip_path *path)
{
    int err = -ENETUNREACH;
    count(st, COUNT_IP_PATHS);
    path->gen = 0;
    const struct bw_ifaddr *own = own_address(st, dst);
    if (own || is_loopback4(dst))
        return path_to_self(st, dst, own, bound_if, path);
    if (ip_equal(dst, limited_broadcast))
        return path_to_everybody(st, bound_if, path);
    if (ip_is_any(dst))
        return -ENETUNREACH;
    for (int i = 0; i < st->routes; i++) {
        const struct bw_route *r = &st->route[i];
        if ((bound_if && r->ifindex != bound_if) || !prefix_match(r->prefix, dst, r->prefix_len))
            continue;
        if (ip_is_v4(dst) != ip_is_v4(r->prefix))
            continue;
        if (r->flags & BW_ROUTE_UNREACHABLE)
            return -EHOSTUNREACH;
        if (!st->iface[r->ifindex].up) {
            err = no_path(&st->iface[r->ifindex]);
            continue;
        }
        path_by_route(st, r, dst, path);
        if (!ip_is_any(path->source) || (path->flags & (BW_ROUTE_BROADCAST | PATH_MULTICAST)))
            return 0;
        path->gen = 0; /* no address yet to speak from */
        return -ENETUNREACH;
    }
    return err;
}

int bw_select_source(struct bw_stack *st, const uint8_t dst[16], uint32_t ifindex, uint8_t src[16])
{
    struct ip_path path;
    int err = ip_path_find(st, dst, ifindex, &path);
    if (err)
        return err;
    memcpy(src, path.source, 16);
    return 0;
}
