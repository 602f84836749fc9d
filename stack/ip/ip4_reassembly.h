/* SPDX-License-Identifier: MIT */
/* Datagrams that miss pieces: their table, and the bounds of it. Private to the engine. */
#ifndef BW_IP_REASSEMBLY_H
#define BW_IP_REASSEMBLY_H

#include "../stack.h"

enum {
    FRAG_DATAGRAMS = BW_FRAG_DATAGRAMS,   /* incomplete at once; over it the oldest goes */
    FRAG_PER_SOURCE = BW_FRAG_PER_SOURCE, /* of them, from one source */
    FRAG_PIECES = 128,                    /* a datagram; enough for 64 KB over an MTU of 576 */
    FRAG_BUCKETS = 256,
    FRAG_HEAD = 64, /* room for the first fragment's header, right before the payload */
    FRAG_ROOM = FRAG_HEAD + 65536,
};

struct frag_link { /* in a ring with a head, oldest first */
    struct frag_link *prev, *next;
};

struct frag_source {
    uint8_t ip[16];
    uint32_t count;
    struct frag_link datagrams;
    struct frag_source *chain; /* of its bucket, or of the free ones */
};

/* RFC 791: what tells datagrams apart. */
struct frag_key {
    uint8_t src[16], dst[16];
    uint32_t ident, proto;
};

struct datagram {
    struct frag_key key;
    struct frag_link age, of_source;
    struct frag_source *source;
    struct datagram *chain; /* of its bucket, or of the free ones */
    int64_t expires;
    uint32_t have, end; /* payload bytes here, and in all; end 0: not known yet */
    uint32_t hlen;      /* of the first fragment; 0: it has not come */
    uint32_t ifindex;
    uint8_t marks; /* 1 << ECN field, of all fragments */
    uint8_t dead;  /* its pieces contradicted each other: nothing of it is taken any more */
    uint8_t l2_broadcast, ip_broadcast;
    uint32_t pieces; /* sorted, apart from each other */
    struct {
        uint16_t start, end;
    } piece[FRAG_PIECES];
};

struct frag_table {
    struct frag_link age;
    uint32_t used, touched, sources_touched;
    struct datagram *free, *bucket[FRAG_BUCKETS];
    struct frag_source *source_free, *source_bucket[FRAG_BUCKETS];
    struct datagram datagram[FRAG_DATAGRAMS];
    struct frag_source source[FRAG_DATAGRAMS];
    uint8_t (*bytes)[FRAG_ROOM]; /* of each datagram, at their place; committed when used */
};

void frag_init(struct bw_stack *st); /* once, by bw_new */
/* A fragment for this host comes in. */
void frag_input(struct bw_stack *st, struct packet *pkt);
void frag_expire(struct bw_stack *st);
int64_t frag_deadline(const struct bw_stack *st); /* INT64_MAX: nothing waits */

#endif
