/* SPDX-License-Identifier: MIT */
/* A host's life: memory, the fair lock, the process it belongs to, virtual time. */
#include "host.h"
#include "../../nic_drivers/memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ALIVE = 0x62617265 };

int host_foreign(const struct host *h)
{
    return *h->alive != ALIVE;
}

void host_lock(struct host *h)
{
    if (!atomic_load_explicit(&h->waiting, memory_order_relaxed) && !pthread_mutex_trylock(&h->mutex))
        return;
    atomic_fetch_add_explicit(&h->waiting, 1, memory_order_relaxed);
    pthread_mutex_lock(&h->turnstile);
    pthread_mutex_lock(&h->mutex);
    pthread_mutex_unlock(&h->turnstile);
    atomic_fetch_sub_explicit(&h->waiting, 1, memory_order_relaxed);
}

void host_unlock(struct host *h)
{
    pthread_mutex_unlock(&h->mutex);
}

void host_yield(struct host *h)
{
    if (!atomic_load_explicit(&h->waiting, memory_order_relaxed))
        return;
    host_unlock(h);
    host_lock(h);
}

static void release_memory(struct host *h);

void host_unlock_last(struct host *h)
{
    int last = h->freed && !h->held;
    host_unlock(h);
    if (last)
        release_memory(h);
}

static int64_t clock_now(struct host *h)
{
    return h->virtual_time ? h->virtual_now : clock_read(&h->clock);
}

void host_tick(struct host *h)
{
    h->now = clock_now(h);
    bw_set_now(h->st, h->now);
}

int host_look(struct host *h)
{
    if (!h)
        return -EBADF;
    if (host_foreign(h))
        return -BW_FOREIGN;
    host_lock(h);
    if (h->freed) {
        host_unlock(h);
        return -EBADF;
    }
    return 0;
}

int host_enter(struct host *h)
{
    int rc = host_look(h);
    if (rc)
        return rc;
    if (h->closed) {
        host_unlock(h);
        return -EBADF;
    }
    host_tick(h);
    return 0;
}

/* Signals that a fault of this very thread raises stay open: blocking them only hides the fault. */
void block_all_signals(sigset_t *old)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_BLOCK, &all, old);
}

void signals_hold(struct held_signals *s)
{
    sigset_t before;
    _Static_assert(sizeof before <= sizeof s->before, "room for a mask");
    if (s->held)
        return;
    block_all_signals(&before);
    memcpy(s->before, &before, sizeof before);
    s->held = 1;
}

void signals_release(struct held_signals *s)
{
    sigset_t before;
    if (!s->held)
        return;
    s->held = 0;
    memcpy(&before, s->before, sizeof before);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

enum { HIGH_FD = 512 };

int fd_high(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

int event_open(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return fd < 0 ? -errno : fd_high(fd);
}

void event_write(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0) {
        /* EAGAIN: the counter is full, so whoever polls it wakes anyway */
    }
}

void event_drain(int fd)
{
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0) {
        /* EAGAIN: somebody was faster */
    }
}

/* ---- making ------------------------------------------------------------------------------------ */
static void init_mutex(pthread_mutex_t *m)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP); /* a burst is shorter than a sleep */
    pthread_mutex_init(m, &attr);
    pthread_mutexattr_destroy(&attr);
}

/* What devices read and others may share is the arena; records are the host's alone. */
static int map_memory(struct host *h, const struct bw_config *cfg, int how)
{
    int rc = memory_map(&h->life, (size_t)sysconf(_SC_PAGESIZE), MEMORY_WIPED);
    if (!rc)
        rc = memory_map(&h->arena, bw_arena_size(cfg), how);
    if (!rc)
        rc = memory_map(&h->ledger, (size_t)cfg->max_socks * sizeof(struct record), how & ~BW_MEMORY_SHARED);
    return rc;
}

/* With many sockets nearly every segment meets pages that the TLB does not know. Huge ones are worth the memory
 * that they commit early only then. */
static void advise_huge_pages(const struct host *h, const struct bw_config *cfg)
{
    enum { HUGE_FROM = 64 << 20 };
    size_t from, to;
    bw_flow_part(cfg, &from, &to);
    if (to - from >= HUGE_FROM)
        memory_advise_huge(&h->arena, from, to);
}

