/* SPDX-License-Identifier: MIT */
/* What the engine's files share: the stack, its interfaces, the head every socket has, and the
 * ways a packet goes in and out. Private to the engine. */
#ifndef BW_STACK_H
#define BW_STACK_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../nic_drivers/bytes.h"
#include "../nic_drivers/checksum.h"
#include "../nic_drivers/toeplitz.h"
#include "counters.h"
#include "engine.h"
#include "mem/byteq.h"
#include "mem/chunk.h"
#include "mem/list.h"
#include "mem/wheel.h"
#include "sizes.h"
#include "sock_ops.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
enum { LINE_SIZE = 64 };
#define CACHE_LINE _Alignas(LINE_SIZE) /* begins one */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

enum {
    MAX_IFACES = 16,
    MAX_ADDRS = BW_MAX_ADDRS,
    MAX_ROUTES = 256,
    TXQ_SIZE = 256,             /* frames that wait for a device */
    TX_STATELESS = 64,          /* of them at most, answers that need no connection */
    SLOTS = BW_SLOTS,           /* headers of frames that wait for, or are held by, devices */
    HDR_ROOM = 128,             /* bytes of a header slot */
    IP4_HLEN = 20,              /* without options */
    HDR_IP = 18,                /* the IP header starts here in a slot; Ethernet (and a tag) goes before */
    PUNT_QUEUE = BW_PUNT_QUEUE, /* bytes of each punt queue */
    PMTU_WAYS = 8, /* an address may lie in any of so many places; a full set forgets one by chance */
    PMTU_SETS = 128,
    DST_SETS = 512,       /* of two destinations each; a power of two */
    IDENTS = 2048,        /* counters of ip_ident */
    IDENT_TICK = 1000000, /* ns */
    PORT_COUNTERS = 1 << 14,
    TIMER_TURN = 128,  /* timers of one pass; what they send fits the transmit queue */
    ICMP_TYPES = 13,   /* up to parameter problem */
    ICMP_HOSTS = 1024, /* destinations whose rate of ICMP errors is remembered */
    IF_LOOPBACK = 1,
    GATHERED = 65536, /* bytes of a message in pieces: a datagram of so many is too long */
};

/* ---- addresses ------------------------------------------------------------------------------- */
static inline int ip_equal(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, 16) == 0;
}
static inline int ip_is_v4(const uint8_t *a)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(a, mapped, 12) == 0;
}
static inline void ip_from_v4(uint8_t *a, const uint8_t *v4)
{
    memset(a, 0, 10);
    a[10] = a[11] = 0xff;
    memcpy(a + 12, v4, 4);
}
/* The unspecified address, in either form (:: or ::ffff:0.0.0.0). */
static inline int ip_is_any(const uint8_t *a)
{
    static const uint8_t zero[16];
    return memcmp(a, zero, 16) == 0 || (ip_is_v4(a) && memcmp(a + 12, zero, 4) == 0);
}

/* The zone of an address that is met on an interface: a link-local one means something there alone (RFC 4007). */
static inline uint32_t ip_zone(const uint8_t *ip, uint32_t ifindex)
{
    return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80 ? ifindex : 0;
}

/* ---- frames to transmit -------------------------------------------------------------------- */
struct tx_slot {
    uint8_t hdr[HDR_ROOM];
    uint32_t chunk[BW_TX_PIECES]; /* references the frame holds */
    uint8_t chunks;
    uint8_t in_use;
    uint8_t stateless; /* counts in iface.stateless */
    uint8_t pad;
    uint32_t next_free;
};

struct iface {
    uint32_t index;
    uint32_t mtu, caps, tso_max; /* the device's */
    uint8_t layer;
    uint8_t up;
    uint8_t gone;       /* it has no device; else, not up, it is down for now */
    uint8_t unfinished; /* Python has been told of unfinished checksums */
    uint8_t mac[6];
    uint32_t txq_head, txq_len; /* ring of frames the device has not taken */
    uint32_t stateless;         /* of those, answers to strangers: at most TX_STATELESS */
    struct tx_frame *txq;
};

/* ---- next hops --------------------------------------------------------------------------------- */
struct neigh {
    uint8_t ip[16];
    uint32_t ifindex; /* 0: entry not in use */
    uint8_t mac[6];
    uint8_t usable; /* mac is known */
    uint8_t asked;  /* an answer is waited for */
    int64_t used, wanted, confirmed;
    uint32_t hash_next; /* of a free entry, the next free one */
};

