/* SPDX-License-Identifier: MIT */
/* Who drives: the lock, the driver role, waiting, and the background thread (DESIGN section 4).
 *
 * This is the only place of the stack that makes system calls and reads the clock. Python calls
 * these functions through cffi (which releases the GIL around each); every one that takes a host
 * checks first that the process is the one that made it (a page with MADV_WIPEONFORK) and returns
 * -BW_FOREIGN if not. Socket calls take the lock, set the time, call the engine, send what became
 * ready, and wake waiters; they never sleep. Sleeping is wait_begin / wait_sleep / wait_end. */
#ifndef BW_DRIVE_H
#define BW_DRIVE_H

#include "../engine.h"

/* cdef:begin */
struct host;
struct waiter;

enum { BW_FOREIGN = 10001, BW_NOT_ASKED = 10003 /* no answer of C's: Python's own */ };
enum { BW_EXACT = 0x20000 };

struct host_direct;

struct host_config {
    struct bw_config engine;
    int32_t cpu;          /* that the background thread is pinned to; -1: any */
    uint8_t virtual_time; /* 1: no clock, no thread: host_set_now and host_poll */
    uint8_t memory;       /* BW_MEMORY_*: how the arena is mapped, and what else is large */
    uint8_t pad[2];
};

/* ---- life ---- */
int host_new(const struct host_config *cfg, struct host **out);
/* Takes ownership of the device (also on failure, then it is closed). Interface index or -errno. */
int host_add_netdev(struct host *h, struct netdev *dev);
/* Closes the device of an interface that is gone (went down with ENETDOWN). 0 (also if it was closed before),
 * -EBUSY: the interface is not gone, -EAGAIN: its thread will, ask again. */
int host_release_netdev(struct host *h, int ifindex);
/* Gives it another device, as host_add_netdev. Its index, -EBUSY, -EINVAL. */
int host_restore_netdev(struct host *h, int ifindex, struct netdev *dev);
int host_start(struct host *h); /* starts the background C thread */
/* Drives until closed sockets' data and FIN are acknowledged or linger_ns is over, then resets the
 * rest, joins the thread, reclaims, closes the devices. 0, or -ETIMEDOUT if something was reset.
 * Waiters on its sockets wake with POLLNVAL. Idempotent. */
int host_close(struct host *h, int64_t linger_ns);
/* The first half of it: closes all sockets and drives until they are drained. 0, -ETIMEDOUT,
 * -EINTR (a signal came, or one may have: let handlers run and call again). No socket can be opened afterwards. */
int host_drain(struct host *h, int64_t linger_ns);
/* After host_close, once nobody tells or is told of work any more: closes the host's descriptors. Idempotent. */
void host_close_descriptors(struct host *h);
/* After host_close; frees all memory, but a little until the last handle is closed: garbage collectors
 * finalise a stack and its sockets in any order. In between calls answer -EBADF, as with NULL. */
void host_free(struct host *h);
/* Around fork(2), which copies descriptors: before it, with nothing of a device half done in the child; after it in
 * the parent; and in the child, where the devices' descriptors are closed, so that the parent's close() frees them. */
void host_before_fork(struct host *h);
void host_after_fork(struct host *h);
void host_forked(struct host *h);
int64_t host_now(struct host *h); /* the stack's clock: CLOCK_MONOTONIC or the last host_set_now */

/* For measurements: the engine reads these frames as if its device had received them. ns, or -errno. */
int64_t host_time_input(struct host *h, int ifindex, struct rx_frame *frames, int n);

/* ---- virtual time ---- */
int host_set_now(struct host *h, int64_t now);
/* Runs receive, timers and transmit to rest at the time set. 1: something moved, 0: nothing did. */
int host_poll(struct host *h);
/* Earliest of engine, devices, and blocked calls' timeouts; INT64_MAX: none. Real time too. */
int64_t host_next_deadline(struct host *h);

