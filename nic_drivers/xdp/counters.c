/* SPDX-License-Identifier: MIT */
/* What is counted: by the driver, by the XDP program (a map), by the kernel (XDP_STATISTICS, summed over
 * the queues). */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "../guard/guard_xstats.h"
#include "xdp_device.h"

static const char *const count_names[XDP_COUNTS] = {
    "rx_empty",   "rx_too_long",        "tx_bad_length", "tx_down",
    "tx_refused", "rx_csum_unfinished", "group_frames",  "kernel_group_dropped"};
const char *const xdp_verdict_names[] = {"to_stack", "arp_to_stack", "to_kernel", "no_socket", "to_group"};
_Static_assert(sizeof xdp_verdict_names / sizeof *xdp_verdict_names == VERDICTS, "a name for each");
static const char *const kernel_names[] = {"kernel_rx_dropped",       "kernel_rx_invalid_descs",
                                           "kernel_tx_invalid_descs", "kernel_rx_ring_full",
                                           "kernel_rx_fill_empty",    "kernel_tx_ring_empty"};
enum { KERNEL_COUNTS = sizeof(struct xdp_statistics) / sizeof(__u64) };
_Static_assert(KERNEL_COUNTS == sizeof kernel_names / sizeof *kernel_names, "a name for each");

int xdp_read_verdicts(int map, uint64_t *values)
{
    int cpus = libbpf_num_possible_cpus();
    uint64_t *each = cpus > 0 ? calloc((size_t)cpus, sizeof *each) : NULL;
    if (!each)
        return -ENOMEM;
    int err = 0;
    for (uint32_t key = 0; key < VERDICTS && !err; key++) {
        values[key] = 0;
        err = bpf_map_lookup_elem(map, &key, each);
        for (int i = 0; i < cpus && !err; i++)
            values[key] += each[i];
    }
    free(each);
    return err;
}

static int kernel_counts(const struct xdp *x, uint64_t *sums)
{
    for (uint32_t i = 0; i < x->queues; i++) {
        uint64_t now[KERNEL_COUNTS] = {0}; /* struct xdp_statistics; an older kernel fills the first three */
        socklen_t len = sizeof now;
        if (getsockopt(x->queue[i].fd, SOL_XDP, XDP_STATISTICS, now, &len))
            return -errno;
        for (int k = 0; k < KERNEL_COUNTS; k++)
            sums[k] += now[k];
    }
    return 0;
}

int xdp_xstats(struct netdev *dev, struct netdev_xstat *out, int max)
{
    struct xdp *x = (struct xdp *)dev;
    uint64_t verdicts[VERDICTS], kernel[KERNEL_COUNTS] = {0};
    int n, err = xdp_read_verdicts(x->verdicts, verdicts);
    if (err || (err = kernel_counts(x, kernel)))
        return err;
    if (x->group > 1)
        xdp_group_count(x);
    n = xstats_put(out, 0, max, count_names, x->count, XDP_COUNTS);
    n = xstats_put(out, n, max, xdp_verdict_names, verdicts, VERDICTS);
    n = xstats_put(out, n, max, kernel_names, kernel, KERNEL_COUNTS);
    return guard_xstats(x->guard, out, n, max);
}
