/* SPDX-License-Identifier: MIT */
/* The byte queue beside a plain array: whatever is appended, stored ahead, dropped and held by frames, in small
 * chunks and in whole ones, the bytes are the same; and at the end nothing is held. */
#include "stack/engine.c"

#include "tests/kit/check.h"

enum { WHOLE = 24, SMALL = 3, QUEUES = 4, MODEL = 1 << 17, FRAMES = 64, STEPS = 200000 };

struct model {
    struct byteq q;
    uint8_t bytes[MODEL];  /* from byte 0 of the queue on */
    uint8_t known[MODEL];  /* stored ahead */
};
struct frame {
    const uint8_t *data;
    uint32_t len, chunk;
    uint8_t was[CHUNK_SIZE];
};

static uint64_t state = 88172645463325252ull;
static uint32_t any(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16) % below;
}

static struct chunk_pool pool = {.count = WHOLE, .common = WHOLE - QUEUES, .small_count = SMALL, .poison = 1};
static struct model model[QUEUES];
static struct frame frame[FRAMES];
static int frames;

static uint32_t some_size(void)
{
    static const uint32_t most[] = {1, 100, SMALL_SIZE, SMALL_SIZE + 1, 5000, 40000};
    return 1 + any(any(3) ? 100 : most[any(6)]);
}

static void model_appends(struct model *m)
{
    uint8_t data[40000];
    uint32_t n = some_size();
    for (uint32_t i = 0; i < n; i++)
        data[i] = (uint8_t)any(256);
    if (m->q.ahead || m->q.len + n > MODEL)
        return;
    n = byteq_append(&m->q, &pool, data, n);
    memcpy(m->bytes + m->q.len - n, data, n);
}

static void model_stores(struct model *m)
{
    uint8_t data[40000];
    uint32_t n = some_size(), at = m->q.len + any(30000);
    for (uint32_t i = 0; i < n; i++)
        data[i] = (uint8_t)any(256);
    for (uint32_t i = 0; i < n; i++)
        if (at + n > MODEL || m->known[at + i]) /* its caller stores nothing twice */
            return;
    if (byteq_store(&m->q, &pool, at, data, n))
        return;
    memcpy(m->bytes + at, data, n);
    memset(m->known + at, 1, n);
}

static void model_extends(struct model *m)
{
    uint32_t n = 0;
    while (m->q.len + n < MODEL && m->known[m->q.len + n])
        n++;
    memset(m->known + m->q.len, 0, n);
    byteq_extend(&m->q, n);
}

static void model_drops(struct model *m)
{
    uint32_t n = any(2) ? m->q.len : any(m->q.len + 1);
    byteq_drop(&m->q, &pool, n);
    memmove(m->bytes, m->bytes + n, MODEL - n);
    memmove(m->known, m->known + n, MODEL - n);
    memset(m->known + MODEL - n, 0, n);
}

static void model_trims(struct model *m)
{
    byteq_trim(&m->q, &pool);
    memset(m->known, 0, MODEL);
}

static void model_holds(struct model *m)
{
    struct tx_piece piece[4];
    uint32_t chunk[4], covered, at = any(m->q.len + 1);
    if (frames == FRAMES || at == m->q.len)
        return;
    byteq_pieces(&m->q, &pool, at, m->q.len - at, piece, chunk, 4, &covered);
    struct frame *f = &frame[frames++];
    *f = (struct frame){.data = piece[0].data, .len = piece[0].len, .chunk = chunk[0]};
    memcpy(f->was, f->data, f->len);
    chunk_ref(&pool, f->chunk);
}

static void model_lets_go(void)
{
    if (!frames)
        return;
    struct frame *f = &frame[any((uint32_t)frames)];
    CHECK(memcmp(f->was, f->data, f->len) == 0); /* what a device reads late is what was sent */
    chunk_put(&pool, f->chunk);
    *f = frame[--frames];
}

static void model_look(const struct model *m)
{
    static uint8_t out[MODEL];
    byteq_copy(&m->q, &pool, 0, out, m->q.len);
    CHECK(memcmp(out, m->bytes, m->q.len) == 0);
    CHECK(pool.taken <= pool.common && pool.small_used <= SMALL);
}

/* A frame on its way keeps the guaranteed chunk of a queue, so one common chunk too few is left for a queue that
 * has to leave its small one and go on over two others. */
static void no_room_to_go_wide(void)
{
    static uint8_t bytes[3 << CHUNK_SHIFT], small[2 << SMALL_SHIFT], data[40000];
    static uint16_t refs[5];
    static uint32_t free_whole[3], free_small[2];
    struct chunk_pool few = {.base = bytes,
                             .small = small,
                             .refs = refs,
                             .free = free_whole,
                             .small_free = free_small,
                             .count = 3,
                             .common = 2,
                             .small_count = 2};
    struct byteq acknowledged, growing;
    struct tx_piece piece[4];
    uint32_t chunk[4], covered;
    byteq_init(&acknowledged);
    byteq_init(&growing);
    CHECK(byteq_append(&acknowledged, &few, data, 3000) == 3000);
    byteq_pieces(&acknowledged, &few, 0, 3000, piece, chunk, 4, &covered);
    chunk_ref(&few, chunk[0]);
    byteq_drop(&acknowledged, &few, 3000);
    CHECK(byteq_append(&growing, &few, data, 100) == 100 && chunk_is_small(&few, growing.inl[0]));
    CHECK(byteq_store(&growing, &few, 100, data, 39000) == -1);
    byteq_free(&growing, &few);
    chunk_put(&few, chunk[0]);
    byteq_free(&acknowledged, &few);
    CHECK(few.used == 0 && few.small_used == 0 && few.taken == 0);
}

int main(void)
{
    static uint8_t bytes[WHOLE << CHUNK_SHIFT], small[SMALL << SMALL_SHIFT];
    static uint16_t refs[WHOLE + SMALL];
    static uint32_t free_whole[WHOLE], free_small[SMALL];
    uint32_t most_small = 0, none_left = 0;
    pool.base = bytes;
    pool.small = small;
    pool.refs = refs;
    pool.free = free_whole;
    pool.small_free = free_small;
    no_room_to_go_wide();
    for (int i = 0; i < QUEUES; i++)
        byteq_init(&model[i].q);
    for (int step = 0; step < STEPS; step++) {
        struct model *m = &model[any(QUEUES)];
        switch (any(8)) {
        case 0:
        case 1: model_appends(m); break;
        case 2: model_stores(m); break;
        case 3: model_extends(m); break;
        case 4: model_drops(m); break;
        case 5: model_holds(m); break;
        case 6: model_lets_go(); break;
        default: any(8) ? model_extends(m) : model_trims(m);
        }
        model_look(m);
        most_small = pool.small_used > most_small ? pool.small_used : most_small;
        none_left += pool.small_used == SMALL && m->q.held == 1 && m->q.len && m->q.len < 100;
    }
    CHECK(most_small == SMALL && none_left); /* the bound was met, and queues went on with whole chunks */
    while (frames)
        model_lets_go();
    for (int i = 0; i < QUEUES; i++)
        byteq_free(&model[i].q, &pool);
    CHECK(chunk_bytes(&pool) == 0 && pool.taken == 0);
    printf("well\n");
    return 0;
}
