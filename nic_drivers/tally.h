/* SPDX-License-Identifier: MIT */
/* Counters of a device that outlive it. A stack closes its devices when it likes; who wants to know
 * what a device did holds the tally too, and reads it before and after. One thread writes. */
#ifndef BW_TALLY_H
#define BW_TALLY_H

#include <stdint.h>
#include <stdlib.h>

/* cdef:begin */
enum { TALLY_MAX = 16 };
struct tally;
static inline uint64_t tally_get(struct tally *t, int i);
static inline void tally_add(struct tally *t, int i, uint64_t n);
static inline void tally_drop(struct tally *t); /* lets go; the last one frees it */
/* cdef:end */

struct tally {
    int refs;
    uint64_t value[TALLY_MAX];
};

/* Held twice: by the device and by the caller. NULL: no memory. */
static inline struct tally *tally_new(void)
{
    struct tally *t = calloc(1, sizeof *t);
    if (t)
        t->refs = 2;
    return t;
}

static inline void tally_drop(struct tally *t)
{
    if (__atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(t);
}

static inline void tally_add(struct tally *t, int i, uint64_t n)
{
    __atomic_store_n(&t->value[i], t->value[i] + n, __ATOMIC_RELAXED);
}

static inline uint64_t tally_get(struct tally *t, int i)
{
    return i < 0 || i >= TALLY_MAX ? 0 : __atomic_load_n(&t->value[i], __ATOMIC_RELAXED);
}

#endif
