/* SPDX-License-Identifier: MIT */
/* The user's calls (RFC 9293 3.10.1 to 3.10.6), with Linux's errors. */
#include "../tcp.h"

static int take_error(struct bw_sock *s)
{
    int err = s->so_error;
    s->so_error = 0;
    return -err;
}

/* ---- OPEN -------------------------------------------------------------------------------------------- */

/* A closed socket is as it was before it was ever connected; options and a bound name stay. */
static void renew(struct tcb *t)
{
    struct bw_sock *s = &t->base;
    byteq_free(&t->rcvq, &s->st->chunks);
    tcp_renew(t);
    t->fast_open &= FASTOPEN_OPTIONS;
    s->soft_error = 0;
    s->flags &= ~(uint32_t)(SOCK_SHUT_RD | SOCK_SHUT_WR);
    if (!(s->flags & SOCK_RCVBUF_LOCK))
        s->rcvbuf = s->st->cfg.rcvbuf.standard;
    s->path = (struct ip_path){0};
    memset(s->raddr, 0, 16);
    s->rport = 0;
}

/* Source address and port for the peer in s->raddr, s->rport. */
static int choose_name(struct bw_sock *s)
{
    struct bw_stack *st = s->st;
    int err = ip_path_find(st, s->raddr, sock_interface(s), &s->path);
    if (err)
        return err;
    if (ip_is_any(s->laddr))
        memcpy(s->laddr, s->path.source, 16);
    if (!(s->flags & SOCK_BOUND))
        return port_choose(st, s) ? 0 : -EADDRNOTAVAIL;
    return 0;
}

/* The initial sequence number; a TIME-WAIT of the same name gives way, and is exceeded. */
static int choose_isn(struct tcb *t)
{
    struct bw_sock *s = &t->base,
                   *old = flow_find(s->st, KIND_TCP, s->laddr, s->lport, s->raddr, s->rport, s->zone);
    t->iss = tcp_make_isn(t);
    if (old) {
        if (!tcp_name_reusable(old))
            return -EADDRNOTAVAIL;
        t->iss = seq_max(t->iss, tcp_time_wait_yield(old) + 65537);
    }
    t->snd_una = t->snd_nxt = t->snd_sml = t->recover = t->rack_fack = t->iss;
    return 0;
}

/* `fast`: with Fast Open. 0: connected in name, the SYN goes with the first data. */
static int connect_closed(struct tcb *t, const struct bw_addr *addr, int fast)
{
    struct bw_sock *s = &t->base;
    if (!(s->flags & SOCK_ADDR_BOUND))
        memset(s->laddr, 0, 16);
    renew(t);
    s->so_error = 0; /* of an attempt that shutdown() ended */
    memcpy(s->raddr, addr->ip, 16);
    s->zone = ip_zone(addr->ip, addr->zone);
    if (ip_is_any(s->raddr)) { /* Linux: this host */
        static const uint8_t local[4] = {127, 0, 0, 1};
        ip_from_v4(s->raddr, local);
    }
    if (ip_is_broadcast(s->st, s->raddr))
        return -ENETUNREACH;
    if (addr->port == 0)
        return -ECONNREFUSED;
    s->rport = addr->port;
    t->rcv_wscale = tcp_window_scale(t); /* what the SYN offers */
    int err = choose_name(s);
    if (!err)
        err = choose_isn(t);
    if (err) {
        renew(t);
        return err;
    }
    tcp_update_mss(t);
    flow_add(s);
    tcp_set_state(t, BW_TCP_SYN_SENT);
    count(s->st, COUNT_TCP_ACTIVE_OPENS);
    t->ss = SS_CONNECTING;
    if (fast && tfo_begin(t))
        return 0;
    tcp_want_output(t);
    return -EINPROGRESS;
}

/* Why it failed: a shutdown while it went on says ECONNRESET. */
static int connect_ended(struct tcb *t)
{
    int err = take_error(&t->base);
    return err ? err : -ECONNABORTED;
}

