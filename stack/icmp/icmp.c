/* SPDX-License-Identifier: MIT */
/* ICMP in (RFC 792, RFC 1122 section 3.2.2): echo requests are answered here, errors reach the socket
 * whose packet they quote. Python hears of answers to its own pings, and of a path MTU that a socket of ours
 * has met; a message that belongs to nobody ends here. */
#include "icmp.h"

/* ---- echo ------------------------------------------------------------------------------------------ */

static void icmp_echo(struct bw_stack *st, const struct packet *pkt)
{
    if (pkt->ip_broadcast || pkt->l2_broadcast) {
        drop(st, DROP_ICMP_BROADCAST, pkt->l4_len);
        return;
    }
    struct ip_path path = {0};
    struct ip_send ip = {.src = pkt->dst, .dst = pkt->src, .proto = 1, .ttl = ICMP_TTL, .tos = pkt->tos};
    uint8_t reply[ICMP_HLEN], options[IP_OPTIONS_MAX];
    ip.options = options;
    ip.options_len = ip_options_echo(st, pkt, options);
    memcpy(reply, pkt->l4, ICMP_HLEN);
    reply[0] = ICMP_ECHO_REPLY;
    if (ip_path_copy(st, pkt->src, 0, &path)) {
        drop(st, DROP_ICMP_NO_ROUTE, pkt->l4_len);
        return;
    }
    path.sender = PATH_ANSWER;
    if (ip_send_datagram(st, &path, &ip, reply, ICMP_HLEN, 2, pkt->l4 + ICMP_HLEN, pkt->l4_len - ICMP_HLEN) ==
        0)
        count(st, COUNT_ECHO_REPLIES);
}

/* ---- echo requests of Python's ---------------------------------------------------------------------- */

static struct echo_interest *echo_find(struct bw_stack *st, const uint8_t *ip, uint16_t ident)
{
    for (uint32_t i = 0; i < st->echos; i++)
        if (st->echo[i].ident == ident && ip_equal(st->echo[i].ip, ip))
            return &st->echo[i];
    return NULL;
}

int bw_echo_open(struct bw_stack *st, const uint8_t ip[16], uint16_t ident)
{
    if (echo_find(st, ip, ident))
        return 0;
    if (st->echos == BW_MAX_ECHOS)
        return -ENOSPC;
    struct echo_interest *e = &st->echo[st->echos++];
    memcpy(e->ip, ip, 16);
    e->ident = ident;
    return 0;
}

void bw_echo_close(struct bw_stack *st, const uint8_t ip[16], uint16_t ident)
{
    struct echo_interest *e = echo_find(st, ip, ident);
    if (e)
        *e = st->echo[--st->echos];
}

static void punt_icmp(struct bw_stack *st, const struct packet *pkt)
{
    punt(st, BW_PUNT_ICMP, pkt, 0, pkt->l3, (uint32_t)(pkt->l4 - pkt->l3) + pkt->l4_len);
}

static void icmp_echo_reply(struct bw_stack *st, const struct packet *pkt)
{
    if (echo_find(st, pkt->src, get16(pkt->l4 + 4)))
        punt_icmp(st, pkt);
    else
        drop(st, DROP_ICMP_UNASKED, pkt->l4_len);
}

/* ---- errors ---------------------------------------------------------------------------------------- */

struct icmp_meaning {
    uint8_t err, hard, gone;
};

/* What a destination-unreachable code says to a socket: Linux's errno; hard as RFC 1122 section
 * 4.2.3.9 and, for the codes that came later, Linux have it; gone: nobody is there, as Linux judges. No error:
 * nobody knows the code. */
static struct icmp_meaning unreachable_means(uint8_t code)
{
    static const struct icmp_meaning meaning[] = {
        {ENETUNREACH, 0, 1},  {EHOSTUNREACH, 0, 1},
        {ENOPROTOOPT, 1, 0},  {ECONNREFUSED, 1, 0}, /* net, host, protocol, port */
        {EMSGSIZE, 1, 0},     {EOPNOTSUPP, 0, 0},   /* frag needed, source route */
        {ENETUNREACH, 1, 0},  {EHOSTDOWN, 1, 0},
        {ENONET, 1, 0},       {ENETUNREACH, 1, 0}, /* unknown, isolated, prohibited */
        {EHOSTUNREACH, 1, 0}, {ENETUNREACH, 0, 0},
        {EHOSTUNREACH, 0, 0}, {EHOSTUNREACH, 1, 0}, /* host prohibited, TOS, filtered */
        {EHOSTUNREACH, 1, 0}, {EHOSTUNREACH, 1, 0}, /* precedence */
    };
    return code < sizeof meaning / sizeof *meaning ? meaning[code] : (struct icmp_meaning){0};
}

/* RFC 1191 section 7: a router that does not say gets the next plateau below the packet's length. */
static uint32_t next_hop_mtu(uint32_t said, uint32_t packet_len)
{
    static const uint16_t plateau[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296};
    if (said)
        return said < 68 ? 68 : said;
    for (unsigned i = 0; i < sizeof plateau / sizeof *plateau; i++)
        if (plateau[i] < packet_len)
            return plateau[i];
    return 68;
}

