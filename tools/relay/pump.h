/* SPDX-License-Identifier: MIT */
/* The relay's loop: frames from one device to the other, both ways, until it is told to stop.
 *
 * It sleeps in ppoll until a frame comes or the devices' deadline passes, and keeps a record of how
 * late it woke up: a relay that is late is a network nobody asked for. */
#ifndef BW_PUMP_H
#define BW_PUMP_H

#include "../../nic_drivers/netdev.h"

/* cdef:begin */
enum { PUMP_BUCKETS = 256, PUMP_BUCKET_NS = 20000 }; /* lateness up to 5 ms; the last is "or more" */
struct pump_stats {
    uint64_t frames[2];  /* from a to b, from b to a */
    uint64_t dropped[2]; /* the other device was full */
    uint64_t wakeups;
    uint64_t late[PUMP_BUCKETS]; /* how often a deadline was met so late */
    int64_t late_max;            /* ns */
    int64_t cpu;                 /* ns of processor time the loop has used */
};
/* Runs in the calling thread until `stop` (a descriptor) is readable; 0, or -errno of a device.
 * The devices stay the caller's. `stats` may be read meanwhile; it is only added to. */
int pump_run(struct netdev *a, struct netdev *b, int stop, struct pump_stats *stats);
/* cdef:end */

#endif
