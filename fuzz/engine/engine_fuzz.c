/* SPDX-License-Identifier: MIT */
/* Coverage-guided fuzzing of the engine (libFuzzer): frames, calls, time and failing allocations as the input
 * chooses, under AddressSanitizer and UBSan, with red zones between the arena's parts. At the end all is
 * closed and every socket, chunk, timer, header slot and piece of memory is back. */
#include <stdio.h>
#include <stdlib.h>

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

#include "calls.c"
#include "far.c"

enum { ROUNDS = 100000, AGE = 2000 };

#define MUST(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "broken: %s (%s:%d)\n", #what, __FILE__, __LINE__); \
            abort(); \
        } \
    } while (0)

static void configure(struct world *w, struct bw_config *cfg)
{
    uint8_t choice = take8(&w->in), caps = take8(&w->in), more = take8(&w->in);
    *cfg = (struct bw_config){.seed = {1},
                              .now = SECOND,
                              .buffer_bytes = more & 1 ? 1 << 20 : 16 << 14,
                              .max_socks = more & 2 ? 4 : 16,
                              .max_orphans = 3,
                              .max_neighs = 8,
                              .port_first = 40000,
                              .port_last = 40007,
                              .port_mod = 1,
                              .rcvbuf = {2048, 65536, 1 << 20},
                              .sndbuf = {4096, 65536, 1 << 20},
                              .header_prediction = choice & 1,
                              .poison = 1,
                              .syn_cookies = choice >> 1 & 3,
                              .fast_open = choice >> 3 & 3,
                              .ecn = (choice >> 5) % 6,
                              .mtu_probing = (more >> 2) % 3,
                              .trace_records = more & 16 ? 64 : 16};
    if (cfg->syn_cookies == 3)
        cfg->syn_cookies = 1;
    w->dev = (struct netdev){.caps = (caps & 1 ? NETDEV_TX_CSUM : 0) | (caps & 2 ? NETDEV_TSO4 : 0) |
                                     (caps & 4 ? NETDEV_TX_ASYNC : 0) | (caps & 8 ? NETDEV_USO4 : 0) |
                                     NETDEV_RX_CSUM | NETDEV_RX_GSO,
                             .mtu = caps & 16 ? 576 : 1500,
                             .tso_max = caps & (2 | 8) ? 60000 : 0,
                             .layer = caps & 32 ? 2 : 3,
                             .mac = {2, 0, 0, 0, 0, 2}};
}

static void settle_in(struct world *w)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct bw_ifaddr addrs[] = {{.ifindex = IF_LOOPBACK, .prefix_len = 96 + 8},
                                {.ifindex = OUTSIDE, .prefix_len = 96 + 24}};
    ip_from_v4(addrs[0].ip, (const uint8_t[]){127, 0, 0, 1});
    memcpy(addrs[1].ip, world_us, 16);
    struct bw_route routes[] = {
        {.ifindex = OUTSIDE, .prefix_len = 128, .flags = BW_ROUTE_BROADCAST},
        {.ifindex = OUTSIDE, .prefix_len = 96 + 24},
        {.ifindex = IF_LOOPBACK, .prefix_len = 96 + 8},
        {.ifindex = OUTSIDE, .prefix_len = 96, .flags = BW_ROUTE_GATEWAY},
    };
    ip_from_v4(routes[0].prefix, (const uint8_t[]){198, 18, 0, 255});
    ip_from_v4(routes[1].prefix, (const uint8_t[]){198, 18, 0, 0});
    ip_from_v4(routes[2].prefix, (const uint8_t[]){127, 0, 0, 0});
    ip_from_v4(routes[3].prefix, (const uint8_t[]){0, 0, 0, 0});
    memcpy(routes[3].gateway, world_peer, 16);
    MUST(bw_if_add(w->st, &w->dev) == OUTSIDE);
    MUST(!bw_set_addrs(w->st, addrs, 2));
    MUST(!bw_set_routes(w->st, routes, 4));
    bw_neigh_set(w->st, OUTSIDE, world_peer, mac);
}

/* Gives back the n oldest frames that the device still reads. */
static void reclaim(struct world *w, uint32_t n)
{
    n = n < w->tokens ? n : w->tokens;
    bw_reclaimed(w->st, OUTSIDE, w->token, (int)n);
    memmove(w->token, w->token + n, (w->tokens - n) * sizeof *w->token);
    w->tokens -= n;
}

static int pump_out(struct world *w)
{
    const struct tx_frame *frames;
    int n = bw_output(w->st, OUTSIDE, &frames, 16), async = w->dev.caps & NETDEV_TX_ASYNC;
    if (n <= 0)
        return 0;
    for (int i = 0; i < n; i++) {
        far_hears(w, &frames[i]);
        if (async && w->tokens == WORLD_TOKENS)
            n = i;
        else if (async)
            w->token[w->tokens++] = frames[i].token;
    }
    if (!n)
        reclaim(w, WORLD_TOKENS);
    bw_transmitted(w->st, OUTSIDE, n);
    return 1;
}