/* ---- one burst of driving by the calling thread, if nobody else drives; 1 moved, 0 not ---- */
int host_burst(struct host *h);

/* ---- work for Python ---- */
/* Descriptor (eventfd) that is readable while work for Python may wait. Calls that wait leave it to whoever
 * reads this: host_punt_pop makes it unreadable when it finds nothing. */
int host_work_fd(struct host *h);
/* Sleeps until a copy of that descriptor is readable, or that of host_watch_fd, or ns are over (INT64_MAX: never),
 * or a signal comes. The host may go meanwhile. */
void host_await_work(int fd, int watch_fd, int64_t ns);
int host_tell_work(struct host *h); /* makes it readable, for whoever drains it to look */
/* Interfaces that are down now, for a while or because their device is gone, as bits 1 << index. */
uint32_t host_links_down(struct host *h);
/* Interfaces whose device has gone since the last call, likewise. */
uint32_t host_take_gone(struct host *h);
uint32_t host_take_unfinished(struct host *h); /* bw_take_unfinished; 0 after close */
int host_punt_pop(struct host *h, struct bw_punt *punt, uint8_t *data, uint32_t size);
int host_cc_report_pop(struct host *h, struct bw_cc_report *report);

/* ---- control: each is the engine's bw_ function under the lock ---- */
int host_set_addrs(struct host *h, const struct bw_ifaddr *addrs, int n);
/* An address of the engine's as devices are told it; needs no host. */
void host_netdev_addr(struct netdev_addr *told, const uint8_t *ip);
int host_set_routes(struct host *h, const struct bw_route *routes, int n);
int host_set_path_mtu(struct host *h, const uint8_t *ip, uint32_t zone, uint32_t mtu, int fragments);
int host_neigh_ask(struct host *h, int ifindex, const uint8_t *ip);
int host_neigh_set(struct host *h, int ifindex, const uint8_t *ip, const uint8_t *mac);
int host_neigh_del(struct host *h, int ifindex, const uint8_t *ip);
int host_neigh_get(struct host *h, int ifindex, const uint8_t *ip, struct bw_neigh_info *info);
int host_send_frame(struct host *h, int ifindex, const uint8_t *frame, uint32_t len);
int host_send_packet(struct host *h, int ifindex, const uint8_t *nexthop, const uint8_t *packet,
                     uint32_t len);
int host_echo_open(struct host *h, const uint8_t *ip, uint16_t ident);
int host_echo_close(struct host *h, const uint8_t *ip, uint16_t ident);
int host_local_error(struct host *h, const uint8_t *packet, uint32_t len, int err);
int host_select_source(struct host *h, const uint8_t *dst, uint32_t ifindex, uint8_t *src);
int host_cc_answer(struct host *h, uint32_t sock, uint32_t generation, uint64_t window, uint64_t rate);
int host_cc_give_up(struct host *h, uint32_t sock, uint32_t generation);

/* ---- sockets: errors are -errno, -BW_FOREIGN; never block. A `struct bw_sock *` here is a handle,
 * never an address: one that was closed answers -EBADF, also after its place was used again. Each must be
 * given back to host_sock_close, even after host_close ---- */
int host_socket(struct host *h, int type, struct bw_sock **out);
int host_bind(struct host *h, struct bw_sock *s, const struct bw_addr *addr);
int host_listen(struct host *h, struct bw_sock *s, int backlog);
int host_accept(struct host *h, struct bw_sock *s, struct bw_sock **out, struct bw_addr *peer);
int host_connect(struct host *h, struct bw_sock *s, const struct bw_addr *addr);
/* These six try, run one burst and try again; with spin_ns > 0 they go on driving so for up to
 * spin_ns (at most 1 ms) while the answer is -EAGAIN and the calling thread is the driver. */
