/* SPDX-License-Identifier: MIT */
/* The chunked byte queue (see byteq.h). map[] is a ring of chunk numbers: entry (first + i) holds
 * bytes [i * CHUNK_SIZE - off, ...). Entries from first to first + span may be CHUNK_NONE only
 * beyond len, where out-of-order data has left holes. Entry 0 may be a small chunk, which has the first bytes of a
 * whole one; a queue that outgrows it copies them into a whole one, and frames on their way keep theirs. */
#include "byteq.h"

#include <stdlib.h>
#include <string.h>

void byteq_init(struct byteq *q)
{
    memset(q, 0, sizeof *q);
    q->cap = BYTEQ_INLINE;
}

/* The map is inline until it outgrows it, so an idle queue owns no memory and may be copied never. */
static uint32_t *map_of(const struct byteq *q)
{
    return q->map ? q->map : (uint32_t *)q->inl;
}

static uint32_t *entry(const struct byteq *q, uint32_t i)
{
    return &map_of(q)[(q->first + i) & (q->cap - 1)];
}

static void shrink(struct byteq *q)
{
    if (q->held == 0) {
        free(q->map);
        q->map = NULL;
        q->cap = BYTEQ_INLINE;
        q->first = q->span = q->off = 0;
        q->begins_wide = q->wide;
        q->wide = 0;
    }
}

void byteq_free(struct byteq *q, struct chunk_pool *pool)
{
    q->len = 0;
    byteq_trim(q, pool);
    for (uint32_t i = 0; i < q->span; i++)
        if (*entry(q, i) != CHUNK_NONE)
            chunk_put(pool, *entry(q, i));
    q->held = 0;
    shrink(q);
}

/* Makes entries [0, span) exist. 0 or -1. */
static int grow_span(struct byteq *q, uint32_t span)
{
    if (span > q->cap) {
        uint32_t cap = q->cap;
        while (cap < span)
            cap *= 2;
        uint32_t *map = malloc(cap * sizeof *map);
        if (!map)
            return -1;
        for (uint32_t i = 0; i < q->span; i++)
            map[i] = *entry(q, i);
        free(q->map);
        q->map = map;
        q->cap = cap;
        q->first = 0;
    }
    while (q->span < span)
        *entry(q, q->span++) = CHUNK_NONE;
    return 0;
}

/* A chunk for bytes up to `end` of the queue. */
static uint32_t new_chunk(const struct byteq *q, struct chunk_pool *pool, uint32_t end)
{
    uint32_t chunk = CHUNK_NONE;
    if (q->held == 0 && end <= SMALL_SIZE && !q->begins_wide)
        chunk = chunk_get_small(pool);
    return chunk != CHUNK_NONE ? chunk : chunk_get(pool, q->held == 0);
}

/* Entry 0 becomes the whole chunk that its small one stands in for. 0 or -1. */
static int widen(struct byteq *q, struct chunk_pool *pool)
{
    uint32_t *e = entry(q, 0), used = q->off + q->len;
    uint32_t chunk = chunk_get(pool, 1);
    if (chunk == CHUNK_NONE)
        return -1;
    memcpy(chunk_data(pool, chunk), chunk_data(pool, *e), q->ahead || used > SMALL_SIZE ? SMALL_SIZE : used);
    chunk_put(pool, *e);
    *e = chunk;
    return 0;
}

/* Room in one chunk for n bytes at position `pos` (counted from the start of the first chunk), made if missing. */
static uint8_t *place(struct byteq *q, struct chunk_pool *pool, uint32_t pos, uint32_t n)
{
    uint32_t i = pos >> CHUNK_SHIFT;
    if (i >= q->span && grow_span(q, i + 1))
        return NULL;
    uint32_t *e = entry(q, i);
    if (*e == CHUNK_NONE) {
        uint32_t chunk = new_chunk(q, pool, pos + n);
        if (chunk == CHUNK_NONE)
            return NULL;
        *e = chunk;
        q->held++;
    }
    if (pos + n > SMALL_SIZE) {
        q->wide = 1;
        if (chunk_is_small(pool, *e) && widen(q, pool))
            return NULL;
    }
    return chunk_data(pool, *e) + (pos & (CHUNK_SIZE - 1));
}

static uint32_t run_at(uint32_t pos, uint32_t n)
{
    uint32_t run = CHUNK_SIZE - (pos & (CHUNK_SIZE - 1));
    return run < n ? run : n;
}

uint32_t byteq_append(struct byteq *q, struct chunk_pool *pool, const void *src, uint32_t n)
{
    uint32_t done = 0;
    while (done < n) {
        uint32_t pos = q->off + q->len, run = run_at(pos, n - done);
        uint8_t *dst = place(q, pool, pos, run);
        if (!dst)
            break;
        memcpy(dst, (const uint8_t *)src + done, run);
        q->len += run;
        done += run;
    }
    return done;
}

