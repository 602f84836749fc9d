/* SPDX-License-Identifier: MIT */
/* The engine's public face: a stack that is told the time and handed frames.
 *
 * Nothing here makes a system call, reads a clock or calls Python; nothing here locks. The caller
 * (stack/drive/) holds one lock a stack, calls bw_set_now() first, and moves frames between the
 * engine and its devices: rx_burst -> bw_input -> bw_run_timers -> bw_output -> tx_burst.
 * Addresses are 16 bytes (IPv4 mapped: ::ffff:a.b.c.d) with a zone; ports are in host byte order.
 * Calls that can fail return -errno. Times are nanoseconds; INT64_MAX means never. */
#ifndef BW_ENGINE_H
#define BW_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "../nic_drivers/netdev.h"
#include "trace.h"

/* cdef:begin */
struct bw_stack;
struct bw_sock;

struct bw_addr {
    uint8_t ip[16];
    uint32_t zone; /* interface index for link-local addresses, else 0 */
    uint16_t port;
    uint16_t pad;
};

/* Datagrams side by side in memory of the caller's: slot i is the `size` bytes at data + i * size. */
struct bw_batch {
    uint8_t *data;
    uint32_t *lengths;     /* whole ones: a received datagram longer than its slot lost the rest */
    struct bw_addr *addrs; /* who sent it, or where it goes: all zero is the socket's peer */
    uint32_t size, count;
};

/* One message of a call, as struct msghdr of sendmsg(2) and recvmsg(2) has it. Control bytes are records of
 * struct cmsghdr and what follows it, aligned to eight (cmsg(3)). */
struct bw_iovec {
    void *base;
    size_t len;
};
struct bw_msg {
    struct bw_addr name;        /* where it goes, if `named`; who sent it, if `named` afterwards */
    const struct bw_iovec *iov; /* its bytes, in so many pieces */
    uint8_t *control;
    uint32_t pieces;
    uint32_t control_len;  /* bytes to send, or room */
    uint32_t control_used; /* bytes that were received */
    int32_t flags;         /* BW_MSG_* that are asked for */
    int32_t told;          /* and that a received one came with: BW_MSG_TRUNC, BW_MSG_CTRUNC */
    uint32_t named;
};

/* What one connection's queue may hold, in bytes: it begins with
 * `standard` and grows by itself up to `max`; SO_RCVBUF or SO_SNDBUF fix it between `min` and `max`. */
enum { BW_BUFFER_MAX = 65535 << 14 }; /* the largest window, RFC 7323 2.3 */
struct bw_bounds {
    uint32_t min, standard, max;
};

/* Work for Python: one bounded queue a class, each with a rate of its own. */
enum {
    BW_PUNT_ARP = 0, /* an ARP frame worth knowing: request, announcement, conflict. data: Ethernet payload */
    BW_PUNT_RESOLVE, /* nexthop has no neighbour entry. data: the IP packet that waits */
    BW_PUNT_ICMP,    /* an echo reply somebody waits for, or an error that was applied. data: the IP packet */
    BW_PUNT_RESOLVE_ANSWER,    /* as RESOLVE, for a packet that answers what anybody may have sent */
    BW_PUNT_ARP_ANSWER,        /* as ARP: the reply to a question of ours */
    BW_PUNT_RESOLVE_CONNECTED, /* as RESOLVE, for a packet of a connected socket, or a ping */
    BW_PUNT_CLASSES,
};
/* A token bucket: `rate` records a second, up to `burst` at once. rate 0: no limit. */
struct bw_punt_rate {
    uint32_t rate, burst;
};

enum { BW_FASTOPEN_CLIENT = 1, BW_FASTOPEN_SERVER = 2 };
/* Path MTU discovery by probes: never, after a black hole, always. */
enum { BW_MTU_PROBING_OFF, BW_MTU_PROBING_BLACK_HOLE, BW_MTU_PROBING_ALWAYS };
enum { BW_RSS_KEY = 40, BW_RSS_TABLE = 512 };
/* Of `group` stacks that share their addresses this is number `mine`: it has the flows to local ports with
 * port % group == mine, or, with a table, those that a card brings to its queue: table[hash % table_len], where the
 * hash is Toeplitz' of a packet's addresses and ports. group 0 or 1: all flows are its own. */
