/* SPDX-License-Identifier: MIT */
/* What the driver's files share: the host, the records of open sockets, the waiters, the role.
 *
 * Rules: a function whose comment says "locked" is called with the host's lock held. No thread
 * holds two hosts' locks, and nobody sleeps with one. Everything in struct host is under the lock
 * unless it says otherwise. */
#ifndef BW_HOST_H
#define BW_HOST_H

#define _GNU_SOURCE /* ppoll, pthread_setname_np */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>

#include "clock.h"
#include "drive.h"

#define NEVER INT64_MAX
#define AWAKE INT64_MIN     /* host.sleep_until of a driver that is not asleep */
#define NAP_NS 1000000ll    /* stand-by naps, and sleeps where a device has no descriptor */
#define AT_ONCE_NS 200000ll /* a thread is back at once: see role.c */
#define SPIN_MAX_NS 1000000ll
#define PAIR_LATE_NS (NAP_NS / 2) /* and a nap of as much */
#define SIGNAL_GAP_NS 50000000ll  /* see waiter.c */

enum {
    HOST_NETDEVS = 16,
    HOST_FOREIGN = 16,   /* resets that wait to be logged */
    LOOPBACK = 1,        /* its interface index */
    BATCH_BURST = 64,    /* datagrams of a batch call that move under one hold of the lock */
    CALL_ROUNDS = 16,    /* bursts a call runs at most while its own frames loop back */
    TX_ROUNDS = 4,       /* tx_bursts of one interface in one burst of driving */
    DEEP_NAPS = 10,      /* naps beside one unbroken wait before the background thread sleeps deep */
    REST_ROUNDS = 65536, /* bursts of one host_poll at most */
};

/* What a burst did. */
enum moved { QUIET, MOVED, MORE /* and the next one will likely find something */ };

/* Who must wake up for devices and timers. Whoever holds the lock may run a burst at any time. */
enum role {
    ROLE_NOBODY,
    ROLE_BACKGROUND,
    ROLE_CALL, /* a call that spins */
    ROLE_WAITER,
    ROLE_KEPT /* nobody: a thread between calls that follow each other at once */
};

/* A handle, and an open description. What Python holds as `struct bw_sock *` is no address but a record's index and
 * generation, so that a handle used after close gives EBADF and nothing else. It is held until the program closes
 * it, also if host_close has closed the socket before. The description of a socket is the record it was made with;
 * a handle that host_sock_dup made is a record that names another one's description. The socket is closed with the
 * last handle that names its description. */
struct record {
    struct bw_sock *sock;       /* of a description; NULL: closed */
    struct interest *interests; /* what waits for it (poller.h) */
    uint32_t seen;              /* with interests: readiness that they know of */
    uint32_t generation;
    uint32_t next_free;
    uint32_t of;         /* index + 1 of the record whose description this handle names, 0: its own */
    uint32_t names;      /* of a description: handles that name it */
    int number;          /* of a handle: the program's descriptor, -1: none yet */
    int far_fd, own_fd;  /* of a description: its pair, -1: none; far_fd is the end that numbers are of */
    uint32_t filler;     /* bytes of ours in own_fd that make the numbers not writable */
    uint32_t stale_next; /* index + 1, of the host's list */
    pthread_t told_by;   /* who made the pair readable */
    uint8_t pair;        /* PAIR_*: what the pair says now */
    uint8_t stale;       /* it is in that list */
    uint8_t nonblocking; /* O_NONBLOCK, without a pair */
    uint8_t held;        /* the program has the handle */
};

/* A waiter's place in one host. */
struct enlist {
    struct enlist *next, **link;
    struct host *host;
    struct waiter *waiter;
    int listed;  /* the waiter's own: it is in the host's list */
    int present; /* its thread is in a call that waits: it can be given the role */
};

enum { WAITER_IDLE, WAITER_SLEEPING, WAITER_WOKEN };

struct waiter {
    atomic_int state;       /* WAITER_*: only a sleeping one costs a write to wake */
    atomic_int interrupted; /* waiter_interrupt was called */
    int event_fd;
    int (*tripped)(void);                    /* see waiter_new */
    struct waiter *sleep_next, **sleep_link; /* of those that sleep on a poller, under its lock */
    /* the rest belongs to the waiter's thread */
    struct poller *poller, *list; /* what it waits on; the one for its lists */
    struct poller_event *out;     /* room for events of a poller */
    int max;
    struct wait_item *items; /* the list */
    int n, fds;              /* items; those of them that are descriptors */
    int muted_fd;            /* epoll of those that say what was not asked for; -1: there are none */
    int active, virtual_time;
    enum moved moved;          /* what the last drive() met, ... */
    int64_t now;               /* ... and when */
    int64_t crowded, spun_out; /* as the hosts' */
    int64_t slept_at;          /* as a driver right after a spin that found nothing; 0: not so */
    int by_device;             /* a device ended that sleep */
    int64_t fds_at;            /* when descriptors are looked at next */
    int64_t deadline;
    struct enlist *enlists;
    int hosts, hosts_cap;
    struct interest *interests;
    int interests_cap;
    struct pollfd *polls;
    int polls_cap;
    sigset_t open_signals; /* the thread's own mask, while it sleeps with signals blocked */
};