/* A cached path to one destination; valid while gen and pmtu_gen are the stack's. */
struct ip_path {
    uint32_t gen;      /* 0: never filled */
    uint32_t pmtu_gen; /* of pmtu_set, which the destination lies in */
    uint16_t pmtu_set;
    uint8_t hlen;     /* of its packets' IP header, without options */
    uint32_t ifindex; /* and the zone of a link-local destination */
    uint32_t neigh;   /* entry of st->neighs, or NEIGH_NONE; revalidated through neigh_gen */
    uint32_t neigh_gen;
    uint32_t mtu;      /* path MTU for this destination */
    uint8_t flags;     /* BW_ROUTE_* */
    uint8_t sender;    /* PATH_DATAGRAM, PATH_ANSWER, PATH_CONNECTED: of what goes there */
    uint16_t link_mtu; /* the interface's or the route's, whatever the path has taught */
    uint8_t nexthop[16];
    uint8_t source[16]; /* preferred source address */
};
#define NEIGH_NONE 0xffffffffu
/* A destination nobody is connected to, and two of one hash (ip/dst_cache.c). */
struct dst {
    uint8_t ip[16];
    uint32_t bound_if;
    struct ip_path path;
};
struct dst_set {
    struct dst dst[2];
    uint8_t recent; /* which was used last */
};
enum { PATH_FRAGMENTS = 0x40, PATH_MULTICAST = 0x80 }; /* in ip_path.flags: no DF; to a group */
enum {
    PATH_DATAGRAM,  /* an unconnected socket: the program may well answer what anybody has sent it */
    PATH_ANSWER,    /* the engine, which answers what anybody may have sent */
    PATH_CONNECTED, /* a connected socket, or a ping: the program chose whom to speak with */
};

/* ---- a received packet, after the IP layer has checked it ---------------------------------- */
struct packet {
    uint8_t *l3;     /* IP header */
    uint8_t *l4;     /* transport header */
    uint32_t l4_len; /* bytes from l4 to the end of the IP packet */
    uint32_t ifindex;
    uint8_t src[16], dst[16];
    uint16_t gso_size;
    uint8_t proto, ttl, tos;
    uint8_t csum;         /* BW_CSUM_* for the transport checksum */
    uint8_t l2_broadcast; /* link-layer broadcast or multicast */
    uint8_t ip_broadcast; /* dst is a broadcast or multicast address */
    uint8_t src_mac[6];
    uint32_t zone;      /* of src and dst: ip_zone */
    uint32_t flow_hash; /* of a segment's flow, if look_ahead.c has it already; 0: not known */
};

/* ---- sockets ------------------------------------------------------------------------------------ */
enum {
    SOCK_OPEN = 1,      /* a user holds it */
    SOCK_BOUND = 2,     /* has a local port, is in the bind table */
    SOCK_CONNECTED = 4, /* is in the flow table under its four-tuple */
    SOCK_OBSERVED = 8,
    SOCK_CHANGED = 16, /* on the list of changed sockets */
    SOCK_SHUT_RD = 32,
    SOCK_SHUT_WR = 64,
    SOCK_ADDR_BOUND = 128,  /* bind named an address */
    SOCK_PORT_BOUND = 256,  /* bind named a port, not the ephemeral range */
    SOCK_SNDBUF_LOCK = 512, /* SO_SNDBUF, SO_RCVBUF said how much: it does not change by itself */
    SOCK_RCVBUF_LOCK = 1024,
    SOCK_ARRIVED = 2048, /* something to read or accept came since bw_arrived */
};

enum { TELL_PKTINFO = 1, TELL_TTL = 2, TELL_TOS = 4, TELL_ORIGDSTADDR = 8 };

/* A socket by its place in the arena (sock_of, sock_ref); 0: none. */
typedef uint32_t sock_ref_t;

/* The first cache line is all that a look-up and a change of readiness read; the second begins with what the
 * bind table reads. */
struct bw_sock {
    uint8_t laddr[16], raddr[16];
    uint16_t lport, rport;
    uint32_t zone;        /* of raddr: ip_zone */
    sock_ref_t flow_next; /* chain in the flow table */
    sock_ref_t changed_next;
    uint8_t kind; /* enum sock_kind */
    uint8_t reuseaddr, reuseport, broadcast;
    uint32_t flags; /* SOCK_* */
    struct bw_stack *st;

