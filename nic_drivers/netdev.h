/* SPDX-License-Identifier: MIT */
/* The device contract: everything the stack knows about a network device, on one page.
 *
 * A driver fills a struct netdev with functions and capabilities and hands it to the engine; a
 * middleware (pcap, fault) is a netdev that holds another netdev. Only one thread at a time calls
 * into a netdev (whoever holds the stack's lock), except that the descriptor given out by arm() may
 * be polled by anybody. Times are nanoseconds of the caller's monotonic clock; a device reads no
 * clock for its own decisions. A device never blocks, except where arm() says so. */
#ifndef BW_NETDEV_H
#define BW_NETDEV_H

#include <stddef.h>
#include <stdint.h>

/* cdef:begin */
enum {
    BW_RX_BURST = 64,  /* most frames the stack asks for in one rx_burst */
    BW_TX_BURST = 64,  /* most frames the stack hands over in one tx_burst */
    BW_TX_PIECES = 10, /* gather pieces of one frame to transmit: headers, then data */
    BW_XSTATS = 64,    /* most named counters of one device */
};

/* What is known of the transport checksum of a received frame. */
enum {
    BW_CSUM_UNKNOWN = 0, /* the stack must verify it */
    BW_CSUM_VALID = 1,   /* the device verified it */
    BW_CSUM_PARTIAL = 2, /* a local sender never finished it; the data never left the machine: accept */
};

/* A received frame. It is LENT: valid until the next rx_burst or close of the same device.
 * The stack may write into it (and does, to finish headers in place). */
struct rx_frame {
    uint8_t *data;     /* Ethernet header at layer 2, IP header at layer 3 */
    uint32_t len;      /* bytes, without frame check sequence */
    uint16_t gso_size; /* payload bytes per segment if the device merged several, csum known; else 0 */
    uint8_t csum;      /* BW_CSUM_* */
    uint8_t pad;
};

struct tx_piece {
    const uint8_t *data;
    uint32_t len;
};

/* A frame to transmit: a gather list, headers in piece[0], then pieces of a send queue.
 * A device without NETDEV_TX_ASYNC has read all bytes when tx_burst returns.
 * A device with it either copies in tx_burst, or keeps the pointers and returns `token` through
 * reclaim() when it no longer reads them; it must return every token it accepted, once. */
struct tx_frame {
    struct tx_piece piece[BW_TX_PIECES];
    uint32_t len;         /* sum of the pieces */
    uint32_t token;       /* names the reference; only TX_ASYNC devices look at it */
    uint16_t pieces;      /* used entries of piece[] */
    uint16_t gso_size;    /* payload bytes per segment if the device must cut it (NETDEV_TSO, _USO); else 0 */
    uint16_t l3_off;      /* offset of the IP header (14 at layer 2 untagged, 0 at layer 3) */
    uint16_t csum_start;  /* only if csum_partial: sum from here to the end ... */
    uint16_t csum_offset; /* ... and store it at csum_start + csum_offset (virtio-net's words) */
    uint8_t csum_partial; /* 1: the field holds the pseudo-header sum, the device finishes it */
    uint8_t pad;
};

/* Capabilities (caps) and flags of a device. */
enum {
    NETDEV_TX_CSUM = 1,       /* finishes csum_partial frames */
    NETDEV_RX_CSUM = 2,       /* may say BW_CSUM_VALID or BW_CSUM_PARTIAL */
    NETDEV_TSO4 = 4,          /* takes IPv4 TCP super-segments of up to tso_max payload bytes */
    NETDEV_TSO6 = 8,          /* the same for IPv6 */
    NETDEV_RX_GSO = 16,       /* may deliver frames with gso_size set */
    NETDEV_TX_ASYNC = 32,     /* keeps tokens and gives them back through reclaim() */
    NETDEV_THREAD_BOUND = 64, /* only the background thread may call it */
    NETDEV_VNET_HDR = 128,    /* each frame travels with a virtio-net header (the driver handles it) */
    NETDEV_LOOPBACK = 256,    /* what is sent comes back in: checksums are skipped */
    NETDEV_USO4 = 512,        /* takes IPv4 UDP super-segments: each gso_size bytes become a datagram */
};

/* Drops a device counts itself, and its traffic. Every driver has these, in this form. */
struct netdev_stats {
    uint64_t rx_frames, rx_bytes, tx_frames, tx_bytes;
    uint64_t rx_dropped; /* received and thrown away by the device: no room, malformed */
    uint64_t tx_dropped; /* accepted for transmission and lost: too long, the descriptor failed */
    uint64_t tx_full;    /* tx_burst took fewer frames than offered: ring or queue full */
    uint64_t wakeups;    /* arm() was called before a sleep */
};

