/* SPDX-License-Identifier: MIT */
/* What the stress tests of the driver share. */
#ifndef STRESS_H
#define STRESS_H

#include "stack/drive/drive.h"

static inline struct bw_addr loopback(uint16_t port)
{
    return (struct bw_addr){.ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = port};
}

struct host *new_host(void); /* with a loopback, started */
/* Beside everything else that happens on the host. */
void stress_poller(struct host *h, int milliseconds);

#endif