/* Chunks that [pos, pos + n) still lacks. */
static uint32_t missing(const struct byteq *q, uint32_t pos, uint32_t n)
{
    uint32_t lack = 0;
    for (uint32_t i = pos >> CHUNK_SHIFT; n && i <= (pos + n - 1) >> CHUNK_SHIFT; i++)
        lack += i >= q->span || *entry(q, i) == CHUNK_NONE;
    return lack;
}

/* Does the queue up to `end` need more than the small chunk that it has? */
static int outgrows(const struct byteq *q, const struct chunk_pool *pool, uint32_t end)
{
    return end > SMALL_SIZE && q->span && *entry(q, 0) != CHUNK_NONE && chunk_is_small(pool, *entry(q, 0));
}

int byteq_store(struct byteq *q, struct chunk_pool *pool, uint32_t at, const void *src, uint32_t n)
{
    uint32_t pos = q->off + at, chunks = (pos + n + CHUNK_SIZE - 1) >> CHUNK_SHIFT;
    uint32_t wide = (uint32_t)outgrows(q, pool, pos + n); /* one more, which is the queue's by right */
    if (!chunk_has(pool, missing(q, pos, n) + wide, wide || q->held == 0) ||
        (chunks > q->span && grow_span(q, chunks)) || (wide && widen(q, pool)))
        return -1;
    for (uint32_t done = 0; done < n;) {
        uint32_t run = run_at(pos + done, n - done);
        memcpy(place(q, pool, pos + done, run), (const uint8_t *)src + done, run);
        done += run;
    }
    q->ahead += n;
    return 0;
}

uint32_t byteq_ahead_chunks(const struct byteq *q)
{
    uint32_t in_order = q->len ? ((q->off + q->len - 1) >> CHUNK_SHIFT) + 1 : 0, ahead = q->held - in_order;
    return ahead && q->held == ahead ? ahead - 1 : ahead; /* the first one of all is not the pool's */
}

void byteq_extend(struct byteq *q, uint32_t n)
{
    q->len += n;
    q->ahead -= n;
}

void byteq_trim(struct byteq *q, struct chunk_pool *pool)
{
    q->ahead = 0;
    uint32_t keep = q->len ? (q->off + q->len + CHUNK_SIZE - 1) >> CHUNK_SHIFT : 0;
    while (q->span > keep) {
        uint32_t chunk = *entry(q, --q->span);
        if (chunk != CHUNK_NONE) {
            chunk_put(pool, chunk);
            q->held--;
        }
    }
    shrink(q);
}

void byteq_copy(const struct byteq *q, const struct chunk_pool *pool, uint32_t at, void *dst, uint32_t n)
{
    for (uint32_t pos = q->off + at, done = 0; done < n;) {
        uint32_t run = run_at(pos, n - done);
        memcpy((uint8_t *)dst + done,
               chunk_data(pool, *entry(q, pos >> CHUNK_SHIFT)) + (pos & (CHUNK_SIZE - 1)), run);
        pos += run;
        done += run;
    }
}

void byteq_drop(struct byteq *q, struct chunk_pool *pool, uint32_t n)
{
    q->len -= n;
    q->off += n;
    while (q->off >= CHUNK_SIZE && q->span) {
        if (*entry(q, 0) != CHUNK_NONE) {
            chunk_put(pool, *entry(q, 0));
            q->held--;
        }
        q->first = (q->first + 1) & (q->cap - 1);
        q->span--;
        q->off -= CHUNK_SIZE;
    }
    /* A queue that has run empty gives its last chunk back, unless data waits ahead of a hole. */
    if (q->len == 0 && q->span <= 1 && q->held == q->span && !q->ahead) {
        if (q->span)
            chunk_put(pool, *entry(q, 0));
        q->held = 0;
        shrink(q);
    }
}

int byteq_pieces(const struct byteq *q, const struct chunk_pool *pool, uint32_t at, uint32_t n,
                 struct tx_piece *piece, uint32_t *chunk, int max, uint32_t *covered)
{
    uint32_t pos = q->off + at, done = 0;
    int i = 0;
    while (done < n && i < max) {
        uint32_t run = run_at(pos, n - done);
        chunk[i] = *entry(q, pos >> CHUNK_SHIFT);
        piece[i].data = chunk_data(pool, chunk[i]) + (pos & (CHUNK_SIZE - 1));
        piece[i].len = run;
        pos += run;
        done += run;
        i++;
    }
    *covered = done;
    return i;
}
