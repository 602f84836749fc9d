/* SPDX-License-Identifier: MIT */
/* The options of a TCP header, read and written. */
#include "tcp.h"

/* ---- reading ------------------------------------------------------------------------------------------------ */

static void read_sack(struct tcp_seg *seg, const uint8_t *p, uint32_t len)
{
    for (; len >= TCP_SACK_BLOCK && seg->sacks < 4; len -= TCP_SACK_BLOCK, p += TCP_SACK_BLOCK) {
        seg->sack[seg->sacks].start = get32(p);
        seg->sack[seg->sacks].end = get32(p + 4);
        seg->sacks++;
    }
}

/* RFC 9768 section 3.2.3: of any length; whole fields that we know, the rest is padding. */
static void read_accecn(struct tcp_seg *seg, uint8_t kind, const uint8_t *p, uint32_t len)
{
    seg->accecn = kind;
    seg->accecn_fields = 0;
    for (; len >= TCP_ACCECN_FIELD && seg->accecn_fields < 3; len -= TCP_ACCECN_FIELD, p += TCP_ACCECN_FIELD)
        seg->accecn_field[seg->accecn_fields++] = (uint32_t)p[0] << 16 | get16(p + 1);
}

/* One option; unknown ones are skipped. */
static void parse_option(struct tcp_seg *seg, uint8_t kind, uint8_t size, const uint8_t *p)
{
    if (kind == OPT_TIMESTAMPS && size == 10) {
        seg->has_ts = 1;
        seg->tsval = get32(p);
        seg->tsecr = get32(p + 4);
    } else if (kind == OPT_SACK) {
        read_sack(seg, p, size - 2u);
    } else if (kind == OPT_MSS && size == 4) {
        seg->mss = get16(p);
    } else if (kind == OPT_WSCALE && size == 3) {
        seg->has_wscale = 1;
        seg->wscale = p[0] > 14 ? 14 : p[0]; /* RFC 7323 2.3 */
    } else if (kind == OPT_SACK_OK && size == 2) {
        seg->has_sack_ok = 1;
    } else if (kind == OPT_FAST_OPEN && (size == 2 || (size >= 6 && size <= 18 && size % 2 == 0))) {
        seg->has_tfo = 1;
        seg->tfo_len = (uint8_t)(size - 2);
        seg->tfo_cookie = p;
    } else if (kind == OPT_ACCECN0 || kind == OPT_ACCECN1) {
        read_accecn(seg, kind, p, size - 2u);
    }
}

static int parse_options(struct tcp_seg *seg, const uint8_t *opt, uint32_t len)
{
    for (uint32_t i = 0; i < len;) {
        uint8_t kind = opt[i];
        if (kind == OPT_END)
            return 0;
        if (kind == OPT_NOP) {
            i++;
            continue;
        }
        if (i + 1 >= len || opt[i + 1] < 2 || i + opt[i + 1] > len)
            return -1;
        parse_option(seg, kind, opt[i + 1], opt + i + 2);
        i += opt[i + 1];
    }
    return 0;
}

/* The usual segment carries nothing but NOP NOP Timestamps. */
int tcp_parse_options(struct tcp_seg *seg, const uint8_t *h, uint32_t hlen)
{
    const uint8_t *opt = h + TCP_HLEN;
    if (unlikely(hlen != TCP_HLEN + TCP_TS_LEN ||
                 get32(opt) != th_option(OPT_NOP, OPT_NOP, OPT_TIMESTAMPS, 10)))
        return parse_options(seg, opt, hlen - TCP_HLEN);
    seg->has_ts = 1;
    seg->tsval = get32(opt + 4);
    seg->tsecr = get32(opt + 8);
    return 0;
}

/* ---- writing ------------------------------------------------------------------------------------------------ */

/* RFC 7413 4.1.1: bytes of the option with a cookie of len bytes (0: asks for one), padded. */
uint32_t th_fast_open_len(uint32_t len)
{
    return (2 + len + 3) & ~3u;
}

/* The padding stands first. */
uint8_t *th_put_fast_open(uint8_t *p, const uint8_t *cookie, uint32_t len)
{
    uint32_t padding = th_fast_open_len(len) - 2 - len;
    memset(p, OPT_NOP, padding);
    p += padding;
    p[0] = OPT_FAST_OPEN;
    p[1] = (uint8_t)(2 + len);
    memcpy(p + 2, cookie, len);
    return p + 2 + len;
}

/* RFC 9768 3.2.3: with so many fields, padded. */
uint32_t th_accecn_len(uint32_t fields)
{
    return (2 + TCP_ACCECN_FIELD * fields + 3) & ~3u;
}

/* Of each field the low three bytes. */
uint8_t *th_put_accecn(uint8_t *p, uint8_t kind, const uint32_t *field, uint32_t fields)
{
    const uint8_t *end = p + th_accecn_len(fields);
    *p++ = kind;
    *p++ = (uint8_t)(2 + TCP_ACCECN_FIELD * fields);
    for (uint32_t i = 0; i < fields; i++, p += TCP_ACCECN_FIELD) {
        p[0] = (uint8_t)(field[i] >> 16);
        put16(p + 1, (uint16_t)field[i]);
    }
    while (p < end)
        *p++ = OPT_NOP;
    return p;
}
