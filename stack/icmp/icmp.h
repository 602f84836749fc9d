/* SPDX-License-Identifier: MIT */
/* ICMP's numbers (RFC 792), and its errors out. Private to the engine. */
#ifndef BW_ICMP_H
#define BW_ICMP_H

#include "../stack.h"

enum {
    ICMP_ECHO_REPLY = 0,
    ICMP_UNREACHABLE = 3,
    ICMP_QUENCH = 4,
    ICMP_REDIRECT = 5,
    ICMP_ECHO = 8,
    ICMP_TIME_EXCEEDED = 11,
    ICMP_PARAMETER = 12,
    ICMP_HLEN = 8,
    ICMP_TTL = 64,
};
/* Codes of ICMP_UNREACHABLE, and of ICMP_TIME_EXCEEDED. */
enum { ICMP_PROTOCOL = 2, ICMP_PORT = 3, ICMP_FRAG_NEEDED = 4, ICMP_REASSEMBLY = 1 };

/* Tells the sender of `about`, a packet that came in, what was wrong with it, where RFC 1122 section 3.2.2
 * allows an error and the rates leave one. `rest` is the second word of the ICMP header. */
void icmp_send_error(struct bw_stack *st, const struct packet *about, uint8_t type, uint8_t code,
                     uint32_t rest);
void icmp_error_init(struct bw_stack *st); /* once, by bw_new */

#endif