int64_t host_send(struct host *h, struct bw_sock *s, const void *buf, size_t len, int flags, int64_t spin_ns);
int64_t host_recv(struct host *h, struct bw_sock *s, void *buf, size_t len, int flags, int64_t spin_ns);
int64_t host_sendto(struct host *h, struct bw_sock *s, const void *buf, size_t len, int flags,
                    const struct bw_addr *to, int64_t spin_ns);
int64_t host_recvfrom(struct host *h, struct bw_sock *s, void *buf, size_t len, int flags,
                      struct bw_addr *from, int64_t spin_ns);
int64_t host_sendmsg(struct host *h, struct bw_sock *s, const struct bw_msg *m, int64_t spin_ns);
int64_t host_recvmsg(struct host *h, struct bw_sock *s, struct bw_msg *m, int64_t spin_ns);
/* Slots [first, last) of a batch of datagrams, driving between bursts of them for as long as they move; else
 * as those six. How many were moved. A pending error is left for the next call where some were moved
 * before: in this call, or (begun) in earlier ones for the same batch; then 0. */
int64_t host_send_batch(struct host *h, struct bw_sock *s, const struct bw_batch *b, uint32_t first,
                        uint32_t last, int begun, int64_t spin_ns);
int64_t host_recv_batch(struct host *h, struct bw_sock *s, const struct bw_batch *b, uint32_t first,
                        uint32_t last, int begun, int64_t spin_ns);
/* The calls that move data, for callers without cffi. */
const struct host_direct *host_direct_calls(void);
int host_shutdown(struct host *h, struct bw_sock *s, int how);
int host_sock_close(struct host *h, struct bw_sock *s); /* waiters on it wake with POLLNVAL */
int host_sock_abort(struct host *h, struct bw_sock *s);
int host_sockname(struct host *h, struct bw_sock *s, struct bw_addr *addr);
int host_peername(struct host *h, struct bw_sock *s, struct bw_addr *addr);
int host_setopt(struct host *h, struct bw_sock *s, int opt, int64_t value);
int host_getopt(struct host *h, struct bw_sock *s, int opt, int64_t *value);
int host_fastopen_key(struct host *h, struct bw_sock *s, const uint8_t *set, int n, uint8_t *get);
int host_take_error(struct host *h, struct bw_sock *s);
int host_readiness(struct host *h, struct bw_sock *s);
int host_snapshot(struct host *h, struct bw_sock *s, struct bw_tcp_snapshot *out);
int host_tcp_info(struct host *h, struct bw_sock *s, struct bw_tcp_info *out);
int64_t host_queued_bytes(struct host *h, struct bw_sock *s, int which);
/* Another handle of the same open description; the socket is closed with the last one. number: a descriptor of
 * the socket's that the handle takes over (a copy that the program made), -1: none yet. -EBADF, -ENFILE,
 * -EINVAL: the number is none. */
int host_sock_dup(struct host *h, struct bw_sock *s, int number, struct bw_sock **out);
/* O_NONBLOCK of the open description, which fcntl(2) on a number sets and shows too. 1, 0, -EBADF. */
int host_nonblocking(struct host *h, struct bw_sock *s);
/* on: 0, 1, or BW_NEVER_WAITS: calls of the program's do not wait either, as they do with a timeout. */
int host_set_nonblocking(struct host *h, struct bw_sock *s, int on);
enum { BW_NEVER_WAITS = 2 };
/* A descriptor for foreign select/poll/epoll, made at the first call: one end of an AF_UNIX stream
 * pair that the driver keeps in step on changes (a byte in it: readable; full: not writable; shut:
 * HUP). It belongs to the handle and is closed with it. */
int host_sock_fileno(struct host *h, struct bw_sock *s);
/* 1: the number is that descriptor, and not one that came after the program closed it. */
int host_sock_has_fileno(struct host *h, struct bw_sock *s, int fd);
/* 1: the descriptor is of the kind that these numbers are of. */
int may_be_number(int fd);
/* Foreign code that reads or writes a number gets no data, and its bytes go nowhere: the connection is reset with
 * ECONNABORTED, so that both ends hear of it. One such a call. */