struct bw_share {
    uint16_t group, mine;
    uint16_t table_len; /* a power of two; 0: by the port */
    uint8_t key[BW_RSS_KEY];
    uint8_t table[BW_RSS_TABLE];
};
struct bw_config {
    uint8_t seed[32];                /* every key and random number comes from here */
    int64_t now;                     /* the first reading of the clock */
    uint64_t buffer_bytes;           /* chunk pool: what all send and receive queues may hold together */
    uint32_t max_socks;              /* connections, listeners and UDP sockets together */
    uint32_t max_orphans;            /* connections that their users have closed */
    uint32_t max_neighs;             /* next-hop entries */
    uint16_t port_first, port_last;  /* ephemeral range, inclusive (RFC 6056) */
    struct bw_share share;           /* which flows are this stack's */
    struct bw_bounds rcvbuf, sndbuf; /* of TCP; max at most BW_BUFFER_MAX */
    uint8_t header_prediction;       /* 0 switches the fast path off */
    uint8_t poison;         /* tests: memory given back is overwritten, so that a late reader shows */
    uint8_t syn_cookies;    /* 0: never, 1: when the half-open children are at their bound, 2: always */
    uint8_t fast_open;      /* BW_FASTOPEN_*: what the stack may do */
    uint8_t ecn;            /* BW_ECN_*: of new TCP sockets */
    uint8_t mtu_probing;    /* BW_MTU_PROBING_* */
    uint32_t trace_records; /* bound of the trace ring; committed when used */
    struct bw_punt_rate punt_rate[BW_PUNT_CLASSES];
};

/* Addresses and routes are published whole: each call replaces the previous table. */
enum { BW_MAX_ADDRS = 256 };    /* entries of the address table */
enum { BW_MAX_ECHOS = 64 };     /* echo sessions of Python's */
enum { BW_ADDR_TENTATIVE = 1 }; /* under RFC 5227 probing: not answered for, not usable */
struct bw_ifaddr {
    uint8_t ip[16];
    uint32_t ifindex;
    uint8_t prefix_len; /* of 128 */
    uint8_t flags;      /* BW_ADDR_* */
    uint16_t pad;
};

enum { BW_ROUTE_GATEWAY = 1, BW_ROUTE_BROADCAST = 2, BW_ROUTE_LOCAL = 4, BW_ROUTE_UNREACHABLE = 8 };
struct bw_route {
    uint8_t prefix[16];
    uint8_t gateway[16]; /* with BW_ROUTE_GATEWAY */
    uint8_t source[16];  /* preferred source address; all zero: none */
    uint32_t ifindex;
    uint32_t mtu;       /* path MTU known for this route; 0: the interface's */
    uint32_t metric;    /* the table is searched by longest prefix, then lowest metric */
    uint8_t prefix_len; /* of 128 */
    uint8_t flags;      /* BW_ROUTE_* */
    uint16_t pad;
};

/* One piece of work for Python. */
struct bw_punt {
    int64_t when;
    uint32_t ifindex;
    uint32_t len; /* bytes of data copied out */
    uint32_t arg;
    uint8_t cls;          /* BW_PUNT_* */
    uint8_t l2_broadcast; /* arrived as a link-layer broadcast or multicast */
    uint8_t src_mac[6];
    uint8_t nexthop[16]; /* BW_PUNT_RESOLVE and its like */
};

struct bw_neigh_info {
    uint8_t ip[16];
    uint32_t ifindex;
    uint8_t mac[6];
    uint8_t pad[2];
    int64_t used;      /* last transmit through it */
    int64_t wanted;    /* last transmit of what was no answer to strangers; INT64_MIN: never */
    int64_t confirmed; /* last forward progress (TCP) through it; INT64_MIN: never */
};

enum { BW_SOCK_TCP = 1, BW_SOCK_UDP = 2 };

/* Readiness, in poll(2)'s numbers; and two of our own. BW_DRAINED, for SO_LINGER: there is no FIN, or none that is
 * still to be delivered. BW_WHOLE: a stream's last call with BW_MSG_WAITALL would be answered. */
enum { BW_IN = 0x001, BW_PRI = 0x002, BW_OUT = 0x004, BW_ERR = 0x008, BW_HUP = 0x010, BW_RDHUP = 0x2000 };
enum { BW_POLL_EVENTS = 0xffff, BW_DRAINED = 0x10000, BW_WHOLE = 0x40000 };

