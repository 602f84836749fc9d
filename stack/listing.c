/* SPDX-License-Identifier: MIT */
/* The sockets of a stack, as people list them: read from the slab, a bounded piece of it a call. */
#include "stack.h"
#include "tcp/tcp.h"

static void describe(struct bw_sock *s, struct bw_sock_info *out)
{
    *out = (struct bw_sock_info){.type = s->kind == KIND_UDP ? BW_SOCK_UDP : BW_SOCK_TCP,
                                 .open = (s->flags & SOCK_OPEN) != 0,
                                 .ifindex = s->bound_if};
    bw_sockname(s, &out->local);
    bw_peername(s, &out->remote);
    if (s->kind == KIND_TIME_WAIT) {
        out->state = BW_TCP_TIME_WAIT;
        return;
    }
    if (s->kind == KIND_UDP)
        out->state = s->flags & SOCK_CONNECTED ? BW_TCP_ESTABLISHED : BW_TCP_CLOSED; /* so listings call it */
    else
        out->state = tcb_of(s)->state;
    if (s->kind == KIND_LISTENER) {
        out->rcv_queued = listener_of(s)->accept_len;
        out->snd_queued = listener_of(s)->backlog;
        return;
    }
    if (out->state == BW_TCP_TIME_WAIT) { /* its user has no peer any more, and yet its port waits for one */
        out->remote = (struct bw_addr){.zone = s->zone, .port = s->rport};
        memcpy(out->remote.ip, s->raddr, 16);
    }
    out->rcv_queued = (uint32_t)bw_queued_bytes(s, 0);
    out->snd_queued = (uint32_t)bw_queued_bytes(s, 1);
}

/* Of the slab, then of the records of TIME-WAIT. NULL: it is free. */
static struct bw_sock *listed(const struct bw_stack *st, uint32_t at)
{
    uint32_t max = st->cfg.max_socks;
    struct bw_sock *s = at < max ? sock_at(st, at) : (struct bw_sock *)&st->tcp->time_waits.record[at - max];
    return s->kind == KIND_FREE ? NULL : s;
}

int bw_list(struct bw_stack *st, uint32_t *from, struct bw_sock_info *out, int max)
{
    uint32_t id = *from, socks = st->cfg.max_socks, all = socks + st->tcp->time_waits.touched;
    if (id >= st->slab_touched && id < socks)
        id = socks;
    uint32_t end = id < socks ? st->slab_touched : all;
    int n = 0;
    if (id < end && end - id > BW_LIST_WALK)
        end = id + BW_LIST_WALK;
    for (; id < end && n < max; id++)
        if (listed(st, id))
            describe(listed(st, id), &out[n++]);
    *from = id < all ? id : BW_LIST_END;
    return n;
}
