/* SPDX-License-Identifier: MIT */
/* What the engine's harness shares: one stack, the far end of its interface, and what that end has heard. */
#ifndef BW_FUZZ_WORLD_H
#define BW_FUZZ_WORLD_H

#include "small.h"

#include "../must.h"

#include "../../stack/stack.h"
#include "../../stack/tcp/tcp.h"
#include "input.h"

enum { WORLD_SOCKS = 8, WORLD_FLOWS = 8, WORLD_TOKENS = 64, WORLD_PACKET = 4096, OUTSIDE = 2 };

/* A TCP connection as the far end sees it. */
struct flow {
    uint16_t ours, theirs; /* ports: the stack's, the far end's */
    uint32_t snd, rcv;     /* the far end's next sequence numbers */
    uint32_t hole, sacked; /* data came from here to here, behind a gap; equal: none */
    uint32_t stamp;        /* the stack's last timestamp */
    uint8_t stamped;
};

/* What the networks do to frames: bits by turns, one frame each. */
struct faults {
    uint16_t lose, mark, mangle, twice, late;
    uint8_t turn;
    uint8_t slow;  /* the loopback delivers when time has passed, not at once */
    uint8_t stuck; /* the device takes nothing */
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
    uint8_t profile;  /* what kinds of sockets the scene has */
    uint8_t narrow;   /* the loopback has an MTU of 1500 and cuts nothing */
    uint8_t stranger; /* the neighbour is not known at first */
    struct faults faults;
    struct rx_frame held;  /* a frame that others overtake, in memory of its own; data NULL: none */
    uint8_t csum;          /* BW_CSUM_*: what the device says of what it receives */
    uint8_t buffer[70000]; /* what calls read into and write from */
};

extern const uint8_t world_us[16], world_peer[16], world_far[16], world_all[16];

/* far.c: what the far end sends */
void far_hears(struct world *w, const struct tx_frame *frame);
void far_sends_frame(struct world *w);
void far_sends_segment(struct world *w);
void far_sends_datagram(struct world *w);
void far_sends_error(struct world *w);
void far_sends_ping(struct world *w);
void far_sends_fragment(struct world *w);
void far_sends_burst(struct world *w);
void far_sends_arp(struct world *w);
void far_floods(struct world *w);
void far_acknowledges(struct world *w);

/* The first steps of a connection, right: a SYN to that port, and the ACK (or SYN,ACK) of the newest flow. */
void far_opens(struct world *w, uint16_t port, int rich);
void far_answers(struct world *w, int syn, int rich);

/* network.c: frames and time go on */
void pump(struct world *w);
void advance(struct world *w, int64_t ns);
void reclaim(struct world *w, uint32_t n); /* the n oldest frames that the device still reads */
void call_faults(struct world *w);
void network_ends(struct world *w); /* no more faults, and nothing is held */

/* scenes.c: how the stack is made, and where an input begins */
void configure(struct world *w, struct bw_config *cfg);
void set_tables(struct world *w); /* addresses and routes */
void settle_in(struct world *w);
void begin(struct world *w);

/* calls.c: what programs and the control plane do */
void call_conversation(struct world *w);
void call_farewell(struct world *w);
void call_socket(struct world *w);
void call_control(struct world *w);

#endif
