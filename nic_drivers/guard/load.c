/* SPDX-License-Identifier: MIT */
#include "load.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "../libbpf_quiet.h"
#include "guard_setup.h"

/* Copies of what the object holds: it goes, they stay. */
static int copy_fds(struct bpf_object *object, struct guard_fds *fds)
{
    int program = bpf_program__fd(bpf_object__find_program_by_name(object, "tun_guard"));
    fds->program = fcntl(program, F_DUPFD_CLOEXEC, 0);
    fds->state = fcntl(bpf_object__find_map_fd_by_name(object, "guard_state"), F_DUPFD_CLOEXEC, 0);
    if (fds->program >= 0 && fds->state >= 0)
        return 0;
    int err = -errno;
    if (fds->program >= 0)
        close(fds->program);
    if (fds->state >= 0)
        close(fds->state);
    return err;
}

int guard_load(const struct guard_config *cfg, struct guard_fds *fds)
{
    libbpf_quiet();
    LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "barewire");
    struct bpf_object *object = bpf_object__open_mem(guard_object, guard_object_len, &opts);
    if (!object)
        return -errno;
    int err = bpf_object__load(object);
    if (!err)
        err = guard_start(object, cfg->rate, cfg->link, cfg->key);
    if (!err)
        err = copy_fds(object, fds);
    bpf_object__close(object);
    return err;
}
