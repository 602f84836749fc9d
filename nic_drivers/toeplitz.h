/* SPDX-License-Identifier: MIT */
/* The hash by which network cards spread flows over their queues: "Verifying the RSS Hash Calculation" of
 * Microsoft's RSS specification. For the engine and for the XDP program, hence without any header. */
#ifndef BW_TOEPLITZ_H
#define BW_TOEPLITZ_H

/* Of n bytes in the order of the wire (source and destination address, source and destination port), with a
 * key of n + 4 bytes at least. */
static inline __attribute__((always_inline)) unsigned int toeplitz(const unsigned char *key,
                                                                   const unsigned char *data, unsigned int n)
{
    unsigned int hash = 0, window = 0;
    for (unsigned int i = 0; i < 4; i++)
        window = window << 8 | key[i];
    for (unsigned int i = 0; i < n; i++)
        for (unsigned int bit = 0; bit < 8; bit++) {
            hash ^= data[i] >> (7 - bit) & 1 ? window : 0;
            window = window << 1 | (key[i + 4] >> (7 - bit) & 1);
        }
    return hash;
}

#endif
