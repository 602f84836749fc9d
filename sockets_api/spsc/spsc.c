/* SPDX-License-Identifier: MIT */
/* The queue of spsc.h. The reader sleeps on a futex; what keeps a wake-up from being lost is that the
 * writer stores the tail before it looks at `asleep`, and the reader the other way round, all four in
 * the one order of memory_order_seq_cst. */
#define _GNU_SOURCE
#include "spsc.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64 };

struct spsc {
    uint8_t *ring;
    uint64_t size, capacity;
    _Alignas(LINE) atomic_uint_fast64_t tail; /* the writer's line */
    atomic_uint_fast64_t dropped, malformed;
    uint64_t head_seen;
    atomic_int writing;
    _Alignas(LINE) atomic_uint_fast64_t head; /* the reader's */
    uint64_t tail_seen;
    atomic_int reading;
    _Alignas(LINE) atomic_uint asleep; /* the futex */
    atomic_int closed;
};

struct spsc *spsc_new(uint8_t *ring, uint64_t size, uint64_t capacity)
{
    struct spsc *q = aligned_alloc(LINE, sizeof *q);
    if (!q)
        return NULL;
    memset(q, 0, sizeof *q);
    q->ring = ring;
    q->size = size;
    q->capacity = capacity;
    return q;
}

void spsc_free(struct spsc *q)
{
    free(q);
}

uint64_t spsc_count(struct spsc *q, enum spsc_count which)
{
    switch (which) {
    case SPSC_PUSHED: return atomic_load(&q->tail);
    case SPSC_POPPED: return atomic_load(&q->head);
    case SPSC_DROPPED: return atomic_load(&q->dropped);
    case SPSC_MALFORMED: return atomic_load(&q->malformed);
    }
    return 0;
}

/* One thread a side: a second one is refused, not served wrongly. */
static int enter(atomic_int *side)
{
    return atomic_exchange_explicit(side, 1, memory_order_acquire) ? -EBUSY : 0;
}

static void leave(atomic_int *side)
{
    atomic_store_explicit(side, 0, memory_order_release);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint8_t *place(const struct spsc *q, uint64_t count)
{
    return q->ring + (count & (q->capacity - 1)) * q->size;
}

static void count(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ---- the writer -------------------------------------------------------------------------------- */

/* Copies records behind those already written at `tail`; how many found room. */
static uint64_t put(struct spsc *q, uint64_t tail, const uint8_t *records, uint64_t n)
{
    if (tail + n - q->head_seen > q->capacity)
        q->head_seen = atomic_load_explicit(&q->head, memory_order_acquire);
    uint64_t fits = least(n, q->capacity - (tail - q->head_seen));
    uint64_t to_end = least(fits, q->capacity - (tail & (q->capacity - 1)));
    memcpy(place(q, tail), records, to_end * q->size);
    memcpy(q->ring, records + to_end * q->size, (fits - to_end) * q->size);
    if (fits < n)
        count(&q->dropped, n - fits);
    return fits;
}

static void wake(struct spsc *q)
{
    if (atomic_load(&q->asleep) && atomic_exchange(&q->asleep, 0))
        syscall(SYS_futex, &q->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void publish(struct spsc *q, uint64_t tail)
{
    atomic_store(&q->tail, tail);
    wake(q);
}

int64_t spsc_push(struct spsc *q, const uint8_t *records, uint64_t n)
{
    if (enter(&q->writing))
        return -EBUSY;
    uint64_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    uint64_t fits = put(q, tail, records, n);
    if (fits)
        publish(q, tail + fits);
    leave(&q->writing);
    return (int64_t)fits;
}

int64_t spsc_push_batch(struct spsc *q, const uint8_t *data, uint64_t slot, const uint32_t *lengths,
                        uint64_t first, uint64_t last)
{
    if (enter(&q->writing))
        return -EBUSY;
    uint64_t start = atomic_load_explicit(&q->tail, memory_order_relaxed), tail = start;
    for (uint64_t i = first; i < last; i++) {
        uint32_t len = __atomic_load_n(&lengths[i], __ATOMIC_RELAXED); /* the caller may write it */
        if (len > slot || len % q->size)
            count(&q->malformed, 1);
        else
            tail += put(q, tail, data + i * slot, len / q->size);
    }
    if (tail != start)
        publish(q, tail);
    leave(&q->writing);
    return (int64_t)(tail - start);
}

void spsc_close(struct spsc *q)
{
    atomic_store(&q->closed, 1);
    wake(q);
}

int spsc_closed(struct spsc *q)
{
    return atomic_load(&q->closed);
}

/* ---- the reader -------------------------------------------------------------------------------- */

static uint64_t waiting(struct spsc *q, uint64_t head)
{
    if (q->tail_seen == head)
        q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
    return q->tail_seen - head;
}

int64_t spsc_peek(struct spsc *q, uint64_t *at)
{
    if (enter(&q->reading))
        return -EBUSY;
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    uint64_t n = waiting(q, head);
    *at = head & (q->capacity - 1);
    leave(&q->reading);
    return (int64_t)least(n, q->capacity - *at);
}

int spsc_release(struct spsc *q, uint64_t n)
{
    if (enter(&q->reading))
        return -EBUSY;
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    int rc = n > q->tail_seen - head ? -EINVAL : 0;
    if (!rc)
        atomic_store_explicit(&q->head, head + n, memory_order_release);
    leave(&q->reading);
    return rc;
}

int64_t spsc_pop(struct spsc *q, uint8_t *records, uint64_t max)
{
    if (enter(&q->reading))
        return -EBUSY;
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    if (q->tail_seen - head < max)
        q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
    uint64_t n = least(max, q->tail_seen - head);
    uint64_t to_end = least(n, q->capacity - (head & (q->capacity - 1)));
    memcpy(records, place(q, head), to_end * q->size);
    memcpy(records + to_end * q->size, q->ring, (n - to_end) * q->size);
    atomic_store_explicit(&q->head, head + n, memory_order_release);
    leave(&q->reading);
    return (int64_t)n;
}

/* -EBUSY, -EINTR, or the records that are there after at most one sleep. */
int64_t spsc_wait(struct spsc *q, int64_t timeout_ns)
{
    struct timespec left = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    if (enter(&q->reading))
        return -EBUSY;
    uint64_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    int interrupted = 0;
    if (!waiting(q, head) && !spsc_closed(q) && timeout_ns > 0) {
        atomic_store(&q->asleep, 1);
        if (atomic_load(&q->tail) == head && !spsc_closed(q))
            interrupted = syscall(SYS_futex, &q->asleep, FUTEX_WAIT_PRIVATE, 1, &left, NULL, 0) < 0 &&
                          errno == EINTR;
        atomic_store(&q->asleep, 0);
    }
    uint64_t n = waiting(q, head);
    leave(&q->reading);
    return interrupted && !n ? -EINTR : (int64_t)n;
}
