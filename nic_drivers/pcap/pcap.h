/* SPDX-License-Identifier: MIT */
/* Writes what passes through a device, both ways, into a capture file.
 *
 * Classic pcap with nanoseconds (magic 0xa1b23c4d, host byte order), link type Ethernet or raw IP.
 * Records go through a buffer; it is written when full, at a sleep if a second has passed, and at
 * close. The file has a bound; past it, and after a failed write, frames pass on and are counted. */
#ifndef BW_PCAP_H
#define BW_PCAP_H

#include "../netdev.h"
#include "../tally.h"

/* cdef:begin */
enum { PCAP_FRAMES, PCAP_BYTES, PCAP_SKIPPED, PCAP_FAILED, PCAP_KINDS }; /* tally */
struct pcap_config {
    int64_t wall_offset; /* added to `now`: ns since 1970 */
    uint64_t max_bytes;  /* the file's bound */
    uint32_t snaplen;    /* most bytes kept of a frame, at most PCAP_SNAPLEN_MAX */
};
enum { PCAP_SNAPLEN_MAX = 262144 };
enum { PCAP_OWN = 0x65726162 }; /* in the header's second reserved field: a capture of ours */
/* Writes to fd, the device's from now on. Takes inner over. NULL: no memory, both stay the caller's. */
struct netdev *pcap_new(struct netdev *inner, int fd, const struct pcap_config *cfg, struct tally **tally);
/* cdef:end */

#endif
