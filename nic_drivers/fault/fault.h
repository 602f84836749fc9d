/* SPDX-License-Identifier: MIT */
/* A bad network around any device: loss, duplication, reordering, corruption, delay, a slow link, an
 * outage.
 *
 * Every frame is copied into a bounded store with the time it is due, and leaves when `now` reaches
 * it; arm() gives the next such time. The dice are seeded, one sequence a direction: the same seed,
 * frames and times give the same network. What it does to a frame, in this order: lose it; duplicate
 * it; and each copy: corrupt one bit, queue it behind the link's rate (drop-tail, with a mark if the
 * queue is long), delay it by delay
 * plus up to jitter without changing the order, hold it back for `hold` so that later frames pass. */
#ifndef BW_FAULT_H
#define BW_FAULT_H

#include "../netdev.h"
#include "../tally.h"

/* cdef:begin */
enum { FAULT_RX = 0, FAULT_TX = 1 };
enum { /* tally: FAULT_KINDS counters of the receive direction, then of the transmit direction */
       FAULT_LOST,
       FAULT_DUPLICATED,
       FAULT_CORRUPTED,
       FAULT_REORDERED,
       FAULT_QUEUE_FULL, /* the rate-limited link's queue had no room */
       FAULT_NO_ROOM,    /* the store was full, or the frame too long for it */
       FAULT_OUTAGE,     /* the link was down */
       FAULT_MARKED,     /* ECT packets marked as having met congestion */
       FAULT_KINDS,
};
/* One direction. Chances are 0 .. 1, times ns. */
struct fault_way {
    double loss, duplicate, reorder, corrupt;
    int64_t hold; /* how long a reordered frame is held back */
    int64_t delay, jitter;
    double rate;      /* bit/s; 0: no limit */
    uint64_t backlog; /* bytes that may wait for the rate-limited link */
    /* Frames that come in this span are gone, no dice thrown; counted from the device's first frame,
     * whichever way it went. What is on its way already arrives. */
    int64_t outage_at, outage;
    double mark;        /* chance that an ECT packet is marked (ECN, RFC 3168) */
    int64_t mark_above; /* bytes in the link's queue above which every one is; -1: never */
};
/* ways[2]: FAULT_RX, FAULT_TX; `held`: frames stored at most, each direction. Takes inner over.
 * NULL: no memory, inner stays the caller's. */
struct netdev *fault_new(struct netdev *inner, const struct fault_way *ways, uint64_t seed, uint32_t held,
                         struct tally **tally);
/* cdef:end */

#endif
