/* SPDX-License-Identifier: MIT */
/* The chunk pool: fixed pieces of a reserved address range, counted references, bounded.
 * A chunk is committed by the kernel at first touch and handed out again last in, first out.
 * Small chunks stand in for guaranteed ones as long as little lies in a queue; their numbers follow the others'. */
#ifndef BW_CHUNK_H
#define BW_CHUNK_H

#include <stdint.h>

enum { CHUNK_SHIFT = 14, CHUNK_SIZE = 1 << CHUNK_SHIFT, SMALL_SHIFT = 11, SMALL_SIZE = 1 << SMALL_SHIFT };
#define CHUNK_NONE 0xffffffffu

struct chunk_pool {
    uint8_t *base;  /* count * CHUNK_SIZE bytes of reserved addresses */
    uint8_t *small; /* and small_count * SMALL_SIZE */
    uint16_t *refs; /* references of each chunk, then of each small one; the top bit: a guaranteed one */
    uint32_t *free; /* stack of chunks given back */
    uint32_t nfree, touched, count;
    uint32_t used;   /* chunks with references, guaranteed ones included */
    uint32_t taken;  /* of these, chunks of the common pool */
    uint32_t common; /* size of the common pool; the rest of count backs the guarantees */
    uint32_t *small_free;
    uint32_t small_nfree, small_touched, small_count, small_used;
    uint8_t poison; /* tests: freed chunks are overwritten, so that a late reader is seen */
};

/* Returns a chunk with one reference. `guaranteed`: the caller holds none yet in this direction, so
 * this one is its by right and does not count against the common pool. CHUNK_NONE: full. */
uint32_t chunk_get(struct chunk_pool *pool, int guaranteed);
/* A small one in place of a guaranteed one. CHUNK_NONE: all are in use, frames that wait for a device may hold
 * some of them. */
uint32_t chunk_get_small(struct chunk_pool *pool);
/* Would chunk_get answer so often? */
int chunk_has(const struct chunk_pool *pool, uint32_t n, int guaranteed);
void chunk_ref(struct chunk_pool *pool, uint32_t chunk);
void chunk_put(struct chunk_pool *pool, uint32_t chunk);
static inline int chunk_is_small(const struct chunk_pool *pool, uint32_t chunk)
{
    return chunk >= pool->count;
}
static inline uint8_t *chunk_data(const struct chunk_pool *pool, uint32_t chunk)
{
    if (chunk_is_small(pool, chunk))
        return pool->small + ((uint64_t)(chunk - pool->count) << SMALL_SHIFT);
    return pool->base + ((uint64_t)chunk << CHUNK_SHIFT);
}
/* Bytes of all chunks with references. */
static inline uint64_t chunk_bytes(const struct chunk_pool *pool)
{
    return ((uint64_t)pool->used << CHUNK_SHIFT) + ((uint64_t)pool->small_used << SMALL_SHIFT);
}
/* Is so much of the common pool taken? */
static inline int chunk_filled(const struct chunk_pool *pool, uint32_t percent)
{
    return (uint64_t)pool->taken * 100 >= (uint64_t)pool->common * percent;
}
/* Fill of the common pool in percent. */
static inline uint32_t chunk_pressure(const struct chunk_pool *pool)
{
    return pool->common ? (uint32_t)((uint64_t)pool->taken * 100 / pool->common) : 100;
}

#endif
