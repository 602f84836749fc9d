/* SPDX-License-Identifier: MIT */
/* Sizes of tables that every stack has. A fuzzer's stack has smaller ones (fuzz/engine/small.h): it is made
 * anew for each input, and an input of some bytes can fill them. */
#ifndef BW_SIZES_H
#define BW_SIZES_H

#ifndef BW_SLOTS
#define BW_SLOTS 4096
#define BW_PUNT_QUEUE (256 * 1024)
#define BW_LOOP_RING (1 << 20)
#define BW_FRAG_DATAGRAMS 256
#define BW_FRAG_PER_SOURCE 64
#define BW_BROADCAST_TURN 256
#define BW_LOOK_AHEAD_SOCKS 256 /* so many the cache holds */
#endif

#endif
