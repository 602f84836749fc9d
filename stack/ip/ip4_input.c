/* SPDX-License-Identifier: MIT */
/* IPv4 packets in (RFC 791, RFC 1122 section 3.2.1): each length and address is checked here once,
 * then the packet goes to its protocol. */
#include "../icmp/icmp.h"
#include "ip4_reassembly.h"

enum { IP_PROTO_ICMP = 1, IP_PROTO_IGMP = 2, IP_PROTO_TCP = 6, IP_PROTO_UDP = 17 };

/* Where the packet claims to come from. 0: plausible. */
static int check_source(struct bw_stack *st, const struct iface *in, const struct packet *pkt)
{
    int loops = (in->caps & NETDEV_LOOPBACK) != 0;
    if (!loops && (pkt->src[12] == 127 || pkt->dst[12] == 127)) {
        drop(st, DROP_IP_LOOPBACK, pkt->l4_len);
        return -1;
    }
    /* RFC 1122 section 3.2.1.3: no broadcast, no multicast, not "this host"; and not ourselves. */
    if (pkt->src[12] == 0 || ip_is_broadcast(st, pkt->src) || (!loops && ip_is_ours(st, pkt->src))) {
        drop(st, DROP_IP_SOURCE, pkt->l4_len);
        return -1;
    }
    return 0;
}

/* Is the packet for this host? Of the groups, only all-hosts (RFC 1112) is joined. */
static int check_destination(struct bw_stack *st, struct packet *pkt)
{
    if (likely(ip_is_ours(st, pkt->dst)))
        return 0;
    if (ip_is_broadcast(st, pkt->dst) &&
        ((pkt->dst[12] & 0xf0) != 0xe0 || get32(pkt->dst + 12) == 0xe0000001)) {
        pkt->ip_broadcast = 1;
        return 0;
    }
    drop(st, DROP_IP_NOT_OURS, pkt->l4_len);
    return -1;
}

/* What is broken is told (RFC 1122 section 3.2.2.5); a source route is not followed (RFC 6274 section
 * 3.13.2.3). 0: fine. */
static int check_options(struct bw_stack *st, const struct packet *pkt, uint32_t hlen)
{
    int wrong = ip_options_check(pkt->l3, hlen);
    if (!wrong)
        return 0;
    drop(st, DROP_IP_OPTIONS, pkt->l4_len);
    if (wrong != IP_SOURCE_ROUTED)
        icmp_send_error(st, pkt, ICMP_PARAMETER, 0, (uint32_t)wrong << 24);
    return -1;
}

/* The header's fields; *total is the packet's length without link padding. 0, or -1: dropped. */
static int check_header(struct bw_stack *st, const struct iface *in, const uint8_t *p, uint32_t len,
                        uint32_t *hlen, uint32_t *total)
{
    enum bw_counter_id why = BW_COUNTERS;
    if (len < IP4_HLEN) {
        drop(st, DROP_IP_SHORT, len);
        return -1;
    }
    *hlen = (p[0] & 15u) * 4;
    *total = get16(p + 2);
    if (p[0] >> 4 != 4)
        why = DROP_IP_VERSION;
    else if (*hlen < IP4_HLEN || *hlen > len)
        why = DROP_IP_HEADER;
    else if (!(in->caps & NETDEV_LOOPBACK) && ip4_header_sum(p, *hlen) != 0)
        why = DROP_IP_CHECKSUM;
    else if (*total < *hlen || *total > len)
        why = DROP_IP_LENGTH;
    if (likely(why == BW_COUNTERS))
        return 0;
    drop(st, why, len);
    return -1;
}

void ip_demux(struct bw_stack *st, struct packet *pkt)
{
    switch (pkt->proto) {
    case IP_PROTO_TCP: tcp_input(st, pkt); break;
    case IP_PROTO_UDP: udp_input(st, pkt); break;
    case IP_PROTO_ICMP: icmp_input(st, pkt); break;
    default:
        drop(st, DROP_IP_PROTOCOL, pkt->l4_len);
        if (pkt->proto != IP_PROTO_IGMP) /* every host has that one: there is no group to answer for */
            icmp_send_error(st, pkt, ICMP_UNREACHABLE, ICMP_PROTOCOL, 0);
    }
}

void ip_input(struct bw_stack *st, struct iface *in, uint8_t *l3, uint32_t len, const struct rx_frame *f,
              const uint8_t *src_mac, int l2_broadcast)
{
    uint32_t hlen, total;
    struct packet pkt;
    if (check_header(st, in, l3, len, &hlen, &total))
        return;
    pkt.l3 = l3;
    pkt.l4 = l3 + hlen;
    pkt.l4_len = total - hlen;
    pkt.ifindex = in->index;
    ip_from_v4(pkt.src, l3 + 12);
    ip_from_v4(pkt.dst, l3 + 16);
    pkt.gso_size = f->gso_size;
    pkt.proto = l3[9];
    pkt.ttl = l3[8];
    pkt.tos = l3[1];
    pkt.csum = f->csum;
    pkt.l2_broadcast = (uint8_t)l2_broadcast;
    pkt.ip_broadcast = 0;
    pkt.zone = 0;
    pkt.flow_hash = st->rx_flow;
    memcpy(pkt.src_mac, src_mac, 6);
    if (check_source(st, in, &pkt) || check_destination(st, &pkt))
        return;
    if (unlikely(hlen > IP4_HLEN) && check_options(st, &pkt, hlen))
        return;
    if (unlikely(get16(l3 + 6) & 0x3fff)) /* more fragments, or an offset */
        frag_input(st, &pkt);
    else
        ip_demux(st, &pkt);
}
