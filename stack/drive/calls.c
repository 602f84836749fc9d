/* SPDX-License-Identifier: MIT */
/* Socket calls: under the lock, at the present time, sent before they return; none of them sleeps.
 *
 * The calls that move data try, run one burst and try again; with a spin time they take the driver
 * role, if it is free, and drive until the answer comes or the time is over. */
#include "host.h"

_Static_assert(sizeof(void *) == 8, "a handle holds an index and a generation");

/* ---- records ----------------------------------------------------------------------------------- */
static struct bw_sock *handle_of(const struct host *h, const struct record *r)
{
    return (struct bw_sock *)(uintptr_t)((uint64_t)r->generation << 32 | (uint32_t)(r - h->records));
}

struct record *record_held(struct host *h, const struct bw_sock *handle)
{
    uint64_t bits = (uintptr_t)handle;
    uint32_t index = (uint32_t)bits;
    if (index >= h->records_touched)
        return NULL;
    struct record *r = &h->records[index];
    return r->held && r->generation == bits >> 32 ? r : NULL;
}

struct record *description_of(struct host *h, struct record *r)
{
    return r->of ? &h->records[r->of - 1] : r;
}

struct record *record_find(struct host *h, const struct bw_sock *handle)
{
    struct record *r = record_held(h, handle);
    r = r ? description_of(h, r) : NULL;
    return r && r->sock ? r : NULL;
}

/* A handle; with a socket the description of it too. */
static struct record *record_new(struct host *h, struct bw_sock *s)
{
    struct record *r;
    if (h->record_free) {
        r = &h->records[h->record_free - 1];
        h->record_free = r->next_free;
    } else if (h->records_touched < h->records_cap) {
        r = &h->records[h->records_touched++];
    } else {
        return NULL;
    }
    if (!++r->generation)
        r->generation = 1; /* no handle is NULL */
    r->sock = s;
    r->interests = NULL;
    r->number = r->far_fd = r->own_fd = -1;
    r->pair = r->nonblocking = 0;
    r->of = 0;
    r->held = r->names = 1;
    h->held++;
    if (s)
        *bw_sock_user(s) = r;
    return r;
}

void record_close(struct host *h, struct record *r, int abort)
{
    struct bw_sock *s = r->sock;
    interests_closed(r);
    pair_close(h, r);
    bw_observe(s, 0);
    *bw_sock_user(s) = NULL;
    r->sock = NULL;
    if (abort)
        bw_abort(s);
    else
        bw_close(s);
}

static void record_free(struct host *h, struct record *r)
{
    r->next_free = h->record_free;
    h->record_free = (uint32_t)(r - h->records) + 1;
}

/* The program gave its handle up. With the last one goes what it names. */
static void record_release(struct host *h, struct record *r, int abort)
{
    struct record *d = description_of(h, r);
    number_close(h, r);
    r->held = 0;
    h->held--;
    if (!--d->names && d->sock)
        record_close(h, d, abort);
    if (!d->names)
        record_free(h, d);
    if (r != d)
        record_free(h, r);
}

/* As host_enter, and looks the handle up. */
static int enter(struct host *h, const struct bw_sock *handle, struct bw_sock **s)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    struct record *r = record_find(h, handle);
    if (!r) {
        host_unlock(h);
        return -EBADF;
    }
    *s = r->sock;
    return 0;
}

/* End of a call on this socket: what the program itself took or gave shows in its descriptor and to who waits; where
 * the call found nothing, at once. */
static void done_with(struct host *h, const struct bw_sock *handle, int64_t answer)
{
    struct record *r = record_find(h, handle);
    if (r && (r->interests || r->own_fd >= 0)) {
        uint32_t ready = bw_readiness(r->sock), news = ready & ~r->seen;
        r->seen = ready;
        if (news)
            interests_notify(r, ready, news);
        pair_update(h, r, ready);
        if (answer == -EAGAIN)
            pair_settle(h, r);
    }
    host_leave(h);
}

static void done(struct host *h, const struct bw_sock *handle)
{
    done_with(h, handle, 0);
}

/* ---- opening, naming, closing ------------------------------------------------------------------ */
/* Gives the new socket a record; without room for one it goes again. */
static int adopt(struct host *h, struct bw_sock *s, struct bw_sock **out)
{
    struct record *r = record_new(h, s);
    if (!r) {
        bw_abort(s);
        return -ENFILE;
    }
    *out = handle_of(h, r);
    return 0;
}