/* Message flags, in the numbers of recv(2). Asked with BW_MSG_TRUNC, recvfrom returns the datagram's full length.
 * BW_MSG_WAITALL is for a stream that is peeked at: -EAGAIN until so many bytes are there, or no more will come.
 * BW_MSG_BEGUN is ours: earlier parts of the same call have moved bytes, so a pending error is left for the
 * next call, and the answer is 0. Whoever does not deliver an error must not ask for it. */
enum {
    BW_MSG_OOB = 0x1,
    BW_MSG_PEEK = 0x2,
    BW_MSG_CTRUNC = 0x8,
    BW_MSG_TRUNC = 0x20,
    BW_MSG_WAITALL = 0x100,
    BW_MSG_MORE = 0x8000,
    BW_MSG_FASTOPEN = 0x20000000,
    BW_MSG_BEGUN = 0x40000000,
};

/* Answers that are no errno, negated like one. -EAGAIN always means that readiness tells when to try again;
 * BW_NO_PORT is Linux's EAGAIN for "no port is free", for which nobody can wait. BW_EARLY: this write would
 * begin the handshake (TCP_FASTOPEN_CONNECT); nothing was done, say it again with BW_MSG_FASTOPEN. */
enum { BW_NO_PORT = 10004, BW_EARLY = 10005 };

/* Socket options; values are ints, times in the unit the Linux option has. */
enum {
    BW_OPT_REUSEADDR = 1,
    BW_OPT_REUSEPORT,
    BW_OPT_KEEPALIVE,
    BW_OPT_BROADCAST,
    BW_OPT_SNDBUF,
    BW_OPT_RCVBUF,
    BW_OPT_LINGER /* seconds, -1: off, -2: without end */,
    BW_OPT_OOBINLINE,
    BW_OPT_ATMARK /* read only: SIOCATMARK */,
    BW_OPT_TTL,
    BW_OPT_TOS,
    BW_OPT_MTU_DISCOVER,
    BW_OPT_RECVERR,
    BW_OPT_BINDTOIF /* interface index */,
    BW_OPT_MAX_PACING_RATE /* bytes a second, 0: no limit */,
    BW_OPT_UDP_SEGMENT /* bytes of each datagram that a longer message becomes, 0: one */,
    BW_OPT_RCVTIMEO,
    BW_OPT_SNDTIMEO /* these two: ms, up to 49 days, 0: no limit, -1: no wait at all; kept for the caller */,
    BW_OPT_PRIORITY,
    BW_OPT_TIMESTAMP /* BW_TIMESTAMP_*: recvmsg says when a datagram came */,
    BW_OPT_MTU /* read only: the path's, of a connected socket */,
    BW_OPT_PKTINFO,
    BW_OPT_RECVTTL,
    BW_OPT_RECVTOS,
    BW_OPT_RECVORIGDSTADDR /* these four: recvmsg says it of a datagram, 0 or 1 */,
    BW_OPT_UDP_GRO /* what the device has merged is one message, 0 or 1 */,
    BW_OPT_NODELAY = 32,
    BW_OPT_MAXSEG,
    BW_OPT_CORK,
    BW_OPT_KEEPIDLE,
    BW_OPT_KEEPINTVL,
    BW_OPT_KEEPCNT,
    BW_OPT_SYNCNT,
    BW_OPT_LINGER2,
    BW_OPT_DEFER_ACCEPT,
    BW_OPT_QUICKACK,
    BW_OPT_USER_TIMEOUT /* ms */,
    BW_OPT_CONGESTION /* index of the algorithm, or BW_CC_PYTHON and above */,
    BW_OPT_FASTOPEN /* of a listener: how many may be pending */,
    BW_OPT_FASTOPEN_CONNECT,
    BW_OPT_FASTOPEN_NO_COOKIE,
    BW_OPT_TCP_STATE /* read only: BW_TCP_* */,
    BW_OPT_ACCEPTCONN,
    BW_OPT_TIMESTAMPS,
    BW_OPT_SACK,
    BW_OPT_WSCALE /* these three: offered at SYN, 0 or 1 */,
    BW_OPT_ECN /* BW_ECN_*, before the SYN */,
    BW_OPT_TRACE /* 0 or 1; a listener's children have it too */,
};

enum { BW_TIMESTAMP_OFF, BW_TIMESTAMP_US, BW_TIMESTAMP_NS };

