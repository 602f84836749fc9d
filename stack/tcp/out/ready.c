/* SPDX-License-Identifier: MIT */
/* Connections that want to send, a list for each interface: one with room takes from its list's head, and each
 * connection has a turn of TCP_TURN_BYTES. In list 0 stand those whose path is to be looked up first. */
#include "../tcp.h"

void tcp_ready_init(struct tcp_globals *g)
{
    for (int i = 0; i <= MAX_IFACES; i++)
        g->ready[i].tail = &g->ready[i].head;
}

static void add(struct tcb *t, uint32_t ifindex)
{
    struct tcp_globals *g = t->base.st->tcp;
    struct ready_list *list = &g->ready[ifindex];
    t->on_ready = (uint8_t)(ifindex + 1);
    tailq_add(&list->tail, t, ready_next, ready_pprev);
    g->ready_len++;
}

void tcp_want_output(struct tcb *t)
{
    if (t->on_ready || t->state == BW_TCP_CLOSED || t->state == BW_TCP_LISTEN)
        return;
    add(t, ip_path_valid(t->base.st, &t->base.path) ? t->base.path.ifindex : 0);
}

void tcp_ready_remove(struct tcb *t)
{
    struct tcp_globals *g = t->base.st->tcp;
    if (!t->on_ready)
        return;
    struct ready_list *list = &g->ready[t->on_ready - 1];
    t->on_ready = 0;
    tailq_remove(&list->tail, t, ready_next, ready_pprev);
    g->ready_len--;
}

int tcp_wants_output(const struct bw_stack *st)
{
    return st->tcp->ready_len != 0;
}

void tcp_paths_changed(struct bw_stack *st)
{
    struct tcp_globals *g = st->tcp;
    for (uint32_t i = 1; i <= MAX_IFACES; i++)
        for (struct tcb *t; (t = g->ready[i].head);) {
            tcp_ready_remove(t);
            add(t, 0);
        }
}

/* To its interface's list. One without a path goes: its timers decide. */
static void find_place(struct tcb *t)
{
    tcp_ready_remove(t);
    if (tcp_path_ready(t))
        add(t, t->base.path.ifindex);
}

void tcp_fill(struct bw_stack *st, struct iface *out)
{
    struct tcp_globals *g = st->tcp;
    struct ready_list *list = &g->ready[out->index];
    while (unlikely(g->ready[0].head != NULL))
        find_place(g->ready[0].head);
    for (int moved = 1; moved && list->head;) {
        moved = 0;
        for (struct tcb *t = list->head, *next; t; t = next) {
            next = t->ready_next;
            if (tx_room(st, out) <= 0)
                return;
            if (unlikely(!ip_path_valid(st, &t->base.path))) {
                find_place(t);
                if (t->on_ready != out->index + 1)
                    continue;
            }
            uint32_t before = out->txq_len;
            tcp_ready_remove(t);
            if (!tcp_output(t, out))
                tcp_want_output(t);
            moved |= out->txq_len != before;
        }
    }
}