/* How the connect that was begun goes: 0 once, when it has succeeded, or its error, after which the socket
 * may connect anew. `deferred`: the answer while the SYN waits for the first data. */
static int connect_begun(struct tcb *t, int deferred)
{
    if (t->ss != SS_CONNECTING)
        return t->ss == SS_CONNECTED ? -EISCONN : -EINVAL;
    if (t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD)
        return t->fast_open & FASTOPEN_DEFERRED ? deferred : -EALREADY;
    if (t->state != BW_TCP_CLOSED) {
        t->ss = SS_CONNECTED;
        return 0;
    }
    int err = connect_ended(t);
    renew(t);
    return err;
}

int tcp_connect(struct bw_sock *s, const struct bw_addr *addr)
{
    struct tcb *t = tcb_of(s);
    if (s->kind == KIND_LISTENER)
        return -EISCONN;
    if (t->ss != SS_UNCONNECTED)
        return connect_begun(t, -EISCONN);
    return addr ? connect_closed(t, addr, t->fast_open & FASTOPEN_CONNECT) : connect_ended(t);
}

int tcp_listen(struct bw_sock *s, int backlog)
{
    struct listener *l = listener_of(s);
    uint32_t most = backlog < 0 ? 4096 : backlog > 65535 ? 65535 : (uint32_t)backlog;
    if (s->kind == KIND_LISTENER) {
        l->backlog = most;
        return 0;
    }
    if (l->tmpl.state != BW_TCP_CLOSED || l->tmpl.ss != SS_UNCONNECTED)
        return -EINVAL;
    if (!(s->flags & SOCK_BOUND)) {
        int err = bind_add(s, 0);
        if (err)
            return err;
    }
    for (struct bw_sock *o = bind_each(s->st, KIND_TCP, s->lport, NULL); o;
         o = bind_each(s->st, KIND_TCP, s->lport, o))
        if (o != s && bind_waits(o, KIND_LISTENER) && !(s->reuseport && o->reuseport) &&
            (ip_is_any(o->laddr) || ip_is_any(s->laddr) || ip_equal(o->laddr, s->laddr)))
            return -EADDRINUSE;
    l->half_open = l->accept_head = NULL;
    l->accept_tail = &l->accept_head;
    l->half_open_len = l->accept_len = 0;
    l->backlog = most;
    s->so_error = 0;
    tcp_set_state(&l->tmpl, BW_TCP_LISTEN);
    s->kind = KIND_LISTENER;
    bind_again(s);
    return 0;
}

int tcp_accept(struct bw_sock *s, struct bw_sock **out, struct bw_addr *peer)
{
    struct listener *l = listener_of(s);
    if (s->kind != KIND_LISTENER)
        return -EINVAL;
    struct tcb *child = l->accept_head;
    if (!child)
        return -EAGAIN;
    tcp_child_leaves(child);
    child->base.flags |= SOCK_OPEN;
    child->ss = SS_CONNECTED;
    *out = &child->base;
    *peer = (struct bw_addr){.port = child->base.rport};
    memcpy(peer->ip, child->base.raddr, 16);
    return 0;
}

/* ---- SEND, RECEIVE ------------------------------------------------------------------------------------- */

