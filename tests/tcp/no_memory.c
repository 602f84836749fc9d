/* SPDX-License-Identifier: MIT */
/* A send queue whose map cannot grow: the write says ENOBUFS, for which nobody can wait, and once there is memory the
 * next one goes on. It is the engine alone, with its loopback interface. */
#include <stdlib.h>

static int no_memory;
static void *may_fail(size_t size);
#define malloc(size) may_fail(size)
#include "stack/engine.c"
#undef malloc

#include "tests/kit/check.h"

static void *may_fail(size_t size)
{
    return no_memory ? NULL : malloc(size);
}

static struct bw_config config(void)
{
    struct bw_config cfg = {.now = SECOND,
                            .buffer_bytes = 16 << 20,
                            .max_socks = 16,
                            .max_orphans = 8,
                            .max_neighs = 16,
                            .port_first = 32768,
                            .port_last = 60999,
                            .trace_records = 16};
    cfg.rcvbuf = cfg.sndbuf = (struct bw_bounds){.min = 4096, .standard = 1 << 20, .max = 1 << 20};
    return cfg;
}

/* What is queued goes to the other end, until nothing moves. */
static void pump(struct bw_stack *st)
{
    struct netdev *lo = bw_loopback(st);
    const struct tx_frame *frames;
    struct rx_frame in[16];
    int moved = 1;
    while (moved) {
        int n = bw_output(st, IF_LOOPBACK, &frames, 16), took = n > 0 ? lo->tx_burst(lo, st->now, frames, n) : 0;
        bw_transmitted(st, IF_LOOPBACK, took);
        int came = lo->rx_burst(lo, st->now, in, 16);
        if (came > 0)
            bw_input(st, IF_LOOPBACK, in, came);
        moved = took > 0 || came > 0;
    }
}

int main(void)
{
    enum { INLINE = BYTEQ_INLINE * CHUNK_SIZE, MORE = 1000 };
    static uint8_t data[INLINE + MORE], back[INLINE + MORE];
    struct bw_config cfg = config();
    void *arena = calloc(1, bw_arena_size(&cfg));
    struct bw_stack *st = bw_new(&cfg, arena);
    struct bw_sock *listener, *client, *server;
    struct bw_addr at = {.port = 80}, peer;
    ip_from_v4(at.ip, (const uint8_t[]){127, 0, 0, 1});
    const struct bw_ifaddr own = {.ifindex = IF_LOOPBACK, .prefix_len = 104, .ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}};
    CHECK(bw_set_addrs(st, &own, 1) == 0);
    CHECK(bw_socket(st, BW_SOCK_TCP, &listener) == 0 && bw_socket(st, BW_SOCK_TCP, &client) == 0);
    CHECK(bw_bind(listener, &at) == 0 && bw_listen(listener, 1) == 0);
    CHECK(bw_connect(client, &at) == -EINPROGRESS);
    pump(st);
    CHECK(bw_accept(listener, &server, &peer) == 0);

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    no_memory = 1;
    CHECK(bw_send(client, data, INLINE, 0) == INLINE);
    CHECK(bw_send(client, data + INLINE, MORE, 0) == -ENOBUFS);
    no_memory = 0;
    CHECK(bw_send(client, data + INLINE, MORE, 0) == MORE);
    size_t got = 0;
    while (got < sizeof data) {
        pump(st);
        int64_t n = bw_recv(server, back + got, sizeof back - got, 0);
        CHECK(n > 0);
        got += (size_t)n;
    }
    CHECK(memcmp(data, back, sizeof data) == 0);
    bw_free(st);
    free(arena);
    printf("well\n");
    return 0;
}