int host_socket(struct host *h, int type, struct bw_sock **out)
{
    struct bw_sock *s;
    int rc = host_enter(h);
    if (rc)
        return rc;
    rc = h->draining ? -EBADF : bw_socket(h->st, type, &s);
    if (!rc)
        rc = adopt(h, s, out);
    host_unlock(h);
    return rc;
}

int host_accept(struct host *h, struct bw_sock *handle, struct bw_sock **out, struct bw_addr *peer)
{
    struct bw_sock *s, *child;
    int rc = enter(h, handle, &s);
    if (rc)
        return rc;
    rc = bw_accept(s, &child, peer);
    if (rc == -EAGAIN && !h->virtual_time) {
        call_burst(h);
        rc = bw_accept(s, &child, peer);
    }
    if (!rc)
        rc = adopt(h, child, out);
    done_with(h, handle, rc);
    return rc;
}

/* A call that may send something or change readiness. */
#define SOCKET_CALL(h, handle, call) \
    struct bw_sock *s; \
    int rc = enter(h, handle, &s); \
    if (rc) \
        return rc; \
    rc = (call); \
    done(h, handle); \
    return rc

/* A call that only looks. */
#define SOCKET_LOOK(h, handle, call) \
    struct bw_sock *s; \
    int rc = enter(h, handle, &s); \
    if (rc) \
        return rc; \
    rc = (call); \
    host_unlock(h); \
    return rc

int host_bind(struct host *h, struct bw_sock *handle, const struct bw_addr *addr)
{
    SOCKET_LOOK(h, handle, bw_bind(s, addr));
}

int host_listen(struct host *h, struct bw_sock *handle, int backlog)
{
    SOCKET_CALL(h, handle, bw_listen(s, backlog));
}

int host_connect(struct host *h, struct bw_sock *handle, const struct bw_addr *addr)
{
    SOCKET_CALL(h, handle, bw_connect(s, addr));
}

int host_shutdown(struct host *h, struct bw_sock *handle, int how)
{
    SOCKET_CALL(h, handle, bw_shutdown(s, how));
}

/* After host_close, or even host_free: the socket is closed, the handle goes now. */
static int close_late(struct host *h, const struct bw_sock *handle)
{
    if (!h)
        return -EBADF;
    host_lock(h);
    struct record *r = record_held(h, handle);
    if (r)
        record_release(h, r, 0);
    host_unlock_last(h);
    return r ? 0 : -EBADF;
}

static int close_call(struct host *h, struct bw_sock *handle, int abort)
{
    int rc = host_enter(h);
    if (rc == -EBADF)
        return close_late(h, handle);
    if (rc)
        return rc;
    struct record *r = record_held(h, handle);
    if (r)
        record_release(h, r, abort);
    host_leave(h);
    return r ? 0 : -EBADF;
}

int host_sock_dup(struct host *h, struct bw_sock *handle, int number, struct bw_sock **out)
{
    int rc = host_enter(h);
    if (rc)
        return rc;
    struct record *d = record_find(h, handle), *r = NULL;
    if (!d)
        rc = -EBADF;
    else if (number >= 0 && !pair_has(d, number))
        rc = -EINVAL;
    else if (!(r = record_new(h, NULL)))
        rc = -ENFILE;
    if (r) {
        r->names = 0;
        r->of = (uint32_t)(d - h->records) + 1;
        r->number = number;
        d->names++;
        *out = handle_of(h, r);
    }
    host_unlock(h);
    return rc;
}

int host_sock_close(struct host *h, struct bw_sock *handle)
{
    return close_call(h, handle, 0);
}

int host_sock_abort(struct host *h, struct bw_sock *handle)
{
    return close_call(h, handle, 1);
}

int host_setopt(struct host *h, struct bw_sock *handle, int opt, int64_t value)
{
    SOCKET_CALL(h, handle, bw_setopt(s, opt, value));
}

int host_getopt(struct host *h, struct bw_sock *handle, int opt, int64_t *value)
{
    SOCKET_LOOK(h, handle, bw_getopt(s, opt, value));
}

int host_peername(struct host *h, struct bw_sock *handle, struct bw_addr *addr)
{
    SOCKET_LOOK(h, handle, bw_peername(s, addr));
}

int host_sockname(struct host *h, struct bw_sock *handle, struct bw_addr *addr)
{
    SOCKET_LOOK(h, handle, (bw_sockname(s, addr), 0));
}

