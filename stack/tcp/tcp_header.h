/* SPDX-License-Identifier: MIT */
/* The TCP header and its options as they lie in memory (RFC 9293 section 3.1): all that knows where a field is, and
 * what an option looks like. Who calls has checked that the bytes are there. */
#ifndef BW_TCP_HEADER_H
#define BW_TCP_HEADER_H

#include "../stack.h"

enum {
    TCP_HLEN = 20, /* without options */
    TCP_OPTIONS_MAX = 40,
    TCP_TS_LEN = 12,      /* NOP, NOP, Timestamps */
    TCP_SACK_LEN = 4,     /* NOP, NOP and the head of a SACK option; and for each block */
    TCP_SACK_BLOCK = 8,   /* so much more */
    TCP_COOKIE_MAX = 16,  /* Fast Open */
    TCP_ACCECN_FIELD = 3, /* bytes */
};

/* Flags: byte 13. */
enum {
    TCP_FIN = 1,
    TCP_SYN = 2,
    TCP_RST = 4,
    TCP_PSH = 8,
    TCP_ACK = 16,
    TCP_URG = 32,
    TCP_ECE = 64,
    TCP_CWR = 128
};

/* Kinds of options. */
enum {
    OPT_END,
    OPT_NOP,
    OPT_MSS,
    OPT_WSCALE,
    OPT_SACK_OK,
    OPT_SACK,
    OPT_TIMESTAMPS = 8,
    OPT_FAST_OPEN = 34,
    OPT_ACCECN0 = 172,
    OPT_ACCECN1 = 174
};

/* Where the fields lie; for nobody but the functions below. */
enum {
    TH_SPORT = 0,
    TH_DPORT = 2,
    TH_SEQ = 4,
    TH_ACK = 8,
    TH_OFFSET = 12,
    TH_FLAGS = 13,
    TH_WINDOW = 14,
    TH_SUM = 16,
    TH_URGENT = 18
};

/* ---- reading ------------------------------------------------------------------------------------------------ */

static inline uint16_t th_sport(const uint8_t *h)
{
    return get16(h + TH_SPORT);
}
static inline uint16_t th_dport(const uint8_t *h)
{
    return get16(h + TH_DPORT);
}
/* Both ports as one number, to compare. */
static inline uint32_t th_ports(const uint8_t *h)
{
    return get32(h + TH_SPORT);
}
static inline uint32_t th_seq(const uint8_t *h)
{
    return get32(h + TH_SEQ);
}
static inline uint32_t th_ack(const uint8_t *h)
{
    return get32(h + TH_ACK);
}
static inline uint32_t th_hlen(const uint8_t *h) /* with options, if it is sound */
{
    return (uint32_t)(h[TH_OFFSET] >> 4) * 4;
}
static inline uint8_t th_flags(const uint8_t *h)
{
    return h[TH_FLAGS];
}
/* Data offset, AE and flags as one number, to compare; the flags are its low byte. */
static inline uint16_t th_offset_flags(const uint8_t *h)
{
    return get16(h + TH_OFFSET);
}
/* AE, CWR and ECE as one number (RFC 9768). */
static inline uint8_t th_ace(const uint8_t *h)
{
    return (uint8_t)((h[TH_OFFSET] & 1) << 2 | h[TH_FLAGS] >> 6);
}
static inline uint16_t th_window(const uint8_t *h)
{
    return get16(h + TH_WINDOW);
}
static inline uint16_t th_urgent(const uint8_t *h)
{
    return get16(h + TH_URGENT);
}
static inline const uint8_t *th_sum(const uint8_t *h)
{
    return h + TH_SUM;
}
/* Of two headers of hlen bytes: have both no options, or the same timestamps? */
static inline int th_same_options(const uint8_t *a, const uint8_t *b, uint32_t hlen)
{
    return hlen == TCP_HLEN + TCP_TS_LEN ? !memcmp(a + TCP_HLEN, b + TCP_HLEN, TCP_TS_LEN) : hlen == TCP_HLEN;
}

struct tcp_seg;
/* The options of a header of hlen bytes. -1: a malformed one ends it, what stood before it counts, as on Linux. */
int tcp_parse_options(struct tcp_seg *seg, const uint8_t *h, uint32_t hlen);

/* ---- writing ------------------------------------------------------------------------------------------------ */

struct tcp_header {
    uint16_t sport, dport;
    uint32_t seq, ack;
    uint32_t hlen; /* with options */
    uint8_t flags; /* without ... */
    uint8_t ace;   /* ... AE, CWR, ECE (RFC 9768) */
    uint16_t window, urgent;
};

