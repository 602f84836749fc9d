/* SPDX-License-Identifier: MIT */
/* Memory that is mapped once and lives long: a stack's arena, records of sockets, packet buffers.
 *
 * The one place that maps it, and so the one policy. A mapping belongs to the process that made it (a forked
 * child has none of it) and is committed page by page, as it is touched. What the kernel maps for us (rings of
 * AF_PACKET, AF_XDP, io_uring) stands in the drivers. */
#ifndef BW_MEMORY_H
#define BW_MEMORY_H

#include <errno.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "netdev.h"

enum {
    HUGEPAGE = 2 << 20,
    MEMORY_RESERVED =
        256, /* beside BW_MEMORY_*: 2 MB pages of the machine's reserve, whole and now, or -ENOMEM */
    MEMORY_WIPED = 512,      /* a forked child has it, zeroed */
    MEMORY_LOCK_ONFAULT = 1, /* mlock2(2) */
};

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

/* Of memory that was never mapped, if it is all zero, too. */
static inline void memory_unmap(struct netdev_memory *m)
{
    if (!m->base)
        return;
    munmap(m->base, m->len);
    if (m->fd >= 0)
        close(m->fd);
    m->base = NULL;
}

/* Gives it a descriptor, if it is to have one. 0, or -1 with errno. */
static inline int memory_file(struct netdev_memory *m, int how)
{
    if (!(how & BW_MEMORY_SHARED))
        return 0;
    m->fd = (int)syscall(SYS_memfd_create, "barewire", MFD_CLOEXEC);
    return m->fd < 0 ? -1 : ftruncate(m->fd, (off_t)m->len);
}

static inline int memory_flags(int how)
{
    if (how & BW_MEMORY_SHARED)
        return MAP_SHARED | MAP_NORESERVE;
    if (how & MEMORY_RESERVED)
        return MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT);
    return MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
}

/* Huge pages for bytes [from, to) of it, where the kernel has some. */
static inline void memory_advise_huge(const struct netdev_memory *m, size_t from, size_t to)
{
    from &= ~((size_t)sysconf(_SC_PAGESIZE) - 1);
    madvise((uint8_t *)m->base + from, to - from, MADV_HUGEPAGE);
}

/* Fills in *m: len zeroed bytes, as BW_MEMORY_* say. 0, -errno: then it is empty. */
static inline int memory_map(struct netdev_memory *m, size_t len, int how)
{
    *m = (struct netdev_memory){.len = len, .fd = -1};
    void *p = MAP_FAILED;
    if (!memory_file(m, how))
        p = mmap(NULL, len, PROT_READ | PROT_WRITE, memory_flags(how), m->fd, 0);
    int rc = p == MAP_FAILED ? -1 : madvise(p, len, how & MEMORY_WIPED ? MADV_WIPEONFORK : MADV_DONTFORK);
    if (!rc && how & BW_MEMORY_HUGE)
        madvise(p, len, MADV_HUGEPAGE); /* a kernel without them has small ones */
    if (!rc && how & BW_MEMORY_LOCKED)
        rc = (int)syscall(SYS_mlock2, p, len, MEMORY_LOCK_ONFAULT);
    if (!rc) {
        m->base = p;
        return 0;
    }
    int err = errno;
    if (p != MAP_FAILED)
        munmap(p, len);
    if (m->fd >= 0)
        close(m->fd);
    return -err;
}

/* Memory for frames, len a multiple of HUGEPAGE: of the machine's reserve; if too little of that is free, other
 * memory, unless it is to be this only. 1: of the reserve, 0: other, -errno. */
static inline int memory_map_frames(struct netdev_memory *m, size_t len, int only)
{
    int rc = memory_map(m, len, MEMORY_RESERVED);
    if (!rc)
        return 1;
    return only ? rc : memory_map(m, len, BW_MEMORY_HUGE); /* a device pins its pages soon */
}

#endif
