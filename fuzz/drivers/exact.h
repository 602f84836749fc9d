/* SPDX-License-Identifier: MIT */
/* Memory of just the length of what is in it, so that AddressSanitizer sees each byte read beside it. */
#ifndef BW_FUZZ_EXACT_H
#define BW_FUZZ_EXACT_H

#include "../engine/input.h"
#include "../must.h"

static inline uint8_t *exact_copy(const uint8_t *from, uint32_t len)
{
    uint8_t *p = malloc(len ? len : 1);
    MUST(p);
    return memcpy(p, from, len);
}

/* An Ethernet frame or IP packet that begins as those do which programs look into, and goes on as the input
 * says; its length. `room` is 200 at least. */
static inline uint32_t exact_packet(struct input *in, int layer, uint8_t *to, uint32_t room)
{
    static const uint8_t link[14] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0},
                         ip[20] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2};
    uint8_t how = take8(in);
    uint32_t head = layer == 2 ? 14 : 0, at = head + 20;
    memset(to, 0, room);
    memcpy(to, link, head);
    memcpy(to + head, ip, 20);
    to[head + 9] = how & 1 ? 17 : 6;
    to[head] = how & 2 ? 0x46 : 0x45;
    at += how & 2 ? 4 : 0;
    to[at + 12] = (uint8_t)(0x50 + (how >> 2 & 3) * 0x10);
    to[at + 13] = take8(in);
    if (how & 16)
        to[head + take8(in) % 40] = take8(in);
    if (how & 32)
        at -= take8(in) % at;
    uint32_t len = at + take16(in) % (room - at);
    uint32_t given = how & 64 ? take_bytes(in, to + at, len - at) : 0;
    return how & 128 ? at + given : len;
}

#endif
