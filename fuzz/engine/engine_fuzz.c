/* SPDX-License-Identifier: MIT */
/* Coverage-guided fuzzing of the engine (libFuzzer): frames, calls, time and failing allocations as the input
 * chooses, under AddressSanitizer and UBSan, with red zones between the arena's parts. At the end all is
 * closed and every socket, chunk, timer, header slot and piece of memory is back. */
#include <stdio.h>
#include <stdlib.h>

#include "small.h"

/* Allocations fail when the input says so: the countdown of the harness. */
static unsigned fail_after;
static int refuse(void)
{
    return fail_after && !--fail_after;
}
static void *fuzz_malloc(size_t n)
{
    return refuse() ? NULL : malloc(n);
}
static void *fuzz_calloc(size_t n, size_t size)
{
    return refuse() ? NULL : calloc(n, size);
}
static void *fuzz_realloc(void *p, size_t n)
{
    return refuse() ? NULL : realloc(p, n);
}
#define malloc fuzz_malloc
#define calloc fuzz_calloc
#define realloc fuzz_realloc
#include "../../stack/engine.c"
#undef malloc
#undef calloc
#undef realloc

#include "far.c"
#include "calls.c"
#include "network.c"
#include "scenes.c"

enum { ACTS = 2000 };

static void act(struct world *w)
{
    static const int64_t steps[] = {MS, 40 * MS, 200 * MS, SECOND, 3LL * SECOND, 70LL * SECOND};
    switch (take8(&w->in) % 24) {
    case 0: far_sends_frame(w); break;
    case 1:
    case 2:
    case 3: far_sends_segment(w); break;
    case 4: far_sends_burst(w); break;
    case 5: far_sends_datagram(w); break;
    case 6: far_sends_error(w); break;
    case 7: far_sends_fragment(w); break;
    case 8: far_sends_ping(w); break;
    case 9: far_sends_arp(w); break;
    case 10: far_floods(w); break;
    case 11: far_acknowledges(w); break;
    case 12: advance(w, steps[take8(&w->in) % 6]); break;
    case 13:
    case 14: call_control(w); break;
    case 15: fail_after = take8(&w->in) % 16; break;
    case 16: reclaim(w, take8(&w->in)); break;
    case 17: call_faults(w); break;
    case 18:
    case 19: call_conversation(w); break;
    case 20: call_farewell(w); break;
    default: call_socket(w);
    }
}

/* Everything is closed, and nothing is left. */
static void end(struct world *w)
{
    fail_after = 0;
    network_ends(w);
    for (int i = 0; i < WORLD_SOCKS; i++)
        if (w->sock[i])
            bw_close(w->sock[i]);
    bw_abort_all(w->st);
    pump(w);
    for (int i = 0; i < 100 && (socks_all(w->st) || bw_next_deadline(w->st) != INT64_MAX); i++)
        advance(w, 100LL * SECOND);
    bw_loopback(w->st)->close(bw_loopback(w->st));
    bw_if_down(w->st, OUTSIDE, ENETDOWN);
    reclaim(w, WORLD_TOKENS);
    MUST(socks_all(w->st) == 0);
    MUST(bw_memory_used(w->st, 1) == 0);
    MUST(bw_next_deadline(w->st) == INT64_MAX);
    MUST(w->st->frags->used == 0);
    MUST(!w->st->tcp->reports);
    for (int i = 0; i < OOO_KINDS; i++)
        MUST(!w->st->tcp->ooo[i].chunks && !w->st->tcp->ooo[i].head);
    uint32_t free_slots = 0;
    for (uint32_t i = w->st->slot_free; i != CHUNK_NONE; i = w->st->slots[i].next_free)
        free_slots++;
    MUST(free_slots == SLOTS);
    MUST(w->st->counter[COUNT_TCP_BAD_TRANSITION] == 0);
}

/* One arena for all runs: fresh pages would cost more than the run. Its last parts, chunks and the bytes of
 * fragments, are read only where they were written. */
static void *zeroed_arena(const struct bw_config *cfg)
{
    static uint8_t *arena;
    static size_t room;
    size_t size = bw_arena_size(cfg),
           last = ((size_t)all_chunks(cfg) << CHUNK_SHIFT) + FRAG_DATAGRAMS * (size_t)FRAG_ROOM;
    if (size > room) {
        free(arena);
        arena = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
        room = size;
        MUST(arena);
    }
    return memset(arena, 0, size - last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = calloc(1, sizeof *w);
    struct bw_config cfg;
    w->in = (struct input){data, size};
    configure(w, &cfg);
    w->st = bw_new(&cfg, zeroed_arena(&cfg));
    MUST(w->st);
    settle_in(w);
    begin(w);
    for (int i = 0; i < ACTS && w->in.left; i++) {
        act(w);
        pump(w);
    }
    end(w);
    bw_free(w->st);
    free(w);
    return 0;
}
