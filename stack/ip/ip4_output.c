/* SPDX-License-Identifier: MIT */
/* IPv4 packets out: headers, datagrams, fragments (RFC 791 section 3.2). The bytes of a datagram are
 * copied once into chunks; fragments share them. Only packets that may be fragmented have an
 * identification: an atomic datagram needs none (RFC 6864). */
#include "../stack.h"

enum { IP_NOP = 1, IP_DF = 0x4000, IP_MF = 0x2000, IP_OFFSET = 0x1fff, PAYLOAD_PIECES = 6 };

/* The bytes behind the transport header, in chunks. */
struct payload {
    struct tx_piece piece[PAYLOAD_PIECES];
    uint32_t chunk[PAYLOAD_PIECES];
    uint32_t n;
};

/* A packet on its way: the IP header it starts with, the transport header, and its bytes. */
struct outgoing {
    struct iface *out;
    struct ip_path *path;
    const uint8_t *iph, *l4;
    uint32_t hlen, l4_len, n; /* n: bytes of data */
    uint16_t gso_size;
    struct payload data;
};

void ip4_checksum(uint8_t *p, uint32_t hlen)
{
    memset(p + 10, 0, 2);
    uint16_t sum = ip4_header_sum(p, hlen);
    memcpy(p + 10, &sum, 2);
}

void ip4_set_length(uint8_t *p, uint32_t total_len)
{
    put16(p + 2, (uint16_t)total_len);
    ip4_checksum(p, (p[0] & 15u) * 4);
}

uint32_t ip4_header(struct bw_stack *st, uint8_t *p, const struct ip_send *ip, uint32_t len)
{
    uint32_t hlen = IP4_HLEN + ip->options_len;
    p[0] = (uint8_t)(0x40 | hlen / 4);
    p[1] = ip->tos;
    put16(p + 2, (uint16_t)(hlen + len));
    put16(p + 4, ip->df ? 0 : ip_ident(st, ip->src, ip->dst, ip->proto));
    put16(p + 6, ip->df ? IP_DF : 0);
    p[8] = ip->ttl;
    p[9] = ip->proto;
    memcpy(p + 12, ip->src + 12, 4);
    memcpy(p + 16, ip->dst + 12, 4);
    if (unlikely(ip->options_len))
        memcpy(p + IP4_HLEN, ip->options, ip->options_len);
    ip4_checksum(p, hlen);
    return hlen;
}

/* RFC 9293 section 3.1 (RFC 768) and RFC 8200 section 8.1: the two sum alike, length and protocol in
 * words of their own, as long as the length has 16 bits. */
uint64_t ip_pseudo_sum(const uint8_t *src, const uint8_t *dst, uint8_t proto, uint32_t l4_len)
{
    uint64_t sum = (uint64_t)__builtin_bswap32(l4_len) + __builtin_bswap32(proto);
    if (likely(ip_is_v4(src)))
        return bw_sum(src + 12, 4, bw_sum(dst + 12, 4, sum));
    return bw_sum(src, 16, bw_sum(dst, 16, sum));
}

/* A sender on the same machine leaves its checksums to a card that may never come: Python tells that once an
 * interface. */
enum bw_counter_id checksum_fault(struct bw_stack *st, const struct packet *pkt, const uint8_t *field,
                                  uint64_t pseudo, enum bw_counter_id wrong, enum bw_counter_id unfinished)
{
    uint16_t found;
    memcpy(&found, field, 2);
    if (found != bw_sum_16(pseudo))
        return wrong;
    struct iface *in = &st->iface[pkt->ifindex];
    if (!in->unfinished)
        st->unfinished_news |= 1u << pkt->ifindex;
    in->unfinished = 1;
    return unfinished;
}

uint32_t bw_take_unfinished(struct bw_stack *st)
{
    uint32_t news = st->unfinished_news;
    st->unfinished_news = 0;
    return news;
}

static void payload_put(struct bw_stack *st, struct payload *pl)
{
    for (uint32_t i = 0; i < pl->n; i++)
        chunk_put(&st->chunks, pl->chunk[i]);
    pl->n = 0;
}

/* What is copied end to end is one piece: 64 KB are at most five. 0, -ENOBUFS. */
static int payload_append(struct bw_stack *st, struct payload *pl, const uint8_t *data, uint32_t len)
{
    for (uint32_t at = 0, n; at < len; at += n) {
        const uint8_t *copy;
        uint32_t chunk;
        n = tx_copy(st, data + at, len - at, &copy, &chunk);
        if (!n)
            return -ENOBUFS;
        struct tx_piece *end = pl->n ? &pl->piece[pl->n - 1] : NULL;
        if (end && pl->chunk[pl->n - 1] == chunk && end->data + end->len == copy) {
            end->len += n;
            chunk_put(&st->chunks, chunk);
        } else {
            pl->chunk[pl->n] = chunk;
            pl->piece[pl->n++] = (struct tx_piece){.data = copy, .len = n};
        }
    }
    return 0;
}