struct host {
    pthread_mutex_t turnstile, mutex; /* see host_lock */
    atomic_uint waiting;              /* threads that want the lock and did not get it at once */
    uint32_t *alive;                  /* in a page the kernel wipes in a forked child */
    struct bw_stack *st;
    struct netdev_memory arena, ledger, life; /* the engine's; the records; that page */
    uint8_t virtual_time, draining, closed, freed;
    uint8_t bound; /* a device is THREAD_BOUND */
    int64_t virtual_now;
    struct clock clock;
    int64_t now; /* the time that host_tick took last */

    struct netdev *dev[HOST_NETDEVS + 1]; /* by interface index; [1] is the engine's loopback */
    int devs;                             /* highest index in use */
    uint32_t down, full;                  /* bits by index: gone; took fewer frames than offered */
    uint32_t unplugged;                   /* bits: its device says that it is down for now */
    uint32_t gone_news;                   /* of down, what Python has not been told */
    uint32_t release;                     /* of down, THREAD_BOUND ones the thread shall close */
    struct rx_frame rx[BW_RX_BURST];

    struct record *records;
    uint32_t records_cap, records_touched, record_free; /* free list: index + 1, 0 ends it */
    uint32_t held;                                      /* handles that programs have */

    /* role.c's: who drives (docs/driving.md) */
    enum role role;
    struct waiter *driver;  /* with ROLE_WAITER */
    int64_t sleep_until;    /* when the sleeping driver wakes by itself, or AWAKE */
    uint32_t sleep_full;    /* interfaces it waits for room on */
    atomic_uint role_count; /* changes with each claim and release; read without the lock (see step_on) */
    atomic_int role_kept;   /* role is ROLE_KEPT; likewise */
    pthread_t caller;       /* the thread that spun or waited last, ... */
    int64_t left_at;        /* ... until when, ... */
    int returns;            /* ... how often in a row it was back at once, ... */
    int keep_after;         /* ... and how often it has to be before it keeps the role */

    /* waiter.c's: those who wait */
    struct enlist *enlisted, **enlisted_tail;

    int64_t crowded;  /* until then calls spin for a short time only (spin.c) */
    int64_t spun_out; /* when a call's spin ended with nothing */
    int vain;         /* such spins in a row, where something came right after */
    int64_t shy;      /* for how long spins were short the last time; 0: long ones find something */

    /* pump.c's: when it was driven */
    int64_t burst_at;  /* the last burst of anybody, ... */
    int64_t call_at;   /* ... and of a call */
    int64_t noted_at;  /* somebody who waits on a poller's descriptor was told */
    atomic_uint epoch; /* changes with each burst of a call; read without the lock */

    /* background.c's */
    pthread_t thread;
    int thread_runs, thread_stops; /* close.c's, but for the start */
    int thread_asleep;             /* deeper than a nap */
    int thread_urgent;             /* frames lie there that nobody moves: it takes the role after no nap */
    int thread_fd;                 /* eventfd */
    int thread_cpu;                /* it is pinned to; -1: any */

    uint32_t stale;                                /* records whose pair says more than is true, index + 1 */
    int64_t stale_at;                              /* when they are to be true again; NEVER: there are none */
    atomic_uint stale_some;                        /* 1: there are some; read without the lock */
    struct host_foreign_use foreign[HOST_FOREIGN]; /* not told yet */
    int foreign_len;
    uint32_t pairs; /* that there are */
    int watch_fd;   /* epoll of all own_fd: what others write into numbers; -1: there is no pair */

    int work_fd, work_told;
    struct host_stats stats;
};

/* Only under the lock: others just read it. */
static inline void step_on(atomic_uint *counter)
{
    unsigned n = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, n + 1, memory_order_relaxed);
}

/* ---- host.c -------------------------------------------------------------------------------- */
int host_foreign(const struct host *h);
void close_own_descriptors(struct host *h); /* not those of devices, nor of handles */
/* A fair lock: whoever does not get it at once queues at the turnstile, and so does who comes after
 * him; a driver that yields between bursts lets in whoever came meanwhile, and else keeps it. */
void host_lock(struct host *h);
void host_unlock(struct host *h);
void host_yield(struct host *h); /* locked at entry and exit; not in between, if somebody waits */
void host_tick(struct host *h);  /* locked; reads the clock for all that is done until the next one */
/* Lock and set the time. 0, -BW_FOREIGN, -EBADF after host_close. */
int host_enter(struct host *h);
/* Lock to look at something, closed or not. 0, -BW_FOREIGN, -EBADF after host_free. */
int host_look(struct host *h);
/* Unlocks; after host_free and the last handle the host's memory goes. */
void host_unlock_last(struct host *h);
void block_all_signals(sigset_t *old);
/* An eventfd, or -errno. Its number is high where the limit allows: it comes when a thread first waits, and must not
 * be one that the program has just closed and takes for closed. */
