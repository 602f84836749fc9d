/* SPDX-License-Identifier: MIT */
/* The XDP program: the first stack on an interface loads and attaches it, the others of its group find it.
 * Each of them holds the BPF link, which is all that keeps the program there: it goes with the last one,
 * however that ends, and nobody has to know who is the last. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../guard/guard_setup.h"
#include "xdp_device.h"

enum { MAPS_MAX = 16 };

/* Descriptors of what belongs to the program; -1: not had. */
struct maps {
    int sockets, config, verdicts, addrs, guard;
};

static void close_all(struct maps *m)
{
    int all[] = {m->sockets, m->config, m->verdicts, m->addrs, m->guard};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] >= 0)
            close(all[i]);
}

/* The descriptor's place by the map's name; NULL: nobody asks for that one. */
static int *place_of(struct maps *m, const char *name)
{
    return !strcmp(name, "sockets")       ? &m->sockets
           : !strcmp(name, "config")      ? &m->config
           : !strcmp(name, "verdicts")    ? &m->verdicts
           : !strcmp(name, "addrs")       ? &m->addrs
           : !strcmp(name, "guard_state") ? &m->guard
                                          : NULL;
}

/* The maps of a program, and its tag (BPF_TAG_SIZE bytes: of its instructions). 0, or a positive errno. */
static int open_maps(int prog, struct maps *m, uint8_t *tag)
{
    uint32_t ids[MAPS_MAX], len = sizeof(struct bpf_prog_info);
    struct bpf_prog_info info = {.nr_map_ids = MAPS_MAX, .map_ids = (uintptr_t)ids};
    *m = (struct maps){-1, -1, -1, -1, -1};
    if (bpf_obj_get_info_by_fd(prog, &info, &len))
        return errno;
    memcpy(tag, info.tag, BPF_TAG_SIZE);
    for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++) {
        struct bpf_map_info map = {0};
        int fd = bpf_map_get_fd_by_id(ids[i]);
        len = sizeof map;
        if (fd < 0)
            return errno;
        int *place = bpf_obj_get_info_by_fd(fd, &map, &len) ? NULL : place_of(m, map.name);
        if (place && *place < 0)
            *place = fd;
        else
            close(fd);
    }
    return m->sockets < 0 || m->config < 0 || m->verdicts < 0 || m->addrs < 0 || m->guard < 0 ? ENOENT : 0;
}

static struct steer_config wanted(const struct xdp *x, const struct xdp_config *cfg)
{
    struct steer_config config = {
        .mode = cfg->steer, .group = cfg->group, .guard_rate = cfg->syn_guard, .frags = x->frags};
    memcpy(config.mac, cfg->mac, 6);
    config.table_len = cfg->table_len;
    memcpy(config.key, cfg->rss_key, cfg->table_len ? STEER_KEY : 0);
    memcpy(config.table, cfg->table, cfg->table_len);
    return config;
}

static int load(const struct xdp *x, const struct xdp_config *cfg, struct bpf_object **object, char *text)
{
    LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "barewire");
    *object = bpf_object__open_mem(xdp_steer_object, xdp_steer_object_len, &opts);
    if (!*object)
        return xdp_fail(text, errno, "the XDP program does not open: %s", strerror(errno));
    struct bpf_program *prog = bpf_object__find_program_by_name(*object, "steer");
    if (x->frags)
        bpf_program__set_flags(prog, bpf_program__flags(prog) | BPF_F_XDP_HAS_FRAGS);
    if (!cfg->syn_guard) /* the guard's memory is not wanted */
        bpf_map__set_max_entries(bpf_object__find_map_by_name(*object, "guard_seen"), 1);
    int err = -bpf_object__load(*object);
    if (err)
        return xdp_fail(
            text, err,
            err == EPERM ? "no permission to load an XDP program: run as root, with CAP_BPF and CAP_NET_ADMIN"
                         : "the kernel refuses the XDP program: %s",
            strerror(err));
    struct steer_config config = wanted(x, cfg);
    uint32_t zero = 0;
    int map = bpf_object__find_map_fd_by_name(*object, "config");
    err = -bpf_map_update_elem(map, &zero, &config, BPF_ANY);
    if (!err && cfg->syn_guard)
        err = -guard_start(*object, cfg->syn_guard, XDP_L2_HEADER, cfg->guard_key);
    return err ? xdp_fail(text, err, "cannot fill the XDP program's maps: %s", strerror(err)) : 0;
}

/* ---- attaching it, or finding it there ---------------------------------------------------------- */

static int refused(const struct xdp_config *cfg, int err, char *text)
{
    switch (err) {
    case EBUSY:
        return xdp_fail(
            text, EEXIST, /* EBUSY is a queue's */
            "interface %s has an XDP program already: take it off first (`ip link set %s xdp off`)",
            cfg->name, cfg->name);
    case EPERM:
        return xdp_fail(
            text, err, "no permission to attach an XDP program: run as root, with CAP_BPF and CAP_NET_ADMIN");
    case ERANGE:
    case EINVAL:
        return xdp_fail(text, err,
                        "interface %s refuses the XDP program: its MTU %u may be too large for this mode",
                        cfg->name, cfg->mtu);
    default: return xdp_fail(text, err, "cannot attach the XDP program to %s: %s", cfg->name, strerror(err));
    }
}

