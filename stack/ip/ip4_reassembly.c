/* SPDX-License-Identifier: MIT */
/* Reassembly of IPv4 fragments (RFC 791 section 3.2, RFC 815), within bounds. The bytes of a datagram lie at
 * their place from the start, so that a whole one is read where it is.
 *
 * A datagram whose fragments overlap is dropped whole, and so is what still comes of it (RFC 5722 section 4,
 * for IPv4 too); an exact duplicate is left out. Over a bound the oldest datagram goes, of the same source
 * if that has too many. What misses a piece after 30 s is dropped, and its sender told if the first fragment
 * came (RFC 792). All datagrams have the same time, so the oldest is the next to expire. */
#include "ip4_reassembly.h"
#include "../icmp/icmp.h"

enum {
    IP_MORE = 0x2000,
    TCP_HEAD = 20, /* bytes of TCP that a first fragment must have (RFC 1858) */
    FRAG_ECN_NOT = 1 << 0,
    FRAG_ECN_CE = 3,
};
static const int64_t frag_timeout = 30000000000;

/* ---- the table ----------------------------------------------------------------------------------------- */

static void link_last(struct frag_link *head, struct frag_link *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static void link_out(struct frag_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
}

void frag_init(struct bw_stack *st)
{
    st->frags->age.prev = st->frags->age.next = &st->frags->age;
}

static uint8_t *payload_of(const struct bw_stack *st, const struct datagram *d)
{
    return st->frags->bytes[d - st->frags->datagram] + FRAG_HEAD;
}

static struct datagram **frag_chain(struct bw_stack *st, const struct frag_key *key)
{
    return &st->frags->bucket[(uint32_t)hsiphash(st->hash_key, key, sizeof *key) % FRAG_BUCKETS];
}

static struct frag_source **source_chain(struct bw_stack *st, const uint8_t *ip)
{
    return &st->frags->source_bucket[(uint32_t)hsiphash(st->hash_key, ip, 16) % FRAG_BUCKETS];
}

static void source_put(struct bw_stack *st, struct frag_source *s)
{
    if (--s->count)
        return;
    struct frag_source **at = source_chain(st, s->ip);
    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    s->chain = st->frags->source_free;
    st->frags->source_free = s;
}

static void frag_remove(struct bw_stack *st, struct datagram *d)
{
    struct datagram **at = frag_chain(st, &d->key);
    while (*at != d)
        at = &(*at)->chain;
    *at = d->chain;
    link_out(&d->age);
    link_out(&d->of_source);
    source_put(st, d->source);
    if (st->cfg.poison)
        memset(st->frags->bytes[d - st->frags->datagram], 0xdb, FRAG_ROOM);
    d->chain = st->frags->free;
    st->frags->free = d;
    st->frags->used--;
}

static void frag_evict(struct bw_stack *st, struct datagram *d)
{
    drop(st, DROP_FRAG_FULL, d->have);
    frag_remove(st, d);
}

static struct frag_source *source_find(struct bw_stack *st, const uint8_t *ip)
{
    struct frag_source *s = *source_chain(st, ip);
    while (s && !ip_equal(s->ip, ip))
        s = s->chain;
    return s;
}

/* There are no more sources than datagrams, so there is always a place. */
static struct frag_source *source_get(struct bw_stack *st, const uint8_t *ip)
{
    struct frag_table *t = st->frags;
    struct frag_source *s = source_find(st, ip), **chain = source_chain(st, ip);
    if (s)
        return s;
    s = t->source_free ? t->source_free : &t->source[t->sources_touched++];
    t->source_free = t->source_free ? s->chain : NULL;
    memcpy(s->ip, ip, 16);
    s->count = 0;
    s->datagrams.prev = s->datagrams.next = &s->datagrams;
    s->chain = *chain;
    *chain = s;
    return s;
}

static void make_room(struct bw_stack *st, const uint8_t *source)
{
    const struct frag_source *s = source_find(st, source);
    if (s && s->count == FRAG_PER_SOURCE)
        frag_evict(st, container_of(s->datagrams.next, struct datagram, of_source));
    else if (st->frags->used == FRAG_DATAGRAMS)
        frag_evict(st, container_of(st->frags->age.next, struct datagram, age));
}

static struct datagram *frag_new(struct bw_stack *st, const struct frag_key *key, uint32_t ifindex)
{
    struct frag_table *t = st->frags;
    make_room(st, key->src);
    struct frag_source *s = source_get(st, key->src);
    struct datagram *d = t->free ? t->free : &t->datagram[t->touched++], **chain = frag_chain(st, key);
    t->free = t->free ? d->chain : NULL;
    *d = (struct datagram){
        .key = *key, .source = s, .chain = *chain, .expires = st->now + frag_timeout, .ifindex = ifindex};
    *chain = d;
    s->count++;
    t->used++;
    link_last(&t->age, &d->age);
    link_last(&s->datagrams, &d->of_source);
    return d;
}

static struct datagram *frag_find(struct bw_stack *st, const struct frag_key *key)
{
    struct datagram *d = *frag_chain(st, key);
    while (d && memcmp(&d->key, key, sizeof *key) != 0)
        d = d->chain;
    return d;
}

/* ---- one piece ------------------------------------------------------------------------------------------ */

struct frag_piece {
    uint32_t start, end, more;
};

/* What one fragment must pass alone: it has bytes, whole units before the end, no end past 64 KB (ping of
 * death), and no TCP header in two pieces (RFC 1858, RFC 3128). */
static int piece_plausible(const struct packet *pkt, const struct frag_piece *f)
{
    uint32_t size = pkt->l4_len, hlen = (uint32_t)(pkt->l4 - pkt->l3);
    if (!size || (f->more && size % 8) || hlen + f->end > 65535)
        return 0;
    return pkt->proto != 6 || (f->start != 8 && (f->start || size >= TCP_HEAD));
}

/* Where in the sorted pieces one that starts there belongs. */
static uint32_t piece_place(const struct datagram *d, uint32_t start)
{
    uint32_t low = 0, high = d->pieces;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (d->piece[mid].start < start)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int piece_is_duplicate(struct bw_stack *st, const struct datagram *d, uint32_t at,
                              const struct packet *pkt, const struct frag_piece *f)
{
    if (at == d->pieces || d->piece[at].start != f->start || d->piece[at].end != f->end)
        return 0;
    return f->more == (d->end != f->end) && !memcmp(payload_of(st, d) + f->start, pkt->l4, pkt->l4_len);
}

/* Does the piece contradict what is there: its bytes, or where the datagram ends? */
static int piece_overlaps(const struct datagram *d, uint32_t at, const struct frag_piece *f)
{
    if (d->end && (!f->more || f->end > d->end))
        return 1;
    if ((at && d->piece[at - 1].end > f->start) || (at < d->pieces && d->piece[at].start < f->end))
        return 1;
    return !f->more && d->pieces && d->piece[d->pieces - 1].end > f->end;
}

/* Nothing of what came is used; the entry stays until its time is over, to drop the rest too. */
static void frag_kill(struct bw_stack *st, struct datagram *d, enum bw_counter_id why, uint32_t len)
{
    drop(st, why, len);
    d->dead = 1;
    d->pieces = d->have = d->end = d->hlen = 0;
}

static void piece_insert(struct bw_stack *st, struct datagram *d, uint32_t at, const struct packet *pkt,
                         const struct frag_piece *f)
{
    uint8_t *payload = payload_of(st, d);
    memmove(&d->piece[at + 1], &d->piece[at], (d->pieces - at) * sizeof d->piece[0]);
    d->piece[at].start = (uint16_t)f->start;
    d->piece[at].end = (uint16_t)f->end;
    d->pieces++;
    d->have += pkt->l4_len;
    d->marks |= (uint8_t)(1 << (pkt->tos & FRAG_ECN_CE));
    d->l2_broadcast |= pkt->l2_broadcast;
    d->ip_broadcast |= pkt->ip_broadcast;
    memcpy(payload + f->start, pkt->l4, pkt->l4_len);
    if (!f->more)
        d->end = f->end;
    if (f->start == 0) {
        d->hlen = (uint32_t)(pkt->l4 - pkt->l3);
        memcpy(payload - d->hlen, pkt->l3, d->hlen);
    }
}

/* The first fragment's header, in front of so many bytes, as a packet. */
static void frag_packet(struct bw_stack *st, const struct datagram *d, uint32_t len, struct packet *pkt)
{
    pkt->l4 = payload_of(st, d);
    pkt->l3 = pkt->l4 - d->hlen;
    pkt->l4_len = len;
    pkt->tos = pkt->l3[1];
    pkt->ttl = pkt->l3[8];
    pkt->proto = pkt->l3[9];
    pkt->gso_size = 0;
    pkt->csum = BW_CSUM_UNKNOWN;
    pkt->l2_broadcast = d->l2_broadcast;
    pkt->ip_broadcast = d->ip_broadcast;
}

/* The whole datagram, with the first fragment's header, goes to its protocol. */
static void frag_complete(struct bw_stack *st, struct datagram *d, struct packet *pkt)
{
    int marked = d->marks & 1 << FRAG_ECN_CE;
    if (d->hlen + d->end > 65535) {
        drop(st, DROP_FRAG_NONSENSE, d->end);
        return;
    }
    if (marked && (d->marks & FRAG_ECN_NOT)) { /* RFC 3168 section 5.3 */
        drop(st, DROP_FRAG_ECN, d->end);
        return;
    }
    uint8_t *l3 = payload_of(st, d) - d->hlen;
    l3[1] |= marked ? FRAG_ECN_CE : 0;
    put16(l3 + 2, (uint16_t)(d->hlen + d->end));
    put16(l3 + 6, get16(l3 + 6) & 0xc000);
    ip4_checksum(l3, d->hlen);
    frag_packet(st, d, d->end, pkt);
    count(st, COUNT_IP_REASSEMBLED);
    ip_demux(st, pkt);
    tcp_flush_burst(st); /* nothing points into the datagram any more */
}

void frag_input(struct bw_stack *st, struct packet *pkt)
{
    uint32_t field = get16(pkt->l3 + 6);
    struct frag_piece f = {.start = (field & 0x1fff) * 8, .more = (field & IP_MORE) != 0};
    struct frag_key key = {.ident = get16(pkt->l3 + 4), .proto = pkt->proto};
    f.end = f.start + pkt->l4_len;
    count(st, COUNT_IP_FRAGMENTS);
    if (!piece_plausible(pkt, &f)) {
        drop(st, DROP_FRAG_NONSENSE, pkt->l4_len);
        return;
    }
    memcpy(key.src, pkt->src, 16);
    memcpy(key.dst, pkt->dst, 16);
    struct datagram *d = frag_find(st, &key);
    if (!d)
        d = frag_new(st, &key, pkt->ifindex);
    uint32_t at = piece_place(d, f.start);
    if (d->dead)
        drop(st, DROP_FRAG_OF_DROPPED, pkt->l4_len);
    else if (piece_is_duplicate(st, d, at, pkt, &f))
        drop(st, DROP_FRAG_DUPLICATE, pkt->l4_len);
    else if (piece_overlaps(d, at, &f))
        frag_kill(st, d, DROP_FRAG_OVERLAP, pkt->l4_len);
    else if (d->pieces == FRAG_PIECES)
        frag_kill(st, d, DROP_FRAG_TOO_MANY, pkt->l4_len);
    else
        piece_insert(st, d, at, pkt, &f);
    if (!d->end || d->have < d->end)
        return;
    frag_complete(st, d, pkt);
    frag_remove(st, d);
}

/* ---- time ------------------------------------------------------------------------------------------------- */

static struct datagram *frag_oldest(const struct bw_stack *st)
{
    struct frag_link *first = st->frags->age.next;
    return first == &st->frags->age ? NULL : container_of(first, struct datagram, age);
}

int64_t frag_deadline(const struct bw_stack *st)
{
    const struct datagram *d = frag_oldest(st);
    return d ? d->expires : INT64_MAX;
}

void frag_expire(struct bw_stack *st)
{
    for (struct datagram *d; (d = frag_oldest(st)) && d->expires <= st->now; frag_remove(st, d)) {
        struct packet first = {.ifindex = d->ifindex};
        drop(st, DROP_FRAG_TIMEOUT, d->have);
        if (!d->hlen)
            continue;
        memcpy(first.src, d->key.src, 16);
        memcpy(first.dst, d->key.dst, 16);
        frag_packet(st, d, d->piece[0].end, &first);
        icmp_send_error(st, &first, ICMP_TIME_EXCEEDED, ICMP_REASSEMBLY, 0);
    }
}