/* Explicit Congestion Notification; off, on and passive in the numbers of Linux's tcp_ecn. */
enum {
    BW_ECN_OFF = 0,
    BW_ECN_ON = 1,      /* asked for and answered (RFC 3168) */
    BW_ECN_PASSIVE = 2, /* answered */
    /* accurate ECN (RFC 9768), and RFC 3168 with who does not know it: */
    BW_ECN_ACCURATE = 3,         /* asked for and answered */
    BW_ECN_ACCURATE_ANSWER = 4,  /* answered; we ask for RFC 3168 */
    BW_ECN_ACCURATE_PASSIVE = 5, /* answered */
};

/* RFC 9293 states, numbered as Linux's TCP_ESTABLISHED .. TCP_CLOSING. */
enum {
    BW_TCP_ESTABLISHED = 1,
    BW_TCP_SYN_SENT,
    BW_TCP_SYN_RCVD,
    BW_TCP_FIN_WAIT_1,
    BW_TCP_FIN_WAIT_2,
    BW_TCP_TIME_WAIT,
    BW_TCP_CLOSED,
    BW_TCP_CLOSE_WAIT,
    BW_TCP_LAST_ACK,
    BW_TCP_LISTEN,
    BW_TCP_CLOSING,
};

/* Algorithms of Python have numbers from here to 255: C makes reports of them, and takes the answers. */
enum { BW_CC_PYTHON = 128 };
/* What a round trip of such a connection told, in bytes and ns; stack/congestion.py says it field by field. */
struct bw_cc_report {
    int64_t now, rtt, min_rtt; /* -1: none */
    uint64_t acked, lost, ce, delivery_rate;
    uint32_t sock, generation; /* name the connection in the answer */
    uint32_t algorithm, rounds, in_flight, cwnd, mss;
    uint8_t app_limited;
    uint8_t pad[3];
};

/* A socket in a list. */
struct bw_sock_info {
    struct bw_addr local, remote; /* zero: none */
    uint32_t ifindex;             /* bound to this interface; 0: to none */
    uint32_t rcv_queued;          /* bytes; of a listener: connections to accept */
    uint32_t snd_queued;          /* bytes; of a listener: its backlog */
    uint8_t type;                 /* BW_SOCK_* */
    uint8_t state;                /* BW_TCP_*; of UDP established (connected) or closed */
    uint8_t open;                 /* 0: an orphan, or not accepted yet */
    uint8_t pad;
};
enum { BW_LIST_WALK = 4096 /* places looked at in one call */ };
#define BW_LIST_END 0xffffffff

/* What a connection looks like, for tests and people. */
struct bw_tcp_snapshot {
    uint32_t state, iss, irs, snd_una, snd_nxt, snd_wnd, rcv_nxt, rcv_wnd, cwnd, ssthresh, mss;
    uint32_t snd_queued, rcv_queued, retransmits, flags;
    uint32_t sndbuf, rcvbuf; /* what the queues may hold now */
    uint8_t snd_wscale, rcv_wscale, timestamps, sack;
    uint8_t ecn;          /* what was agreed on: 1 RFC 3168, 2 RFC 9768 */
    uint32_t dctcp_alpha; /* in 2^-20 */
    int64_t srtt, rttvar, rto;
};