/* Native where the driver can, or as asked for. 0, or errno: EBUSY where there is a program already, which the
 * kernel calls EEXIST if it runs in the other mode. */
static int attach(struct xdp *x, const struct xdp_config *cfg, int prog)
{
    LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
    x->native = cfg->mode != XDP_MODE_GENERIC;
    if (x->native)
        x->link = bpf_link_create(prog, x->ifindex, BPF_XDP, &opts);
    if (x->link < 0 && (!x->native || (cfg->mode == XDP_MODE_AUTO && errno != EBUSY))) {
        x->native = 0;
        opts.flags = XDP_FLAGS_SKB_MODE;
        x->link = bpf_link_create(prog, x->ifindex, BPF_XDP, &opts);
    }
    return x->link >= 0 ? 0 : errno == EEXIST ? EBUSY : errno;
}

/* The BPF link of a program; -1: it has none, or went at this moment. */
static int link_of(uint32_t program)
{
    uint32_t id = 0;
    while (!bpf_link_get_next_id(id, &id)) {
        struct bpf_link_info info = {0};
        uint32_t len = sizeof info;
        int link = bpf_link_get_fd_by_id(id);
        if (link < 0)
            continue;
        if (!bpf_obj_get_info_by_fd(link, &info, &len) && info.type == BPF_LINK_TYPE_XDP &&
            info.prog_id == program)
            return link;
        close(link);
    }
    return -1;
}

/* The program of the group's first stack, which runs already. *prog: a descriptor, to be closed. EBUSY: what
 * runs is not ours, or goes at this moment. */
static int find(struct xdp *x, int *prog)
{
    LIBBPF_OPTS(bpf_xdp_query_opts, runs);
    if (bpf_xdp_query(x->ifindex, 0, &runs) || !runs.prog_id)
        return EBUSY;
    x->link = link_of(runs.prog_id);
    *prog = bpf_prog_get_fd_by_id(runs.prog_id);
    x->native = runs.attach_mode == XDP_ATTACHED_DRV;
    return x->link < 0 || *prog < 0 ? EBUSY : 0;
}

static int disagrees(const struct xdp *x, const struct xdp_config *cfg, const struct maps *m)
{
    struct steer_config there, here = wanted(x, cfg);
    uint32_t zero = 0;
    int native = cfg->mode == XDP_MODE_NATIVE || cfg->mode == XDP_MODE_ZEROCOPY;
    return (native && !x->native) || (cfg->mode == XDP_MODE_GENERIC && x->native) ||
           bpf_map_lookup_elem(m->config, &zero, &there) || memcmp(&there, &here, sizeof here);
}

/* The program that runs from now on: ours, or with a group perhaps one that was there. */
static int take_program(struct xdp *x, const struct xdp_config *cfg, int ours, struct maps *m, char *text)
{
    uint8_t tag[BPF_TAG_SIZE], theirs[BPF_TAG_SIZE];
    int prog = -1, err = open_maps(ours, m, tag);
    if (err)
        return xdp_fail(text, err, "cannot open the XDP program's maps: %s", strerror(err));
    err = attach(x, cfg, ours);
    if (err != EBUSY || cfg->group <= 1)
        return err ? refused(cfg, err, text) : 0;
    close_all(m);
    *m = (struct maps){-1, -1, -1, -1, -1};
    err = find(x, &prog);
    if (!err && (open_maps(prog, m, theirs) || memcmp(tag, theirs, sizeof tag)))
        err = EBUSY;
    if (prog >= 0)
        close(prog);
    if (err)
        return refused(cfg, err, text);
    return disagrees(x, cfg, m)
               ? xdp_fail(
                     text, EINVAL,
                     "the stacks that share %s disagree: queues=, mac=, mode=, syn_guard= and the MTU have "
                     "to be the same for all",
                     cfg->name)
               : 0;
}

int xdp_start_program(struct xdp *x, const struct xdp_config *cfg, char *text)
{
    struct bpf_object *object = NULL;
    struct maps m = {-1, -1, -1, -1, -1};
    int err = load(x, cfg, &object, text);
    if (!err)
        err = take_program(x, cfg, bpf_program__fd(bpf_object__find_program_by_name(object, "steer")), &m,
                           text);
    for (uint32_t i = 0; i < x->queues && !err; i++) {
        uint32_t key = cfg->queue + i;
        if (bpf_map_update_elem(m.sockets, &key, &x->queue[i].fd, BPF_ANY))
            err = xdp_fail(text, errno, "cannot fill the XDP program's maps: %s", strerror(errno));
    }
    if (!err) { /* these stay */
        x->verdicts = m.verdicts;
        x->addrs = m.addrs;
        x->guard = cfg->syn_guard ? m.guard : -1;
        m.verdicts = m.addrs = -1;
        m.guard = cfg->syn_guard ? -1 : m.guard;
    }
    close_all(&m);
    bpf_object__close(object);
    return err;
}

void xdp_close_program(struct xdp *x)
{
    int all[] = {x->link, x->verdicts, x->addrs, x->guard};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] >= 0)
            close(all[i]);
}
