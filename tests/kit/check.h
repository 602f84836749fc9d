/* SPDX-License-Identifier: MIT */
/* A condition that a stress program holds: where not, it says which, and ends. */
#ifndef BW_TEST_CHECK_H
#define BW_TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("line %d: %s\n", __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

#endif
