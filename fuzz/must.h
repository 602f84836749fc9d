/* SPDX-License-Identifier: MIT */
/* A check of a harness's own: what does not hold is said, and ends it. */
#ifndef BW_FUZZ_MUST_H
#define BW_FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

#define MUST(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "broken: %s (%s:%d)\n", #what, __FILE__, __LINE__); \
            abort(); \
        } \
    } while (0)

#endif
