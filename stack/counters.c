/* SPDX-License-Identifier: MIT */
/* The counters, by number and by name. */
#include "stack.h"

#define BW_AS_NAME(symbol, name) name,
static const char *const counter_names[] = {BW_DROPS(BW_AS_NAME) BW_COUNTS(BW_AS_NAME)};
#undef BW_AS_NAME

int bw_counter_count(void)
{
    return BW_COUNTERS;
}

const char *bw_counter_name(int i)
{
    return i >= 0 && i < BW_COUNTERS ? counter_names[i] : "";
}

int bw_counters(const struct bw_stack *st, uint64_t *out, int max)
{
    int n = max < BW_COUNTERS ? max : BW_COUNTERS;
    memcpy(out, st->counter, (size_t)n * sizeof *out);
    return n;
}
