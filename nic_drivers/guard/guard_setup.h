/* SPDX-License-Identifier: MIT */
/* Starting the guard that a loaded BPF object contains. */
#ifndef BW_GUARD_SETUP_H
#define BW_GUARD_SETUP_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdint.h>

#include "guard.h"

/* rate: SYNs a second let in at first sight. 0 or -errno. */
static inline int guard_start(struct bpf_object *object, uint32_t rate, uint32_t link, uint64_t key)
{
    uint32_t zero = 0;
    struct guard_state state = {.key = key, .link = link};
    state.allowance = (uint32_t)(((uint64_t)rate << 20) / 1000000000u);
    if (rate && !state.allowance)
        state.allowance = 1;
    return bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "guard_state"), &zero, &state,
                               BPF_ANY);
}

#endif
