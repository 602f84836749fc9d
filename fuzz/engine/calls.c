/* SPDX-License-Identifier: MIT */
/* Programs and the control plane of the fuzzed stack: every call of engine.h, in any order, with arguments
 * that the border to Python lets through. */
#include "world.h"

static struct bw_addr some_address(struct world *w)
{
    struct bw_addr to = {0};
    uint8_t which = take8(&w->in);
    static const uint8_t own[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1},
                         all[16] = {[10] = 0xff, 0xff, 198, 18, 0, 255};
    const uint8_t *ips[] = {world_peer, world_far, world_us, own, all, NULL};
    if (ips[which % 6])
        memcpy(to.ip, ips[which % 6], 16);
    to.port = (uint16_t[]){80, 7, 2000, 2001, 9999, 0}[which / 6 % 6];
    return to;
}

static void put_sock(struct world *w, struct bw_sock *s)
{
    for (int i = 0; i < WORLD_SOCKS; i++)
        if (!w->sock[i]) {
            w->sock[i] = s;
            bw_observe(s, 1);
            return;
        }
    bw_close(s);
}

static void call_open(struct world *w)
{
    struct bw_sock *s;
    if (!bw_socket(w->st, take8(&w->in) & 1 ? BW_SOCK_UDP : BW_SOCK_TCP, &s))
        put_sock(w, s);
}

static void call_transfer(struct world *w, struct bw_sock *s, uint8_t what)
{
    struct bw_addr to = some_address(w);
    size_t len = take_near(&w->in) % sizeof w->buffer;
    static const int flags[] = {
        0, 0, BW_MSG_OOB, BW_MSG_PEEK, BW_MSG_TRUNC, BW_MSG_MORE, BW_MSG_FASTOPEN, BW_MSG_PEEK | BW_MSG_OOB};
    int flag = flags[take8(&w->in) % 8];
    uint32_t lengths[8];
    struct bw_addr addrs[8] = {to};
    for (int i = 0; i < 8; i++)
        lengths[i] = take8(&w->in) % 200;
    struct bw_batch batch = {.data = w->buffer, .lengths = lengths, .addrs = addrs, .size = 200, .count = 8};
    switch (what % 6) {
    case 0: bw_send(s, w->buffer, len, flag); break;
    case 1: bw_recv(s, w->buffer, len, flag); break;
    case 2: bw_sendto(s, w->buffer, len, flag, &to); break;
    case 3: bw_recvfrom(s, w->buffer, len, flag, &to); break;
    case 4: bw_send_batch(s, &batch, 0, 8); break;
    default: bw_recv_batch(s, &batch, 0, 8);
    }
}

static void call_option(struct world *w, struct bw_sock *s)
{
    int64_t value = (int64_t)take_near(&w->in);
    uint8_t key[32], which = take8(&w->in);
    int opt = (which & 1 ? 32 : 1) + which / 2 % 28;
    if (which < 250)
        bw_setopt(s, opt, value);
    bw_getopt(s, opt, &value);
    if (which >= 240)
        bw_fastopen_key(s, key, (int)take_bytes(&w->in, key, which & 1 ? 32 : 16), key);
}

static void call_look(struct world *w, struct bw_sock *s)
{
    struct bw_tcp_snapshot snapshot;
    struct bw_tcp_info info;
    struct bw_addr addr;
    bw_readiness(s);
    bw_await(s, BW_IN);
    bw_take_error(s);
    bw_sockname(s, &addr);
    bw_peername(s, &addr);
    bw_snapshot(s, &snapshot);
    bw_tcp_info(s, &info);
    bw_queued_bytes(s, take8(&w->in) & 1);
}

void call_socket(struct world *w)
{
    uint8_t what = take8(&w->in), which = take8(&w->in) % WORLD_SOCKS;
    struct bw_sock *s = w->sock[which], *child;
    if (!s) {
        call_open(w);
        return;
    }
    struct bw_addr to = some_address(w);
    switch (what % 12) {
    case 0: bw_bind(s, &to); break;
    case 1: bw_listen(s, take8(&w->in) % 4); break;
    case 2: bw_connect(s, &to); break;
    case 3:
        if (!bw_accept(s, &child, &to))
            put_sock(w, child);
        break;
    case 4:
    case 5:
    case 6: call_transfer(w, s, what / 12); break;
    case 7: call_option(w, s); break;
    case 8: call_look(w, s); break;
    case 9: bw_shutdown(s, take8(&w->in) % 3); break;
    case 10:
        w->sock[which] = NULL;
        what & 16 ? bw_abort(s) : bw_close(s);
        break;
    default: call_open(w);
    }
}

static void punts(struct world *w)
{
    struct bw_punt work;
    for (int i = 0; i < 8 && bw_punt_pop(w->st, &work, w->buffer, sizeof w->buffer); i++)
        if (work.cls == BW_PUNT_RESOLVE && (take8(&w->in) & 1))
            bw_local_error(w->st, w->buffer, work.len, EHOSTUNREACH);
    struct bw_cc_report report;
    while (bw_cc_report_pop(w->st, &report)) {
        if (take8(&w->in) < 20)
            bw_cc_give_up(w->st, report.sock, report.generation);
        else
            bw_cc_answer(w->st, report.sock, report.generation, take_near(&w->in), take16(&w->in));
    }
}

void call_control(struct world *w)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct bw_neigh_info info;
    uint8_t source[16];
    struct bw_trace_record records[4];
    switch (take8(&w->in) % 10) {
    case 0: bw_neigh_set(w->st, OUTSIDE, world_peer, mac); break;
    case 1: bw_neigh_del(w->st, OUTSIDE, world_peer); break;
    case 2: bw_neigh_get(w->st, OUTSIDE, world_peer, &info); break;
    case 3: bw_set_path_mtu(w->st, take8(&w->in) & 1 ? world_peer : world_far, take16(&w->in)); break;
    case 4: bw_if_down(w->st, OUTSIDE, ENETDOWN); break;
    case 5: bw_if_up(w->st, OUTSIDE, &w->dev); break;
    case 6: punts(w); break;
    case 7: bw_select_source(w->st, take8(&w->in) & 1 ? world_peer : world_far, source); break;
    case 8: bw_trace_all(w->st, take8(&w->in) & 1); break;
    default: bw_trace_pop(w->st, records, 4);
    }
}