    sock_ref_t bind_next, bind_prev; /* chain in the bind table */
    struct bind_group *group;        /* the SO_REUSEPORT group it shares its entry there with, or NULL */
    uint32_t bound_if;               /* BW_OPT_BINDTOIF */
    uint32_t id;                     /* index in the slab */
    int so_error;                    /* pending, positive errno; taken once */
    int soft_error;                  /* told by SO_ERROR, or by a time-out instead of ETIMEDOUT */
    struct ip_path path;

    uint8_t ttl, tos, mtu_discover, recverr;
    int linger;                  /* seconds, -1: off, -2: without end */
    void *user;                  /* the driver's */
    uint32_t sndbuf, rcvbuf;     /* bounds in bytes */
    uint32_t group_place;        /* among the group's members */
    uint32_t rcvtimeo, sndtimeo; /* ms, 0: none, UINT32_MAX: no wait */
    int32_t priority;
    uint8_t timestamp; /* BW_TIMESTAMP_* */
    uint8_t tells;     /* TELL_*: what recvmsg says of a datagram */
};

/* A token bucket, kept as one time: when it is full again. */
struct bucket {
    int64_t interval, depth; /* ns a token, and of all tokens but one; 0: no limit */
    int64_t full;
};
static inline struct bucket bucket_of(uint32_t rate, uint32_t burst) /* rate tokens a second; 0: no limit */
{
    int64_t interval = rate ? 1000000000ll / rate : 0;
    return (struct bucket){
        .interval = interval, .depth = burst ? interval * (burst - 1) : 0, .full = INT64_MIN};
}
static inline int bucket_has_token(const struct bucket *b, int64_t now)
{
    return b->full <= now + b->depth;
}
static inline void bucket_take(struct bucket *b, int64_t now)
{
    b->full = (b->full > now ? b->full : now) + b->interval;
}

/* Sockets with SO_REUSEPORT and one name, two at least; those that wait for packets come first. */
struct bind_group {
    struct bw_sock **member, *entry; /* which of them stands in the bind table */
    uint32_t n, waiting, cap;
};

struct punt_queue {
    uint8_t *ring;       /* PUNT_QUEUE bytes of records: struct bw_punt, then data, 8-byte aligned */
    uint32_t head, used; /* bytes */
    uint32_t count;
    struct bucket bucket;
};

/* The rate of ICMP errors to one destination; hashed by ip. */
struct icmp_host {
    uint8_t ip[16];
    int64_t full; /* of its bucket */
};
/* Echo requests to this host with this identifier are Python's. */
struct echo_interest {
    uint8_t ip[16];
    uint16_t ident;
};

/* A counter of ip_ident, and the tick it was last used in. */
struct ident {
    uint32_t stamp;
    uint16_t count;
};

struct tcp_globals; /* tcp/tcp.h */
struct frag_table;  /* ip/ip4_reassembly.h */

/* A random generator (random.c): what one key has made, of which `used` bytes are gone. */
struct drbg {
    uint8_t bytes[256]; /* the first 32 are the next key */
    uint32_t used;
};

struct bw_stack {
    struct bw_config cfg;
    int64_t now;
    struct drbg drbg;
    uint8_t hash_key[16], isn_key[16], port_key[16], group_key[16];
    uint64_t counter[BW_COUNTERS];

    struct iface iface[MAX_IFACES + 1]; /* by index; [0] is unused */
    int ifaces;                         /* highest index in use */
    uint32_t rx_flow;                   /* flow_hash of the frame being read */
    uint32_t unfinished_news;           /* bits by index: see bw_take_unfinished */
    struct netdev *loopback;            /* in memory of the arena */

    struct bw_ifaddr addr[MAX_ADDRS];
    int addrs;
    struct bw_route route[MAX_ROUTES]; /* sorted: longest prefix first, then metric */
    int routes;
    uint32_t route_gen; /* changes with addresses, routes, interfaces */
    struct path_mtu {
        uint8_t ip[16];
        uint32_t zone;
        uint32_t mtu : 31, fragments : 1; /* packets go without DF */
    } pmtu[PMTU_SETS][PMTU_WAYS];         /* mtu 0: free; hashed by ip */
    uint32_t pmtu_gen[PMTU_SETS + 1];     /* changes with a set's path MTUs; the last one never does */
    struct dst_set dst[DST_SETS];         /* hashed by destination and interface */