int host_fastopen_key(struct host *h, struct bw_sock *handle, const uint8_t *set, int n, uint8_t *get)
{
    SOCKET_CALL(h, handle, bw_fastopen_key(s, set, n, get));
}

int host_take_error(struct host *h, struct bw_sock *handle)
{
    SOCKET_CALL(h, handle, bw_take_error(s));
}

int host_readiness(struct host *h, struct bw_sock *handle)
{
    SOCKET_LOOK(h, handle, (int)(bw_readiness(s) & BW_POLL_EVENTS));
}

int host_snapshot(struct host *h, struct bw_sock *handle, struct bw_tcp_snapshot *out)
{
    SOCKET_LOOK(h, handle, bw_snapshot(s, out));
}

int host_tcp_info(struct host *h, struct bw_sock *handle, struct bw_tcp_info *out)
{
    SOCKET_LOOK(h, handle, bw_tcp_info(s, out));
}

int64_t host_queued_bytes(struct host *h, struct bw_sock *handle, int which)
{
    struct bw_sock *s;
    int rc = enter(h, handle, &s);
    if (rc)
        return rc;
    int64_t n = bw_queued_bytes(s, which);
    host_unlock(h);
    return n;
}

/* ---- data -------------------------------------------------------------------------------------- */
enum transfer_op {
    OP_SEND,
    OP_RECV,
    OP_SENDTO,
    OP_RECVFROM,
    OP_SEND_BATCH,
    OP_RECV_BATCH,
    OP_SENDMSG,
    OP_RECVMSG
};
struct transfer {
    enum transfer_op op;
    int flags;
    const void *src;
    void *dst;
    size_t len;
    const struct bw_addr *to;
    struct bw_addr *from;
    const struct bw_msg *out;
    struct bw_msg *in;
    const struct bw_batch *batch;
    uint32_t first, last; /* slots of it */
    int begun;            /* earlier ones have moved: an error waits for the next call */
};

static int64_t attempt(struct bw_sock *s, const struct transfer *t)
{
    uint32_t last = t->last - t->first > BATCH_BURST ? t->first + BATCH_BURST : t->last;
    if (t->begun && (bw_readiness(s) & BW_ERR))
        return 0;
    switch (t->op) {
    case OP_SEND: return bw_send(s, t->src, t->len, t->flags);
    case OP_RECV: return bw_recv(s, t->dst, t->len, t->flags);
    case OP_SENDTO: return bw_sendto(s, t->src, t->len, t->flags, t->to);
    case OP_RECVFROM: return bw_recvfrom(s, t->dst, t->len, t->flags, t->from);
    case OP_SEND_BATCH: return bw_send_batch(s, t->batch, t->first, last);
    case OP_RECV_BATCH: return bw_recv_batch(s, t->batch, t->first, last);
    case OP_SENDMSG: return bw_sendmsg(s, t->out);
    case OP_RECVMSG: return bw_recvmsg(s, t->in);
    }
    return -EINVAL;
}

static int sends(const struct transfer *t)
{
    return t->op == OP_SEND || t->op == OP_SENDTO || t->op == OP_SEND_BATCH || t->op == OP_SENDMSG;
}

/* Those that wait for the lock; now and then also those that wait for the core. Locked at entry and exit. */
static void let_others_run(struct host *h, struct spin *s)
{
    if (h->now < s->yield_at) {
        host_yield(h);
        return;
    }
    h->stats.spin_yields++;
    host_unlock(h);
    int64_t crowded = spin_yield(s);
    host_lock(h);
    if (crowded)
        h->crowded = crowded;
}

/* Locked at entry and exit, yielded between bursts; the socket may be closed meanwhile. */
static int64_t spin(struct host *h, const struct bw_sock *handle, const struct transfer *t, int64_t spin_ns)
{
    struct spin s = spin_begin(h->now, spin_ns, h->crowded);
    uint32_t ready = sends(t) ? BW_OUT | BW_ERR | BW_HUP : BW_POLL_EVENTS;
    int64_t answer = -EAGAIN;
    role_returns(h);
    if (!role_claim(h, ROLE_CALL, NULL))
        return -EAGAIN;
    h->stats.driver_spins++;
    while (answer == -EAGAIN && h->now < s.end) {
        publish(h);
        let_others_run(h, &s);
        struct record *r = h->closed ? NULL : record_find(h, handle);
        if (!r) {
            answer = -EBADF;
            break;
        }
        host_tick(h);
        burst(h, 0);
        if (bw_readiness(r->sock) & ready)
            answer = attempt(r->sock, t);
    }
    spin_ended(h, &s, answer != -EAGAIN);
    if (h->role == ROLE_CALL && !h->draining)
        role_release(h);
    return answer;
}

