/* SPDX-License-Identifier: MIT */
/* Two devices joined in memory: what one transmits, the other receives. No privileges, no kernel.
 *
 * Each direction is a bounded ring of fixed frame buffers with one producer and one consumer, so the
 * two ends may live in two stacks on two threads without a lock. The copy into the ring finishes the
 * checksum in the same pass; the receiver verifies it (BW_CSUM_UNKNOWN), as over a wire. An end whose
 * peer has closed reports -ENETDOWN once it has received what was on the way. */
#ifndef BW_PIPE_H
#define BW_PIPE_H

#include "../netdev.h"
#include "../tally.h"

/* cdef:begin */
struct pipe_config {
    const char *name[2];
    uint8_t mac[2][6];
    uint8_t layer;   /* 2 or 3 */
    uint8_t offload; /* 1: NETDEV_TX_CSUM: the copy into the ring finishes checksums */
    uint8_t pad[2];
    uint32_t mtu;
    uint32_t ring; /* frames each way; rounded up to a power of two */
};
/* Both ends, or -ENOMEM, -EMFILE, -ENFILE. */
int pipe_pair(const struct pipe_config *cfg, struct netdev *ends[2]);
/* Frames this end has yet to receive (those lent to its stack included). */
uint32_t pipe_waiting(struct netdev *end);
int pipe_peer_closed(struct netdev *end);
/* For an end that is driven from Python, many frames in one call, one behind the other at data with their
 * lengths in len. Takes up to max (and BW_RX_BURST) of those received, whose room goes back at once; data holds as
 * many of the longest. How many, or -ENETDOWN. */
int pipe_take(struct netdev *end, uint8_t *data, uint32_t *len, int max);
/* Sends n; how many found room. */
int pipe_put(struct netdev *end, const uint8_t *data, const uint32_t *len, int n);
/* What happens to frames beyond the other end, where Python counts it: sent, or lost, or not taken. */
enum { PIPE_SENT, PIPE_SEND_FULL, PIPE_SEND_FAILED, PIPE_RECEIVE_FULL, PIPE_RECEIVE_REFUSED, PIPE_COUNTS };
/* The end shows these counters as its own; NULL: no memory. */
struct tally *pipe_tally(struct netdev *end);
/* The end's descriptor is readable until its next arm(): for an event loop that left work behind. */
void pipe_again(struct netdev *end);
/* cdef:end */

#endif
