/* SPDX-License-Identifier: MIT */
/* The transmit queues: frames as gather lists, the slots that hold their headers, and the references
 * they keep on chunks until the device has read them. A device without NETDEV_TX_ASYNC has read a
 * frame when it took it; another gives the slot's number (the token) back when it is done. */
#include "../stack.h"
#include "../../l2/ethernet.h"
#include "../tcp/tcp_header.h"

enum {
    TX_KEPT_BACK = 16,  /* places of a queue that TCP leaves to control packets and datagrams */
    REFS_MASK = 0x7fff, /* chunk_pool.refs without its mark */
    TX_SUMS = NETDEV_TX_CSUM | NETDEV_LOOPBACK,
};

void tx_init(struct bw_stack *st)
{
    st->fill_chunk = CHUNK_NONE;
    st->slot_free = CHUNK_NONE;
    for (uint32_t i = SLOTS; i-- > 0;) {
        st->slots[i].next_free = st->slot_free;
        st->slot_free = i;
    }
}

static void slot_release(struct bw_stack *st, uint32_t token)
{
    struct tx_slot *slot = &st->slots[token];
    for (int i = 0; i < slot->chunks; i++)
        chunk_put(&st->chunks, slot->chunk[i]);
    slot->chunks = 0;
    slot->in_use = 0;
    slot->next_free = st->slot_free;
    st->slot_free = token;
}

/* ---- one frame ------------------------------------------------------------------------------------ */

struct tx_frame *tx_begin(struct bw_stack *st, struct iface *out, uint8_t **hdr)
{
    if (unlikely(!out->up)) {
        drop(st, DROP_TX_DOWN, 0);
        return NULL;
    }
    if (unlikely(out->txq_len == TXQ_SIZE || st->slot_free == CHUNK_NONE)) {
        drop(st, DROP_TX_QUEUE, 0);
        return NULL;
    }
    uint32_t token = st->slot_free;
    struct tx_slot *slot = &st->slots[token];
    st->slot_free = slot->next_free;
    slot->in_use = 1;
    slot->stateless = 0;
    slot->chunks = 0;

    struct tx_frame *f = &out->txq[(out->txq_head + out->txq_len) % TXQ_SIZE];
    f->len = 0;
    f->token = token;
    f->pieces = 1;
    f->gso_size = 0;
    f->l3_off = out->layer == 2 ? ETH_HLEN : 0;
    f->csum_start = f->csum_offset = 0;
    f->csum_partial = 0;
    *hdr = slot->hdr;
    return f;
}

int tx_stateless_room(struct bw_stack *st, const struct iface *out, uint32_t frames)
{
    if (!out->stateless || out->stateless + frames <= TX_STATELESS)
        return 1;
    drop(st, DROP_TX_STATELESS, 0);
    return 0;
}

void tx_mark_stateless(struct bw_stack *st, const struct tx_frame *f)
{
    st->slots[f->token].stateless = 1;
}

struct tx_frame *tx_begin_stateless(struct bw_stack *st, struct iface *out, uint8_t **hdr)
{
    struct tx_frame *f = tx_stateless_room(st, out, 1) ? tx_begin(st, out, hdr) : NULL;
    if (f)
        tx_mark_stateless(st, f);
    return f;
}

void tx_add(struct bw_stack *st, struct tx_frame *f, const uint8_t *data, uint32_t len, uint32_t chunk)
{
    f->piece[f->pieces++] = (struct tx_piece){.data = data, .len = len};
    f->len += len;
    if (chunk != CHUNK_NONE) {
        struct tx_slot *slot = &st->slots[f->token];
        chunk_ref(&st->chunks, chunk);
        slot->chunk[slot->chunks++] = chunk;
    }
}

void tx_cancel(struct bw_stack *st, struct iface *out, struct tx_frame *f)
{
    slot_release(st, f->token);
}

/* The link header for the path's next hop; -1: nobody knows its address. */
static int link_header(struct bw_stack *st, const struct iface *out, struct ip_path *path, uint8_t *p)
{
    uint8_t mac[6];
    if (unlikely(path->flags & BW_ROUTE_BROADCAST)) {
        memset(mac, 0xff, sizeof mac);
    } else if (unlikely(path->flags & PATH_MULTICAST)) {
        eth_multicast4(mac, path->nexthop + 12);
    } else {
        struct neigh *n = ip_path_neigh(st, path);
        if (!n)
            return -1;
        n->used = st->now;
        if (path->sender != PATH_ANSWER)
            n->wanted = st->now;
        memcpy(mac, n->mac, sizeof mac);
    }
    eth_build(p, mac, out->mac, ip_is_v4(path->nexthop) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6);
    return 0;
}

/* Stores the checksum of [start, end of p); RFC 768 has no zero in UDP (its field is at offset 6). */
static void store_checksum(uint8_t *field, uint64_t sum, uint32_t csum_offset)
{
    uint16_t folded = bw_sum_fold(sum);
    if (folded == 0 && csum_offset == 6)
        folded = 0xffff;
    memcpy(field, &folded, 2);
}

