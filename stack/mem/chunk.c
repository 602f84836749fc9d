/* SPDX-License-Identifier: MIT */
/* The chunk pool (see chunk.h). */
#include "chunk.h"
#include "red_zone.h"

#include <string.h>

enum { GUARANTEED = 0x8000 };

uint32_t chunk_get(struct chunk_pool *pool, int guaranteed)
{
    uint32_t chunk;
    if (!guaranteed && pool->taken >= pool->common)
        return CHUNK_NONE;
    if (pool->nfree)
        chunk = pool->free[--pool->nfree];
    else if (pool->touched < pool->count)
        chunk = pool->touched++;
    else
        return CHUNK_NONE;
    red_zone_open(chunk_data(pool, chunk), CHUNK_SIZE);
    pool->refs[chunk] = (uint16_t)(1 | (guaranteed ? GUARANTEED : 0));
    pool->used++;
    pool->taken += !guaranteed;
    return chunk;
}

uint32_t chunk_get_small(struct chunk_pool *pool)
{
    uint32_t at;
    if (pool->small_nfree)
        at = pool->small_free[--pool->small_nfree];
    else if (pool->small_touched < pool->small_count)
        at = pool->small_touched++;
    else
        return CHUNK_NONE;
    uint32_t chunk = pool->count + at;
    red_zone_open(chunk_data(pool, chunk), SMALL_SIZE);
    pool->refs[chunk] = 1 | GUARANTEED;
    pool->small_used++;
    return chunk;
}

int chunk_has(const struct chunk_pool *pool, uint32_t n, int guaranteed)
{
    uint32_t common = n - (n && guaranteed), free = pool->nfree + pool->count - pool->touched;
    return n <= free && common <= pool->common - pool->taken;
}

void chunk_ref(struct chunk_pool *pool, uint32_t chunk)
{
    pool->refs[chunk]++;
}

void chunk_put(struct chunk_pool *pool, uint32_t chunk)
{
    uint16_t refs = --pool->refs[chunk];
    if (refs & ~GUARANTEED)
        return;
    int small = chunk_is_small(pool, chunk);
    if (pool->poison)
        memset(chunk_data(pool, chunk), 0xdb, small ? SMALL_SIZE : CHUNK_SIZE);
    red_zone_close(chunk_data(pool, chunk), small ? SMALL_SIZE : CHUNK_SIZE);
    if (small) {
        pool->small_used--;
        pool->small_free[pool->small_nfree++] = chunk - pool->count;
    } else {
        pool->used--;
        pool->taken -= !(refs & GUARANTEED);
        pool->free[pool->nfree++] = chunk;
    }
}
