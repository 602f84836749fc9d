/* SPDX-License-Identifier: MIT */
/* What TCP's sockets, listeners among them, do for the calls of every kind. */
#include "../ecn/ecn.h"
#include "../tcp.h"

static void init(struct bw_sock *s)
{
    tcp_init(tcb_of(s));
}

static void discard(struct bw_sock *s)
{
    s->flags &= ~(uint32_t)SOCK_OPEN;
    if (s->kind == KIND_LISTENER)
        tcp_close(s);
    else
        tcp_drop(tcb_of(s), 0);
}

static int has_peer(const struct bw_sock *s)
{
    const struct tcb *t = container_of(s, const struct tcb, base);
    return s->kind == KIND_TIME_WAIT || (t->state != BW_TCP_SYN_SENT && !tcp_is_over(t));
}

/* A stream has one peer, so *from has nothing to say. */
static int64_t receive(struct bw_sock *s, void *buf, size_t len, int flags, struct bw_addr *from)
{
    (void)from;
    return tcp_recv(s, buf, len, flags);
}

static int await(struct bw_sock *s, uint32_t events)
{
    return s->kind == KIND_TCP && (events & BW_IN) && tcp_reader_waits(tcb_of(s));
}

static uint32_t send_bound(const struct bw_sock *s)
{
    return tcp_send_bound(container_of(s, const struct tcb, base));
}

static int snapshot(struct bw_sock *s, struct bw_tcp_snapshot *out)
{
    tcp_snapshot(s, out);
    return 0;
}

const struct sock_ops tcp_ops = {
    .tos_mask = (uint8_t)~ECN_MASK,
    .flows_hold_port = 1,
    .init = init,
    .close = tcp_close,
    .discard = discard,
    .listen = tcp_listen,
    .accept = tcp_accept,
    .connect = tcp_connect,
    .has_peer = has_peer,
    .send = tcp_sendto,
    .recv = receive,
    .shutdown = tcp_shutdown,
    .readiness = tcp_readiness,
    .await = await,
    .queued_bytes = tcp_queued_bytes,
    .snapshot = snapshot,
    .set_buffer = tcp_set_buffer,
    .send_bound = send_bound,
    .setopt = tcp_setopt,
    .getopt = tcp_getopt,
};