/* csum_start lies in piece[0]; pieces may have odd lengths. */
static void finish_checksum(struct tx_frame *f)
{
    uint8_t *head = (uint8_t *)f->piece[0].data + f->csum_start;
    uint32_t at = f->piece[0].len - f->csum_start;
    uint64_t sum = bw_sum(head, at, 0);
    for (int i = 1; i < f->pieces; i++) {
        uint64_t part = bw_sum(f->piece[i].data, f->piece[i].len, 0);
        sum += at & 1 ? bw_sum_swap(part) : part;
        at += f->piece[i].len;
    }
    store_checksum(head + f->csum_offset, sum, f->csum_offset);
    f->csum_partial = 0;
}

/* A super-segment that nobody will cut becomes its own first segment; TCP sends the rest again. */
static void cut_to_first_segment(uint8_t *p, uint32_t len)
{
    uint32_t ihl = (p[0] & 15u) * 4;
    uint8_t src[16], dst[16], *tcp = p + ihl;
    ip4_set_length(p, len);
    ip_from_v4(src, p + 12);
    ip_from_v4(dst, p + 16);
    th_clear_flags(tcp, TCP_FIN | TCP_PSH); /* they belong to the last one */
    th_put_sum(tcp, len - ihl, ip_pseudo_sum(src, dst, 6, len - ihl));
}

static const uint8_t resolve_class[] = {
    [PATH_DATAGRAM] = BW_PUNT_RESOLVE,
    [PATH_ANSWER] = BW_PUNT_RESOLVE_ANSWER,
    [PATH_CONNECTED] = BW_PUNT_RESOLVE_CONNECTED,
};

/* The IP packet goes to Python, whole and with its checksum, to wait for its next hop's address. */
static void resolve_first(struct bw_stack *st, const struct iface *out, const struct tx_frame *f,
                          const struct ip_path *path)
{
    uint32_t len = f->len - f->l3_off, one = f->piece[0].len - f->l3_off + f->gso_size;
    int cut = f->gso_size && len > one;
    struct bw_punt head = {.ifindex = out->index, .len = cut ? one : len};
    head.cls = resolve_class[path->sender];
    memcpy(head.nexthop, path->nexthop, 16);
    uint8_t *p = punt_reserve(st, head);
    if (!p)
        return;
    for (uint32_t i = 0, at = 0; i < f->pieces && at < head.len; i++) {
        uint32_t skip = i ? 0 : f->l3_off, n = f->piece[i].len - skip;
        n = n < head.len - at ? n : head.len - at;
        memcpy(p + at, f->piece[i].data + skip, n);
        at += n;
    }
    uint32_t start = f->csum_start - (uint32_t)f->l3_off;
    if (cut)
        cut_to_first_segment(p, head.len);
    else if (f->csum_partial)
        store_checksum(p + start + f->csum_offset, bw_sum(p + start, len - start, 0), f->csum_offset);
}

int tx_end(struct bw_stack *st, struct iface *out, struct tx_frame *f, uint32_t hdr_len, struct ip_path *path)
{
    uint8_t *p = st->slots[f->token].hdr + HDR_IP - f->l3_off;
    f->piece[0] = (struct tx_piece){.data = p, .len = f->l3_off + hdr_len};
    f->len += f->l3_off + hdr_len;
    if (f->l3_off && unlikely(link_header(st, out, path, p))) {
        resolve_first(st, out, f, path);
        tx_cancel(st, out, f);
        return 0;
    }
    if (f->csum_partial && !(out->caps & TX_SUMS))
        finish_checksum(f);
    out->stateless += st->slots[f->token].stateless;
    out->txq_len++;
    return 0;
}

int tx_room(const struct bw_stack *st, const struct iface *out)
{
    if (!out->up || st->slot_free == CHUNK_NONE || out->txq_len + TX_KEPT_BACK >= TXQ_SIZE)
        return 0;
    return (int)(TXQ_SIZE - TX_KEPT_BACK - out->txq_len);
}

/* ---- bytes of datagrams ------------------------------------------------------------------------- */

/* A chunk that only the stack still holds is filled again from its start: nobody reads it. */
uint32_t tx_copy(struct bw_stack *st, const void *src, uint32_t len, const uint8_t **data, uint32_t *chunk)
{
    struct chunk_pool *pool = &st->chunks;
    if (st->fill_chunk != CHUNK_NONE && (pool->refs[st->fill_chunk] & REFS_MASK) == 1)
        st->fill_off = 0;
    if (st->fill_chunk == CHUNK_NONE || st->fill_off == CHUNK_SIZE) {
        uint32_t fresh = chunk_get(pool, st->fill_chunk == CHUNK_NONE);
        if (fresh == CHUNK_NONE) {
            drop(st, DROP_TX_MEMORY, len);
            return 0;
        }
        if (st->fill_chunk != CHUNK_NONE)
            chunk_put(pool, st->fill_chunk);
        st->fill_chunk = fresh;
        st->fill_off = 0;
    }
    uint32_t n = CHUNK_SIZE - st->fill_off;
    n = n < len ? n : len;
    uint8_t *to = chunk_data(pool, st->fill_chunk) + st->fill_off;
    memcpy(to, src, n);
    st->fill_off += n;
    chunk_ref(pool, st->fill_chunk);
    *data = to;
    *chunk = st->fill_chunk;
    return n;
}

