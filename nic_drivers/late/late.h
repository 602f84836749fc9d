/* SPDX-License-Identifier: MIT */
/* For tests: a TX_ASYNC device in front of any other, as hostile as the contract allows.
 *
 * It takes frames by reference, completes them late and out of order (seeded), and reads their bytes
 * only then, when it passes them on. A hash taken at tx_burst is compared with the bytes at that time:
 * a stack that wrote into queued memory, or freed it, is counted in LATE_CORRUPTED. Pieces that lie outside of
 * the memory it was given to register are counted in LATE_OUTSIDE. */
#ifndef BW_LATE_H
#define BW_LATE_H

#include "../netdev.h"
#include "../tally.h"

/* cdef:begin */
enum { LATE_TAKEN, LATE_SENT, LATE_CORRUPTED, LATE_RECLAIMED, LATE_OUTSIDE, LATE_KINDS }; /* tally */
/* Each frame completes between 1 ns and max_delay ns after it was taken; at most `depth` are held.
 * Takes inner (a TX_SYNC device) over. NULL: no memory, inner stays the caller's. */
struct netdev *late_new(struct netdev *inner, int64_t max_delay, uint32_t depth, uint64_t seed,
                        struct tally **tally);
/* cdef:end */

#endif