/* All but options and checksum. */
static inline void th_put(uint8_t *h, const struct tcp_header *f)
{
    put16(h + TH_SPORT, f->sport);
    put16(h + TH_DPORT, f->dport);
    put32(h + TH_SEQ, f->seq);
    put32(h + TH_ACK, f->ack);
    h[TH_OFFSET] = (uint8_t)(f->hlen << 2 | f->ace >> 2);
    h[TH_FLAGS] = (uint8_t)(f->flags | f->ace << 6);
    put16(h + TH_WINDOW, f->window);
    put16(h + TH_URGENT, f->urgent);
}
static inline void th_put_seq(uint8_t *h, uint32_t seq)
{
    put32(h + TH_SEQ, seq);
}
static inline void th_set_flags(uint8_t *h, uint8_t flags)
{
    h[TH_FLAGS] |= flags;
}
static inline void th_clear_flags(uint8_t *h, uint8_t flags)
{
    h[TH_FLAGS] &= (uint8_t)~flags;
}
/* The pseudo header's sum, which whoever finishes the checksum finds in its field; and that it is to be finished. */
static inline void th_put_partial(uint8_t *h, struct tx_frame *f, uint64_t pseudo, uint32_t ip_hlen)
{
    const uint16_t sum = bw_sum_16(pseudo);
    memcpy(h + TH_SUM, &sum, 2);
    tx_partial(f, ip_hlen, TH_SUM);
}
/* The whole checksum of a segment of len bytes. */
static inline void th_put_sum(uint8_t *h, uint32_t len, uint64_t pseudo)
{
    memset(h + TH_SUM, 0, 2);
    const uint16_t sum = bw_sum_fold(bw_sum(h, len, pseudo));
    memcpy(h + TH_SUM, &sum, 2);
}

/* Options: each function returns the place behind, whole words further on. */
static inline uint32_t th_option(uint8_t first, uint8_t second, uint8_t kind, uint32_t len)
{
    return (uint32_t)first << 24 | (uint32_t)second << 16 | (uint32_t)kind << 8 | len;
}
static inline uint8_t *th_put_mss(uint8_t *p, uint32_t mss)
{
    put32(p, (uint32_t)OPT_MSS << 24 | 4u << 16 | mss);
    return p + 4;
}
static inline uint8_t *th_put_sack_ok(uint8_t *p)
{
    put32(p, th_option(OPT_NOP, OPT_NOP, OPT_SACK_OK, 2));
    return p + 4;
}
static inline uint8_t *th_put_wscale(uint8_t *p, uint8_t shift)
{
    put32(p, th_option(OPT_NOP, OPT_WSCALE, 3, shift));
    return p + 4;
}
/* RFC 7323 appendix A. sack_ok: SACK-permitted takes the place of the padding. */
static inline uint8_t *th_put_timestamps(uint8_t *p, int sack_ok, uint32_t value, uint32_t echo)
{
    put32(p, sack_ok ? th_option(OPT_SACK_OK, 2, OPT_TIMESTAMPS, 10)
                     : th_option(OPT_NOP, OPT_NOP, OPT_TIMESTAMPS, 10));
    put32(p + 4, value);
    put32(p + 8, echo);
    return p + TCP_TS_LEN;
}
/* How many SACK blocks fit. */
static inline uint32_t th_sack_room(uint32_t room)
{
    return (room - TCP_SACK_LEN) / TCP_SACK_BLOCK;
}
static inline uint32_t th_sack_len(uint32_t blocks)
{
    return blocks ? TCP_SACK_LEN + TCP_SACK_BLOCK * blocks : 0;
}
/* Block number i of a SACK option at p, whose head comes last. */
static inline void th_put_sack_block(uint8_t *p, uint32_t i, uint32_t start, uint32_t end)
{
    p += TCP_SACK_LEN + TCP_SACK_BLOCK * i;
    put32(p, start);
    put32(p + 4, end);
}
static inline uint8_t *th_put_sack(uint8_t *p, uint32_t blocks)
{
    put32(p, th_option(OPT_NOP, OPT_NOP, OPT_SACK, 2 + TCP_SACK_BLOCK * blocks));
    return p + TCP_SACK_LEN + TCP_SACK_BLOCK * blocks;
}
uint32_t th_fast_open_len(uint32_t len);
uint8_t *th_put_fast_open(uint8_t *p, const uint8_t *cookie, uint32_t len);
uint32_t th_accecn_len(uint32_t fields);
uint8_t *th_put_accecn(uint8_t *p, uint8_t kind, const uint32_t *field, uint32_t fields);

#endif