    struct neigh *neighs;   /* cfg.max_neighs entries */
    uint32_t *neigh_bucket; /* index + 1 of a chain's first entry; 0: empty */
    uint32_t neigh_mask, neigh_free, neigh_touched, neigh_gen; /* neigh_free: index + 1, 0: none */

    struct chunk_pool chunks;
    uint32_t fill_chunk, fill_off; /* chunk that outgoing datagrams are appended to */
    struct tx_slot *slots;
    uint32_t slot_free;           /* head of the free list, CHUNK_NONE: none */
    struct udp_sock *udp_waiting; /* sockets whose datagram found a transmit queue full */
    struct udp_broadcast *broadcast;

    struct wheel wheel;
    sock_ref_t *flow_bucket;
    sock_ref_t (*bind_bucket)[2]; /* by local port: who may wait for anybody's packets; who is connected */
    uint32_t flow_mask, bind_mask;
    uint32_t *port_flows; /* TCP flows by local port */
    uint8_t *slab;        /* max_socks entries of slab_size bytes */
    uint32_t slab_size, slab_touched, slab_free, socks_used;

    sock_ref_t changed_head, changed_tail;
    struct punt_queue punt[BW_PUNT_CLASSES];
    uint32_t punt_next, punt_count;

    struct bucket icmp_type[ICMP_TYPES]; /* of errors we send */
    struct icmp_host icmp_host[ICMP_HOSTS];
    struct echo_interest echo[BW_MAX_ECHOS]; /* replies that Python waits for */
    uint32_t echos;

    struct ident ident[IDENTS];
    uint8_t ident_key[16];

    struct trace_ring trace;
    struct frag_table *frags;
    uint8_t *gathered; /* GATHERED bytes, of one call: a message's pieces, side by side */
    struct tcp_globals *tcp;
    uint16_t port_counter[PORT_COUNTERS]; /* RFC 6056 section 3.3.4 */
};

/* The entry of the slab with that number; its kind says whether it is in use. */
static inline struct bw_sock *sock_at(const struct bw_stack *st, uint32_t id)
{
    return (struct bw_sock *)(st->slab + (size_t)id * st->slab_size);
}

enum { REF_SHIFT = 4 };
static inline struct bw_sock *sock_of(const struct bw_stack *st, sock_ref_t ref)
{
    return (struct bw_sock *)((uintptr_t)st + ((uintptr_t)ref << REF_SHIFT));
}
static inline sock_ref_t sock_ref(const struct bw_sock *s)
{
    return (sock_ref_t)(((uintptr_t)s - (uintptr_t)s->st) >> REF_SHIFT);
}

/* ---- counting ---------------------------------------------------------------------------------- */
static inline void count(struct bw_stack *st, enum bw_counter_id id)
{
    st->counter[id]++;
}
struct bw_trace_record *trace_add(struct bw_stack *st, int kind, uint32_t conn);
void trace_drop(struct bw_stack *st, enum bw_counter_id reason, uint32_t len);
/* A drop has a reason, a counter and a trace in one statement. */
static inline void drop(struct bw_stack *st, enum bw_counter_id reason, uint32_t len)
{
    st->counter[reason]++;
    if (unlikely(st->trace.all))
        trace_drop(st, reason, len);
}

/* ---- the loopback device (ip/loopback.c): the stack's own; its close() only empties it ---------- */
struct loopback;
size_t loopback_size(void);
struct netdev *loopback_init(struct loopback *lo); /* in zeroed memory */

/* ---- randomness, hashing (random.c) ---------------------------------------------------------- */
void random_seed(struct bw_stack *st, const uint8_t seed[32]);
void random_bytes(struct bw_stack *st, void *out, uint32_t n);
uint64_t random64(struct bw_stack *st);
/* A value that a peer sees, of a key and data. */
uint64_t siphash(const uint8_t key[16], const void *data, uint32_t len);
/* A place in a table of ours: cheaper, and never shown. */
uint64_t hsiphash(const uint8_t key[16], const void *data, uint32_t len);

