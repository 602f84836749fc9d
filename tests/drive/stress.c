/* SPDX-License-Identifier: MIT */
/* Many threads on one host, without Python, for ThreadSanitizer: clients connect over the loopback,
 * echo, abort and close; others look on and send signals. Argument: connections of each client. */
#include "stack/drive/drive.h"
#include "tests/kit/check.h"
#include "stress.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLIENTS = 6, MESSAGES = 5, LONGEST = 20000, SPIN_NS = 20000, PORT = 7, BATCH = 100 };

static struct host *host;
static struct bw_sock *listener;
static long connections = 20;
static atomic_int stop;

/* As Python's half of waiting does it; revents. */
static int wait_for(struct waiter *w, struct bw_sock *s, uint32_t events)
{
    struct wait_item item = {.host = host, .sock = s, .events = events};
    int rc = wait_begin(w, &item, 1, INT64_MAX, SPIN_NS);
    while (rc <= 0) {
        CHECK(rc == 0 || rc == -EINTR);
        rc = wait_sleep(w);
    }
    wait_end(w);
    return (int)item.revents;
}

/* 1: try the call again. */
static int again(struct waiter *w, struct bw_sock *s, int64_t rc, uint32_t events)
{
    if (rc == -EAGAIN)
        wait_for(w, s, events);
    return rc == -EAGAIN;
}

static int64_t receive(struct waiter *w, struct bw_sock *s, void *buf, size_t len)
{
    int64_t n;
    do
        n = host_recv(host, s, buf, len, 0, SPIN_NS);
    while (again(w, s, n, POLLIN));
    return n;
}

static int send_all(struct waiter *w, struct bw_sock *s, const char *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        int64_t n = host_send(host, s, buf + at, len - at, 0, SPIN_NS);
        if (n > 0)
            at += (size_t)n;
        else if (!again(w, s, n, POLLOUT))
            return (int)n;
    }
    return 0;
}

static void *serve(void *arg)
{
    struct bw_sock *s = arg;
    struct waiter *w = waiter_new(NULL);
    char buf[LONGEST];
    int64_t n;
    while ((n = receive(w, s, buf, sizeof buf)) > 0 && send_all(w, s, buf, (size_t)n) == 0)
        ;
    CHECK(host_sock_close(host, s) == 0);
    waiter_free(w);
    return NULL;
}

static void *accept_all(void *arg)
{
    struct waiter *w = waiter_new(NULL);
    pthread_t *servers = calloc((size_t)(CLIENTS * connections), sizeof *servers);
    for (long i = 0; i < CLIENTS * connections; i++) {
        struct bw_sock *s;
        struct bw_addr peer;
        int rc;
        do
            rc = host_accept(host, listener, &s, &peer);
        while (again(w, listener, rc, POLLIN));
        CHECK(rc == 0);
        CHECK(pthread_create(&servers[i], NULL, serve, s) == 0);
    }
    for (long i = 0; i < CLIENTS * connections; i++)
        pthread_join(servers[i], NULL);
    free(servers);
    waiter_free(w);
    return NULL;
}

static void echo(struct waiter *w, struct bw_sock *s, long seed)
{
    char sent[LONGEST], got[LONGEST];
    for (long k = 0; k < MESSAGES; k++) {
        size_t len = 1 + (size_t)(seed * 977 + k * 31) % LONGEST, at = 0;
        memset(sent, (int)(seed + k), len);
        CHECK(send_all(w, s, sent, len) == 0);
        while (at < len) {
            int64_t n = receive(w, s, got + at, len - at);
            CHECK(n > 0);
            at += (size_t)n;
        }
        CHECK(memcmp(sent, got, len) == 0);
    }
}

static void *client(void *arg)
{
    long id = (long)(intptr_t)arg;
    struct waiter *w = waiter_new(NULL);
    struct bw_addr addr = loopback(PORT);
    for (long i = 0; i < connections; i++) {
        struct bw_sock *s;
        char end;
        CHECK(host_socket(host, BW_SOCK_TCP, &s) == 0);
        int rc = host_connect(host, s, &addr);
        if (rc == -EINPROGRESS) {
            wait_for(w, s, POLLOUT);
            rc = -host_take_error(host, s);
        }
        CHECK(rc == 0);
        if (i % 3 == 0)
            CHECK(host_sock_fileno(host, s) >= 0);
        echo(w, s, id * 7919 + i);
        if (i % 5 == 4) {
            CHECK(host_sock_abort(host, s) == 0);
        } else {
            CHECK(host_shutdown(host, s, 1) == 0);
            CHECK(receive(w, s, &end, 1) == 0);
            CHECK(host_sock_close(host, s) == 0);
        }
        CHECK(host_sock_close(host, s) == -EBADF);
    }
    waiter_free(w);
    return NULL;
}