struct host_foreign_use {
    struct bw_addr local, remote;
    int number;     /* the first that the description had, -1: it was closed */
    uint32_t bytes; /* written; 0: something was read */
};
int host_take_foreign_use(struct host *h, struct host_foreign_use *out); /* 1: there was one */
/* A descriptor that is readable while there may be one; -1: there is no number. */
int host_watch_fd(struct host *h);

/* ---- waiting: on any mix of sockets of any stacks, and of descriptors ---- */
struct wait_item {
    struct host *host; /* with sock; NULL: an ordinary descriptor */
    struct bw_sock *sock;
    int fd;           /* if host is NULL */
    uint32_t events;  /* POLLIN | POLLOUT | ..., POLLERR and POLLHUP always; BW_EXACT: just these */
    uint32_t revents; /* filled in */
    uint32_t muted;   /* a descriptor says what was not asked for (C's) */
};
/* One per thread, with an eventfd; waiter_free when the thread ends. `tripped` says whether a signal came whose
 * handler the interpreter has still to run; NULL in threads that run none. */
struct waiter *waiter_new(int (*tripped)(void));
void waiter_free(struct waiter *w);
/* Enlists on all items, drives (where the role is free) and spins up to spin_ns.
 * > 0: that many items have revents. Then still call wait_end.
 * 0: nothing yet: return to the interpreter once (so that handlers of signals that came before run),
 *    then wait_sleep.
 * deadline: in real stacks' CLOCK_MONOTONIC ns; with virtual stacks among the items, in their time
 * (it takes part in host_next_deadline and ends the wait when polled past). INT64_MAX: none; 0 only looks.
 * -ETIMEDOUT once the deadline is over. -BW_FOREIGN, -EBADF (a socket was closed). */
int wait_begin(struct waiter *w, struct wait_item *items, int n, int64_t deadline, int64_t spin_ns);
/* One sleep, in ppoll with signals unblocked only inside it, driving after each wake-up; may loop
 * inside as long as no signal came. As wait_begin, and -EINTR: a signal came; run its handler by
 * returning to the interpreter, then call again. 0: likewise (a signal may have gone to another
 * thread while this one drove with signals blocked, or waiter_interrupt was called). The thread's signal mask is
 * its own again at each return: handlers, and what they start, see it. */
int wait_sleep(struct waiter *w);
/* From another thread: its wait_sleep returns 0. (A signal meant for the process may be given
 * to any thread that waits; that thread interrupts the main thread's waiter, which runs handlers.) */
void waiter_interrupt(struct waiter *w);
/* Delists, hands the driver role on (another waiter at once, else the background thread by a
 * store). Safe to call at any time, any number of times. */
void wait_end(struct waiter *w);

/* ---- polling: any number of sockets of any stacks, and descriptors, for as long as one likes ---- */
struct poller;
struct poller_event {
    uint64_t cookie;
    uint32_t events; /* POLL* bits; POLLNVAL alone: the socket was closed, which is told once */
    uint32_t pad;
};
struct poller_stats {
    uint64_t events, refused;  /* told; sockets not taken for the bound */
    uint32_t interests, ready; /* sockets now; the ready list's length */
};
enum { POLLER_BATCH = 1024 /* events of one call at most */ };
/* For at most so many sockets. NULL: errno says why. Any thread may call these at any time, but free it. Each that can
 * fail: -BW_FOREIGN in a forked child, -EBADF once closed. */
struct poller *poller_new(uint32_t most);
/* All interests end, its descriptors are closed, and who waits on it gets -EBADF. Idempotent. */
void poller_close(struct poller *p);
void poller_free(struct poller *p);
/* One more socket. events: POLL* bits (POLLERR and POLLHUP always) and EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE,
 * which mean what epoll_ctl(2) says. The cookie comes with each event. Returns the interest's number (> 0),
 * -EBADF (also for a closed socket), -ENOSPC at the bound, -ENOMEM, -EINVAL. */