/* A batch by bursts, driving and yielding between them: until it is done, or one moves nothing. Locked at
 * entry and exit; the socket may be closed meanwhile. */
static int64_t by_bursts(struct host *h, const struct bw_sock *handle, struct transfer t)
{
    const uint32_t from = t.first;
    for (;;) {
        const struct record *r = h->closed ? NULL : record_find(h, handle);
        int64_t n = r ? attempt(r->sock, &t) : -EBADF;
        if (n <= 0)
            return t.first > from ? t.first - from : n;
        t.first += (uint32_t)n;
        if (t.first == t.last)
            return t.first - from;
        t.begun = 1;
        if (h->virtual_time)
            continue;
        host_tick(h);
        call_burst(h);
        publish(h);
        host_yield(h);
    }
}

static int64_t transfer(struct host *h, struct bw_sock *handle, const struct transfer *t, int64_t spin_ns)
{
    struct bw_sock *s;
    int rc = enter(h, handle, &s);
    if (rc)
        return rc;
    int64_t answer = t->batch ? by_bursts(h, handle, *t) : attempt(s, t);
    if (!h->virtual_time && !h->closed && (answer == -EAGAIN || sends(t))) {
        if (answer > 0)
            flush(h, 0); /* the peer is at work on it while we look what came */
        call_burst(h);
    }
    if (answer == -EAGAIN && !h->virtual_time)
        answer = attempt(s, t);
    if (answer == -EAGAIN && spin_ns > 0)
        answer = spin(h, handle, t, spin_ns);
    if (h->closed)
        host_unlock(h);
    else
        done_with(h, handle, answer);
    return answer;
}

int64_t host_send(struct host *h, struct bw_sock *s, const void *buf, size_t len, int flags, int64_t spin_ns)
{
    struct transfer t = {.op = OP_SEND, .flags = flags, .src = buf, .len = len};
    return transfer(h, s, &t, spin_ns);
}

int64_t host_recv(struct host *h, struct bw_sock *s, void *buf, size_t len, int flags, int64_t spin_ns)
{
    struct transfer t = {.op = OP_RECV, .flags = flags, .dst = buf, .len = len};
    return transfer(h, s, &t, spin_ns);
}

int64_t host_sendto(struct host *h, struct bw_sock *s, const void *buf, size_t len, int flags,
                    const struct bw_addr *to, int64_t spin_ns)
{
    struct transfer t = {.op = OP_SENDTO, .flags = flags, .src = buf, .len = len, .to = to};
    return transfer(h, s, &t, spin_ns);
}

int64_t host_recvfrom(struct host *h, struct bw_sock *s, void *buf, size_t len, int flags,
                      struct bw_addr *from, int64_t spin_ns)
{
    struct transfer t = {.op = OP_RECVFROM, .flags = flags, .dst = buf, .len = len, .from = from};
    return transfer(h, s, &t, spin_ns);
}

int64_t host_sendmsg(struct host *h, struct bw_sock *s, const struct bw_msg *m, int64_t spin_ns)
{
    struct transfer t = {.op = OP_SENDMSG, .out = m};
    return transfer(h, s, &t, spin_ns);
}

int64_t host_recvmsg(struct host *h, struct bw_sock *s, struct bw_msg *m, int64_t spin_ns)
{
    struct transfer t = {.op = OP_RECVMSG, .in = m};
    return transfer(h, s, &t, spin_ns);
}

const struct host_direct *host_direct_calls(void)
{
    static const struct host_direct calls = {
        .send = host_send, .recv = host_recv, .sendmsg = host_sendmsg, .recvmsg = host_recvmsg};
    return &calls;
}

int64_t host_send_batch(struct host *h, struct bw_sock *s, const struct bw_batch *b, uint32_t first,
                        uint32_t last, int begun, int64_t spin_ns)
{
    struct transfer t = {.op = OP_SEND_BATCH, .batch = b, .first = first, .last = last, .begun = begun};
    return transfer(h, s, &t, spin_ns);
}

int64_t host_recv_batch(struct host *h, struct bw_sock *s, const struct bw_batch *b, uint32_t first,
                        uint32_t last, int begun, int64_t spin_ns)
{
    struct transfer t = {.op = OP_RECV_BATCH, .batch = b, .first = first, .last = last, .begun = begun};
    return transfer(h, s, &t, spin_ns);
}