int64_t tcp_send(struct bw_sock *s, const void *buf, size_t len, int flags)
{
    struct tcb *t = tcb_of(s);
    if (s->so_error)
        return flags & BW_MSG_BEGUN ? 0 : take_error(s);
    int deferred = t->fast_open & FASTOPEN_DEFERRED, early = deferred || tcp_is_early(t);
    if ((t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD) && !early)
        return (s->flags & SOCK_SHUT_WR) ? -EPIPE : -EAGAIN;
    if ((s->flags & SOCK_SHUT_WR) ||
        (t->state != BW_TCP_ESTABLISHED && t->state != BW_TCP_CLOSE_WAIT && !early))
        return -EPIPE;
    if (deferred) {
        if (!(flags & BW_MSG_FASTOPEN))
            return -BW_EARLY;
        t->fast_open &= (uint8_t)~FASTOPEN_DEFERRED;
        tcp_want_output(t);
    }
    if (len == 0)
        return deferred ? -EINPROGRESS : 0;
    rate_check_app_limited(t);
    uint32_t room = tcp_send_room(t), n = len < room ? (uint32_t)len : room;
    n = byteq_append(&t->sndq, &s->st->chunks, buf, n);
    if (n == 0)
        return room ? -ENOBUFS : -EAGAIN;
    t->more_coming = (flags & BW_MSG_MORE) != 0 && n == len;
    if (unlikely(flags & BW_MSG_OOB))
        tcp_mark_urgent(t);
    tcp_want_output(t);
    return n;
}

/* MSG_FASTOPEN, tcp(7): connects with the data. -EINPROGRESS: without it, for there was none, or no cookie. */
int64_t tcp_sendto(struct bw_sock *s, const void *buf, size_t len, int flags, const struct bw_addr *to)
{
    struct tcb *t = tcb_of(s);
    if (!(flags & BW_MSG_FASTOPEN) || !to)
        return tcp_send(s, buf, len, flags);
    if (!(s->st->cfg.fast_open & BW_FASTOPEN_CLIENT))
        return -EOPNOTSUPP;
    if (s->kind == KIND_LISTENER)
        return -EISCONN;
    int err = t->ss == SS_UNCONNECTED ? connect_closed(t, to, 1) : connect_begun(t, 0);
    return err ? err : tcp_send(s, buf, len, flags);
}

/* Tell the peer of new room when it at least doubles what he knows of. */
static void window_update(struct tcb *t)
{
    if (t->state != BW_TCP_ESTABLISHED && t->state != BW_TCP_FIN_WAIT_1 && t->state != BW_TCP_FIN_WAIT_2)
        return;
    uint32_t known = seq_gt(t->rcv_adv, t->rcv_nxt) && !t->rcv_no_memory ? t->rcv_adv - t->rcv_nxt : 0;
    if (2 * (uint64_t)known > t->base.rcvbuf)
        return;
    uint32_t fresh = tcp_receive_window(t);
    if (fresh > known && fresh >= 2 * known)
        tcp_send_ack(t);
}

/* What a read says when there is no data: 0 at the end, or an error. */
static int64_t no_data(struct tcb *t, int flags)
{
    struct bw_sock *s = &t->base;
    if (t->fin_received) /* before an error: a reset after the FIN takes nothing from the reader (Linux) */
        return 0;
    if (s->so_error)
        return flags & BW_MSG_BEGUN ? 0 : take_error(s);
    if (s->kind == KIND_LISTENER)
        return -ENOTCONN;
    if (s->flags & SOCK_SHUT_RD)
        return 0;
    if (t->state == BW_TCP_CLOSED)
        return t->ss ? 0 : -ENOTCONN;
    tcp_reader_waits(t);
    return -EAGAIN;
}

/* Is there all that a read with BW_MSG_WAITALL can have? A read ends at a mark; a stream, or it fails. */
static int read_is_whole(const struct tcb *t)
{
    uint32_t n = t->rcvq.len, skip = 0;
    if (t->fin_received || t->base.so_error || (t->base.flags & SOCK_SHUT_RD) || t->state == BW_TCP_CLOSED)
        return 1;
    if (unlikely(t->urg_data))
        n = tcp_up_to_mark(t, n, &skip);
    return n >= t->peek_least || n + skip < t->rcvq.len;
}

