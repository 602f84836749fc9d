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
    if (s->kind == KIND_UDP)
        out->state = s->flags & SOCK_CONNECTED ? BW_TCP_ESTABLISHED : BW_TCP_CLOSED; /* so listings call it */
    else
        out->state = tcb_of(s)->state;
    if (s->kind == KIND_LISTENER) {
        out->rcv_queued = listener_of(s)->accept_len;
        out->snd_queued = listener_of(s)->backlog;
        return;
    }
    out->rcv_queued = (uint32_t)bw_queued_bytes(s, 0);
    out->snd_queued = (uint32_t)bw_queued_bytes(s, 1);
}

int bw_list(struct bw_stack *st, uint32_t *from, struct bw_sock_info *out, int max)
{
    uint32_t id = *from, end = st->slab_touched;
    int n = 0;
    if (id < end && end - id > BW_LIST_WALK)
        end = id + BW_LIST_WALK;
    for (; id < end && n < max; id++)
        if (sock_at(st, id)->kind != KIND_FREE)
            describe(sock_at(st, id), &out[n++]);
    *from = id < st->slab_touched ? id : BW_LIST_END;
    return n;
}
