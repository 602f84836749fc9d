/* SPDX-License-Identifier: MIT */
/* What a driver's xstats() is written with: rows of named counters, one behind the other. */
#ifndef BW_XSTATS_H
#define BW_XSTATS_H

#include <string.h>

#include "netdev.h"

/* Puts n counters behind the first `at` of out, as many as max leaves room for. How many there are now. */
static inline int xstats_put(struct netdev_xstat *out, int at, int max, const char *const *names,
                             const uint64_t *values, int n)
{
    for (int i = 0; i < n && at < max; i++, at++) {
        memset(out[at].name, 0, sizeof out[at].name);
        strncpy(out[at].name, names[i], sizeof out[at].name - 1);
        out[at].value = values[i];
    }
    return at;
}

/* What a middleware answers: the device's that it holds. */
static inline int xstats_of(struct netdev *inner, struct netdev_xstat *out, int max)
{
    return inner->xstats ? inner->xstats(inner, out, max) : 0;
}

#endif