int64_t tcp_recv(struct bw_sock *s, void *buf, size_t len, int flags)
{
    struct tcb *t = tcb_of(s);
    uint32_t n = len < t->rcvq.len ? (uint32_t)len : t->rcvq.len, skip = 0;
    if (s->kind != KIND_LISTENER && unlikely(flags & BW_MSG_OOB))
        return tcp_recv_urgent(t, buf, len, flags);
    if (s->kind == KIND_LISTENER)
        return no_data(t, flags);
    if (unlikely(flags & BW_MSG_WAITALL)) {
        t->peek_least = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
        if (!read_is_whole(t))
            return -EAGAIN;
    }
    if (t->rcvq.len == 0)
        return no_data(t, flags);
    if (unlikely(t->urg_data))
        n = tcp_up_to_mark(t, n, &skip);
    if (!(flags & BW_MSG_TRUNC)) /* with it TCP throws the bytes away, tcp(7) */
        byteq_copy(&t->rcvq, &s->st->chunks, skip, buf, n);
    if (!(flags & BW_MSG_PEEK)) {
        byteq_drop(&t->rcvq, &s->st->chunks, n + skip);
        if (unlikely(t->urg_data))
            tcp_pass_mark(t);
        tcp_tuning_read(t, n);
        window_update(t);
    }
    return n || !len ? n : no_data(t, flags);
}

/* ---- CLOSE, ABORT --------------------------------------------------------------------------------------- */

static void queue_fin(struct tcb *t)
{
    if (t->fin_queued)
        return;
    t->fin_queued = 1;
    t->more_coming = t->cork = 0;
    if (t->state == BW_TCP_ESTABLISHED)
        tcp_set_state(t, BW_TCP_FIN_WAIT_1);
    else if (t->state == BW_TCP_CLOSE_WAIT)
        tcp_set_state(t, BW_TCP_LAST_ACK);
    tcp_want_output(t);
}

static void stop_listening(struct listener *l)
{
    tcp_listener_close(l);
    tcp_set_state(&l->tmpl, BW_TCP_CLOSED);
    l->tmpl.base.kind = KIND_TCP;
    bind_again(&l->tmpl.base);
}

int tcp_shutdown(struct bw_sock *s, int how)
{
    struct tcb *t = tcb_of(s);
    if (how < 0 || how > 2)
        return -EINVAL;
    if (s->kind == KIND_LISTENER) {
        if (how != 1)
            stop_listening(listener_of(s));
        return 0;
    }
    if (t->state == BW_TCP_SYN_SENT) { /* as on Linux: the attempt ends, the socket may connect again */
        tcp_drop(t, ECONNRESET);
        t->ss = SS_UNCONNECTED;
        return 0;
    }
    if (t->ss == SS_CONNECTING)
        t->ss = t->state == BW_TCP_SYN_RCVD || t->state == BW_TCP_CLOSED ? SS_DISCONNECTING : SS_CONNECTED;
    if (how != 1)
        s->flags |= SOCK_SHUT_RD;
    if (how != 0)
        s->flags |= SOCK_SHUT_WR;
    sock_changed(s);
    if (tcp_is_over(t)) /* and yet it is shut (Linux) */
        return -ENOTCONN;
    if (how != 0)
        queue_fin(t);
    return 0;
}

void tcp_close(struct bw_sock *s)
{
    struct tcb *t = tcb_of(s);
    s->flags &= ~(uint32_t)SOCK_OPEN;
    if (s->kind == KIND_LISTENER)
        stop_listening(listener_of(s));
    if (t->state == BW_TCP_CLOSED) {
        tcp_release(t);
        return;
    }
    int ends = t->state == BW_TCP_SYN_SENT || s->linger == 0 || t->rcvq.len > 0; /* RFC 2525 section 2.17 */
    if (ends && t->state != BW_TCP_TIME_WAIT) { /* which outlasts its socket, whatever that says */
        tcp_abort_rst(t);
        tcp_drop(t, 0);
        return;
    }
    byteq_free(&t->rcvq, &s->st->chunks);
    tcp_ooo_forget(t);
    queue_fin(t);
    tcp_timer_cancel(t, TIMER_KEEP);
    if (t->state == BW_TCP_FIN_WAIT_2)
        tcp_timer_set(t, TIMER_STATE, s->st->now + (t->linger2 > 0 ? t->linger2 * SECOND : TCP_MSL_2));
    tcp_orphan(t);
}