int64_t poller_add(struct poller *p, struct host *h, struct bw_sock *s, uint32_t events, uint64_t cookie);
/* 0, -ENOENT (also when its socket was closed), -EINVAL. */
int poller_modify(struct poller *p, int64_t interest, uint32_t events);
int poller_remove(struct poller *p, int64_t interest); /* 0, -ENOENT */
int poller_has(struct poller *p, int64_t interest);    /* 1: its socket is open */
/* epoll_ctl(2) for a descriptor of the kernel's, errors too; UINT64_MAX is no cookie. */
int poller_control(struct poller *p, int op, int fd, uint32_t events, uint64_t cookie);
/* A descriptor that is readable while events may be there: always the same one. */
int poller_fileno(struct poller *p);
/* What is ready now, at most max and POLLER_BATCH: sockets and descriptors in turn. If nothing is, after one burst
 * of driving where nobody drives. How many. */
int poller_look(struct poller *p, struct poller_event *events, int max);
/* As that; if nothing is ready it drives and spins for up to spin_ns and sleeps until something is. 0: the deadline
 * is over (as wait_begin's), or poller_wake was called. -EINTR: handlers of signals have to run; then call again.
 * Beside ready sockets, descriptors are told up to 20 us late. */
int poller_wait(struct waiter *w, struct poller *p, struct poller_event *events, int max, int64_t deadline,
                int64_t spin_ns);
/* From any thread: whoever waits on it now, or does so next, comes back with 0. */
void poller_wake(struct poller *p);
int poller_get_stats(struct poller *p, struct poller_stats *out);

/* ---- what must not be interrupted, in a thread of the program's ---- */
/* Blocks the thread's signals, and opens them as they were; nothing if they are blocked already, or open. */
struct held_signals {
    uint8_t held, before[128];
};
void signals_hold(struct held_signals *s);
void signals_release(struct held_signals *s);

/* ---- seeing ---- */
int bw_counter_count(void);
const char *bw_counter_name(int i);
int host_counters(struct host *h, uint64_t *out, int max);
int host_list(struct host *h, uint32_t *from, struct bw_sock_info *out, int max);
struct host_stats {
    uint64_t bursts, driver_spins, spin_yields, spins_in_vain, driver_sleeps, follower_sleeps, handoffs,
        lapses, late_lapses, background_takeovers, background_bursts, naps, work_told;
    uint64_t memory_control_blocks, memory_chunks; /* bytes */
    uint64_t sockets, orphans, timers;             /* in use, of those, that are set */
};
int host_get_stats(struct host *h, struct host_stats *out);
int host_netdev_stats(struct host *h, int ifindex, struct netdev_stats *out);
/* The driver's own counters, at most max; how many. */
int host_netdev_xstats(struct host *h, int ifindex, struct netdev_xstat *out, int max);
int host_trace_pop(struct host *h, struct bw_trace_record *out, int max);
int host_trace_all(struct host *h, int on);
int bw_cc_count(void);
const char *bw_cc_name(int i);
/* 0: control blocks in bytes, 1: chunks in bytes, 2: sockets in use, 3: orphans among them */
uint64_t host_memory_used(struct host *h, int what);
/* cdef:end */

struct host_direct {
    int64_t (*send)(struct host *h, struct bw_sock *s, const void *buf, size_t len, int flags,
                    int64_t spin_ns);
    int64_t (*recv)(struct host *h, struct bw_sock *s, void *buf, size_t len, int flags, int64_t spin_ns);
    int64_t (*sendmsg)(struct host *h, struct bw_sock *s, const struct bw_msg *m, int64_t spin_ns);
    int64_t (*recvmsg)(struct host *h, struct bw_sock *s, struct bw_msg *m, int64_t spin_ns);
};

#endif