/* ---- sockets (sock.c) ------------------------------------------------------------------------ */
uint32_t socks_all(const struct bw_stack *st);                        /* at most max_socks */
struct bw_sock *sock_alloc(struct bw_stack *st, enum sock_kind kind); /* NULL: max_socks reached */
/* Walks them: the next of that kind from number *at on, or NULL. */
struct bw_sock *sock_next(const struct bw_stack *st, uint32_t *at, int kind);
void sock_free(struct bw_sock *s); /* out of all tables first */
/* Readiness may have changed: list it if somebody watches. */
static inline void sock_changed(struct bw_sock *s)
{
    if ((s->flags & (SOCK_OBSERVED | SOCK_CHANGED)) != SOCK_OBSERVED)
        return;
    struct bw_stack *st = s->st;
    sock_ref_t ref = sock_ref(s);
    s->flags |= SOCK_CHANGED;
    s->changed_next = 0;
    if (st->changed_tail)
        sock_of(st, st->changed_tail)->changed_next = ref;
    else
        st->changed_head = ref;
    st->changed_tail = ref;
}

/* Something came that the program can read or accept, whether or not something lay there. */
static inline void sock_arrived(struct bw_sock *s)
{
    if (s->flags & SOCK_OBSERVED)
        s->flags |= SOCK_ARRIVED;
    sock_changed(s);
}

#include "flow.h" /* the tables of flows and of bound ports */

/* ---- IP (ip/) ----------------------------------------------------------------------------------- */
void ip_input(struct bw_stack *st, struct iface *in, uint8_t *l3, uint32_t len, const struct rx_frame *f,
              const uint8_t *src_mac, int l2_broadcast);
/* A whole datagram for this host, to its protocol. */
void ip_demux(struct bw_stack *st, struct packet *pkt);
/* Is ip one of ours (not tentative)? An address of 127.0.0.0/8 is. */
int ip_is_ours(struct bw_stack *st, const uint8_t *ip);
/* The path of every cached struct ip_path has to be found again. */
void ip_paths_changed(struct bw_stack *st);
/* Is ip a broadcast address (limited or of one of our subnets) or multicast? */
int ip_is_broadcast(struct bw_stack *st, const uint8_t *ip);
/* Fills (or revalidates) the path to dst. 0, -ENETUNREACH, -EHOSTUNREACH, -ENETDOWN. */
int ip_path_find(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if, struct ip_path *path);
/* The path to dst in the cache of destinations, found again if it was not there or no longer holds: good until the
 * next call. As ip_path_find. */
int ip_path_to(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if, struct ip_path **path);
/* A copy of it, for the caller to change. */
int ip_path_copy(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if, struct ip_path *path);
/* The path by that interface and next hop, whatever the routes say. 0, -EINVAL, -ENETDOWN. */
int ip_path_via(struct bw_stack *st, int ifindex, const uint8_t *nexthop, struct ip_path *path);
static inline int ip_path_valid(const struct bw_stack *st, const struct ip_path *path)
{
    return path->gen == st->route_gen && path->pmtu_gen == st->pmtu_gen[path->pmtu_set];
}
int sock_dont_fragment(const struct bw_sock *s, const struct ip_path *path); /* 1: DF */
/* The interface that its packets leave by; 0: the routes say. */
static inline uint32_t sock_interface(const struct bw_sock *s)
{
    return s->bound_if ? s->bound_if : s->zone;
}
static inline int ip_path_get(struct bw_stack *st, const uint8_t *dst, uint32_t bound_if,
                              struct ip_path *path)
{
    return likely(ip_path_valid(st, path)) ? 0 : ip_path_find(st, dst, bound_if, path);
}
/* The next-hop entry, or NULL. */
struct neigh *neigh_find(struct bw_stack *st, uint32_t ifindex, const uint8_t *ip);
/* The entry of the path's next hop, through the path's cache, or NULL. */
struct neigh *ip_path_neigh(struct bw_stack *st, struct ip_path *path);
/* The path's neighbour made forward progress (TCP): it is confirmed. */
void ip_path_confirm(struct bw_stack *st, struct ip_path *path);

/* Forms the free list of st->slots; once, by bw_new. */
void tx_init(struct bw_stack *st);
/* Drops what waits for an interface whose device is gone. */
void tx_flush(struct bw_stack *st, struct iface *out);
/* One frame out. tx_begin gives a free frame at the tail of the interface's queue and its slot
 * (NULL: queue or slots full, counted); the caller writes the IP header and what follows at
 * hdr + HDR_IP, says how long it is (hdr_len), adds data pieces, and ends with tx_end, which writes
 * the link header and queues the frame; without a neighbour entry it hands the packet to Python to
 * resolve (BW_PUNT_RESOLVE); tx_cancel gives an unfinished frame back. Only one may be open.
 * tx_begin has set f->l3_off; who leaves a checksum partial says so by tx_partial (csum_offset in the transport
 * header), and tx_end finishes it for a device that cannot. tx_add takes a
 * reference of its own on the chunk (CHUNK_NONE: bytes that outlive the frame). */
