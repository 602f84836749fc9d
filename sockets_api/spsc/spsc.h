/* SPDX-License-Identifier: MIT */
/* A bounded queue of records of one size, between one writing and one reading thread, without a lock.
 *
 * head and tail count records for ever; their low bits are places of the ring. The writer alone moves
 * the tail, the reader alone the head, each with release, and reads the other's with acquire. Each keeps
 * the last value it has seen of the other's, so that a full burst costs one look at a shared line. */
#ifndef BW_SPSC_H
#define BW_SPSC_H

#include <stdint.h>

/* cdef:begin */
struct spsc;

enum spsc_count { SPSC_PUSHED, SPSC_POPPED, SPSC_DROPPED, SPSC_MALFORMED };

/* The ring is capacity * size bytes of the caller's, capacity a power of two. NULL: no memory. */
struct spsc *spsc_new(uint8_t *ring, uint64_t size, uint64_t capacity);
void spsc_free(struct spsc *q);
uint64_t spsc_count(struct spsc *q, enum spsc_count which); /* any thread */

/* ---- the writer: -EBUSY if another thread is in one of these ---- */
/* Of n records those that there is room for; the others are dropped and counted. */
int64_t spsc_push(struct spsc *q, const uint8_t *records, uint64_t n);
/* The records in datagrams [first, last) of a batch, any number in each. One that does not hold whole
 * records, or lost its end to a slot of `slot` bytes, is malformed and counted. Returns records. */
int64_t spsc_push_batch(struct spsc *q, const uint8_t *data, uint64_t slot, const uint32_t *lengths,
                        uint64_t first, uint64_t last);
void spsc_close(struct spsc *q); /* any thread: nothing more will come */
int spsc_closed(struct spsc *q);

/* ---- the reader: -EBUSY likewise ---- */
/* Records that can be read at *at, in one piece: at most up to the ring's end. */
int64_t spsc_peek(struct spsc *q, uint64_t *at);
/* Gives the oldest n places back. -EINVAL: there are not so many records. */
int spsc_release(struct spsc *q, uint64_t n);
int64_t spsc_pop(struct spsc *q, uint8_t *records, uint64_t max);
/* Sleeps until there is a record or the queue is closed, at most timeout_ns. Records that are there. */
int64_t spsc_wait(struct spsc *q, int64_t timeout_ns);
/* cdef:end */

#endif