/* A counter that only this driver has: why it dropped a frame (rx_too_long), what the kernel or the
 * hardware counted (kernel_rx_dropped). */
struct netdev_xstat {
    char name[40]; /* of a-z, 0-9 and _, not one of struct netdev_stats */
    uint64_t value;
};

/* An address of the stack's, as its family has it: of AF_INET the first four bytes, of AF_INET6 all. */
struct netdev_addr {
    uint16_t family;
    uint8_t ip[16];
};

/* How memory is mapped (memory.h); together they are bits. */
enum {
    BW_MEMORY_PRIVATE = 0,
    BW_MEMORY_SHARED = 1, /* of a memfd, so that others can map it too */
    BW_MEMORY_HUGE = 2,   /* on transparent huge pages, where the kernel has any */
    BW_MEMORY_LOCKED = 4, /* what was touched once is never paged out */
};

/* Memory that is mapped: where it lies, and its memfd (-1: none, it is private). */
struct netdev_memory {
    uint8_t *base;
    size_t len;
    int fd;
    int pad;
};

/* What arm() answers: what to sleep on. */
struct netdev_arm {
    int fd;           /* descriptor to poll, or -1: none, sleep in naps of at most 1 ms */
    int events;       /* poll events to wait for on fd */
    int64_t deadline; /* the device has something to do at this time by itself (fault: a delayed
                         frame), or INT64_MAX */
};

struct netdev {
    /* Receive up to max frames; returns how many (0: none now), or -errno: -ENETDOWN when the
     * device is gone for good. Frames of the previous burst are no longer valid. Says in `down` too
     * whether the interface is down for now. */
    int (*rx_burst)(struct netdev *dev, int64_t now, struct rx_frame *frames, int max);
    /* Transmit n frames in order; returns how many were accepted (fewer: full, try the rest after
     * arm(want_tx)), or -errno. A frame the device can never send counts as accepted and dropped,
     * and so does each while it is down. */
    int (*tx_burst)(struct netdev *dev, int64_t now, const struct tx_frame *frames, int n);
    /* TX_ASYNC only (else NULL): gives back up to max tokens of finished frames; returns how many. */
    int (*reclaim)(struct netdev *dev, uint32_t *tokens, int max);
    /* Called before every sleep: kicks pending transmits, re-arms notifications, fills *arm.
     * Returns 0: sleeping is safe; 1: work is already there, do not sleep; -errno. */
    int (*arm)(struct netdev *dev, int64_t now, int want_tx, struct netdev_arm *arm);
    /* Releases everything the device holds, the struct itself too. Called once. */
    void (*close)(struct netdev *dev);
    /* May be NULL. In a forked child, once and instead of everything else: closes the descriptors of the
     * child's copy, so that they do not hold what the parent closes, and touches nothing that is shared. */
    void (*forked)(struct netdev *dev);
    /* May be NULL. The stack's addresses on this interface are these from now on: a device that shares its
     * interface steers by them. 0; -EADDRINUSE: the kernel has one of them; -EAFNOSUPPORT: the device
     * cannot steer by an address of such a family. */
    int (*set_addrs)(struct netdev *dev, const struct netdev_addr *addrs, int n);
    /* May be NULL. Fills in the driver's named counters, at most max, always the same in the same order;
     * returns how many, or -errno. Any thread with the lock may call it, of a THREAD_BOUND device too,
     * and after the device is gone. */
    int (*xstats)(struct netdev *dev, struct netdev_xstat *out, int max);
    /* May be NULL. Once, before any burst: every piece of every frame to transmit will lie in this memory, which
     * outlives the device: so that it can be registered with hardware, or shared. 0; -errno: the stack does
     * without the device. A device that was not told, behind one that makes copies, can be given any memory. */
    int (*register_memory)(struct netdev *dev, const struct netdev_memory *memory);

    uint32_t caps;    /* NETDEV_* */
    uint32_t mtu;     /* largest IP packet, bytes */
    uint32_t tso_max; /* largest payload of a super-segment; 0 without NETDEV_TSO* and NETDEV_USO4 */
    uint8_t layer;    /* 2: Ethernet frames; 3: bare IP packets */
    uint8_t mac[6];   /* own address at layer 2 */
    uint8_t down;     /* 1: its interface is down, and may come back: then it is 0 again by itself */
    char name[32];    /* for people: "tap0" */
    struct netdev_stats stats;
};
/* cdef:end */

#endif
