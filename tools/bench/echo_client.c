/* SPDX-License-Identifier: MIT */
/* One socket is asked by recv itself; of several, epoll says which one has an answer, each of them has
 * one message under way. Each message begins with its number. */
#define _GNU_SOURCE
#include "echo_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 2048, SOCKETS = 4096, EVENTS = 256, GLANCES = 64 };
static const int64_t PATIENCE = 2000000000, LOST = 100000000; /* ns */

struct line {
    uint64_t number; /* of the message under way */
    int64_t sent;
    uint32_t got; /* bytes of its answer */
    uint8_t answer[SIZE];
};

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static int send_next(const struct echo_load *load, int fd, struct line *line)
{
    uint8_t message[SIZE];
    memset(message, 'x', load->size);
    line->number++;
    line->got = 0;
    memcpy(message, &line->number, sizeof line->number);
    line->sent = now_ns();
    ssize_t n = send(fd, message, load->size, MSG_NOSIGNAL);
    return n == (ssize_t)load->size ? 0 : n < 0 ? -errno : -EPROTO;
}

/* One look: 1 if the answer is whole, 0 if it is not yet, or -errno. */
static int look(const struct echo_load *load, int fd, struct line *line)
{
    ssize_t n = recv(fd, line->answer + line->got, load->size - line->got, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    line->got += (uint32_t)n;
    if (line->got < load->size)
        return 0;
    if (memcmp(line->answer, &line->number, sizeof line->number) == 0)
        return 1;
    line->got = 0; /* the late answer to a datagram that was sent again */
    return load->datagrams ? 0 : -EPROTO;
}

static void note(struct echo_load *load, const struct line *line, int64_t now)
{
    load->times[load->done++] = (uint32_t)(now - line->sent);
}

/* Waits for the answer to the message under way. A blocking socket has a time-out (SO_RCVTIMEO). */
static int await(struct echo_load *load, int fd, struct line *line)
{
    int64_t began = line->sent;
    for (uint32_t i = 1;; i++) {
        int found = look(load, fd, line);
        if (found)
            return found;
        if (load->spin && i % GLANCES)
            continue;
        int64_t now = now_ns();
        if (now - began > PATIENCE)
            return -ETIMEDOUT;
        if (load->datagrams && now - line->sent > LOST) {
            load->lost++;
            int bad = send_next(load, fd, line);
            if (bad)
                return bad;
        }
    }
}

static int run_one(struct echo_load *load, struct line *line, int64_t end)
{
    int64_t now = 0;
    while (now < end && load->done < load->most) {
        int found = send_next(load, load->fds[0], line);
        found = found ? found : await(load, load->fds[0], line);
        if (found < 0)
            return found;
        note(load, line, now = now_ns());
    }
    return 0;
}

static int start_all(const struct echo_load *load, int epoll, struct line *lines)
{
    for (uint32_t i = 0; i < load->count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, load->fds[i], &event) < 0)
            return -errno;
        int bad = send_next(load, load->fds[i], &lines[i]);
        if (bad)
            return bad;
    }
    return 0;
}

/* Sends a new message on each socket whose answer is there, until the end; then waits for the last answers. */
static int run_many(struct echo_load *load, int epoll, struct line *lines, int64_t end)
{
    struct epoll_event events[EVENTS];
    uint32_t under_way = load->count;
    int64_t heard = now_ns();
    while (under_way) {
        int ready = epoll_wait(epoll, events, EVENTS, load->spin ? 0 : 100);
        if (ready < 0 && errno != EINTR)
            return -errno;
        int64_t now = now_ns();
        if (ready > 0)
            heard = now;
        else if (now - heard > PATIENCE)
            return -ETIMEDOUT;
        for (int i = 0; i < ready; i++) {
            uint32_t which = events[i].data.u32;
            int found = look(load, load->fds[which], &lines[which]);
            if (found < 0)
                return found;
            if (!found)
                continue;
            now = now_ns();
            int more = now < end && load->done + under_way < load->most;
            note(load, &lines[which], now);
            found = more ? send_next(load, load->fds[which], &lines[which]) : 0;
            if (found < 0)
                return found;
            under_way -= !more;
        }
    }
    return 0;
}

int echo_load_run(struct echo_load *load)
{
    load->done = load->lost = 0;
    if (load->count < 1 || load->count > SOCKETS || load->size < 8 || load->size > SIZE ||
        load->most < load->count)
        return -EINVAL;
    struct line *lines = calloc(load->count, sizeof *lines);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    int bad = !lines || epoll < 0 ? -ENOMEM : 0;
    int64_t start = now_ns(), end = start + load->lasts;
    if (!bad && load->count == 1)
        bad = run_one(load, lines, end);
    else if (!bad)
        bad = start_all(load, epoll, lines);
    if (!bad && load->count > 1)
        bad = run_many(load, epoll, lines, end);
    load->took = now_ns() - start;
    if (epoll >= 0)
        close(epoll);
    free(lines);
    return bad;
}
