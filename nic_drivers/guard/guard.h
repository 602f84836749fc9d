/* SPDX-License-Identifier: MIT */
/* The SYN guard: a BPF program that holds a flood of SYNs back before the kernel queues them for us.
 *
 * So many SYNs a second are let in at first sight. The others are noted and let in when they are
 * repeated: an honest client sends its SYN again after a second (RFC 6298, 2), made-up ones are never
 * repeated. The engine does the same with what reaches it (stack/tcp/open/syn_filter.c); here a SYN that is
 * held back costs the stack nothing. This file is what the programs, the loader and the drivers share. */
#ifndef BW_GUARD_H
#define BW_GUARD_H

#include <linux/types.h>

enum {
    GUARD_BLOCKS = 1 << 17, /* of GUARD_CELLS bytes each: 8 MiB, a tenth of 500,000 SYNs a second pass */
    GUARD_CELLS = 64,
};

/* The one entry of the map `guard_state`. */
struct guard_state {
    __u64 key;                   /* secret, for the hash */
    __u32 allowance;             /* SYNs let in at first sight in each 2^20 ns; 0: the guard is off */
    __u32 link;                  /* bytes of link header before the IP header */
    __u64 window;                /* the one we are in */
    __u64 used;                  /* of its allowance */
    __u64 first, repeated, held; /* SYNs let in at first sight, let in as repeated, held back */
};

#endif
