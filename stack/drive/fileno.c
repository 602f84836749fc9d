/* SPDX-License-Identifier: MIT */
/* A descriptor for foreign select, poll and epoll: one end of an AF_UNIX stream pair that says what
 * the socket says. Readable: a byte lies in it. Not writable: its send buffer is full. Hung up:
 * the other end is shut. Written and read by this file alone, and never by the numbers that
 * the program has: it may have closed one, and the number be somebody else's.
 *
 * That a socket is readable or writable is told at once; that it no longer is, at once where somebody may have
 * believed it (may_be_late), else PAIR_LATE_NS later, or when a call found so: a program that takes what comes
 * makes no system call for its pair, and a foreign waiter meets one spurious wake-up at most. What comes in that time
 * is an edge for edge-triggered waiters at its end; the others are told already.
 *
 * Data is never carried through a number. Whoever writes one reads it too (a child process, a TLS library), and there
 * is no telling when: a byte of readiness would be taken for data. So foreign use resets the connection, aloud. */
#include "host.h"

#include <fcntl.h>

#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAIR_READABLE = 1,
    PAIR_FULL = 2, /* not writable */
    PAIR_RDHUP = 4,
    PAIR_HUP = 8,
    PAIR_LIVED = 16,   /* was seen without HUP: a socket that was never connected says HUP too */
    PAIR_EMPTIED = 32, /* readable is no longer true */
    PAIR_AGAIN = 64,   /* ... and then it was again: an edge is owed */
    PAIR_SNDBUF = 4096,
    WATCH_BATCH = 16,
};

/* ---- foreign use --------------------------------------------------------------------------------- */
/* Something was written into a number, or the byte of readiness was taken out of one. */
static void refuse(struct host *h, struct record *r, uint32_t bytes)
{
    if (h->foreign_len < HOST_FOREIGN) {
        struct host_foreign_use *use = &h->foreign[h->foreign_len++];
        *use = (struct host_foreign_use){.number = r->number, .bytes = bytes};
        bw_sockname(r->sock, &use->local);
        bw_peername(r->sock, &use->remote);
    }
    r->pair |= PAIR_HUP; /* nothing more is told by this pair, ... */
    shutdown(r->own_fd, SHUT_RDWR);
    bw_reset(r->sock, ECONNABORTED);
    tell_work(h);
}

/* What lies in the pair beyond the filler. */
static uint32_t written(const struct record *r)
{
    int n = 0;
    return ioctl(r->own_fd, FIONREAD, &n) || (uint32_t)n <= r->filler ? 0 : (uint32_t)n - r->filler;
}

/* ---- what the pair says -------------------------------------------------------------------------- */
static int says_in(uint32_t ready)
{
    return (ready & (BW_IN | BW_ERR)) != 0;
}

static int says_full(uint32_t ready)
{
    return !(ready & (BW_OUT | BW_ERR));
}

static int take_byte(const struct record *r)
{
    char byte;
    return recv(r->far_fd, &byte, 1, MSG_DONTWAIT) == 1;
}