int tx_raw(struct bw_stack *st, struct iface *out, const uint8_t *frame, uint32_t len, int answer)
{
    uint8_t *hdr;
    struct tx_frame *f = answer ? tx_begin_stateless(st, out, &hdr) : tx_begin(st, out, &hdr);
    if (!f)
        return out->up ? -EAGAIN : -ENETDOWN;
    uint32_t head = len < HDR_ROOM ? len : HDR_ROOM;
    memcpy(hdr, frame, head);
    f->piece[0] = (struct tx_piece){.data = hdr, .len = head};
    f->len = head;
    for (uint32_t at = head, n; at < len; at += n) {
        const uint8_t *data;
        uint32_t chunk;
        n = tx_copy(st, frame + at, len - at, &data, &chunk);
        if (!n) {
            tx_cancel(st, out, f);
            return -ENOBUFS;
        }
        tx_add(st, f, data, n, chunk);
        chunk_put(&st->chunks, chunk);
    }
    if (f->l3_off && head > ETH_HLEN && get16(hdr + 12) == ETHERTYPE_VLAN)
        f->l3_off += ETH_VLAN_HLEN;
    out->stateless += st->slots[f->token].stateless;
    out->txq_len++;
    return 0;
}

int bw_send_frame(struct bw_stack *st, int ifindex, const uint8_t *frame, uint32_t len)
{
    if (ifindex < 1 || ifindex > st->ifaces)
        return -EINVAL;
    struct iface *out = &st->iface[ifindex];
    uint32_t l2 = out->layer == 2 ? ETH_HLEN : 0;
    if (len <= l2)
        return -EINVAL;
    if (len > out->mtu + (l2 ? l2 + ETH_VLAN_HLEN : 0))
        return -EMSGSIZE;
    return tx_raw(st, out, frame, len, 0);
}

/* ---- the queue and its device ---------------------------------------------------------------------- */

int bw_output(struct bw_stack *st, int ifindex, const struct tx_frame **frames, int max)
{
    struct iface *out = &st->iface[ifindex];
    if (!out->up)
        return 0;
    tcp_fill(st, out);
    uint32_t n = TXQ_SIZE - out->txq_head;
    n = n < out->txq_len ? n : out->txq_len;
    *frames = &out->txq[out->txq_head];
    return n < (uint32_t)max ? (int)n : max;
}

int bw_has_output(const struct bw_stack *st)
{
    uint32_t queued = 0;
    for (int i = 1; i <= st->ifaces; i++)
        queued |= st->iface[i].txq_len;
    return queued || tcp_wants_output(st);
}

static void tx_advance(struct bw_stack *st, struct iface *out, uint32_t n, int release)
{
    for (uint32_t i = 0; unlikely(out->stateless > 0) && i < n; i++)
        out->stateless -= st->slots[out->txq[(out->txq_head + i) % TXQ_SIZE].token].stateless;
    for (uint32_t i = 0; release && i < n; i++)
        slot_release(st, out->txq[(out->txq_head + i) % TXQ_SIZE].token);
    out->txq_head = (out->txq_head + n) % TXQ_SIZE;
    out->txq_len -= n;
    if (unlikely(st->udp_waiting != NULL) && out->txq_len <= TXQ_SIZE / 2)
        udp_tx_ready(st);
}

void bw_transmitted(struct bw_stack *st, int ifindex, int n)
{
    struct iface *out = &st->iface[ifindex];
    uint32_t taken = (uint32_t)n < out->txq_len ? (uint32_t)n : out->txq_len;
    st->counter[COUNT_TX_FRAMES] += taken;
    tx_advance(st, out, taken, !(out->caps & NETDEV_TX_ASYNC));
}

void bw_reclaimed(struct bw_stack *st, int ifindex, const uint32_t *tokens, int n)
{
    int none_left = st->slot_free == CHUNK_NONE;
    for (int i = 0; i < n; i++)
        if (tokens[i] < SLOTS && st->slots[tokens[i]].in_use)
            slot_release(st, tokens[i]);
    if (unlikely(none_left && st->udp_waiting != NULL)) /* a datagram may have found no slot */
        udp_tx_ready(st);
}

void tx_flush(struct bw_stack *st, struct iface *out)
{
    st->counter[DROP_TX_DOWN] += out->txq_len;
    tx_advance(st, out, out->txq_len, 1);
}