/* Adds bytes [at, at + len) of the payload to the frame. */
static void payload_add(struct bw_stack *st, struct tx_frame *f, const struct payload *pl, uint32_t at,
                        uint32_t len)
{
    for (uint32_t i = 0; i < pl->n && len; i++) {
        const struct tx_piece *piece = &pl->piece[i];
        if (at >= piece->len) {
            at -= piece->len;
            continue;
        }
        uint32_t n = piece->len - at < len ? piece->len - at : len;
        tx_add(st, f, piece->data + at, n, pl->chunk[i]);
        at = 0;
        len -= n;
    }
}

/* One frame with bytes [at, at + len) of the IP payload. It carries the transport header if at is 0. */
static struct tx_frame *outgoing_frame(struct bw_stack *st, const struct outgoing *o, uint32_t at,
                                       uint32_t len, uint8_t **iph, uint32_t *hdr_len)
{
    uint8_t *hdr;
    struct tx_frame *f = tx_begin(st, o->out, &hdr);
    if (!f)
        return NULL;
    if (o->path->sender == PATH_ANSWER)
        tx_mark_stateless(st, f);
    *iph = hdr + HDR_IP;
    memcpy(*iph, o->iph, o->hlen);
    *hdr_len = o->hlen;
    if (at == 0) {
        memcpy(*iph + o->hlen, o->l4, o->l4_len);
        *hdr_len += o->l4_len;
        payload_add(st, f, &o->data, 0, len - o->l4_len);
    } else {
        payload_add(st, f, &o->data, at - o->l4_len, len);
    }
    return f;
}

static int send_fragments(struct bw_stack *st, struct outgoing *o)
{
    uint32_t room = (o->path->mtu - o->hlen) & ~7u, total = o->l4_len + o->n;
    uint32_t frames = (total + room - 1) / room, field = get16(o->iph + 6);
    if (frames > TXQ_SIZE)
        return -EMSGSIZE;
    if (frames > TXQ_SIZE - o->out->txq_len ||
        (o->path->sender == PATH_ANSWER && !tx_stateless_room(st, o->out, frames)))
        return -EAGAIN;
    for (uint32_t at = 0; at < total; at += room) {
        uint32_t len = total - at < room ? total - at : room, hdr_len;
        uint8_t *p;
        struct tx_frame *f = outgoing_frame(st, o, at, len, &p, &hdr_len);
        if (!f)
            return -EAGAIN;
        if (at) /* ours need not be in every fragment (RFC 791: the copied flag) */
            memset(p + IP4_HLEN, IP_NOP, o->hlen - IP4_HLEN);
        put16(p + 2, (uint16_t)(o->hlen + len));
        put16(p + 6, (uint16_t)((field + at / 8) | (at + len < total ? IP_MF : 0)));
        ip4_checksum(p, o->hlen);
        tx_end(st, o->out, f, hdr_len, o->path);
        count(st, COUNT_IP_FRAGMENTS_SENT);
    }
    return 0;
}

/* The transport checksum over header and data; `partial`: only what the device cannot know. */
static void l4_checksum(const struct ip_send *ip, uint8_t *l4, uint32_t l4_len, uint32_t csum_offset,
                        const uint8_t *data, uint32_t n, int partial)
{
    uint64_t sum = ip->proto == 1 ? 0 : ip_pseudo_sum(ip->src, ip->dst, ip->proto, l4_len + n);
    memset(l4 + csum_offset, 0, 2);
    if (!partial) {
        sum = likely(l4_len == 8) ? bw_sum(l4, 8, sum) : bw_sum(l4, l4_len, sum);
        uint64_t part = bw_sum(data, n, 0);
        sum += l4_len & 1 ? bw_sum_swap(part) : part;
    }
    uint16_t folded = partial ? bw_sum_16(sum) : bw_sum_fold(sum);
    if (folded == 0 && ip->proto == 17)
        folded = 0xffff; /* RFC 768: zero would say that there is none */
    memcpy(l4 + csum_offset, &folded, 2);
}