/* 0: the byte is not there any more. */
static int set_readable(struct record *r, int on)
{
    char byte = 0;
    if (on == ((r->pair & PAIR_READABLE) != 0))
        return 1;
    int done = on ? send(r->own_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 : take_byte(r);
    if (done)
        r->pair ^= PAIR_READABLE;
    if (on)
        r->told_by = pthread_self();
    return done || on;
}

static void set_full(struct record *r, int on)
{
    char block[PAIR_SNDBUF];
    ssize_t n;
    if (on == ((r->pair & PAIR_FULL) != 0))
        return;
    memset(block, 0, sizeof block);
    if (on)
        while ((n = send(r->far_fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
            r->filler += (uint32_t)n;
    else
        while (r->filler && (n = recv(r->own_fd, block, r->filler < sizeof block ? r->filler : sizeof block,
                                      MSG_DONTWAIT)) > 0)
            r->filler -= (uint32_t)n;
    r->pair ^= PAIR_FULL;
}

static void hang_up(struct record *r, uint32_t ready)
{
    if (!(ready & BW_HUP))
        r->pair |= PAIR_LIVED;
    if (ready & BW_HUP && r->pair & PAIR_LIVED) {
        shutdown(r->own_fd, SHUT_RDWR);
        r->pair |= PAIR_HUP;
    } else if (ready & BW_RDHUP && !(r->pair & PAIR_RDHUP)) {
        shutdown(r->own_fd, SHUT_WR);
        r->pair |= PAIR_RDHUP;
    }
}

static int is_told(const struct record *r)
{
    return r->own_fd >= 0 && r->sock && !(r->pair & PAIR_HUP);
}

/* It says more than is true: for a while. */
static void list_stale(struct host *h, struct record *r)
{
    if (r->stale)
        return;
    if (!h->stale) {
        h->stale_at = h->now + PAIR_LATE_NS;
        atomic_store_explicit(&h->stale_some, 1, memory_order_relaxed);
    }
    r->stale = 1;
    r->stale_next = h->stale;
    h->stale = (uint32_t)(r - h->records) + 1;
}

/* A call that waits would be stuck if somebody believed the pair meanwhile: it may be late only where calls never wait,
 * or where the thread that emptied the socket is the one whose own call filled it: then nobody slept on it. */
static int may_be_late(const struct record *r)
{
    int64_t state;
    if (r->nonblocking == BW_NEVER_WAITS)
        return 1;
    return pthread_equal(r->told_by, pthread_self()) &&
           (bw_getopt(r->sock, BW_OPT_TCP_STATE, &state) || state != BW_TCP_LISTEN);
}

void pair_update(struct host *h, struct record *r, uint32_t ready)
{
    if (!is_told(r))
        return;
    if (says_in(ready) && r->pair & PAIR_EMPTIED) {
        r->pair ^= PAIR_EMPTIED | PAIR_AGAIN;
        r->told_by = pthread_self();
    }
    if (says_in(ready))
        set_readable(r, 1);
    if (!says_full(ready))
        set_full(r, 0);
    hang_up(r, ready);
    if (!says_in(ready) && r->pair & PAIR_READABLE)
        r->pair = (uint8_t)((r->pair & ~PAIR_AGAIN) | PAIR_EMPTIED);
    if (r->pair & PAIR_EMPTIED || (says_full(ready) && !(r->pair & PAIR_FULL))) {
        if (h->virtual_time || !may_be_late(r))
            pair_settle(h, r);
        else
            list_stale(h, r);
    }
}

void pair_settle(struct host *h, struct record *r)
{
    if (!is_told(r))
        return;
    uint32_t ready = bw_readiness(r->sock);
    int again = r->pair & PAIR_AGAIN && says_in(ready);
    if (again)
        r->pair &= (uint8_t)~PAIR_READABLE; /* another byte first: it is readable all the time */
    r->pair &= (uint8_t) ~(PAIR_EMPTIED | PAIR_AGAIN);
    if (!set_readable(r, says_in(ready)) || (again && !take_byte(r)))
        refuse(h, r, 0);
    else
        set_full(r, says_full(ready));
}

void pairs_settle(struct host *h)
{
    uint32_t next = h->stale;
    h->stale = 0;
    h->stale_at = NEVER;
    atomic_store_explicit(&h->stale_some, 0, memory_order_relaxed);
    while (next) {
        struct record *r = &h->records[next - 1];
        next = r->stale_next;
        r->stale = 0;
        pair_settle(h, r);
    }
}

/* ---- its life ------------------------------------------------------------------------------------ */
int pair_has(const struct record *r, int number)
{
    struct stat theirs, ours;
    return r->far_fd >= 0 && !fstat(number, &theirs) && !fstat(r->far_fd, &ours) &&
           theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev;
}

void number_close(struct host *h, struct record *r)
{
    if (r->number >= 0 && pair_has(description_of(h, r), r->number))
        close(r->number);
    r->number = -1;
}

void pair_close(struct host *h, struct record *r)
{
    if (r->own_fd < 0)
        return;
    if (h->watch_fd >= 0)
        epoll_ctl(h->watch_fd, EPOLL_CTL_DEL, r->own_fd, NULL); /* a forked child may have it still */
    close(r->far_fd);
    close(r->own_fd);
    if (!--h->pairs && h->watch_fd >= 0) {
        close(h->watch_fd);
        h->watch_fd = -1;
    }
    r->far_fd = r->own_fd = -1;
    r->filler = 0;
    r->pair = 0;
}

static int watch(struct host *h, struct record *r)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = (uint32_t)(r - h->records)};
    if (h->watch_fd < 0) {
        int fd = epoll_create1(EPOLL_CLOEXEC);
        if (fd < 0)
            return -errno;
        h->watch_fd = fd_high(fd);
        tell_work(h); /* whoever waits for work waits for it too from now on */
    }
    return epoll_ctl(h->watch_fd, EPOLL_CTL_ADD, r->own_fd, &event) ? -errno : 0;
}

static int pair_open(struct host *h, struct record *r)
{
    int pair[2], small = PAIR_SNDBUF;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    r->far_fd = fd_high(pair[0]);
    r->own_fd = fd_high(pair[1]);
    h->pairs++;
    setsockopt(r->far_fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    if (!r->nonblocking)
        fcntl(r->far_fd, F_SETFL, 0);
    int rc = watch(h, r);
    if (rc) {
        pair_close(h, r);
        return rc;
    }
    record_observe(r);
    pair_update(h, r, bw_readiness(r->sock));
    pair_settle(h, r);
    return 0;
}

int host_sock_fileno(struct host *h, struct bw_sock *handle)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    struct record *d = record_find(h, handle), *r = record_held(h, handle);
    if (!d)
        rc = -EBADF;
    else if (d->own_fd < 0)
        rc = pair_open(h, d);
    if (!rc && r->number < 0)
        r->number = fcntl(d->far_fd, F_DUPFD_CLOEXEC, 0);
    if (!rc)
        rc = r->number < 0 ? -errno : r->number;
    host_unlock(h);
    return rc;
}

int host_sock_has_fileno(struct host *h, struct bw_sock *handle, int fd)
{
    int rc = host_look(h);
    if (rc)
        return rc == -BW_FOREIGN; /* its copy: what asks next is told */
    struct record *r = record_held(h, handle);
    int ours = r && fd >= 0 && r->number == fd && pair_has(description_of(h, r), fd);
    host_unlock(h);
    return ours;
}

int may_be_number(int fd)
{
    int domain;
    socklen_t len = sizeof domain;
    return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX;
}

/* ---- O_NONBLOCK: of the pair, once there is one --------------------------------------------------- */
int host_nonblocking(struct host *h, struct bw_sock *handle)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    const struct record *d = record_find(h, handle);
    if (!d)
        rc = -EBADF;
    else
        rc = d->far_fd >= 0 ? (fcntl(d->far_fd, F_GETFL) & O_NONBLOCK) != 0 : d->nonblocking != 0;
    host_unlock(h);
    return rc;
}

int host_set_nonblocking(struct host *h, struct bw_sock *handle, int on)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    struct record *d = record_find(h, handle);
    if (!d)
        rc = -EBADF;
    else
        d->nonblocking = (uint8_t)on;
    if (d && d->far_fd >= 0)
        fcntl(d->far_fd, F_SETFL, on ? O_NONBLOCK : 0);
    host_unlock(h);
    return rc;
}

/* ---- watching ------------------------------------------------------------------------------------ */
int host_watch_fd(struct host *h)
{
    int rc = host_look(h);
    if (rc)
        return -1;
    rc = h->watch_fd;
    host_unlock(h);
    return rc;
}

static void look_what_was_written(struct host *h)
{
    struct epoll_event events[WATCH_BATCH];
    int n = h->watch_fd < 0 ? 0 : epoll_wait(h->watch_fd, events, WATCH_BATCH, 0);
    for (int i = 0; i < n; i++) {
        struct record *r = &h->records[events[i].data.u32];
        uint32_t bytes = is_told(r) ? written(r) : 0;
        if (bytes)
            refuse(h, r, bytes);
    }
}

int host_take_foreign_use(struct host *h, struct host_foreign_use *out)
{
    int rc = host_enter(h);
    if (rc)
        return 0;
    look_what_was_written(h);
    rc = h->foreign_len > 0;
    if (rc)
        *out = h->foreign[--h->foreign_len];
    host_leave(h);
    return rc;
}
