/* SPDX-License-Identifier: MIT */
/* A packet socket gets frames without their VLAN tag, and the tag beside them. */
#ifndef BW_VLAN_TAG_H
#define BW_VLAN_TAG_H

#include <string.h>

#include <linux/if_packet.h>

#include "netdev.h"

enum { VLAN_TAG = 4, VLAN_AT = 12 }; /* bytes of a tag; behind the two addresses */

/* Puts the tag of an Ethernet frame back in, as it was on the wire: VLAN_TAG bytes before it are ours. */
static inline void vlan_put_back(struct rx_frame *f, uint32_t status, uint16_t tci, uint16_t tpid)
{
    uint8_t *data = f->data - VLAN_TAG;
    uint16_t type = status & TP_STATUS_VLAN_TPID_VALID ? tpid : 0x8100;
    memmove(data, f->data, VLAN_AT);
    data[12] = (uint8_t)(type >> 8);
    data[13] = (uint8_t)type;
    data[14] = (uint8_t)(tci >> 8);
    data[15] = (uint8_t)tci;
    f->data = data;
    f->len += VLAN_TAG;
}

#endif