/* TCP_INFO in Linux's layout (linux/tcp.h, as of 6.18); times in us, but for tcpi_last_*: ms. */
struct bw_tcp_info {
    uint8_t tcpi_state, tcpi_ca_state, tcpi_retransmits, tcpi_probes, tcpi_backoff, tcpi_options;
    uint8_t tcpi_wscale; /* snd_wscale : 4, rcv_wscale : 4 */
    uint8_t tcpi_limits; /* delivery_rate_app_limited : 1, fastopen_client_fail : 2 */
    uint32_t tcpi_rto, tcpi_ato, tcpi_snd_mss, tcpi_rcv_mss;
    uint32_t tcpi_unacked, tcpi_sacked, tcpi_lost, tcpi_retrans, tcpi_fackets;
    uint32_t tcpi_last_data_sent, tcpi_last_ack_sent, tcpi_last_data_recv, tcpi_last_ack_recv;
    uint32_t tcpi_pmtu, tcpi_rcv_ssthresh, tcpi_rtt, tcpi_rttvar, tcpi_snd_ssthresh, tcpi_snd_cwnd;
    uint32_t tcpi_advmss, tcpi_reordering, tcpi_rcv_rtt, tcpi_rcv_space, tcpi_total_retrans;
    uint64_t tcpi_pacing_rate, tcpi_max_pacing_rate, tcpi_bytes_acked, tcpi_bytes_received;
    uint32_t tcpi_segs_out, tcpi_segs_in, tcpi_notsent_bytes, tcpi_min_rtt;
    uint32_t tcpi_data_segs_in, tcpi_data_segs_out;
    uint64_t tcpi_delivery_rate, tcpi_busy_time, tcpi_rwnd_limited, tcpi_sndbuf_limited;
    uint32_t tcpi_delivered, tcpi_delivered_ce;
    uint64_t tcpi_bytes_sent, tcpi_bytes_retrans;
    uint32_t tcpi_dsack_dups, tcpi_reord_seen, tcpi_rcv_ooopack, tcpi_snd_wnd, tcpi_rcv_wnd, tcpi_rehash;
    uint16_t tcpi_total_rto, tcpi_total_rto_recoveries;
    uint32_t tcpi_total_rto_time, tcpi_received_ce;
    uint32_t tcpi_delivered_e1_bytes, tcpi_delivered_e0_bytes, tcpi_delivered_ce_bytes;
    uint32_t tcpi_received_e1_bytes, tcpi_received_e0_bytes, tcpi_received_ce_bytes;
    uint16_t tcpi_accecn_fail_mode, tcpi_accecn_opt_seen;
};
/* cdef:end */

/* ---- life -------------------------------------------------------------------------------- */
/* Bytes of zeroed, lazily committed memory that bw_new needs. */
size_t bw_arena_size(const struct bw_config *cfg);
/* Where in it the flow table and the control blocks lie, which segments of many connections read at random. */
void bw_flow_part(const struct bw_config *cfg, size_t *from, size_t *to);
struct bw_stack *bw_new(const struct bw_config *cfg, void *arena);
/* Drops every connection without a word to the peer; the arena is the caller's again. */
void bw_free(struct bw_stack *st);
void bw_set_now(struct bw_stack *st, int64_t now);

/* ---- interfaces: 1 is the loopback, made by bw_new ------------------------------------------ */
/* Returns the new interface index (from 2), -ENOSPC, -EINVAL. The engine never calls the device, and keeps no
 * pointer to it. */
int bw_if_add(struct bw_stack *st, const struct netdev *dev);
/* An interface that is down has this device from now on. 0, -EBUSY, -EINVAL. */
int bw_if_up(struct bw_stack *st, int ifindex, const struct netdev *dev);
/* The device is gone: its sockets get -err (ENETDOWN), its routes are unusable. */
void bw_if_down(struct bw_stack *st, int ifindex, int err);
/* The device is there, and down for now (up 0) or back. While it is down its routes are unusable, and nothing
 * else changes: connections go on by their timers. */
void bw_if_link(struct bw_stack *st, int ifindex, int up);
int bw_if_count(const struct bw_stack *st); /* highest index in use */
/* The device of interface 1: the stack's own, pumped by the driver as any other. */
struct netdev *bw_loopback(struct bw_stack *st);

/* ---- frames -------------------------------------------------------------------------------- */
void bw_input(struct bw_stack *st, int ifindex, struct rx_frame *frames, int n);
/* A bounded number of those that are due; with more, bw_next_deadline is not after now. */
void bw_run_timers(struct bw_stack *st);
int64_t bw_next_deadline(struct bw_stack *st);
/* 0: bw_output has nothing for any interface. */
int bw_has_output(const struct bw_stack *st);
/* Frames waiting for this interface, oldest first: up to max of them are shown in *frames (one
 * contiguous run; call again after bw_transmitted). */
int bw_output(struct bw_stack *st, int ifindex, const struct tx_frame **frames, int max);
/* The device took the first n frames shown. */
void bw_transmitted(struct bw_stack *st, int ifindex, int n);
void bw_reclaimed(struct bw_stack *st, int ifindex, const uint32_t *tokens, int n);