struct tx_frame *tx_begin(struct bw_stack *st, struct iface *out, uint8_t **hdr);
void tx_add(struct bw_stack *st, struct tx_frame *f, const uint8_t *data, uint32_t len, uint32_t chunk);
static inline void tx_partial(struct tx_frame *f, uint32_t ip_hlen, uint32_t csum_offset)
{
    f->csum_partial = 1;
    f->csum_start = (uint16_t)(f->l3_off + ip_hlen);
    f->csum_offset = (uint16_t)csum_offset;
}
int tx_end(struct bw_stack *st, struct iface *out, struct tx_frame *f, uint32_t hdr_len,
           struct ip_path *path);
void tx_cancel(struct bw_stack *st, struct iface *out, struct tx_frame *f);
/* tx_begin for the answer to a stranger (a reset, a cookie): such frames have a bounded share of the
 * queue, so that a flood that is answered does not crowd out data. */
struct tx_frame *tx_begin_stateless(struct bw_stack *st, struct iface *out, uint8_t **hdr);
/* Do so many frames of an answer fit into that share? One that is longer than the share goes when nothing
 * else has a part of it. 0: no (counted). */
int tx_stateless_room(struct bw_stack *st, const struct iface *out, uint32_t frames);
void tx_mark_stateless(struct bw_stack *st, const struct tx_frame *f);
/* Frames that still fit; a few places are kept back for what is not TCP. */
int tx_room(const struct bw_stack *st, const struct iface *out);
/* Copies bytes into chunks of the stack's own, for datagrams: at most one piece a call (it may be
 * shorter than len); the caller owns one reference on *chunk. Bytes taken, 0: no memory. */
uint32_t tx_copy(struct bw_stack *st, const void *src, uint32_t len, const uint8_t **data, uint32_t *chunk);
/* Frames that carry control packets of C's own (ARP and echo replies, resets): l2 frame as is. */
int tx_raw(struct bw_stack *st, struct iface *out, const uint8_t *frame, uint32_t len, int answer);

/* What goes into an IP header. */
struct ip_send {
    const uint8_t *src, *dst; /* 16 bytes each */
    uint8_t proto, ttl, tos, df;
    const uint8_t *options;
    uint32_t options_len; /* whole words */
};
/* Writes an IPv4 header for len bytes behind it; returns the header's length. */
uint32_t ip4_header(struct bw_stack *st, uint8_t *p, const struct ip_send *ip, uint32_t len);
/* The identification of a packet that may be fragmented. */
uint16_t ip_ident(struct bw_stack *st, const uint8_t *src, const uint8_t *dst, uint8_t proto);
/* 0: nothing is wrong with the header's options; IP_SOURCE_ROUTED: nor with these, but they are not obeyed;
 * else which byte of the header is wrong. */
enum { IP_SOURCE_ROUTED = -1, IP_OPTIONS_MAX = 40 };
int ip_options_check(const uint8_t *l3, uint32_t hlen);
/* The options that an answer takes back, at most IP_OPTIONS_MAX bytes; their length, in whole words. */
uint32_t ip_options_echo(struct bw_stack *st, const struct packet *pkt, uint8_t *out);
/* What a header's checksum is over these bytes, 0 if it is in there and right; nearly all have 20, which sum in five
 * steps. */
