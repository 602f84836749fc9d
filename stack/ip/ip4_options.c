/* SPDX-License-Identifier: MIT */
/* IPv4 options in (RFC 791 section 3.1, RFC 1122 section 3.2.1.8): each is checked, as Linux does; none
 * steers a packet. Record route and timestamp are brought up to date in the answer to an echo request
 * (RFC 1122 section 3.2.2.6), never in the packet that came. */
#include "../stack.h"

enum {
    IPOPT_END = 0,
    IPOPT_NOP = 1,
    IPOPT_RECORD_ROUTE = 7,
    IPOPT_TIMESTAMP = 68,
    IPOPT_LSRR = 131,
    IPOPT_SSRR = 137,
    IPOPT_ROUTER_ALERT = 148,
};
/* Low half of a timestamp option's fourth byte: times, with addresses before them, with addresses given. */
enum { TS_ONLY = 0, TS_ADDRESS = 1, TS_GIVEN = 3, TS_OVERFLOW = 15 };

/* Options before the end of the list, one after the other; NULL: no more. *len: 0 for one that is broken. */
static const uint8_t *next_option(const uint8_t *p, const uint8_t *end, uint32_t *len)
{
    while (p < end && *p == IPOPT_NOP)
        p++;
    if (p == end || *p == IPOPT_END)
        return NULL;
    uint32_t left = (uint32_t)(end - p);
    *len = left < 2 || p[1] < 2 || p[1] > left ? 0 : p[1];
    return p;
}

/* Which byte of a list of places (first place, bytes of each) is wrong; -1: none. Its third byte says, from
 * 1, where the next one goes; past the end: it is full. */
static int check_places(const uint8_t *p, uint32_t len, uint32_t first, uint32_t size)
{
    if (len < first - 1)
        return 1;
    return p[2] < first || (p[2] <= len && p[2] + size - 1 > len) ? 2 : -1;
}

static int check_timestamp(const uint8_t *p, uint32_t len)
{
    int wrong = check_places(p, len, 5, 4);
    if (wrong >= 0)
        return wrong;
    uint32_t flag = p[3] & 15;
    if (p[2] > len)
        return flag != TS_GIVEN && p[3] >> 4 == TS_OVERFLOW ? 3 : -1;
    return (flag == TS_ADDRESS || flag == TS_GIVEN) && p[2] + 7u > len ? 2 : -1;
}

/* Which byte of the option is wrong; -1: none. */
static int check_option(const uint8_t *p, uint32_t len)
{
    switch (p[0]) {
    case IPOPT_RECORD_ROUTE: return check_places(p, len, 4, 4);
    case IPOPT_TIMESTAMP: return check_timestamp(p, len);
    case IPOPT_LSRR:
    case IPOPT_SSRR: return len < 3 ? 1 : p[2] < 4 ? 2 : -1;
    case IPOPT_ROUTER_ALERT: return len < 4 ? 1 : -1;
    default: return -1;
    }
}

/* At most one of each of these in a packet. */
static uint32_t once(uint8_t type)
{
    return type == IPOPT_RECORD_ROUTE                 ? 1
           : type == IPOPT_TIMESTAMP                  ? 2
           : type == IPOPT_LSRR || type == IPOPT_SSRR ? 4
                                                      : 0;
}

int ip_options_check(const uint8_t *l3, uint32_t hlen)
{
    uint32_t len, seen = 0;
    const uint8_t *p = l3 + IP4_HLEN;
    for (; (p = next_option(p, l3 + hlen, &len)); p += len) {
        int wrong = !len || (seen & once(p[0])) ? 0 : check_option(p, len);
        if (wrong >= 0)
            return (int)(p - l3) + wrong;
        seen |= once(p[0]);
    }
    return seen & 4 ? IP_SOURCE_ROUTED : 0;
}

/* ---- echoed -------------------------------------------------------------------------------------------- */

/* Fills the place that the option's third byte names, if there is one left. */
static void fill_place(uint8_t *p, const uint8_t *address, const uint8_t *time)
{
    uint32_t size = (address ? 4 : 0) + (time ? 4 : 0);
    uint8_t *to = p + p[2] - 1;
    if (p[2] + size - 1 > p[1])
        return;
    if (address)
        memcpy(to, address, 4);
    if (time)
        memcpy(to + size - 4, time, 4);
    p[2] = (uint8_t)(p[2] + size);
}

/* RFC 791: a time of another kind than milliseconds since midnight has the high bit set. */
static void fill_time(struct bw_stack *st, uint8_t *p, const uint8_t *ours)
{
    uint8_t time[4];
    put32(time, (uint32_t)(st->now / 1000000) | 0x80000000u);
    switch (p[3] & 15) {
    case TS_ONLY: fill_place(p, NULL, time); break;
    case TS_ADDRESS: fill_place(p, ours, time); break;
    case TS_GIVEN:
        if (p[2] + 7u <= p[1] && memcmp(p + p[2] - 1, ours, 4) == 0)
            fill_place(p, ours, time);
    }
}

/* Linux records itself twice, when the request comes and when the answer goes. */
static void update_option(struct bw_stack *st, uint8_t *p, const uint8_t *ours)
{
    if (p[0] == IPOPT_TIMESTAMP && p[2] > p[1] && (p[3] & 15) != TS_GIVEN)
        p[3] = (uint8_t)(p[3] + 16); /* one more that found no place */
    for (int i = 0; i < 2; i++) {
        if (p[0] == IPOPT_TIMESTAMP)
            fill_time(st, p, ours);
        else
            fill_place(p, ours, NULL);
    }
}

uint32_t ip_options_echo(struct bw_stack *st, const struct packet *pkt, uint8_t *out)
{
    uint32_t len, n = 0;
    const uint8_t *p = pkt->l3 + IP4_HLEN, *end = pkt->l3 + (pkt->l3[0] & 15u) * 4;
    for (; (p = next_option(p, end, &len)) && len; p += len) {
        if (p[0] != IPOPT_RECORD_ROUTE && p[0] != IPOPT_TIMESTAMP)
            continue;
        memcpy(out + n, p, len);
        update_option(st, out + n, pkt->dst + 12);
        n += len;
    }
    while (n & 3)
        out[n++] = IPOPT_END;
    return n;
}