static int pump_loopback(struct world *w)
{
    struct netdev *lo = bw_loopback(w->st);
    const struct tx_frame *out;
    struct rx_frame in[16];
    int n = bw_output(w->st, IF_LOOPBACK, &out, 16), moved = n > 0;
    if (n > 0)
        bw_transmitted(w->st, IF_LOOPBACK, lo->tx_burst(lo, w->st->now, out, n));
    n = lo->rx_burst(lo, w->st->now, in, 16);
    if (n > 0)
        bw_input(w->st, IF_LOOPBACK, in, n);
    return moved || n > 0;
}

static void pump(struct world *w)
{
    int rounds = 0;
    do {
        bw_run_timers(w->st);
        MUST(rounds++ < ROUNDS); /* it comes to rest */
    } while (pump_out(w) | pump_loopback(w));
    while (bw_pop_changed(w->st)) {
    }
}

static void advance(struct world *w, int64_t ns)
{
    int64_t end = w->st->now + ns;
    for (int i = 0; i < AGE; i++) {
        int64_t next = bw_next_deadline(w->st);
        if (next > end)
            break;
        bw_set_now(w->st, next);
        pump(w);
    }
    bw_set_now(w->st, end);
    pump(w);
}

/* Where most inputs begin: with a connection of either direction, one over the loopback, or a bound UDP
 * socket, so that they need not find the way there first. */
static void begin(struct world *w, uint8_t how)
{
    struct bw_addr here = {.port = 80}, there = {.port = 2000}, from;
    int rich = how & 1;
    memcpy(here.ip, world_us, 16);
    memcpy(there.ip, how & 2 ? world_us : world_peer, 16);
    if (how >= 192)
        return;
    if (how >= 160) {
        MUST(!bw_socket(w->st, BW_SOCK_UDP, &w->sock[0]) && !bw_bind(w->sock[0], &here));
    } else if (how >= 80) { /* a listener, and for the second half of them the connection as well */
        MUST(!bw_socket(w->st, BW_SOCK_TCP, &w->sock[0]) && !bw_bind(w->sock[0], &here));
        if (how & 4)
            bw_setopt(w->sock[0], BW_OPT_FASTOPEN, 5);
        bw_listen(w->sock[0], 2);
        if (how & 2) { /* to itself */
            if (!bw_socket(w->st, BW_SOCK_TCP, &w->sock[2]))
                bw_connect(w->sock[2], &here);
        } else {
            far_opens(w, 80, rich);
            pump(w);
            far_answers(w, 0, 0);
        }
        pump(w);
        bw_accept(w->sock[0], &w->sock[1], &from);
    } else {
        MUST(!bw_socket(w->st, BW_SOCK_TCP, &w->sock[0]));
        if (how & 4)
            bw_setopt(w->sock[0], BW_OPT_FASTOPEN_CONNECT, 1);
        bw_connect(w->sock[0], &there);
        pump(w);
        far_answers(w, 1, rich);
    }
    pump(w);
}

static void act(struct world *w)
{
    static const int64_t steps[] = {MS, 40 * MS, 200 * MS, SECOND, 3LL * SECOND, 70LL * SECOND};
    switch (take8(&w->in) % 16) {
    case 0: far_sends_frame(w); break;
    case 1:
    case 2:
    case 3:
    case 4: far_sends_segment(w); break;
    case 5: far_sends_burst(w); break;
    case 6: far_sends_datagram(w); break;
    case 7: far_sends_error(w); break;
    case 8: far_sends_fragment(w); break;
    case 9: far_sends_ping(w); break;
    case 10: advance(w, steps[take8(&w->in) % 6]); break;
    case 11: call_control(w); break;
    case 12: fail_after = take8(&w->in) % 16; break;
    case 13: reclaim(w, take8(&w->in)); break;
    default: call_socket(w);
    }
}

/* Everything is closed, and nothing is left. */
static void end(struct world *w)
{
    fail_after = 0;
    for (int i = 0; i < WORLD_SOCKS; i++)
        if (w->sock[i])
            bw_close(w->sock[i]);
    bw_abort_all(w->st);
    pump(w);
    for (int i = 0; i < 100 && (w->st->socks_used || bw_next_deadline(w->st) != INT64_MAX); i++)
        advance(w, 100LL * SECOND);
    bw_if_down(w->st, OUTSIDE, ENETDOWN);
    reclaim(w, WORLD_TOKENS);
    MUST(w->st->socks_used == 0);
    MUST(bw_memory_used(w->st, 1) == 0);
    MUST(bw_next_deadline(w->st) == INT64_MAX);
    uint32_t free_slots = 0;
    for (uint32_t i = w->st->slot_free; i != CHUNK_NONE; i = w->st->slots[i].next_free)
        free_slots++;
    MUST(free_slots == SLOTS);
    MUST(w->st->counter[COUNT_TCP_BAD_TRANSITION] == 0);
}

/* One arena for all runs: fresh pages would cost more than the run. Its last part, the bytes of fragments, is
 * read only where it was written. */
static void *zeroed_arena(const struct bw_config *cfg)
{
    static uint8_t *arena;
    static size_t room;
    size_t size = bw_arena_size(cfg);
    if (size > room) {
        free(arena);
        arena = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
        room = size;
        MUST(arena);
    }
    return memset(arena, 0, size - FRAG_DATAGRAMS * (size_t)FRAG_ROOM);
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
    begin(w, take8(&w->in));
    for (int i = 0; i < AGE && w->in.left; i++) {
        act(w);
        pump(w);
    }
    end(w);
    bw_free(w->st);
    free(w);
    return 0;
}
