/* SPDX-License-Identifier: MIT */
/* A poller: what is waited for, and what of it is ready.
 *
 * Three locks, taken in this order, each field under one of them: the poller's mutex (interests come, change
 * and go; events are collected), a host's lock (what a socket is ready for), the poller's lock (the ready list
 * and the waiters, which drivers of any host write to). A list for one wait has a poller of its waiter's own. */
#ifndef BW_POLLER_H
#define BW_POLLER_H

#include "host.h"

#include <sys/epoll.h>

/* Of an interest's bits, those that no readiness has. */
#define POLLER_FLAGS \
    ((uint32_t)EPOLLET | (uint32_t)EPOLLONESHOT | (uint32_t)EPOLLEXCLUSIVE | (uint32_t)EPOLLWAKEUP)
#define FDS_NS 20000ll /* how often a spinning wait looks at descriptors of the kernel */

enum {
    INTEREST_SLAB = 64,
    EVENT_YIELD = 64, /* sockets looked at under one hold of a host's lock */
};

/* One socket in one poller: on the record's list from when it is added until it is removed or the socket is
 * closed, on the ready list while it may be ready. */
struct interest {
    struct interest *next, **link; /* of the record's; the host's lock */
    struct record *record;         /* NULL: the socket was closed; the host's lock */
    uint32_t events;               /* POLL* and EPOLL* bits; the host's lock */
    uint8_t queued;                /* on the ready list; the host's lock */
    uint8_t used;                  /* the poller's mutex, as the two below */
    uint32_t generation;
    uint32_t index; /* in the poller's table; free: the next free one's, and 1 more */
    struct interest *ready_next, **ready_link; /* the poller's lock */
    struct poller *poller;                     /* it is added to, as the two below */
    struct host *host;
    uint64_t cookie;
};

/* A poller's sockets of one host, whose memory it holds meanwhile. */
struct place {
    struct host *host;
    uint32_t interests;
};

struct poller {
    pthread_mutex_t mutex, lock;
    struct netdev_memory life; /* a page the kernel wipes in a forked child; none: a list for one wait */
    atomic_uint ready;         /* length of the ready list, written under the lock */
    atomic_int woken;          /* poller_wake was called */
    atomic_int closed;
    _Atomic int64_t fds_at; /* a wait begins with a look at descriptors no earlier */
    atomic_int kernel_fd;   /* epoll descriptor for what is not ours; a list for one wait has none */

    /* the mutex */
    struct interest **slabs;
    uint32_t used, touched, most; /* interests; places that were ever used; the bound */
    uint32_t free;                /* index + 1, 0 ends it */
    struct place *places;
    int places_n, places_cap;
    int fds;           /* descriptors in kernel_fd */
    uint8_t fds_first; /* whose turn it is where a batch has no room for all */
    struct poller_stats stats;

    /* the lock */
    struct interest *head, **tail;
    struct waiter *waiters; /* that sleep */
    int note_fd;            /* eventfd in kernel_fd: somebody else waits on that; -1: nobody asked */
    uint8_t noted;          /* it is readable */
};

void poller_init(struct poller *p);
void poller_clear(struct poller *p); /* frees what poller_init made */

/* A socket is waited for from now on, in an interest that has poller, host and cookie. Locked (host); 1: that
 * gives the engine something to send. */
int interest_link(struct interest *i, struct record *r, uint32_t events);
/* Out of the lists. Locked (host). */
void interest_unlink(struct interest *i);

/* ---- poller.c ------------------------------------------------------------------------------ */
/* A waiter enlists on all hosts of its sockets. */
int poller_enlist(struct poller *p, struct waiter *w);
/* poller_collect with the mutex, as poller_look without driving. */
int poller_look_at(struct poller *p, struct poller_event *out, int max, int fds);
/* A wait's first look: as poller_look, but at descriptors no sooner than FDS_NS after the last wait's. A loop waits
 * once a message, and epoll_wait(2) would be its only system call. */
int poller_look_first(struct poller *p, struct poller_event *out, int max);
int poller_collect_fds(struct poller *p, struct poller_event *out, int max);

/* ---- ready.c ------------------------------------------------------------------------------- */
/* A socket is waited for from now on, in an interest that has poller, host and cookie; or for other events. Locked
 * (host). 1: that gives the engine something to send. */
int interest_link(struct interest *i, struct record *r, uint32_t events);
int interest_want(struct interest *i, uint32_t events);
/* Out of the lists. Locked (host). */
void interest_unlink(struct interest *i);
/* What is ready, at most max, in turn: sockets and (fds) descriptors. The mutex is taken. */
int poller_collect(struct poller *p, struct poller_event *out, int max, int fds);
/* The waiter sleeps on it: 1, or 0 if there is something to look at. */
int poller_sleep(struct poller *p, struct waiter *w);
void poller_slept(struct poller *p, struct waiter *w);
/* Something is left for others: wakes one that sleeps. */
void poller_pass_on(struct poller *p);

/* ---- waiter.c: of the thread's own ----------------------------------------------------------- */
int grow(void **array, int *cap, int need, size_t size);
void waiter_begin(struct waiter *w, struct poller *p, int64_t deadline);
int waiter_meet(struct waiter *w, struct host *h); /* one more host of this wait */
int waiter_reserve(struct waiter *w);              /* room for all descriptors of a sleep */
void waiter_enlist(struct enlist *e);              /* locked */
void waiter_delist(struct enlist *e);              /* locked; unlocks. The role is handed on */
/* In Python (present 0) a thread must not be given the role, and gives up what it has. */
void waiter_step(struct waiter *w, int present);
/* > 0 ready, -ETIMEDOUT, -ECANCELED (poller_wake), -EBADF; 0: the time to spin is over. */
int waiter_spin(struct waiter *w, int64_t spin_ns);
/* The same until something is there; 0 or -EINTR: the interpreter has to run. */
int waiter_sleep(struct waiter *w);

/* ---- wait.c ---------------------------------------------------------------------------------- */
int list_collect(struct waiter *w, int fds);
int list_append_fds(struct waiter *w, struct pollfd *polls);

#endif
