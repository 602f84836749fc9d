/* SPDX-License-Identifier: MIT */
/* A sender of floods through AF_PACKET, 64 frames a system call. Each SYN has an address, port and sequence
 * number of its own, and an MSS, SACK-permitted, timestamp and window scale as a kernel's has. */
#define _GNU_SOURCE /* sendmmsg */
#include "syn_sender.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "../../nic_drivers/bytes.h"

enum { BATCH = 64, ETH = 14, IP = 20, TCP = 40, FRAME = ETH + IP + TCP };

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = (*state += 0x9e3779b97f4a7c15ull); /* splitmix64 */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static uint32_t sum16(const uint8_t *p, int n, uint32_t sum)
{
    for (int i = 0; i < n; i += 2)
        sum += (uint32_t)(p[i] << 8 | p[i + 1]);
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* All that the frames have in common. */
static void template_frame(const struct syn_flood *f, uint8_t *p)
{
    static const uint8_t options[20] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 1, 0, 0, 0, 0, 0, 1, 3, 3, 7};
    memset(p, 0, FRAME);
    memcpy(p, f->dst_mac, 6);
    memcpy(p + 6, f->src_mac, 6);
    put16(p + 12, 0x0800);
    p[ETH] = 0x45;
    put16(p + ETH + 2, IP + TCP);
    p[ETH + 6] = 0x40; /* DF */
    p[ETH + 8] = 64;
    p[ETH + 9] = 6;
    memcpy(p + ETH + 16, f->dst, 4);
    put16(p + ETH + IP + 2, f->port);
    p[ETH + IP + 12] = TCP << 2;
    p[ETH + IP + 13] = 2; /* SYN */
    put16(p + ETH + IP + 14, 64240);
    memcpy(p + ETH + IP + 20, options, sizeof options);
}

static void vary(uint8_t *p, uint64_t random)
{
    uint8_t *ip = p + ETH, *tcp = ip + IP;
    ip[12] = 198;
    ip[13] = 19;
    put16(ip + 14, (uint16_t)random);
    put16(ip + 10, 0);
    put16(ip + 10, fold(sum16(ip, IP, 0)));
    put16(tcp, (uint16_t)(1024 + (random >> 16 & 0x7fff)));
    memcpy(tcp + 4, &random, 4);
    put16(tcp + 16, 0);
    put16(tcp + 16, fold(sum16(tcp, TCP, sum16(ip + 12, 8, 6 + TCP))));
}

/* Points the batch at its next frames. */
typedef void next_frames(void *flood, struct iovec *piece);

static int pour(struct flood_pace *f, next_frames *next, void *flood)
{
    static const struct timespec nap = {.tv_nsec = 50000};
    struct iovec piece[BATCH];
    struct mmsghdr message[BATCH];
    memset(message, 0, sizeof message);
    for (int i = 0; i < BATCH; i++) {
        message[i].msg_hdr.msg_iov = &piece[i];
        message[i].msg_hdr.msg_iovlen = 1;
    }
    int64_t begin = clock_ns(CLOCK_MONOTONIC), now = begin, used = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (; now - begin < f->seconds; now = clock_ns(CLOCK_MONOTONIC)) {
        uint64_t due = (uint64_t)(now - begin) * f->rate / 1000000000u;
        int64_t allowed = (now - begin) / 1000 * f->share;
        if ((f->rate && f->sent + f->refused >= due) ||
            (f->share && clock_ns(CLOCK_THREAD_CPUTIME_ID) - used > allowed)) {
            nanosleep(&nap, NULL);
            continue;
        }
        next(flood, piece);
        int n = sendmmsg(f->fd, message, BATCH, MSG_DONTWAIT);
        if (n < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
            return -errno;
        f->sent += n > 0 ? (uint64_t)n : 0;
        f->refused += (uint64_t)(n < BATCH); /* the frame it stopped at */
    }
    f->took = now - begin;
    f->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - used;
    return 0;
}

struct syn_batch {
    struct syn_flood *flood;
    uint8_t frame[BATCH][FRAME];
};

static void next_syns(void *flood, struct iovec *piece)
{
    struct syn_batch *b = flood;
    for (int i = 0; i < BATCH; i++) {
        vary(b->frame[i], next_random(&b->flood->seed));
        piece[i] = (struct iovec){.iov_base = b->frame[i], .iov_len = FRAME};
    }
}

int syn_flood_run(struct syn_flood *f)
{
    struct syn_batch b = {.flood = f};
    for (int i = 0; i < BATCH; i++)
        template_frame(f, b.frame[i]);
    return pour(&f->pace, next_syns, &b);
}

static void next_of_table(void *flood, struct iovec *piece)
{
    const struct frame_flood *f = flood;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint64_t k = (f->pace.sent + f->pace.refused + i) % f->count;
        piece[i] = (struct iovec){.iov_base = (void *)(f->frames + k * f->len), .iov_len = f->len};
    }
}

int frame_flood_run(struct frame_flood *f)
{
    return f->count && f->len ? pour(&f->pace, next_of_table, f) : -EINVAL;
}