/* The packet of ours that p quotes: its header and at least 8 transport bytes. 0, or -1. */
static int parse_sent(struct bw_stack *st, uint8_t *p, uint32_t len, uint32_t ifindex, struct packet *sent)
{
    if (len < IP4_HLEN + 8 || p[0] >> 4 != 4)
        return -1;
    uint32_t hlen = (p[0] & 15u) * 4;
    if (hlen < IP4_HLEN || len < hlen + 8 || (get16(p + 6) & 0x1fff))
        return -1;
    *sent = (struct packet){.l3 = p, .l4 = p + hlen, .l4_len = len - hlen, .ifindex = ifindex};
    sent->proto = p[9];
    sent->ttl = p[8];
    sent->tos = p[1];
    ip_from_v4(sent->src, p + 12);
    ip_from_v4(sent->dst, p + 16);
    return ip_is_ours(st, sent->src) ? 0 : -1;
}

static int is_echo_of_ours(struct bw_stack *st, const struct packet *sent)
{
    return sent->proto == 1 && sent->l4[0] == ICMP_ECHO && echo_find(st, sent->dst, get16(sent->l4 + 4));
}

/* To whom the quoted packet belongs. 1: it changed something; 0: dropped. */
static int apply_error(struct bw_stack *st, const struct packet *sent, struct icmp_meaning means,
                       uint32_t mtu)
{
    int applied;
    if (sent->proto == 6)
        applied = tcp_error(st, sent, means.err, means.gone, mtu);
    else if (sent->proto == 17)
        applied = udp_error(st, sent, means.err, means.hard);
    else if (!(applied = is_echo_of_ours(st, sent)))
        drop(st, DROP_ICMP_NOT_OURS, sent->l4_len);
    if (applied)
        count(st, COUNT_ICMP_APPLIED);
    return applied;
}

static void icmp_error(struct bw_stack *st, struct packet *pkt)
{
    struct packet sent;
    uint8_t type = pkt->l4[0], code = pkt->l4[1];
    uint32_t mtu = 0;
    struct icmp_meaning means = {EHOSTUNREACH, 0, 1}; /* time exceeded */
    if (pkt->ip_broadcast) {
        drop(st, DROP_ICMP_BROADCAST, pkt->l4_len);
        return;
    }
    if (parse_sent(st, pkt->l4 + ICMP_HLEN, pkt->l4_len - ICMP_HLEN, pkt->ifindex, &sent)) {
        drop(st, DROP_ICMP_NOT_OURS, pkt->l4_len);
        return;
    }
    if (type == ICMP_UNREACHABLE) {
        means = unreachable_means(code);
        if (code == ICMP_FRAG_NEEDED)
            mtu = next_hop_mtu(get16(pkt->l4 + 6), get16(sent.l3 + 2));
    } else if (type == ICMP_PARAMETER) {
        means = (struct icmp_meaning){EPROTO, 1, 1};
    }
    int late_fragments = type == ICMP_TIME_EXCEEDED && code == ICMP_REASSEMBLY && sent.proto != 1;
    if (!means.err || late_fragments) /* no socket hears of it, as on Linux */
        drop(st, DROP_ICMP_UNHEARD, sent.l4_len);
    else if (apply_error(st, &sent, means, mtu) && (mtu || sent.proto == 1))
        punt_icmp(st, pkt);
}

void icmp_input(struct bw_stack *st, struct packet *pkt)
{
    if (pkt->l4_len < ICMP_HLEN) {
        drop(st, DROP_ICMP_SHORT, pkt->l4_len);
        return;
    }
    if (pkt->csum == BW_CSUM_UNKNOWN && bw_sum_fold(bw_sum(pkt->l4, pkt->l4_len, 0)) != 0) {
        drop(st, DROP_ICMP_CHECKSUM, pkt->l4_len);
        return;
    }
    switch (pkt->l4[0]) {
    case ICMP_ECHO: icmp_echo(st, pkt); break;
    case ICMP_UNREACHABLE:
    case ICMP_TIME_EXCEEDED:
    case ICMP_PARAMETER: icmp_error(st, pkt); break;
    case ICMP_ECHO_REPLY: icmp_echo_reply(st, pkt); break;
    /* Routes are what somebody configured: a neighbour does not move them. */
    case ICMP_REDIRECT: drop(st, DROP_ICMP_REDIRECT, pkt->l4_len); break;
    default: drop(st, DROP_ICMP_TYPE, pkt->l4_len);
    }
}

/* The neighbour or the route failed: as final for a connection being opened as a router's word. */
void bw_local_error(struct bw_stack *st, const uint8_t *packet, uint32_t len, int err)
{
    struct packet sent;
    if (parse_sent(st, (uint8_t *)packet, len, 0, &sent) == 0)
        apply_error(st, &sent, (struct icmp_meaning){(uint8_t)(err < 0 ? -err : err), 0, 1}, 0);
}