/* ---- control, from Python ------------------------------------------------------------------- */
int bw_set_addrs(struct bw_stack *st, const struct bw_ifaddr *addrs, int n);
int bw_set_routes(struct bw_stack *st, const struct bw_route *routes, int n);
/* zone: the interface of a link-local address. mtu 0 forgets; `fragments`: the path is narrower still, and routers may fragment (no DF). */
int bw_set_path_mtu(struct bw_stack *st, const uint8_t ip[16], uint32_t zone, uint32_t mtu, int fragments);
/* A question for the next hop is on its way: its answer is expected. 0, -EINVAL, -ENOSPC. */
int bw_neigh_ask(struct bw_stack *st, int ifindex, const uint8_t ip[16]);
int bw_neigh_set(struct bw_stack *st, int ifindex, const uint8_t ip[16], const uint8_t mac[6]);
int bw_neigh_del(struct bw_stack *st, int ifindex, const uint8_t ip[16]);
int bw_neigh_get(struct bw_stack *st, int ifindex, const uint8_t ip[16], struct bw_neigh_info *info);
/* Echo replies from ip under this identifier, and errors about requests to it, go to Python; all others are
 * refused. 0, -ENOSPC. */
int bw_echo_open(struct bw_stack *st, const uint8_t ip[16], uint16_t ident);
void bw_echo_close(struct bw_stack *st, const uint8_t ip[16], uint16_t ident);
/* Next punt of any class, round robin; copies at most size bytes of data. 1: one, 0: none. */
int bw_punt_pop(struct bw_stack *st, struct bw_punt *punt, uint8_t *data, uint32_t size);
/* Punts, reports of congestion control, or interfaces with unfinished checksums. */
int bw_punt_pending(const struct bw_stack *st);
/* Interfaces on which, for the first time, a packet had a checksum that its sender left to a card, as bits
 * 1 << ifindex, since the last call. */
uint32_t bw_take_unfinished(struct bw_stack *st);
/* The next report of an algorithm of Python's. 1: one, 0: none. */
int bw_cc_report_pop(struct bw_stack *st, struct bw_cc_report *report);
int bw_cc_reports(const struct bw_stack *st); /* is there one? */
/* The answer: bytes and bytes/s (0: not paced). 0, -ESTALE: the connection is gone or has another algorithm
 * now, -EAGAIN: no report waits for it, or a loss has come since. */
int bw_cc_answer(struct bw_stack *st, uint32_t sock, uint32_t generation, uint64_t window, uint64_t rate);
/* The algorithm has failed: the connection goes on with the default one. 0, -ESTALE. */
int bw_cc_give_up(struct bw_stack *st, uint32_t sock, uint32_t generation);
/* A whole frame for that interface (layer 2: with Ethernet header). */
int bw_send_frame(struct bw_stack *st, int ifindex, const uint8_t *frame, uint32_t len);
/* An IPv4 packet with a finished header: resolved, fragmented if it must be (never with DF: -EMSGSIZE).
 * ifindex 0: routed; else it leaves by that interface, for that next hop. */
int bw_send_packet(struct bw_stack *st, int ifindex, const uint8_t nexthop[16], const uint8_t *packet,
                   uint32_t len);
/* The packet (ours, as sent) could not be delivered: err goes to the socket it belongs to. */
void bw_local_error(struct bw_stack *st, const uint8_t *packet, uint32_t len, int err);
/* Source address for a destination by that interface (0: by any), as a connect would choose it. 0 or -ENETUNREACH. */
int bw_select_source(struct bw_stack *st, const uint8_t dst[16], uint32_t ifindex, uint8_t src[16]);

/* ---- sockets -------------------------------------------------------------------------------- */
int bw_socket(struct bw_stack *st, int type, struct bw_sock **out);
int bw_bind(struct bw_sock *s, const struct bw_addr *addr);
int bw_listen(struct bw_sock *s, int backlog);
int bw_accept(struct bw_sock *s, struct bw_sock **out, struct bw_addr *peer);
/* TCP: 0 (already done), -EINPROGRESS, -EALREADY, -EISCONN, -errno. With addr NULL it begins none:
 * it says how the one that the caller waited for has ended. UDP: 0 or -errno.
 * UDP with ip all zero and port 0: dissolves the association. */
