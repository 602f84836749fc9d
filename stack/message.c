/* SPDX-License-Identifier: MIT */
/* Messages in pieces with control bytes (sendmsg(2), recvmsg(2), cmsg(3)). */
#include "message.h"
#include "stack.h"

static uint32_t cmsg_align(uint64_t n)
{
    return (uint32_t)((n + 7) & ~7ull);
}

int cmsg_next(const struct bw_msg *m, uint32_t *at, struct cmsg *head, const uint8_t **data)
{
    if (*at >= m->control_len || m->control_len - *at < sizeof *head)
        return 0;
    memcpy(head, m->control + *at, sizeof *head);
    if (head->len < sizeof *head || head->len > m->control_len - *at)
        return -EINVAL;
    *data = m->control + *at + sizeof *head;
    *at += cmsg_align(head->len);
    return 1;
}

int cmsg_of_socket(const struct cmsg *head)
{
    return head->type == CMSG_RIGHTS || head->type == CMSG_CREDENTIALS ? 0 : -EINVAL;
}

void cmsg_put(struct bw_msg *m, int level, int type, const void *data, uint32_t n)
{
    uint32_t room = m->control_len - m->control_used, space;
    struct cmsg head = {.len = sizeof head + n, .level = level, .type = type};
    if (room < sizeof head) {
        m->told |= BW_MSG_CTRUNC;
        return;
    }
    if (room < head.len) {
        m->told |= BW_MSG_CTRUNC;
        head.len = room;
    }
    uint8_t *at = m->control + m->control_used;
    memcpy(at, &head, sizeof head);
    memcpy(at + sizeof head, data, head.len - sizeof head);
    space = cmsg_align(sizeof head + n);
    m->control_used += space < room ? space : room;
}

/* A kind without control bytes of its own: those of LEVEL_SOCKET are looked at, others are nobody's. */
static int check_control(const struct bw_msg *m)
{
    struct cmsg head;
    const uint8_t *data;
    uint32_t at = 0;
    int there;
    while ((there = cmsg_next(m, &at, &head, &data)) > 0)
        if (head.level == LEVEL_SOCKET && cmsg_of_socket(&head))
            return -EINVAL;
    return there;
}

int64_t msg_send(struct bw_sock *s, const void *buf, size_t len, const struct bw_msg *m)
{
    const struct sock_ops *ops = sock_ops_of(s);
    if (unlikely(m->control_len)) {
        if (ops->sendmsg)
            return ops->sendmsg(s, buf, len, m);
        int err = check_control(m);
        if (err)
            return err;
    }
    return ops->send(s, buf, len, m->flags, m->named ? &m->name : NULL);
}

int64_t msg_send_pieces(struct bw_sock *s, const struct bw_msg *m)
{
    uint8_t *whole = s->st->gathered; /* not on a thread's stack, which may have no more itself */
    size_t len = 0;
    for (uint32_t i = 0; i < m->pieces && len < GATHERED; i++) {
        size_t n = m->iov[i].len < GATHERED - len ? m->iov[i].len : GATHERED - len;
        if (n)
            memcpy(whole + len, m->iov[i].base, n);
        len += n;
    }
    return msg_send(s, whole, len, m);
}

int64_t msg_recv_stream(struct bw_sock *s, struct bw_msg *m)
{
    int64_t got = sock_ops_of(s)->recv(s, m->iov->base, m->iov->len, m->flags, NULL);
    if (got > 0 && m->flags & BW_MSG_OOB)
        m->told |= BW_MSG_OOB;
    return got;
}
