/* SPDX-License-Identifier: MIT */
/* A client on the kernel's sockets: sends messages, waits for each to come back, notes how long it took. */
#ifndef BW_ECHO_CLIENT_H
#define BW_ECHO_CLIENT_H

#include <stdint.h>

/* cdef:begin */
struct echo_load {
    const int *fds;     /* connected; one is non-blocking if it spins, several always */
    uint32_t count;     /* of them, 1 to 4096 */
    uint32_t size;      /* bytes of a message, 8 to 2048 */
    uint32_t spin;      /* asks again and again, instead of sleeping in recv or epoll_wait */
    uint32_t datagrams; /* one that is not back after 100 ms is sent again (with one socket) */
    int64_t lasts;      /* ns until it sends no more */
    uint32_t *times;    /* results: each round trip, in ns; room for `most`, which ends it too */
    uint64_t most, done, lost;
    int64_t took; /* ns */
};
/* 0, or -errno: -ETIMEDOUT after two seconds without an answer, -EPROTO if what comes back is not what
 * was sent. */
int echo_load_run(struct echo_load *load);
/* cdef:end */

#endif
