/* SPDX-License-Identifier: MIT */
/* Ethernet II frames with at most one IEEE 802.1Q tag: a checked view and a builder. */
#ifndef BW_ETHERNET_H
#define BW_ETHERNET_H

#include <stdint.h>
#include <string.h>

#include "../nic_drivers/bytes.h"

enum {
    ETH_ALEN = 6,
    ETH_HLEN = 14,
    ETH_VLAN_HLEN = 4,
    ETHERTYPE_IPV4 = 0x0800,
    ETHERTYPE_ARP = 0x0806,
    ETHERTYPE_VLAN = 0x8100,
    ETHERTYPE_IPV6 = 0x86dd,
    ETHERTYPE_QINQ = 0x88a8,
};

struct eth_view {
    const uint8_t *dst, *src; /* 6 bytes each */
    uint32_t hlen;            /* 14, or 18 with a tag */
    uint16_t type;            /* of the payload; below 1536: an IEEE 802.3 length */
    uint16_t vid;             /* VLAN identifier; 0: untagged, or a priority tag */
};

/* 0, or -1: the frame is shorter than its header. */
static inline int eth_parse(const uint8_t *frame, uint32_t len, struct eth_view *eth)
{
    if (len < ETH_HLEN)
        return -1;
    eth->dst = frame;
    eth->src = frame + ETH_ALEN;
    eth->type = get16(frame + 12);
    eth->vid = 0;
    eth->hlen = ETH_HLEN;
    if (eth->type == ETHERTYPE_VLAN) {
        if (len < ETH_HLEN + ETH_VLAN_HLEN)
            return -1;
        eth->vid = get16(frame + 14) & 0x0fff;
        eth->type = get16(frame + 16);
        eth->hlen = ETH_HLEN + ETH_VLAN_HLEN;
    }
    return 0;
}

/* Broadcast and multicast addresses have the group bit. */
static inline int eth_is_group(const uint8_t *mac)
{
    return mac[0] & 1;
}

/* Writes an untagged header of ETH_HLEN bytes. */
static inline void eth_build(uint8_t *p, const uint8_t *dst, const uint8_t *src, uint16_t type)
{
    memcpy(p, dst, ETH_ALEN);
    memcpy(p + ETH_ALEN, src, ETH_ALEN);
    p[12] = (uint8_t)(type >> 8);
    p[13] = (uint8_t)type;
}

/* The group address of an IPv4 multicast address (RFC 1112, section 6.4). */
static inline void eth_multicast4(uint8_t *mac, const uint8_t *v4)
{
    mac[0] = 0x01;
    mac[1] = 0x00;
    mac[2] = 0x5e;
    mac[3] = v4[1] & 0x7f;
    mac[4] = v4[2];
    mac[5] = v4[3];
}

#endif
