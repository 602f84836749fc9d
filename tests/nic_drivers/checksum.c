/* SPDX-License-Identifier: MIT */
/* What nic_drivers/checksum.h computes, by each of its ways: for test_checksum.py. */
#include "../../nic_drivers/checksum.h"

typedef uint64_t (*blocks_fn)(uint8_t *dst, const uint8_t *p, uint32_t blocks);

int has_wide(void)
{
    return BW_HAS_WIDE() != 0;
}

static uint16_t by(blocks_fn blocks, uint8_t *dst, const uint8_t *p, uint32_t len)
{
    uint32_t whole = len & ~31u;
    uint64_t sum = blocks(dst, p, whole / 32);
    if (dst)
        memcpy(dst + whole, p + whole, len - whole);
    return bw_sum_fold(bw_sum(p + whole, len - whole, sum));
}

/* way 0: as the stack does it, 1: without wide vectors, 2: with them; copying where dst is not NULL. */
uint16_t sum(int way, uint8_t *dst, const uint8_t *p, uint32_t len)
{
    if (way == 1)
        return by(bw_sum_portable, dst, p, len);
    if (way == 2)
        return by(bw_sum_avx2, dst, p, len);
    return bw_sum_fold(dst ? bw_sum_copy(dst, p, len, 0) : bw_sum(p, len, 0));
}
