/* SPDX-License-Identifier: MIT */
/* Errors that come from the network: what an ICMP message or a lost interface does to a connection. */
#include "../tcp.h"

enum { LEAST = 552 }; /* bytes: docs/rfc/1191.md */

/* RFC 1191 and RFC 5927: only about data in flight, only smaller, and never below LEAST: what is narrower still
 * has to fragment, which a path that is so narrow already may hear later. */
static int path_mtu_shrank(struct tcb *t, uint32_t mtu)
{
    struct ip_path *path = &t->base.path;
    const int fragments = mtu < LEAST;
    const uint32_t believed = fragments ? LEAST : mtu;
    if (mtu < 68 || mtu >= path->mtu)
        return 0;
    if (believed >= path->mtu && (!fragments || path->flags & PATH_FRAGMENTS))
        return 0;
    if (believed < path->mtu)
        path->mtu = believed;
    if (fragments)
        path->flags |= PATH_FRAGMENTS;
    tcp_update_mss(t);
    tcp_resend_all(t);
    tcp_want_output(t);
    return 1;
}

/* RFC 5461, RFC 1122 4.2.3.9: to a connection an error is a hint, and the quoted sequence number must be one
 * in flight (RFC 5927 section 4.1). As on Linux any error ends one that a program opens, at once; a child that
 * is still half open ends only where nobody is there (gone). With IP_RECVERR it is told at once, ip(7). */
int tcp_error(struct bw_stack *st, const struct packet *sent, int err, int gone, uint32_t mtu)
{
    struct bw_sock *s = flow_find(st, KIND_TCP, sent->src, th_sport(sent->l4), sent->dst, th_dport(sent->l4),
                                  sent->zone);
    if (!s) {
        drop(st, DROP_ICMP_NOT_OURS, sent->l4_len);
        return 0;
    }
    struct tcb *t = tcb_of(s);
    uint32_t seq = th_seq(sent->l4);
    int too_big = err == EMSGSIZE;
    if (s->kind == KIND_TIME_WAIT) {
        int heard = tcp_time_wait_error(time_wait_of(s), seq, too_big);
        if (!heard)
            drop(st, DROP_ICMP_WINDOW, sent->l4_len);
        return heard;
    }
    if (!seq_in(seq, t->snd_una, t->snd_nxt + (!too_big && t->snd_una == t->snd_nxt))) {
        drop(st, DROP_ICMP_WINDOW, sent->l4_len);
        return 0;
    }
    if (too_big) { /* all that we send says "don't fragment" */
        int news = ip_is_whole(sent) && path_mtu_shrank(t, mtu);
        if (!news)
            drop(st, DROP_ICMP_UNHEARD, sent->l4_len);
        return news;
    }
    int half_open = t->listener && !t->was_connected, given = tcp_is_early(t) && s->flags & SOCK_OPEN;
    if ((t->state != BW_TCP_SYN_SENT && t->state != BW_TCP_SYN_RCVD) || given) {
        if (s->recverr) {
            s->so_error = err;
            sock_changed(s);
        } else {
            s->soft_error = err;
        }
    } else if (!half_open || gone) {
        tcp_drop(t, err);
    } else {
        drop(st, DROP_ICMP_UNHEARD, sent->l4_len);
        return 0;
    }
    return 1;
}

void tcp_if_down(struct bw_stack *st, uint32_t ifindex, int err)
{
    uint32_t at = 0;
    for (struct bw_sock *s; (s = sock_next(st, &at, KIND_TCP));)
        if (tcb_of(s)->state != BW_TCP_CLOSED && s->path.ifindex == ifindex)
            tcp_drop(tcb_of(s), tcb_of(s)->listener ? 0 : err);
    tcp_time_wait_if_down(st, ifindex);
}
