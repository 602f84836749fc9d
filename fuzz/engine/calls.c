/* SPDX-License-Identifier: MIT */
/* Programs and the control plane of the fuzzed stack: every call of engine.h, in any order, with arguments
 * that the border to Python lets through. */
#include "world.h"

static struct bw_addr some_address(struct world *w)
{
    struct bw_addr to = {0};
    uint8_t which = take8(&w->in);
    static const uint8_t own[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1},
                         group[16] = {[10] = 0xff, 0xff, 224, 0, 0, 251},
                         everybody[16] = {[10] = 0xff, 0xff, 255, 255, 255, 255};
    const uint8_t *ips[] = {world_peer, world_far, world_us, own, world_all, group, everybody, NULL};
    if (ips[which % 8])
        memcpy(to.ip, ips[which % 8], 16);
    to.port = (uint16_t[]){80, 7, 2000, 2001, 9999, 0}[which / 8 % 6];
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

/* One message in one piece or three. Its control bytes begin as a record does that somebody knows, or nearly; they lie
 * in memory of their own length, so that a step too far shows. */
static void call_message(struct world *w, struct bw_sock *s, int receives, int flags,
                         const struct bw_addr *to)
{
    static const uint8_t levels[] = {0, 1, 17, 6}, types[] = {1, 2, 8, 103};
    uint8_t shape = take8(&w->in), kind = take8(&w->in), record[64] = {(uint8_t)(16 + (kind >> 4))};
    uint32_t len = shape & 63;
    record[8] = levels[kind & 3];
    record[12] = types[kind >> 2 & 3];
    take_bytes(&w->in, record + 16, len > 16 ? len - 16 : 0);
    if (shape & 64)
        record[take8(&w->in) & 63] = take8(&w->in);
    uint8_t *control = malloc(len ? len : 1);
    MUST(control);
    memcpy(control, record, len);
    uint32_t part = take_near(&w->in) % (sizeof w->buffer / 2);
    const struct bw_iovec iov[] = {{w->buffer, part}, {w->buffer, 0}, {w->buffer + part, part}};
    struct bw_msg m = {.name = *to,
                       .named = shape >> 7,
                       .iov = iov,
                       .pieces = kind & 16 ? 1 : 3,
                       .control = control,
                       .control_len = len,
                       .flags = flags};
    if (receives) {
        bw_recvmsg(s, &m);
        MUST(m.control_used <= len);
    } else {
        bw_sendmsg(s, &m);
    }
    free(control);
}

static void call_transfer(struct world *w, struct bw_sock *s, uint8_t what)
{
    struct bw_addr to = some_address(w);
    size_t len = take_near(&w->in) % sizeof w->buffer;
    static const int flags[] = {
        0, 0, BW_MSG_OOB, BW_MSG_PEEK, BW_MSG_TRUNC, BW_MSG_MORE, BW_MSG_FASTOPEN, BW_MSG_PEEK | BW_MSG_OOB};
    uint8_t how = take8(&w->in), own = take8(&w->in);
    int flag = flags[how % 8];
    uint32_t lengths[8];
    struct bw_addr addrs[8] = {to};
    for (int i = 0; i < 8; i++) { /* equal ones, or each its own */
        lengths[i] = how >= 128 ? take8(&w->in) % 200 : i < 7 ? 100 : how % 100;
        if (i && !(own & 1))
            addrs[i] = to;
    }
    struct bw_batch batch = {.data = w->buffer, .lengths = lengths, .addrs = addrs, .size = 200, .count = 8};
    if (what >= 18) {
        call_message(w, s, what & 1, flag, &to);
        return;
    }
    switch (what % 6) {
    case 0: bw_send(s, w->buffer, len, flag); break;
    case 1: bw_recv(s, w->buffer, len, flag); break;
    case 2: bw_sendto(s, w->buffer, len, flag, &to); break;
    case 3: bw_recvfrom(s, w->buffer, len, flag, &to); break;
    case 4: bw_send_batch(s, &batch, 0, own & 2 ? 8 : 3); break;
    default: bw_recv_batch(s, &batch, 0, 8);
    }
}

/* A value that the option may well have. */
static int64_t usual_value(struct world *w)
{
    static const int64_t usual[] = {0, 1, 2, 3, 5, 10, 128, 500, 1000, 1460, 30000, 100000, -1, -2};
    uint8_t which = take8(&w->in);
    return which < 200 ? usual[which % 14] : (int64_t)take_near(&w->in);
}

static void call_option(struct world *w, struct bw_sock *s)
{
    int64_t value = usual_value(w);
    uint8_t key[32], which = take8(&w->in);
    int opt = (which & 1 ? 32 : 1) + which / 2 % 25;
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
    bw_sock_user(s);
    MUST(bw_sock_stack(s) == w->st);
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

/* A packet of Python's, with a header that is finished, and nearly always right. */
static void call_send_packet(struct world *w)
{
    uint8_t packet[2000], how = take8(&w->in);
    uint32_t len = 28 + take8(&w->in) * 7u;
    memset(packet, 0, sizeof packet);
    put16(packet + 2, (uint16_t)len);
    packet[0] = how < 240 ? 0x45 : take8(&w->in);
    packet[6] = how & 1 ? 0x40 : 0;
    packet[8] = 64;
    packet[9] = how & 2 ? 17 : 1;
    packet[20] = 8;
    packet[25] = 7;
    memcpy(packet + 12, world_us + 12, 4);
    memcpy(packet + 16, (how & 4 ? world_peer : how & 8 ? world_far : world_us) + 12, 4);
    if (how & 16)
        bw_send_packet(w->st, OUTSIDE, how & 32 ? world_peer : world_far, packet, len);
    else
        bw_send_packet(w->st, 0, NULL, packet, len);
    if (how & 64)
        bw_local_error(w->st, packet, len, EHOSTUNREACH);
}

static void call_send_frame(struct world *w)
{
    uint32_t len = 14 + take8(&w->in) * 5u;
    memcpy(w->buffer, "\2\0\0\0\0\1\2\0\0\0\0\2\x08\6", 14);
    if (w->dev.layer == 2 && len <= 14 + w->dev.mtu)
        bw_send_frame(w->st, OUTSIDE, w->buffer, len);
}

/* Other routes for a while: none, or only unreachable ones; and the right ones again. */
static void call_routes(struct world *w)
{
    struct bw_route routes[] = {{.ifindex = OUTSIDE, .prefix_len = 96, .flags = BW_ROUTE_UNREACHABLE},
                                {.ifindex = IF_LOOPBACK, .prefix_len = 96 + 8}};
    uint8_t how = take8(&w->in);
    ip_from_v4(routes[0].prefix, (const uint8_t[]){0, 0, 0, 0});
    ip_from_v4(routes[1].prefix, (const uint8_t[]){127, 0, 0, 0});
    if (how & 1)
        bw_set_routes(w->st, routes, how >> 1 & 1);
    else
        set_tables(w);
}

static void call_counters(struct world *w)
{
    uint64_t counters[256];
    struct bw_sock_info rows[3];
    int n = bw_counters(w->st, counters, 256);
    MUST(n == bw_counter_count());
    for (int i = 0; i < n; i++)
        MUST(counters[i] < UINT64_MAX / 2 && bw_counter_name(i)[0]);
    MUST(!bw_counter_name(-1)[0] && !bw_counter_name(n)[0]);
    for (uint32_t from = 0; from != BW_LIST_END;)
        for (int i = bw_list(w->st, &from, rows, 3); i-- > 0;)
            MUST(rows[i].state && rows[i].state <= BW_TCP_CLOSING);
    MUST(bw_cc_name(bw_cc_count())[0] == 0 && bw_cc_name(0)[0]);
    for (int i = 0; i < 5; i++)
        bw_memory_used(w->st, i);
    bw_draining(w->st);
    bw_has_output(w->st);
    bw_punt_pending(w->st);
    bw_take_unfinished(w->st);
    struct netdev_arm arm;
    bw_loopback(w->st)->arm(bw_loopback(w->st), w->st->now, 0, &arm);
    MUST(bw_if_count(w->st) == OUTSIDE);
}

/* One socket writes, another reads, the far end acknowledges and Python answers, a delay apart. */
void call_conversation(struct world *w)
{
    static const int64_t delays[] = {0, MS, 20 * MS, 300 * MS};
    uint8_t who = take8(&w->in), how = take8(&w->in), more = take8(&w->in), rounds = more % 32;
    size_t len = (size_t)1 << (2 + (how & 15));
    for (int i = 0; i <= rounds; i++) {
        struct bw_sock *from = w->sock[who % WORLD_SOCKS], *to = w->sock[who / 8 % WORLD_SOCKS];
        if (from)
            bw_send(from, w->buffer, len < sizeof w->buffer ? len : sizeof w->buffer,
                    how & 128 ? BW_MSG_OOB : 0);
        pump(w);
        advance(w, delays[how >> 4 & 3] + (more & 32 ? i * 8 * MS : 0));
        if (to && (how & 128))
            bw_recv(to, w->buffer, 1, BW_MSG_OOB);
        if (to)
            bw_recv(to, w->buffer, sizeof w->buffer, 0);
        if (w->flows && (how & 64))
            far_acknowledges(w);
        punts(w);
    }
}

/* Two sockets end, in one of several ways each; there is time in between. */
void call_farewell(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        uint8_t who = take8(&w->in) % WORLD_SOCKS, how = take8(&w->in);
        struct bw_sock *s = w->sock[who];
        if (!s)
            continue;
        if (how & 1)
            bw_shutdown(s, how >> 1 & 3 ? 1 : 2);
        if (how & 8) {
            w->sock[who] = NULL;
            how & 16 ? bw_abort(s) : bw_close(s);
        }
        pump(w);
        if (w->flows && (how & 32))
            far_acknowledges(w);
        advance(w, how & 64 ? 50 * MS : 0);
    }
}

static void set_path_mtu(struct world *w)
{
    const uint8_t *ip = take8(&w->in) & 1 ? world_peer : world_far;
    uint32_t mtu = take16(&w->in);
    bw_set_path_mtu(w->st, ip, 0, mtu, mtu == 552);
}

void call_control(struct world *w)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct bw_neigh_info info;
    uint8_t source[16];
    struct bw_trace_record records[4];
    switch (take8(&w->in) % 18) {
    case 0: bw_neigh_set(w->st, OUTSIDE, world_peer, mac); break;
    case 1: bw_neigh_del(w->st, OUTSIDE, world_peer); break;
    case 2: bw_neigh_get(w->st, OUTSIDE, world_peer, &info); break;
    case 3: set_path_mtu(w); break;
    case 4: bw_if_down(w->st, OUTSIDE, ENETDOWN); break;
    case 5: bw_if_up(w->st, OUTSIDE, &w->dev); break;
    case 6: punts(w); break;
    case 7: bw_select_source(w->st, take8(&w->in) & 1 ? world_peer : world_far, 0, source); break;
    case 8: bw_trace_all(w->st, take8(&w->in) & 1); break;
    case 9: bw_trace_pop(w->st, records, 4); break;
    case 10: bw_neigh_ask(w->st, OUTSIDE, take8(&w->in) & 1 ? world_peer : world_far); break;
    case 11: bw_echo_open(w->st, world_peer, 7); break;
    case 12: bw_echo_close(w->st, world_peer, 7); break;
    case 13: call_send_frame(w); break;
    case 14: call_routes(w); break;
    case 15: call_counters(w); break;
    case 16:
        if (take8(&w->in) > 200)
            bw_abort_all(w->st);
        break;
    default: call_send_packet(w);
    }
}
