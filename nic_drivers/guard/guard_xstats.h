/* SPDX-License-Identifier: MIT */
/* The guard's counters, for a driver that has its map's descriptor; without libbpf. */
#ifndef BW_GUARD_XSTATS_H
#define BW_GUARD_XSTATS_H

#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../xstats.h"
#include "guard.h"

/* Appends to the first n of out, as xstats_put; nothing without a guard (state < 0). -errno. */
static inline int guard_xstats(int state, struct netdev_xstat *out, int n, int max)
{
    static const char *const names[] = {"guard_syns_first", "guard_syns_repeated", "guard_syns_held"};
    struct guard_state s;
    uint32_t zero = 0;
    union bpf_attr attr = {0};
    if (state < 0)
        return n;
    attr.map_fd = (uint32_t)state;
    attr.key = (uintptr_t)&zero;
    attr.value = (uintptr_t)&s;
    if (syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attr, sizeof attr))
        return -errno;
    return xstats_put(out, n, max, names, (const uint64_t[]){s.first, s.repeated, s.held}, 3);
}

#endif
