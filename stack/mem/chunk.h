/* SPDX-License-Identifier: MIT */
/* The chunk pool: fixed pieces of a reserved address range, counted references, bounded.
 * A chunk is committed by the kernel at first touch and handed out again last in, first out. */
#ifndef BW_CHUNK_H
#define BW_CHUNK_H

#include <stdint.h>

enum { CHUNK_SHIFT = 14, CHUNK_SIZE = 1 << CHUNK_SHIFT };
#define CHUNK_NONE 0xffffffffu

struct chunk_pool {
    uint8_t *base;  /* count * CHUNK_SIZE bytes of reserved addresses */
    uint16_t *refs; /* references of each chunk; the top bit: a guaranteed one */
    uint32_t *free; /* stack of chunks given back */
    uint32_t nfree, touched, count;
    uint32_t used;   /* chunks with references, guaranteed ones included */
    uint32_t taken;  /* of these, chunks of the common pool */
    uint32_t common; /* size of the common pool; the rest of count backs the guarantees */
    uint8_t poison;  /* tests: freed chunks are overwritten, so that a late reader is seen */
};

/* Returns a chunk with one reference. `guaranteed`: the caller holds none yet in this direction, so
 * this one is its by right and does not count against the common pool. CHUNK_NONE: full. */
uint32_t chunk_get(struct chunk_pool *pool, int guaranteed);
/* Would chunk_get answer so often? */
int chunk_has(const struct chunk_pool *pool, uint32_t n, int guaranteed);
void chunk_ref(struct chunk_pool *pool, uint32_t chunk);
void chunk_put(struct chunk_pool *pool, uint32_t chunk);
static inline uint8_t *chunk_data(const struct chunk_pool *pool, uint32_t chunk)
{
    return pool->base + ((uint64_t)chunk << CHUNK_SHIFT);
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