void tcp_abort(struct bw_sock *s)
{
    s->linger = 0;
    tcp_close(s);
}

/* ---- STATUS --------------------------------------------------------------------------------------------- */

uint32_t tcp_readiness(struct bw_sock *s)
{
    const struct tcb *t = tcb_of(s);
    if (s->kind == KIND_LISTENER)
        return BW_DRAINED | BW_WHOLE | (listener_of(s)->accept_len ? BW_IN : 0);
    uint32_t ready = (s->so_error ? BW_ERR : 0) | (t->fin_queued && tcp_draining(t) ? 0 : BW_DRAINED);
    if (unlikely(t->peek_least) && read_is_whole(t))
        ready |= BW_WHOLE;
    int rcv_done = t->fin_received || (s->flags & SOCK_SHUT_RD), snd_done = (s->flags & SOCK_SHUT_WR) != 0;
    if (unlikely(t->urg_data & URG_VALID)) /* a reset takes it from nobody */
        ready |= BW_PRI;
    if (t->state == BW_TCP_CLOSED)
        return ready | BW_OUT | BW_HUP | (t->ss || (s->flags & SOCK_SHUT_RD) ? BW_IN | BW_RDHUP : 0);
    if (rcv_done && snd_done)
        ready |= BW_HUP;
    if (rcv_done)
        ready |= BW_IN | BW_RDHUP;
    if (t->fast_open & FASTOPEN_DEFERRED)
        return ready | BW_OUT;
    if ((t->state == BW_TCP_SYN_SENT || t->state == BW_TCP_SYN_RCVD) && !tcp_is_early(t))
        return ready;
    if (t->rcvq.len && (likely(!t->urg_data) || tcp_readable(t)))
        ready |= BW_IN;
    uint32_t room = tcp_send_room(t);
    if (snd_done || (room && (room >= t->sndq.len / 2 || room >= CHUNK_SIZE)))
        ready |= BW_OUT;
    return ready;
}

int64_t tcp_queued_bytes(struct bw_sock *s, int which)
{
    if (s->kind == KIND_LISTENER)
        return -EINVAL;
    return which == 0 ? tcp_inq(tcb_of(s)) : tcb_of(s)->sndq.len;
}

void tcp_snapshot(struct bw_sock *s, struct bw_tcp_snapshot *out)
{
    const struct tcb *t = tcb_of(s);
    *out = (struct bw_tcp_snapshot){
        .state = t->state,
        .iss = t->iss,
        .irs = t->irs,
        .snd_una = t->snd_una,
        .snd_nxt = t->snd_nxt,
        .snd_wnd = t->snd_wnd,
        .rcv_nxt = t->rcv_nxt,
        .cwnd = t->cwnd,
        .ssthresh = t->ssthresh,
        .mss = t->mss,
        .rcv_wnd = seq_gt(t->rcv_adv, t->rcv_nxt) ? t->rcv_adv - t->rcv_nxt : 0,
        .snd_queued = t->sndq.len,
        .rcv_queued = t->rcvq.len,
        .retransmits = t->retransmits,
        .flags = t->recovering,
        .sndbuf = tcp_send_bound(t),
        .rcvbuf = t->base.rcvbuf,
        .snd_wscale = t->snd_wscale,
        .rcv_wscale = t->rcv_wscale,
        .timestamps = t->use_ts,
        .sack = t->use_sack,
        .ecn = t->ecn.mode,
        .dctcp_alpha = dctcp_alpha(t),
        .srtt = t->srtt,
        .rttvar = t->rttvar,
        .rto = t->rto,
    };
}
