/* SPDX-License-Identifier: MIT */
/* Starting EAL, once in a process, so that the program notices nothing: its log goes into a buffer of
 * ours, errors only; the last words of it stand in the sentence that says what failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>

#include "dpdk_device.h"

/* Keeps the first errors: what comes after them is mostly their consequence. */
static ssize_t log_write(void *cookie, const char *text, size_t len)
{
    struct dpdk_log *log = cookie;
    pthread_mutex_lock(&log->lock);
    size_t room = sizeof log->text - 1 - log->len, n = len < room ? len : room;
    memcpy(log->text + log->len, text, n);
    log->len += n;
    log->text[log->len] = 0;
    pthread_mutex_unlock(&log->lock);
    return (ssize_t)len;
}

static int log_open(struct dpdk_log *log)
{
    pthread_mutex_init(&log->lock, NULL);
    log->stream = fopencookie(log, "w", (cookie_io_functions_t){.write = log_write});
    if (!log->stream)
        return -1;
    setvbuf(log->stream, NULL, _IOLBF, 512);
    return rte_openlog_stream(log->stream);
}

void dpdk_log_clear(struct dpdk_log *log)
{
    pthread_mutex_lock(&log->lock);
    log->len = 0;
    log->text[0] = 0;
    pthread_mutex_unlock(&log->lock);
}

/* The first line that DPDK logged, without its punctuation; 0 bytes if there is none. */
static int first_line(struct dpdk_log *log, char *out, size_t room)
{
    fflush(log->stream);
    pthread_mutex_lock(&log->lock);
    const char *p = log->text + strspn(log->text, " \n\t");
    size_t len = strcspn(p, "\n");
    while (len && strchr(" .!\r", p[len - 1]))
        len--;
    len = len < room - 1 ? len : room - 1;
    memcpy(out, p, len);
    out[len] = 0;
    pthread_mutex_unlock(&log->lock);
    return (int)len;
}

int dpdk_fail(struct dpdk_eal *eal, char *text, int err, const char *format, ...)
{
    char said[160];
    va_list args;
    va_start(args, format);
    int at = vsnprintf(text, DPDK_ERROR_MAX, format, args);
    va_end(args);
    if (at > 0 && at < DPDK_ERROR_MAX && first_line(&eal->log, said, sizeof said))
        snprintf(text + at, DPDK_ERROR_MAX - (size_t)at, " (%s)", said);
    return err > EPERM ? err : EIO; /* drivers say -1 for whatever it is */
}

/* Libraries of net_af_xdp that would talk to the terminal. */
static void quieten(const char *library, const char *setter)
{
    void *loaded = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (!loaded)
        return;
    void (*set_print)(void *) = (void (*)(void *))dlsym(loaded, setter);
    if (set_print)
        set_print(NULL);
    dlclose(loaded);
}

struct dpdk_eal *dpdk_eal_start(int argc, char **argv, int *err, char *text)
{
    struct dpdk_eal *eal = calloc(1, sizeof *eal);
    if (!eal || log_open(&eal->log)) {
        snprintf(text, DPDK_ERROR_MAX, "no memory to start EAL");
        *err = ENOMEM;
        free(eal);
        return NULL;
    }
    pthread_mutex_init(&eal->lock, NULL);
    rte_log_set_global_level(RTE_LOG_ERR);
    FILE *output = stdout, *errors = stderr; /* a wrong argument makes EAL print how it is used */
    int said = opterr;
    stdout = stderr = eal->log.stream;
    opterr = 0;
    int started = rte_eal_init(argc, argv);
    int why = rte_errno;
    stdout = output;
    stderr = errors;
    opterr = said;
    quieten("libbpf.so.1", "libbpf_set_print");
    quieten("libxdp.so.1", "libxdp_set_print");
    if (started >= 0)
        return eal;
    *err = dpdk_fail(eal, text, why ? why : EINVAL, "EAL does not start: %s", rte_strerror(why));
    return NULL; /* the log stays: threads of EAL may still hold it */
}

int dpdk_eal_has_huge_pages(void)
{
    return rte_eal_has_hugepages();
}

int dpdk_ports(struct dpdk_eal *eal)
{
    int n = 0;
    pthread_mutex_lock(&eal->lock);
    for (int i = 0; i < DPDK_PORTS_MAX; i++)
        n += eal->ports[i] != NULL;
    pthread_mutex_unlock(&eal->lock);
    return n;
}
