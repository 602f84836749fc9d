/* SPDX-License-Identifier: MIT */
/* The identification of packets that may be fragmented (RFC 791, RFC 6864): a counter for some destinations
 * each, chosen by a keyed hash of source, destination and protocol. It goes on by a
 * random number of what time has passed, so that it tells nobody how much is sent to others. */
#include "../stack.h"

uint16_t ip_ident(struct bw_stack *st, const uint8_t *src, const uint8_t *dst, uint8_t proto)
{
    uint8_t key[33];
    memcpy(key, src, 16);
    memcpy(key + 16, dst, 16);
    key[32] = proto;
    uint64_t hash = siphash(st->ident_key, key, sizeof key);
    struct ident *i = &st->ident[hash % IDENTS];
    uint32_t now = (uint32_t)(st->now / IDENT_TICK), passed = now - i->stamp;
    i->stamp = now;
    i->count = (uint16_t)(i->count + 1 + (passed ? random64(st) % passed : 0));
    return (uint16_t)(i->count + (hash >> 48)); /* who shares the counter has another number */
}
