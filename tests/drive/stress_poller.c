/* SPDX-License-Identifier: MIT */
/* Many threads on one poller, for ThreadSanitizer: some wait in it, some add, change, remove and close sockets of
 * two hosts, one of which is closed meanwhile; others wake it, and send to what is waited for. */
#include "stack/drive/drive.h"
#include "tests/kit/check.h"
#include "stress.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { WAITERS = 3, CHURNERS = 3, MOST = 64, SPIN = 20000, BASE = 9000, WELL_KNOWN = 8 };

static struct poller *poller;
static struct host *hosts[2];
static atomic_int over;
static atomic_long told;

static struct bw_sock *bound(struct host *h, uint16_t port)
{
    struct bw_addr addr = loopback(port);
    struct bw_sock *s;
    if (host_socket(h, BW_SOCK_UDP, &s))
        return NULL; /* it is closed */
    if (host_bind(h, s, &addr)) {
        host_sock_close(h, s);
        return NULL;
    }
    return s;
}

static void *wait_in_it(void *arg)
{
    struct waiter *w = waiter_new(NULL);
    struct poller_event events[WELL_KNOWN];
    for (;;) {
        int64_t deadline = host_now(hosts[0]) + 2000000;
        int n = poller_wait(w, poller, events, WELL_KNOWN, deadline, SPIN);
        if (n == -EBADF && over)
            break;
        CHECK(n >= 0 || n == -EINTR);
        for (int i = 0; i < n; i++)
            CHECK(events[i].events);
        told += n > 0 ? n : 0;
    }
    waiter_free(w);
    return NULL;
}

static void *churn(void *arg)
{
    static const uint32_t kinds[] = {POLLIN, POLLIN | POLLOUT, POLLIN | EPOLLET, POLLOUT | EPOLLONESHOT,
                                     POLLIN | EPOLLEXCLUSIVE};
    long id = (long)(intptr_t)arg;
    int pair[2];
    CHECK(pipe(pair) == 0);
    for (long i = 0; !over; i++) {
        struct host *h = hosts[(id + i) & 1];
        uint16_t port = (uint16_t)(BASE + id * 100 + i % 50);
        struct bw_sock *s = bound(h, port);
        if (!s)
            continue;
        struct bw_addr to = loopback(port);
        int64_t interest = poller_add(poller, h, s, kinds[i % 5], (uint64_t)i);
        CHECK(interest > 0 || interest == -ENOSPC || interest == -EBADF);
        host_sendto(h, s, "x", 1, 0, &to, 0);
        if (interest > 0 && i % 5 < 4)
            poller_modify(poller, interest, kinds[(i + 1) % 4]);
        if (i % 7 == 0 && !poller_control(poller, EPOLL_CTL_ADD, pair[0], EPOLLIN, 1)) {
            CHECK(write(pair[1], "x", 1) == 1);
            CHECK(poller_control(poller, EPOLL_CTL_DEL, pair[0], 0, 0) == 0);
        }
        if (i % 2)
            host_sock_close(h, s);
        if (interest > 0)
            CHECK(poller_remove(poller, interest) == 0);
        if (i % 2 == 0)
            host_sock_close(h, s);
    }
    close(pair[0]);
    close(pair[1]);
    return NULL;
}

static void *disturb(void *arg)
{
    struct poller_event events[2];
    struct poller_stats stats;
    for (long i = 0; !over; i++) {
        poller_wake(poller);
        poller_look(poller, events, 2);
        CHECK(poller_get_stats(poller, &stats) == 0 && stats.interests <= MOST);
        CHECK(stats.ready <= MOST);
        if (i == 20)
            CHECK(poller_fileno(poller) >= 0);
        usleep(300);
    }
    return NULL;
}

void stress_poller(struct host *h, int milliseconds)
{
    pthread_t waiters[WAITERS], churners[CHURNERS], disturber;
    hosts[0] = h;
    hosts[1] = new_host();
    poller = poller_new(MOST);
    CHECK(poller);
    for (long i = 0; i < WAITERS; i++)
        pthread_create(&waiters[i], NULL, wait_in_it, NULL);
    for (long i = 0; i < CHURNERS; i++)
        pthread_create(&churners[i], NULL, churn, (void *)(intptr_t)i);
    pthread_create(&disturber, NULL, disturb, NULL);
    usleep((unsigned)milliseconds * 500);
    host_close(hosts[1], 0); /* with sockets in the poller */
    usleep((unsigned)milliseconds * 500);
    over = 1;
    for (long i = 0; i < CHURNERS; i++)
        pthread_join(churners[i], NULL);
    pthread_join(disturber, NULL);
    poller_close(poller); /* with threads in it */
    for (long i = 0; i < WAITERS; i++)
        pthread_join(waiters[i], NULL);
    CHECK(told > 0);
    host_free(hosts[1]);
    poller_free(poller);
}
