/* SPDX-License-Identifier: MIT */
/* Many datagrams in one call, as sendmmsg(2) and recvmmsg(2) move them: in order, as far as it goes. An
 * error ends the call; it is the answer only where nothing was moved before it. */
#include "udp.h"

const struct bw_addr *udp_batch_target(const struct bw_batch *b, uint32_t i)
{
    static const struct bw_addr peer;
    const struct bw_addr *to = &b->addrs[i];
    return memcmp(to, &peer, sizeof peer) == 0 ? NULL : to;
}

/* 1, -errno. */
static int64_t send_slot(struct bw_sock *s, const struct bw_batch *b, uint32_t i)
{
    uint32_t len = __atomic_load_n(&b->lengths[i], __ATOMIC_RELAXED); /* another thread may write it */
    if (len > b->size)
        return -EMSGSIZE;
    int64_t n = udp_send(s, b->data + (size_t)i * b->size, len, 0, udp_batch_target(b, i));
    return n < 0 ? n : 1;
}

int64_t udp_send_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    uint32_t i = first;
    while (i < last && (i == first || !s->so_error)) {
        int64_t n = udp_send_run(udp_of(s), b, i, last);
        if (!n)
            n = send_slot(s, b, i);
        if (n < 0)
            return i > first ? i - first : n;
        i += (uint32_t)n;
    }
    return i - first;
}

int64_t udp_recv_batch(struct bw_sock *s, const struct bw_batch *b, uint32_t first, uint32_t last)
{
    const struct udp_sock *u = container_of(s, const struct udp_sock, base);
    uint32_t i = first;
    for (; i < last && u->rcvq.len && !s->so_error; i++)
        b->lengths[i] = (uint32_t)udp_recv(s, b->data + (size_t)i * b->size, b->size, BW_MSG_TRUNC,
                                           &b->addrs[i]);
    if (i > first || first == last)
        return i - first;
    return udp_recv(s, NULL, 0, 0, NULL); /* why there is none: an error, the end, or nothing yet */
}
