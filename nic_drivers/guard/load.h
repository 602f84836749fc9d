/* SPDX-License-Identifier: MIT */
/* Loading the guard of a TUN interface, with libbpf. */
#ifndef BW_GUARD_LOAD_H
#define BW_GUARD_LOAD_H

#include <stdint.h>

/* cdef:begin */
struct guard_config {
    uint64_t key;  /* secret */
    uint32_t rate; /* SYNs a second let in at first sight; up to 100,000,000 */
    uint32_t link; /* bytes of link header before the IP header */
};
struct guard_fds {
    int program, state; /* state: the map with the counters; the caller closes both */
};
/* 0 or -errno. */
int guard_load(const struct guard_config *cfg, struct guard_fds *fds);
/* cdef:end */

/* The program, compiled; the build defines it. */
extern const unsigned char guard_object[];
extern const unsigned long guard_object_len;

#endif
