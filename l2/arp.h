/* SPDX-License-Identifier: MIT */
/* ARP for IPv4 over Ethernet (RFC 826): a checked view and the reply. */
#ifndef BW_ARP_H
#define BW_ARP_H

#include <stdint.h>
#include <string.h>

#include "ethernet.h"

enum { ARP_LEN = 28, ARP_REQUEST = 1, ARP_REPLY = 2 };

struct arp_view {
    uint16_t op;
    const uint8_t *sha, *spa, *tha, *tpa; /* sender and target: 6-byte MAC, 4-byte IPv4 address */
};

/* 0, or -1: too short, not IPv4 over Ethernet, neither request nor reply, or a sender whose hardware
 * address is a group or zero, which no host has. */
static inline int arp_parse(const uint8_t *p, uint32_t len, struct arp_view *arp)
{
    static const uint8_t head[6] = {0, 1, 0x08, 0x00, 6, 4}; /* htype, ptype, hlen, plen */
    static const uint8_t zero[ETH_ALEN];
    if (len < ARP_LEN || memcmp(p, head, sizeof head) != 0)
        return -1;
    arp->op = get16(p + 6);
    arp->sha = p + 8;
    arp->spa = p + 14;
    arp->tha = p + 18;
    arp->tpa = p + 24;
    if (arp->op != ARP_REQUEST && arp->op != ARP_REPLY)
        return -1;
    return eth_is_group(arp->sha) || memcmp(arp->sha, zero, ETH_ALEN) == 0 ? -1 : 0;
}

/* Writes the whole frame (ETH_HLEN + ARP_LEN bytes) that answers a request for its target address:
 * unicast to the sender (RFC 5227, section 2.6 leaves broadcast to link-local addresses). */
static inline uint32_t arp_build_reply(uint8_t *frame, const struct arp_view *request, const uint8_t *mac)
{
    uint8_t *p = frame + ETH_HLEN;
    eth_build(frame, request->sha, mac, ETHERTYPE_ARP);
    memcpy(p, (const uint8_t[8]){0, 1, 0x08, 0x00, 6, 4, 0, ARP_REPLY}, 8);
    memcpy(p + 8, mac, ETH_ALEN);
    memcpy(p + 14, request->tpa, 4);
    memcpy(p + 18, request->sha, ETH_ALEN);
    memcpy(p + 24, request->spa, 4);
    return ETH_HLEN + ARP_LEN;
}

#endif