int event_open(void);
int fd_high(int fd); /* the same file under a high number, where the limit allows */
void event_write(int fd);
void event_drain(int fd);

/* ---- pump.c: all locked -------------------------------------------------------------------- */
/* Receives, runs timers, transmits, at the time of host_tick: one burst on each interface. */
enum moved burst(struct host *h, int on_thread);
/* A burst that a socket call runs by itself, whoever has the role. */
enum moved call_burst(struct host *h);
/* Transmits what is ready. */
void flush(struct host *h, int on_thread);
/* After every engine section: wakes whoever waits for what changed, and the thread that has work for Python. */
void publish(struct host *h);
/* End of a call: flush, rounds of the loopback, publish, wake the driver if it must know; unlock. */
void host_leave(struct host *h);
/* Before a sleep: arms the devices, appends descriptors to polls, lowers *deadline. 1: do not
 * sleep, work is there. */
int arm_devices(struct host *h, int on_thread, struct pollfd *polls, int *n, int64_t *deadline);
void tell_work(struct host *h);

void reclaim_tokens(struct host *h, int i, struct netdev *dev);

/* ---- attach.c ------------------------------------------------------------------------------ */
void release_netdev(struct host *h, int i); /* locked: closes the device of an interface that is gone */

/* ---- role.c: all locked -------------------------------------------------------------------- */
void role_init(struct host *h);
/* Takes the role if nobody in the foreground has it. 1: it is ours. */
int role_claim(struct host *h, enum role role, struct waiter *w);
int role_is_mine(const struct host *h, const struct waiter *w);
int role_is_free(const struct host *h); /* nobody in the foreground has it */
int role_is_idle(const struct host *h); /* nobody at all, for now */
/* The thread begins to spin; it goes back to its program. */
void role_returns(struct host *h);
void role_leaves(struct host *h);
/* Who kept it did not come back: it is handed on, after a burst. */
void role_lapse(struct host *h);
/* The driver sleeps until then or is woken; AWAKE: it does not after all. */
void role_sleeps(struct host *h, int64_t until);
/* The background thread has it; it stands by again; a thread that drains a host has it, whoever had it. */
void role_background(struct host *h);
void role_stand_by(struct host *h);
void role_drain(struct host *h);
/* Gives it up: to a waiter that is present, at once; else nobody, and the background thread looks. */
void role_release(struct host *h);
/* The driver sleeps and must look again. */
void role_wake(struct host *h);

/* ---- spin.c ---------------------------------------------------------------- */
struct spin {
    int64_t end, yield_at; /* it is over; somebody else may run */
    int is_long;           /* long enough to be in vain */
};
/* crowded: when that is over, as spin_yield said it. */
struct spin spin_begin(int64_t now, int64_t spin_ns, int64_t crowded);
/* Whether a spin that ended then is what the thread has just done. */
int spin_just_ended(int64_t ended, int64_t now);
/* A call's spin is over. Locked, as the next. */
void spin_ended(struct host *h, const struct spin *s, int found);
/* A driver wakes that slept right after a spin that found nothing. */
void spin_judge(struct host *h, int64_t slept_at, int by_device);
/* Lets who waits for this core run. > 0: until then spinning is no use; this spin is over. */
int64_t spin_yield(struct spin *s);

/* ---- background.c -------------------------------------------------------------------------- */
int thread_start(struct host *h);
void thread_kick(struct host *h);  /* locked */
void thread_hurry(struct host *h); /* locked: and takes the role at once if nobody has it */

/* ---- calls.c ------------------------------------------------------------------------------- */
struct record *record_find(struct host *h,
                           const struct bw_sock *handle); /* locked; its description; NULL: closed */
struct record *record_held(struct host *h, const struct bw_sock *handle); /* locked; its own record */
struct record *description_of(struct host *h, struct record *r);          /* locked */
void record_close(struct host *h, struct record *r, int abort);           /* locked */

/* ---- waiter.c, ready.c --------------------------------------------------------------------- */
void waiter_wake(struct waiter *w);
/* What a socket is ready for has changed, by these bits: they rose, or came again. Locked. */
void interests_notify(struct record *r, uint32_t ready, uint32_t news);
void interests_closed(struct record *r); /* locked */
void record_observe(struct record *r);   /* locked */

/* ---- fileno.c: locked ---------------------------------------------------------------------- */
/* The pair says from now on what the socket is ready for; that it is no longer readable or writable within
 * PAIR_LATE_NS. */
void pair_update(struct host *h, struct record *r, uint32_t ready);
void pair_settle(struct host *h, struct record *r); /* now */
void pairs_settle(struct host *h);                  /* all of them, now */
void pair_close(struct host *h, struct record *r);
int pair_has(const struct record *r, int number); /* 1: the number is of its pair */
void number_close(struct host *h, struct record *r);

#endif
