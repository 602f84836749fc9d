/* SPDX-License-Identifier: MIT */
/* What the XDP program and the driver share: how to steer, and the verdicts' counters. */
#ifndef BW_XDP_STEER_H
#define BW_XDP_STEER_H

#include <linux/types.h>

enum { STEER_QUEUES = 64, STEER_ADDRS = 512 }; /* twice a stack's: old and new ones together */

enum { STEER_KEY = 40, STEER_TABLE = 512 };

enum steer_mode {
    STEER_OWN,   /* the stack has a MAC address of its own; ARP for its addresses too */
    STEER_SHARE, /* it shares the interface's: IPv4 to, and ARP for, its addresses */
    STEER_ALL,   /* every frame is the stack's */
};

/* Stacks that share an interface agree on all of it. Of `group` stacks above 1, number q drives queue q. */
struct steer_config {
    __u8 mac[6];
    __u8 mode;
    __u8 group;
    __u32 guard_rate;
    __u8 frags;
    __u8 pad;
    __u16 table_len; /* a power of two, with a card's hash; 0: by the port */
    __u8 key[STEER_KEY];
    __u8 table[STEER_TABLE];
};

enum steer_verdict {
    VERDICT_STACK,
    VERDICT_STACK_ARP,
    VERDICT_KERNEL,
    VERDICT_NO_SOCKET,
    VERDICT_GROUP, /* to the kernel, where the packet sockets of the group's stacks see it */
    VERDICTS
};

#endif