static int allocate(struct host *h, const struct bw_config *cfg, int how)
{
    int rc = map_memory(h, cfg, how);
    if (rc)
        return rc;
    h->alive = (uint32_t *)h->life.base;
    *h->alive = ALIVE;
    h->records = (struct record *)h->ledger.base;
    advise_huge_pages(h, cfg);
    h->records_cap = cfg->max_socks;
    h->thread_fd = event_open();
    h->work_fd = event_open();
    if (h->thread_fd < 0 || h->work_fd < 0)
        return h->thread_fd < 0 ? h->thread_fd : h->work_fd;
    h->st = bw_new(cfg, h->arena.base);
    return 0;
}

void close_own_descriptors(struct host *h)
{
    if (h->thread_fd >= 0)
        close(h->thread_fd);
    if (h->work_fd >= 0)
        close(h->work_fd);
    if (h->watch_fd >= 0)
        close(h->watch_fd);
    h->thread_fd = h->work_fd = h->watch_fd = -1;
}

/* What only an open host needs, and what a handle needs. */
static void release_engine(struct host *h)
{
    close_own_descriptors(h);
    memory_unmap(&h->arena);
}

static void release_memory(struct host *h)
{
    memory_unmap(&h->ledger);
    memory_unmap(&h->life);
    pthread_mutex_destroy(&h->mutex);
    pthread_mutex_destroy(&h->turnstile);
    free(h);
}

int host_new(const struct host_config *cfg, struct host **out)
{
    struct host *h = calloc(1, sizeof *h);
    if (!h)
        return -ENOMEM;
    init_mutex(&h->turnstile);
    init_mutex(&h->mutex);
    h->thread_fd = h->work_fd = h->watch_fd = -1;
    h->stale_at = NEVER;
    h->virtual_time = cfg->virtual_time;
    h->thread_cpu = cfg->cpu;
    h->virtual_now = cfg->engine.now;
    h->enlisted_tail = &h->enlisted;
    role_init(h);
    clock_init(&h->clock);
    struct bw_config engine = cfg->engine;
    engine.now = clock_now(h);
    int rc = allocate(h, &engine, cfg->memory);
    if (rc) {
        release_engine(h);
        release_memory(h);
        return rc;
    }
    h->dev[LOOPBACK] = bw_loopback(h->st);
    h->devs = LOOPBACK;
    *out = h;
    return 0;
}

int host_start(struct host *h)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    rc = h->virtual_time || h->thread_runs ? 0 : thread_start(h);
    host_unlock(h);
    return rc;
}

int64_t host_now(struct host *h)
{
    if (h && !h->virtual_time)
        return monotonic();
    int rc = host_look(h);
    if (rc)
        return rc;
    int64_t now = h->virtual_now;
    host_unlock(h);
    return now;
}

/* ---- virtual time ------------------------------------------------------------------------------ */
int host_set_now(struct host *h, int64_t now)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    if (!h->virtual_time || now < h->virtual_now)
        rc = -EINVAL;
    else
        h->virtual_now = now;
    host_unlock(h);
    return rc;
}

int host_poll(struct host *h)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    int moved = 0;
    for (int round = 0; round < REST_ROUNDS && burst(h, 0) != QUIET; round++)
        moved = 1;
    publish(h);
    for (struct enlist *e = h->enlisted; e; e = e->next)
        if (e->waiter->deadline <= h->virtual_now)
            waiter_wake(e->waiter);
    host_unlock(h);
    return moved;
}

int64_t host_next_deadline(struct host *h)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    struct pollfd polls[HOST_NETDEVS];
    int n = 0;
    int64_t deadline = NEVER;
    if (arm_devices(h, 0, polls, &n, &deadline) || bw_punt_pending(h->st))
        deadline = h->now;
    for (struct enlist *e = h->enlisted; e; e = e->next)
        if (e->waiter->deadline < deadline)
            deadline = e->waiter->deadline;
    host_unlock(h);
    return deadline;
}

/* ---- the end, after close.c ------------------------------------------------------------------- */
void host_free(struct host *h)
{
    if (!h || host_foreign(h))
        return; /* a forked child's copy: its parent's devices, threads and memory stay untouched */
    host_close(h, 0);
    host_lock(h);
    bw_free(h->st);
    release_engine(h);
    h->freed = 1;
    host_unlock_last(h);
}
