/* SPDX-License-Identifier: MIT */
/* What the engine's harness shares: one stack, the far end of its interface, and what that end has heard. */
#ifndef BW_FUZZ_WORLD_H
#define BW_FUZZ_WORLD_H

#include "../../stack/stack.h"
#include "../../stack/tcp/tcp.h"
#include "input.h"

enum { WORLD_SOCKS = 8, WORLD_FLOWS = 8, WORLD_TOKENS = 64, WORLD_PACKET = 4096, OUTSIDE = 2 };

/* A TCP connection as the far end sees it. */
struct flow {
    uint16_t ours, theirs; /* ports: the stack's, the far end's */
    uint32_t snd, rcv;     /* the far end's next sequence numbers */
    uint32_t stamp;        /* the stack's last timestamp */
    uint8_t stamped;
};

struct world {
    struct bw_stack *st;
    struct netdev dev; /* the outside interface: nothing but its capabilities */
    struct input in;
    struct bw_sock *sock[WORLD_SOCKS];
    struct flow flow[WORLD_FLOWS];
    uint32_t flows;             /* made so far; the oldest are overwritten */
    uint8_t last[WORLD_PACKET]; /* the stack's last IP packet, for ICMP errors about it */
    uint32_t last_len;
    uint32_t token[WORLD_TOKENS]; /* frames that the device still reads */
    uint32_t tokens;
    uint8_t buffer[70000]; /* what calls read into and write from */
};

extern const uint8_t world_us[16], world_peer[16], world_far[16];

/* far.c: what the far end sends */
void far_hears(struct world *w, const struct tx_frame *frame);
void far_sends_frame(struct world *w);
void far_sends_segment(struct world *w);
void far_sends_datagram(struct world *w);
void far_sends_error(struct world *w);
void far_sends_ping(struct world *w);
void far_sends_fragment(struct world *w);
void far_sends_burst(struct world *w);

/* The first steps of a connection, right: a SYN to that port, and the ACK (or SYN,ACK) of the newest flow. */
void far_opens(struct world *w, uint16_t port, int rich);
void far_answers(struct world *w, int syn, int rich);

/* calls.c: what programs and the control plane do */
void call_socket(struct world *w);
void call_control(struct world *w);

#endif
