/* SPDX-License-Identifier: MIT */
/* Toeplitz' hash for test_rss.py. */
#include "../../nic_drivers/toeplitz.h"

unsigned int hash_of(const unsigned char *key, const unsigned char *data, unsigned int n);
unsigned int hash_of(const unsigned char *key, const unsigned char *data, unsigned int n)
{
    return toeplitz(key, data, n);
}
