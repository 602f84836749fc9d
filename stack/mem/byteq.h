/* SPDX-License-Identifier: MIT */
/* A byte queue over chunks: bytes [0, len) can be read anywhere in constant time, appended at the
 * end, dropped from the front; and bytes can be stored ahead of the end (out-of-order data). */
#ifndef BW_BYTEQ_H
#define BW_BYTEQ_H

#include "chunk.h"
#include "../../nic_drivers/netdev.h"

enum { BYTEQ_INLINE = 4 };

struct byteq {
    uint32_t *map; /* ring of chunk numbers; CHUNK_NONE where nothing is stored yet */
    uint32_t inl[BYTEQ_INLINE];
    uint32_t cap;        /* entries of map, a power of two */
    uint32_t first;      /* ring position of the first chunk */
    uint32_t span;       /* chunks from first to the last one in use */
    uint32_t off;        /* offset of byte 0 in the first chunk */
    uint32_t len;        /* bytes in the queue */
    uint32_t held;       /* chunks held */
    uint32_t ahead;      /* bytes stored beyond len; kept by byteq_store, byteq_extend, byteq_trim */
    uint8_t wide;        /* it has outgrown a small chunk since it was empty ... */
    uint8_t begins_wide; /* ... and had the time before: the next chunk is a whole one from the start */
};

void byteq_init(struct byteq *q);
void byteq_free(struct byteq *q, struct chunk_pool *pool);
/* Appends up to n bytes; returns how many found memory. */
uint32_t byteq_append(struct byteq *q, struct chunk_pool *pool, const void *src, uint32_t n);
/* Stores n bytes at distance `at` (>= len) from byte 0, without changing len; all or nothing: 0 or -1. */
int byteq_store(struct byteq *q, struct chunk_pool *pool, uint32_t at, const void *src, uint32_t n);
/* Chunks of the common pool that hold bytes stored ahead and no others. */
uint32_t byteq_ahead_chunks(const struct byteq *q);
/* Bytes stored ahead become part of the queue. */
void byteq_extend(struct byteq *q, uint32_t n);
/* Releases all memory beyond len (out-of-order data is given up). */
void byteq_trim(struct byteq *q, struct chunk_pool *pool);
/* Copies n bytes at offset `at` out; at + n <= len. */
void byteq_copy(const struct byteq *q, const struct chunk_pool *pool, uint32_t at, void *dst, uint32_t n);
/* Drops n <= len bytes from the front. */
void byteq_drop(struct byteq *q, struct chunk_pool *pool, uint32_t n);
/* Pieces that cover [at, at + n), at most max of them; chunk[i] names each one's chunk. Returns the
 * number; *covered says how many bytes they cover. */
int byteq_pieces(const struct byteq *q, const struct chunk_pool *pool, uint32_t at, uint32_t n,
                 struct tx_piece *piece, uint32_t *chunk, int max, uint32_t *covered);

#endif
