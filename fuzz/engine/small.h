/* SPDX-License-Identifier: MIT */
/* The sizes of stack/sizes.h, small. */
#ifndef BW_FUZZ_SMALL_H
#define BW_FUZZ_SMALL_H

#define BW_SLOTS 256
#define BW_PUNT_QUEUE (8 * 1024)
#define BW_LOOP_RING (128 * 1024)
#define BW_FRAG_DATAGRAMS 8
#define BW_FRAG_PER_SOURCE 4
#define BW_BROADCAST_TURN 2
#define BW_LOOK_AHEAD_SOCKS 2

#endif
