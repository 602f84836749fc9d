/* SPDX-License-Identifier: MIT */
/* libbpf without its messages to the terminal: what fails is told in our words. */
#ifndef BW_LIBBPF_QUIET_H
#define BW_LIBBPF_QUIET_H

#include <bpf/libbpf.h>
#include <stdarg.h>

static inline int libbpf_says_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
    return 0;
}

static inline void libbpf_quiet(void)
{
    libbpf_set_print(libbpf_says_nothing);
}

#endif