/* A hundred datagrams a call, more than move under one hold of the lock, there and all of them here. */
static void *datagrams(void *arg)
{
    struct waiter *w = waiter_new(NULL);
    uint32_t data[BATCH], lengths[BATCH];
    struct bw_addr addrs[BATCH], addr = loopback((uint16_t)(PORT + (intptr_t)arg));
    struct bw_batch batch = {(uint8_t *)data, lengths, addrs, sizeof *data, BATCH};
    struct bw_sock *from, *to;
    CHECK(host_socket(host, BW_SOCK_UDP, &from) == 0 && host_socket(host, BW_SOCK_UDP, &to) == 0);
    CHECK(host_bind(host, to, &addr) == 0);
    for (uint32_t i = 0; i < 10 * connections; i++) {
        int64_t n = 0;
        for (uint32_t k = 0; k < BATCH; k++) {
            data[k] = i * BATCH + k;
            lengths[k] = sizeof *data;
            addrs[k] = addr;
        }
        for (uint32_t at = 0; at < BATCH; at += n > 0 ? (uint32_t)n : 0) {
            n = host_send_batch(host, from, &batch, at, BATCH, at > 0, SPIN_NS);
            CHECK(n > 0 || again(w, from, n, POLLOUT));
        }
        memset(data, 0, sizeof data);
        for (uint32_t at = 0; at < BATCH; at += n > 0 ? (uint32_t)n : 0) {
            n = host_recv_batch(host, to, &batch, at, BATCH, at > 0, SPIN_NS);
            CHECK(n > 0 || again(w, to, n, POLLIN));
        }
        for (uint32_t k = 0; k < BATCH; k++)
            CHECK(data[k] == i * BATCH + k && lengths[k] == sizeof *data);
    }
    CHECK(host_sock_close(host, from) == 0 && host_sock_close(host, to) == 0);
    waiter_free(w);
    return NULL;
}

static void *wait_on_it(void *arg)
{
    struct waiter *w = waiter_new(NULL);
    char byte;
    CHECK(receive(w, arg, &byte, 1) == 1);
    waiter_free(w);
    return NULL;
}

/* Beside one that waits: calls that follow each other at once, then none. Who makes them keeps the role, and does
 * not come back. */
static void keep_and_stay_away(void)
{
    struct host_stats before, after;
    struct bw_sock *idle, *s;
    struct bw_addr addr = loopback(PORT);
    pthread_t other;
    char byte = 0;
    CHECK(host_socket(host, BW_SOCK_UDP, &s) == 0 && host_socket(host, BW_SOCK_UDP, &idle) == 0);
    CHECK(host_bind(host, idle, &addr) == 0);
    pthread_create(&other, NULL, wait_on_it, idle);
    CHECK(host_get_stats(host, &before) == 0);
    after = before;
    for (int i = 0; i < 10000 && after.lapses < before.lapses + 20; i++) {
        for (int k = 0; k < 10; k++)
            CHECK(host_recv(host, s, &byte, 1, 0, SPIN_NS) < 0);
        usleep(2000);
        CHECK(host_get_stats(host, &after) == 0);
    }
    CHECK(after.lapses > before.lapses);
    CHECK(host_sendto(host, s, &byte, 1, 0, &addr, 0) == 1);
    pthread_join(other, NULL);
    CHECK(host_sock_close(host, s) == 0 && host_sock_close(host, idle) == 0);
}

static void *look_on(void *arg)
{
    struct host_stats stats;
    while (!stop) {
        host_get_stats(host, &stats);
        host_next_deadline(host);
        host_burst(host);
        usleep(200);
    }
    return NULL;
}

static void *send_signals(void *arg)
{
    while (!stop) {
        kill(getpid(), SIGUSR1);
        usleep(500);
    }
    return NULL;
}

static void ignore(int number)
{
}

struct host *new_host(void)
{
    struct host *h;
    struct host_config config = {.cpu = -1, .engine = {.buffer_bytes = 64 << 20,
                                             .rcvbuf = {2048, 1 << 18, 1 << 24},
                                             .sndbuf = {2048, 1 << 18, 1 << 24},
                                            .max_socks = 4096,
                                            .max_orphans = 4096,
                                            .max_neighs = 64,
                                            .port_first = 20000,
                                            .port_last = 60000,
                                            .header_prediction = 1}};
    struct bw_ifaddr own = {.ifindex = 1, .prefix_len = 96 + 8};
    struct bw_addr addr = loopback(PORT);
    memcpy(own.ip, addr.ip, 16);
    CHECK(host_new(&config, &h) == 0);
    CHECK(host_set_addrs(h, &own, 1) == 0);
    CHECK(host_start(h) == 0);
    return h;
}


static void open_host(void)
{
    struct bw_addr addr = loopback(PORT);
    host = new_host();
    CHECK(host_socket(host, BW_SOCK_TCP, &listener) == 0);
    CHECK(host_bind(host, listener, &addr) == 0);
    CHECK(host_listen(host, listener, 128) == 0);
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = ignore};
    pthread_t acceptor, clients[CLIENTS], batches[2], onlooker, signaller;
    if (argc > 1)
        connections = atol(argv[1]);
    sigaction(SIGUSR1, &action, NULL);
    open_host();
    pthread_create(&acceptor, NULL, accept_all, NULL);
    pthread_create(&onlooker, NULL, look_on, NULL);
    pthread_create(&signaller, NULL, send_signals, NULL);
    for (long i = 0; i < CLIENTS; i++)
        pthread_create(&clients[i], NULL, client, (void *)(intptr_t)i);
    for (long i = 0; i < 2; i++)
        pthread_create(&batches[i], NULL, datagrams, (void *)(intptr_t)i);
    for (long i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    for (long i = 0; i < 2; i++)
        pthread_join(batches[i], NULL);
    pthread_join(acceptor, NULL);
    stress_poller(host, 1500);
    keep_and_stay_away();
    stop = 1;
    pthread_join(onlooker, NULL);
    pthread_join(signaller, NULL);
    CHECK(host_close(host, 1000000000) == 0);
    CHECK(host_sock_close(host, listener) == 0);
    host_free(host);
    puts("well");
    return 0;
}
