/* SPDX-License-Identifier: MIT */
/* The XDP programs of ours that run on this machine, whichever process attached them: by the ids of BPF
 * links, programs and maps. Nothing is pinned; a program is known by its name and its map of verdicts. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../xstats.h"
#include "xdp_device.h"

enum { MAPS_MAX = 16 };

_Static_assert((int)XDP_VERDICTS == (int)VERDICTS, "a counter for each");

/* The counters of the map if it is a program's verdicts. 1: it is. */
static int read_map(uint32_t id, struct xdp_running *r)
{
    struct bpf_map_info info = {0};
    uint32_t len = sizeof info;
    uint64_t values[VERDICTS];
    int found = 0, map = bpf_map_get_fd_by_id(id);
    if (map < 0)
        return 0;
    if (!bpf_obj_get_info_by_fd(map, &info, &len) && !strcmp(info.name, "verdicts") &&
        info.type == BPF_MAP_TYPE_PERCPU_ARRAY && info.max_entries == VERDICTS)
        found = !xdp_read_verdicts(map, values);
    if (found)
        xstats_put(r->verdict, 0, VERDICTS, xdp_verdict_names, values, VERDICTS);
    close(map);
    return found;
}

static int read_program(uint32_t id, struct xdp_running *r)
{
    uint32_t maps[MAPS_MAX];
    struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)maps};
    uint32_t len = sizeof info;
    int found = 0, prog = bpf_prog_get_fd_by_id(id);
    if (prog < 0)
        return 0;
    if (!bpf_obj_get_info_by_fd(prog, &info, &len) && !strcmp(info.name, "steer"))
        for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX && !found; i++)
            found = read_map(maps[i], r);
    close(prog);
    return found;
}

/* One that ends meanwhile is passed over. */
static int read_link(uint32_t id, struct xdp_running *r)
{
    struct bpf_link_info info = {0};
    uint32_t len = sizeof info;
    int link = bpf_link_get_fd_by_id(id);
    if (link < 0)
        return 0;
    int err = bpf_obj_get_info_by_fd(link, &info, &len);
    close(link);
    if (err || info.type != BPF_LINK_TYPE_XDP)
        return 0;
    *r = (struct xdp_running){.ifindex = info.xdp.ifindex, .program = info.prog_id};
    return read_program(info.prog_id, r);
}

int xdp_list_running(struct xdp_running *out, int max)
{
    uint32_t id = 0;
    int n = 0;
    while (n < max && !bpf_link_get_next_id(id, &id))
        n += read_link(id, &out[n]);
    return n == max || errno == ENOENT ? n : -errno;
}
