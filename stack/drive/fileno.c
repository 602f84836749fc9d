/* SPDX-License-Identifier: MIT */
/* A descriptor for foreign select, poll and epoll: one end of an AF_UNIX stream pair that says what
 * the socket says. Readable: a byte lies in it. Not writable: its send buffer is full. Hung up:
 * the other end is shut. Written and read on changes only, by this file alone, and never by the number that
 * the program has: it may have closed it, and the number be somebody else's. */
#include "host.h"

#include <fcntl.h>

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAIR_READABLE = 1,
    PAIR_FULL = 2, /* not writable */
    PAIR_RDHUP = 4,
    PAIR_HUP = 8,
    PAIR_LIVED = 16, /* was seen without HUP: a socket that was never connected says HUP too */
    PAIR_SNDBUF = 4096,
};

static void set_readable(struct record *r, int on)
{
    char byte = 0;
    if (on == ((r->pair & PAIR_READABLE) != 0))
        return;
    ssize_t n = on ? send(r->own_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL)
                   : recv(r->far_fd, &byte, 1, MSG_DONTWAIT);
    if (n == 1)
        r->pair ^= PAIR_READABLE;
}

static void set_full(struct record *r, int on)
{
    char block[PAIR_SNDBUF];
    if (on == ((r->pair & PAIR_FULL) != 0))
        return;
    memset(block, 0, sizeof block);
    if (on)
        while (send(r->far_fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
    else
        while (recv(r->own_fd, block, sizeof block, MSG_DONTWAIT) > 0)
            ;
    r->pair ^= PAIR_FULL;
}

void pair_update(struct record *r, uint32_t ready)
{
    if (r->user_fd < 0 || r->pair & PAIR_HUP)
        return;
    if (!(ready & BW_HUP))
        r->pair |= PAIR_LIVED;
    set_readable(r, (ready & (BW_IN | BW_ERR)) != 0);
    set_full(r, !(ready & (BW_OUT | BW_ERR)));
    if (ready & BW_HUP && r->pair & PAIR_LIVED) {
        shutdown(r->own_fd, SHUT_RDWR);
        r->pair |= PAIR_HUP;
    } else if (ready & BW_RDHUP && !(r->pair & PAIR_RDHUP)) {
        shutdown(r->own_fd, SHUT_WR);
        r->pair |= PAIR_RDHUP;
    }
}

/* 1: the program's number still is this end. */
static int is_ours(const struct record *r)
{
    struct stat theirs, ours;
    return !fstat(r->user_fd, &theirs) && !fstat(r->far_fd, &ours) && theirs.st_ino == ours.st_ino &&
           theirs.st_dev == ours.st_dev;
}

void pair_close(struct record *r)
{
    if (r->user_fd < 0)
        return;
    if (is_ours(r))
        close(r->user_fd);
    close(r->far_fd);
    close(r->own_fd);
    r->user_fd = r->far_fd = r->own_fd = -1;
    r->pair = 0;
}

static int pair_open(struct record *r)
{
    int pair[2], small = PAIR_SNDBUF;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    int far = fcntl(pair[0], F_DUPFD_CLOEXEC, 3);
    if (far < 0) {
        int err = errno;
        close(pair[0]);
        close(pair[1]);
        return -err;
    }
    setsockopt(far, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    r->user_fd = pair[0];
    r->far_fd = far;
    r->own_fd = pair[1];
    record_observe(r);
    pair_update(r, bw_readiness(r->sock));
    return 0;
}

int host_sock_fileno(struct host *h, struct bw_sock *handle)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    struct record *r = record_find(h, handle);
    if (!r)
        rc = -EBADF;
    else if (r->user_fd < 0)
        rc = pair_open(r);
    if (!rc)
        rc = r->user_fd;
    host_unlock(h);
    return rc;
}

int host_sock_has_fileno(struct host *h, struct bw_sock *handle, int fd)
{
    int rc = host_look(h);
    if (rc)
        return rc == -BW_FOREIGN; /* its copy: what asks next is told */
    struct record *r = record_find(h, handle);
    int ours = r && r->user_fd == fd && fd >= 0 && is_ours(r);
    host_unlock(h);
    return ours;
}