static inline uint16_t ip4_header_sum(const uint8_t *p, uint32_t hlen)
{
    return bw_sum_fold(likely(hlen == IP4_HLEN) ? bw_sum(p, IP4_HLEN, 0) : bw_sum(p, hlen, 0));
}
/* Computes the checksum of the IPv4 header. */
void ip4_checksum(uint8_t *p, uint32_t hlen);
/* The packet of this IPv4 header, which is complete, is so long now. */
void ip4_set_length(uint8_t *p, uint32_t total_len);
/* What transports call, whose packets are of either family: a header of the path's length for len bytes behind it. */
static inline void ip_header(struct bw_stack *st, uint8_t *p, const struct ip_send *ip, uint32_t len)
{
    ip4_header(st, p, ip, len);
}
static inline void ip_set_length(const struct ip_path *path, uint8_t *p, uint32_t len)
{
    ip4_set_length(p, path->hlen + len);
}
/* Was a packet sent that routers may not fragment? */
static inline int ip_is_whole(const struct packet *sent)
{
    return (sent->l3[6] & 0x40) != 0;
}
/* Sum of the pseudo header, to start a transport checksum with. */
uint64_t ip_pseudo_sum(const uint8_t *src, const uint8_t *dst, uint8_t proto, uint32_t l4_len);
/* Which of two drops a checksum is that does not add up: is there the pseudo header's sum alone in the field? */
enum bw_counter_id checksum_fault(struct bw_stack *st, const struct packet *pkt, const uint8_t *field,
                                  uint64_t pseudo, enum bw_counter_id wrong, enum bw_counter_id unfinished);
/* A datagram out: transport header of l4_len bytes (its checksum at csum_offset is computed here; 0:
 * none), then n user bytes; fragmented when it is longer than the path's MTU and df is not set.
 * 0, -EMSGSIZE, -EAGAIN (transmit queue full), -ENOBUFS. */
int ip_send_datagram(struct bw_stack *st, struct ip_path *path, const struct ip_send *ip, uint8_t *l4,
                     uint32_t l4_len, uint32_t csum_offset, const uint8_t *data, uint32_t n);
/* Bytes of datagrams: `count` rows of `size` bytes, `stride` bytes apart; the last one has `last`. */
struct ip_rows {
    const uint8_t *data;
    uint32_t stride, size, last, count;
};
static inline uint32_t ip_row_len(const struct ip_rows *rows, uint32_t i)
{
    return i + 1 < rows->count ? rows->size : rows->last;
}
static inline uint32_t ip_rows_len(const struct ip_rows *rows)
{
    return (rows->count - 1) * rows->size + rows->last;
}
/* Datagrams out as one super-segment: with df, on a path whose device cuts it (NETDEV_USO4) and whose next
 * hop's address is known, of at most tso_max bytes. 0, -EAGAIN, -ENOBUFS. */
int ip_send_super(struct bw_stack *st, struct ip_path *path, const struct ip_send *ip, uint8_t *l4,
                  uint32_t l4_len, uint32_t csum_offset, const struct ip_rows *rows);

/* ---- work for Python (punt.c) --------------------------------------------------------------- */
void punt_init(struct bw_stack *st); /* once, by bw_new */
/* 1; 0: dropped, and counted. */
int punt(struct bw_stack *st, int cls, const struct packet *pkt, uint32_t arg, const uint8_t *data,
         uint32_t len);
/* Room for a record of len data bytes at the end of the class's queue, to be filled in at once; NULL:
 * full, or above the class's rate (counted). */
uint8_t *punt_reserve(struct bw_stack *st, struct bw_punt head);

/* ---- protocols ----------------------------------------------------------------------------------- */
void icmp_input(struct bw_stack *st, struct packet *pkt);
void udp_input(struct bw_stack *st, struct packet *pkt);
void tcp_input(struct bw_stack *st, struct packet *pkt);
void tcp_flush_burst(struct bw_stack *st); /* end of a receive burst: merged segments go in */
/* An error (positive errno) about a packet we sent: the embedded header and at least 8 transport
 * bytes; mtu is the next-hop MTU for EMSGSIZE, else 0. What `hard` and `gone` mean is in icmp.c. 1: it was
 * applied; 0: it is about nothing of ours, or changes nothing (dropped). */
int udp_error(struct bw_stack *st, const struct packet *sent, int err, int hard);
int tcp_error(struct bw_stack *st, const struct packet *sent, int err, int gone, uint32_t mtu);
/* TCP's part of bw_output: fills the interface's queue from connections that want to send. */
void tcp_fill(struct bw_stack *st, struct iface *out);
int tcp_wants_output(const struct bw_stack *st); /* some connection may */
void tcp_paths_changed(struct bw_stack *st);     /* their interfaces are to be found again */
void tcp_if_down(struct bw_stack *st, uint32_t ifindex, int err);
void udp_if_down(struct bw_stack *st, uint32_t ifindex, int err);
/* A broadcast to many sockets is told in turns. */
void udp_broadcast_go_on(struct bw_stack *st);
int udp_broadcast_waits(const struct bw_stack *st);
void udp_tx_ready(struct bw_stack *st); /* a transmit queue has room again */

#endif
