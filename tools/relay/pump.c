/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE /* ppoll */
#include "pump.h"

#include <errno.h>
#include <poll.h>
#include <sys/prctl.h>
#include <time.h>

enum { SECOND = 1000000000, NAP = 1000000 };

static int64_t pump_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec;
}

/* One burst from one device to the other. How many frames came, or -errno. */
static int pump_move(struct netdev *from, struct netdev *to, int64_t now, int way, struct pump_stats *stats)
{
    struct rx_frame in[BW_RX_BURST];
    struct tx_frame out[BW_RX_BURST];
    int n = from->rx_burst(from, now, in, BW_RX_BURST);
    if (n <= 0)
        return n;
    for (int i = 0; i < n; i++)
        out[i] = (struct tx_frame){.piece[0] = {in[i].data, in[i].len}, .pieces = 1, .len = in[i].len};
    int took = to->tx_burst(to, now, out, n);
    if (took < 0)
        return took;
    stats->frames[way] += (uint64_t)took;
    stats->dropped[way] += (uint64_t)(n - took);
    return n;
}

static void pump_note_late(struct pump_stats *stats, int64_t late)
{
    int64_t bucket = late / PUMP_BUCKET_NS;
    stats->late[bucket < PUMP_BUCKETS ? bucket : PUMP_BUCKETS - 1]++;
    if (late > stats->late_max)
        stats->late_max = late;
}

/* Sleeps until a frame, a deadline or the end. The time of the deadline, or INT64_MAX; -errno; 0: stop. */
static int64_t pump_sleep(struct netdev *a, struct netdev *b, int64_t now, int moved, struct pollfd *fds)
{
    struct netdev_arm arm[2];
    int64_t deadline = INT64_MAX, limit;
    struct netdev *devs[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        int ready = devs[i]->arm(devs[i], now, 0, &arm[i]);
        if (ready < 0)
            return ready;
        moved |= ready;
        fds[i] = (struct pollfd){.fd = arm[i].fd, .events = (short)arm[i].events};
        if (arm[i].deadline < deadline)
            deadline = arm[i].deadline;
    }
    limit = deadline;
    if ((fds[0].fd < 0 || fds[1].fd < 0) && now + NAP < limit)
        limit = now + NAP;
    int64_t left = moved || limit <= now ? 0 : limit - now;
    struct timespec wait = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
    if (ppoll(fds, 3, limit == INT64_MAX && !moved ? NULL : &wait, NULL) < 0)
        return errno == EINTR ? deadline : -errno;
    return fds[2].revents ? 0 : deadline;
}

int pump_run(struct netdev *a, struct netdev *b, int stop, struct pump_stats *stats)
{
    struct pollfd fds[3] = {[2] = {.fd = stop, .events = POLLIN}};
    int64_t deadline = INT64_MAX, began = pump_clock(CLOCK_THREAD_CPUTIME_ID);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* of this thread; 50 us otherwise */
    while (deadline > 0) {
        int64_t now = pump_clock(CLOCK_MONOTONIC);
        if (deadline <= now)
            pump_note_late(stats, now - deadline);
        stats->wakeups++;
        int there = pump_move(a, b, now, 0, stats);
        int back = there < 0 ? there : pump_move(b, a, now, 1, stats);
        deadline = back < 0 ? back : pump_sleep(a, b, now, there > 0 || back > 0, fds);
        stats->cpu = pump_clock(CLOCK_THREAD_CPUTIME_ID) - began;
    }
    return (int)deadline;
}
