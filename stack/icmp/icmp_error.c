/* SPDX-License-Identifier: MIT */
/* ICMP errors out: when one is sent (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7), and how many.
 * Each type has a rate, and so has each destination, in Linux's numbers. What
 * an error costs its type is random: a number one can count is a side channel (CVE-2020-25705). */
#include "icmp.h"

enum {
    TYPE_RATE = 1000, /* a second, and at once, on average: icmp_msgs_per_sec, icmp_msgs_burst */
    TYPE_BURST = 50,
    HOST_RATE = 1, /* icmp_ratelimit, and the burst that goes with it */
    HOST_BURST = 6,
    HOST_WAYS = 4,      /* a destination may lie in any of so many places */
    ERROR_PACKET = 576, /* bytes of the whole error (RFC 1812 section 4.3.2.3) */
    PRECEDENCE = 0xc0,  /* internetwork control (RFC 1812 section 4.3.2.5) */
};

void icmp_error_init(struct bw_stack *st)
{
    for (int i = 0; i < ICMP_TYPES; i++)
        st->icmp_type[i] = bucket_of(TYPE_RATE, TYPE_BURST);
}

/* ---- may there be one ------------------------------------------------------------------------------ */

static int is_icmp_error(uint8_t type)
{
    return type == ICMP_UNREACHABLE || type == ICMP_QUENCH || type == ICMP_REDIRECT ||
           type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER;
}

/* The source was looked at when the packet came in: neither broadcast nor group, nor "this host". */
static int error_allowed(const struct packet *about)
{
    if (about->l2_broadcast || about->ip_broadcast || about->src[12] >= 240)
        return 0;
    if (get16(about->l3 + 6) & 0x1fff)
        return 0; /* only the first fragment says what it is about */
    return about->proto != 1 || (about->l4_len && !is_icmp_error(about->l4[0]));
}

/* The destination's entry, or the one of its set that has the most left, to be forgotten. */
static struct icmp_host *host_entry(struct bw_stack *st, const uint8_t *ip)
{
    uint32_t sets = ICMP_HOSTS / HOST_WAYS;
    struct icmp_host *set = &st->icmp_host[(uint32_t)hsiphash(st->hash_key, ip, 16) % sets * HOST_WAYS];
    struct icmp_host *found = set;
    for (struct icmp_host *h = set; h < set + HOST_WAYS; h++) {
        if (ip_equal(h->ip, ip))
            return h;
        if (h->full < found->full)
            found = h;
    }
    memcpy(found->ip, ip, 16);
    found->full = INT64_MIN;
    return found;
}

static int within_rates(struct bw_stack *st, const uint8_t *ip, uint8_t type)
{
    struct bucket *all = &st->icmp_type[type], one = bucket_of(HOST_RATE, HOST_BURST);
    if (!bucket_has_token(all, st->now))
        return 0;
    struct icmp_host *host = host_entry(st, ip);
    one.full = host->full;
    if (!bucket_has_token(&one, st->now))
        return 0;
    bucket_take(&one, st->now);
    host->full = one.full;
    for (uint64_t cost = random64(st) % 3; cost; cost--)
        bucket_take(all, st->now);
    return 1;
}

/* ---- the message ------------------------------------------------------------------------------------ */

void icmp_send_error(struct bw_stack *st, const struct packet *about, uint8_t type, uint8_t code,
                     uint32_t rest)
{
    struct ip_path path = {0};
    struct ip_send ip = {.src = about->dst,
                         .dst = about->src,
                         .proto = 1,
                         .ttl = ICMP_TTL,
                         .tos = (uint8_t)((about->tos & 0x1e) | PRECEDENCE)};
    uint8_t head[ICMP_HLEN] = {type, code};
    uint8_t options[IP_OPTIONS_MAX];
    uint32_t quoted = (uint32_t)(about->l4 - about->l3) + about->l4_len;
    if (!error_allowed(about)) {
        count(st, COUNT_ICMP_FORBIDDEN);
        return;
    }
    if (ip_path_copy(st, about->src, 0, &path)) {
        drop(st, DROP_ICMP_NO_ROUTE, quoted);
        return;
    }
    if (path.ifindex != IF_LOOPBACK && !within_rates(st, about->src, type)) {
        count(st, COUNT_ICMP_LIMITED);
        return;
    }
    ip.options = options;
    ip.options_len = type == ICMP_PARAMETER ? 0 : ip_options_echo(st, about, options);
    const uint32_t packet = path.mtu < ERROR_PACKET ? path.mtu : ERROR_PACKET, /* it needs no fragments */
        head_len = IP4_HLEN + ip.options_len + ICMP_HLEN, most = packet > head_len ? packet - head_len : 0;
    path.sender = PATH_ANSWER;
    put32(head + 4, rest);
    if (!ip_send_datagram(st, &path, &ip, head, ICMP_HLEN, 2, about->l3, quoted < most ? quoted : most))
        count(st, COUNT_ICMP_ERRORS_SENT);
}