int bw_connect(struct bw_sock *s, const struct bw_addr *addr);
/* Bytes taken or given, 0 at end of stream, -EAGAIN, -errno. */
int64_t bw_send(struct bw_sock *s, const void *buf, size_t len, int flags);
int64_t bw_recv(struct bw_sock *s, void *buf, size_t len, int flags);
int64_t bw_sendto(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to);
int64_t bw_recvfrom(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from);
/* The same of a message in pieces with control bytes: -EINVAL for records that nobody knows. A stream
 * takes 64 KiB at most of a message in pieces; it fills the first piece, and gives no control bytes. */
int64_t bw_sendmsg(struct bw_sock *s, const struct bw_msg *m);
int64_t bw_recvmsg(struct bw_sock *s, struct bw_msg *m);
/* UDP: slots [first, last), in order. How many were moved; where none was: -errno, 0 at the end. */
int64_t bw_send_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
int64_t bw_recv_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last);
int bw_shutdown(struct bw_sock *s, int how); /* SHUT_RD 0, SHUT_WR 1, SHUT_RDWR 2 */
/* The user lets go; the pointer is dead. TCP goes on by itself as far as it must. */
void bw_close(struct bw_sock *s);
/* Resets the connection at once and lets go (linger 0). */
void bw_abort(struct bw_sock *s);
void bw_sockname(struct bw_sock *s, struct bw_addr *addr);
int bw_peername(struct bw_sock *s, struct bw_addr *addr); /* -ENOTCONN */
int bw_setopt(struct bw_sock *s, int opt, int64_t value);
int bw_getopt(struct bw_sock *s, int opt, int64_t *value);
/* TCP_FASTOPEN_KEY: sets n bytes (16, or 32 with a backup key; 0: none) and gives the keys in use; their
 * bytes, -EINVAL, -ENOMEM. */
int bw_fastopen_key(struct bw_sock *s, const uint8_t *set, int n, uint8_t get[32]);
int bw_take_error(struct bw_sock *s); /* SO_ERROR: positive errno or 0, and clears it */
uint32_t bw_readiness(struct bw_sock *s);
/* Somebody begins to wait for these events. 1: that gives us something to send. */
int bw_await(struct bw_sock *s, uint32_t events);
int bw_snapshot(struct bw_sock *s, struct bw_tcp_snapshot *out);
int bw_tcp_info(struct bw_sock *s, struct bw_tcp_info *out); /* -EOPNOTSUPP: not TCP */
int64_t bw_queued_bytes(struct bw_sock *s, int which);       /* 0: to read (FIONREAD), 1: unsent or unacked */
/* Orphans (closed by their user) that still have data or a FIN to deliver. */
uint32_t bw_draining(const struct bw_stack *st);
/* Resets the connection; the socket stays open, with this error, and so does one without a connection. */
void bw_reset(struct bw_sock *s, int err);
/* Resets every connection; used when the linger time is over. */
void bw_abort_all(struct bw_stack *st);

/* ---- observers, for the driver ----------------------------------------------------------- */
/* `observed` says whether readiness changes of this socket must be listed. user is the driver's. */
void bw_observe(struct bw_sock *s, int observed);
void **bw_sock_user(struct bw_sock *s);
struct bw_stack *bw_sock_stack(struct bw_sock *s);
/* Next observed socket whose readiness may have changed since it was last popped, or NULL. */
struct bw_sock *bw_pop_changed(struct bw_stack *st);
/* 1: since the last time something came to an observed socket that a program can read or accept. */
int bw_arrived(struct bw_sock *s);

/* ---- seeing ---------------------------------------------------------------------------------- */
int bw_counter_count(void);
const char *bw_counter_name(int i);
/* All of them at this moment, at most max; how many. */
int bw_counters(const struct bw_stack *st, uint64_t *out, int max);
/* Sockets of every kind and state from place *from (0 at first), at most max; how many. *from is where to go on;
 * BW_LIST_END: these were the last. */
int bw_list(struct bw_stack *st, uint32_t *from, struct bw_sock_info *out, int max);
/* Traces every connection, now and to come, and every drop; or no more. */
void bw_trace_all(struct bw_stack *st, int on);
/* The oldest records, at most max; returns how many. */
int bw_trace_pop(struct bw_stack *st, struct bw_trace_record *out, int max);
int bw_cc_count(void);
const char *bw_cc_name(int i);
/* 0: control blocks in bytes, 1: chunks in bytes, 2: sockets in use, 3: orphans among them, 4: the longest
 * chain of the flow table (walked), 5: timers that are set */
uint64_t bw_memory_used(const struct bw_stack *st, int what);

#endif
