/* SPDX-License-Identifier: MIT */
/* Memory on huge pages, and what to do where there are none. */
#ifndef BW_HUGEPAGES_H
#define BW_HUGEPAGES_H

#include <stdio.h>
#include <sys/mman.h>

enum { HUGEPAGE = 2 << 20 };

/* Pages of 2 MB that the machine should reserve so that len bytes more are free. */
static inline unsigned long hugepages_wanted(size_t len)
{
    unsigned long reserved = 0;
    FILE *file = fopen("/proc/sys/vm/nr_hugepages", "re");
    if (file && fscanf(file, "%lu", &reserved) != 1)
        reserved = 0;
    if (file)
        fclose(file);
    return reserved + (len + HUGEPAGE - 1) / HUGEPAGE;
}

/* len bytes, a multiple of HUGEPAGE, on huge pages; NULL: too few are free. */
static inline void *hugepages_map(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

#endif
