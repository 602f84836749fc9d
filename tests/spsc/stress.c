/* SPDX-License-Identifier: MIT */
/* One writer, one reader, without Python, for ThreadSanitizer: numbers go through a small queue in bursts
 * of every size. Argument: how many. They come in order, and what is missing was counted. */
#include "sockets_api/spsc/spsc.h"
#include "tests/kit/check.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY = 64, LONGEST = 100, SLOTS = 8, SLOT = 16 * sizeof(uint64_t) };

static struct spsc *queue;
static uint64_t total = 1000000;

static uint32_t dice(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

static uint64_t push_run(uint64_t next, uint32_t n)
{
    uint64_t records[LONGEST];
    for (uint32_t i = 0; i < n; i++)
        records[i] = next + i;
    CHECK(spsc_push(queue, (uint8_t *)records, n) >= 0);
    return next + n;
}

static uint64_t push_datagrams(uint64_t next, uint32_t *seed)
{
    uint8_t data[SLOTS * SLOT];
    uint32_t lengths[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) {
        uint32_t n = dice(seed) % (SLOT / 8 + 1);
        lengths[i] = n * 8;
        for (uint32_t k = 0; k < n; k++, next++)
            memcpy(data + i * SLOT + k * 8, &next, 8);
    }
    CHECK(spsc_push_batch(queue, data, SLOT, lengths, 0, SLOTS) >= 0);
    return next;
}

static void *write_all(void *unused)
{
    uint32_t seed = 1;
    for (uint64_t next = 0; next < total;) {
        if (dice(&seed) & 1)
            next = push_run(next, dice(&seed) % LONGEST);
        else
            next = push_datagrams(next, &seed);
        total = total > next ? total : next;
        if (dice(&seed) % 8 == 0) /* the reader catches up, and goes to sleep */
            while (spsc_count(queue, SPSC_POPPED) != spsc_count(queue, SPSC_PUSHED))
                sched_yield();
    }
    spsc_close(queue);
    return unused;
}

/* Strictly rising numbers; the last of them. */
static uint64_t look(const uint8_t *records, int64_t n, uint64_t least)
{
    for (int64_t i = 0; i < n; i++) {
        uint64_t record;
        memcpy(&record, records + i * 8, 8);
        CHECK(record >= least);
        least = record + 1;
    }
    return least;
}

static uint64_t read_all(const uint8_t *ring)
{
    uint64_t least = 0, got = 0, at;
    uint8_t records[LONGEST * 8];
    uint32_t seed = 2;
    while (spsc_wait(queue, 1000000000) > 0 || !spsc_closed(queue) || spsc_peek(queue, &at) > 0) {
        int64_t n;
        if (dice(&seed) & 1) {
            n = spsc_peek(queue, &at);
            n = n > 1 ? 1 + dice(&seed) % n : n;
            least = look(ring + at * 8, n, least);
            CHECK(spsc_release(queue, (uint64_t)n) == 0);
        } else {
            n = spsc_pop(queue, records, dice(&seed) % LONGEST);
            least = look(records, n, least);
        }
        got += (uint64_t)n;
    }
    return got;
}

int main(int argc, char **argv)
{
    static uint8_t ring[CAPACITY * 8];
    pthread_t writer;
    if (argc > 1)
        total = strtoull(argv[1], NULL, 10);
    queue = spsc_new(ring, 8, CAPACITY);
    CHECK(queue && pthread_create(&writer, NULL, write_all, NULL) == 0);
    uint64_t got = read_all(ring);
    pthread_join(writer, NULL);
    CHECK(got == spsc_count(queue, SPSC_PUSHED) && got == spsc_count(queue, SPSC_POPPED));
    CHECK(got + spsc_count(queue, SPSC_DROPPED) == total && got > 0);
    CHECK(got * 16 > total); /* a reader who has caught up has room: an eighth of it all */
    spsc_free(queue);
    printf("well\n");
    return 0;
}