static int send_whole(struct bw_stack *st, struct outgoing *o, uint32_t csum_offset, int partial,
                      const uint8_t *small, uint32_t small_len)
{
    uint8_t *p;
    uint32_t hdr_len;
    if (o->path->sender == PATH_ANSWER && !tx_stateless_room(st, o->out, 1))
        return -EAGAIN;
    struct tx_frame *f = outgoing_frame(st, o, 0, o->l4_len + o->n, &p, &hdr_len);
    if (!f)
        return -EAGAIN;
    f->gso_size = o->gso_size;
    memcpy(p + hdr_len, small, small_len);
    if (partial)
        tx_partial(f, o->hlen, csum_offset);
    return tx_end(st, o->out, f, hdr_len + small_len, o->path);
}

int ip_send_datagram(struct bw_stack *st, struct ip_path *path, const struct ip_send *ip, uint8_t *l4,
                     uint32_t l4_len, uint32_t csum_offset, const uint8_t *data, uint32_t n)
{
    uint8_t iph[IP4_HLEN + IP_OPTIONS_MAX];
    struct outgoing o = {
        .out = &st->iface[path->ifindex], .path = path, .iph = iph, .l4 = l4, .l4_len = l4_len};
    uint32_t total = IP4_HLEN + ip->options_len + l4_len + n;
    int whole = total <= path->mtu;
    if (n > 65535 || total > 65535 || (!whole && ip->df))
        return -EMSGSIZE;
    if (!o.out->up) {
        drop(st, DROP_TX_DOWN, total);
        return -ENETDOWN;
    }
    int partial = whole && csum_offset && ip->proto != 1 &&
                  (o.out->caps & (NETDEV_TX_CSUM | NETDEV_LOOPBACK));
    if (csum_offset)
        l4_checksum(ip, l4, l4_len, csum_offset, data, n, partial);
    o.hlen = ip4_header(st, iph, ip, l4_len + n);
    if (whole && HDR_IP + total <= HDR_ROOM)
        return send_whole(st, &o, csum_offset, partial, data, n);
    o.n = n;
    int err = payload_append(st, &o.data, data, n);
    if (!err)
        err = whole ? send_whole(st, &o, csum_offset, partial, data, 0) : send_fragments(st, &o);
    payload_put(st, &o.data);
    return err;
}

int ip_send_super(struct bw_stack *st, struct ip_path *path, const struct ip_send *ip, uint8_t *l4,
                  uint32_t l4_len, uint32_t csum_offset, const struct ip_rows *rows)
{
    uint8_t iph[IP4_HLEN];
    int err = 0;
    struct outgoing o = {.out = &st->iface[path->ifindex],
                         .path = path,
                         .iph = iph,
                         .l4 = l4,
                         .l4_len = l4_len,
                         .n = ip_rows_len(rows),
                         .gso_size = (uint16_t)rows->size};
    l4_checksum(ip, l4, l4_len, csum_offset, NULL, o.n, 1);
    o.hlen = ip4_header(st, iph, ip, l4_len + o.n);
    for (uint32_t i = 0; i < rows->count && !err; i++)
        err = payload_append(st, &o.data, rows->data + (size_t)i * rows->stride, ip_row_len(rows, i));
    if (!err)
        err = send_whole(st, &o, csum_offset, 1, rows->data, 0);
    payload_put(st, &o.data);
    return err;
}

int bw_send_packet(struct bw_stack *st, int ifindex, const uint8_t nexthop[16], const uint8_t *packet,
                   uint32_t len)
{
    struct ip_path path;
    uint8_t dst[16];
    if (len < IP4_HLEN || packet[0] >> 4 != 4 || get16(packet + 2) != len)
        return -EINVAL;
    uint32_t hlen = (packet[0] & 15u) * 4;
    if (hlen < IP4_HLEN || hlen > len)
        return -EINVAL;
    ip_from_v4(dst, packet + 16);
    int err = ifindex ? ip_path_via(st, ifindex, nexthop, &path) : ip_path_copy(st, dst, 0, &path);
    if (err)
        return err;
    path.sender = PATH_CONNECTED;
    /* Options differ between the first and later fragments; who sends them fits them in a frame. */
    if (len > path.mtu && ((get16(packet + 6) & IP_DF) || hlen > IP4_HLEN))
        return -EMSGSIZE;
    struct outgoing o = {
        .out = &st->iface[path.ifindex], .path = &path, .iph = packet, .hlen = hlen, .n = len - hlen};
    o.l4 = packet;
    err = payload_append(st, &o.data, packet + hlen, o.n);
    if (!err)
        err = len <= path.mtu ? send_whole(st, &o, 0, 0, packet, 0) : send_fragments(st, &o);
    payload_put(st, &o.data);
    return err;
}
