/* SPDX-License-Identifier: MIT */
/* Sets of sequence ranges: the sender's scoreboard (kept sorted) and the receiver's reassembly list
 * (kept by recency, because RFC 2018 wants the newest block reported first). At most
 * TCP_MAX_RANGES each; memory is taken on first use and given back when the set runs empty. */
#include "../tcp.h"

void ranges_free(struct ranges *set)
{
    free(set->r);
    *set = (struct ranges){0};
}

static int ranges_room(struct ranges *set)
{
    if (set->n < set->cap)
        return 0;
    if (set->cap >= TCP_MAX_RANGES)
        return -1;
    uint16_t cap = set->cap ? (uint16_t)(set->cap * 2) : 8;
    struct range *r = realloc(set->r, cap * sizeof *r);
    if (!r)
        return -1;
    set->r = r;
    set->cap = cap;
    return 0;
}

static void ranges_remove(struct ranges *set, int at, int n)
{
    if (!n) /* of a set that has no memory, it may be */
        return;
    memmove(&set->r[at], &set->r[at + n], (size_t)(set->n - at - n) * sizeof *set->r);
    set->n = (uint16_t)(set->n - n);
}

/* In a sorted set: the first range that ends after seq; n if none does. */
static int ranges_after(const struct ranges *set, uint32_t seq)
{
    int low = 0, high = set->n;
    while (low < high) {
        int mid = (low + high) / 2;
        if (seq_gt(set->r[mid].end, seq))
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

/* Can the sorted set take [start, end)? Always while it has room; else only what touches a range. */
int ranges_takes(const struct ranges *set, uint32_t start, uint32_t end)
{
    if (set->n < TCP_MAX_RANGES)
        return 1;
    int at = ranges_after(set, start - 1);
    return at < set->n && seq_le(set->r[at].start, end);
}

/* How far from seq on everything is in the sorted set (*in) or nothing is; at most limit. */
uint32_t ranges_stretch(const struct ranges *set, uint32_t seq, uint32_t limit, int *in)
{
    int at = ranges_after(set, seq);
    *in = at < set->n && seq_le(set->r[at].start, seq);
    if (at == set->n)
        return limit;
    return seq_min(*in ? set->r[at].end : set->r[at].start, limit);
}

/* Adds [start, end) to a sorted set; *fresh grows by the bytes that were not in it. -1: full. */
int ranges_add_sorted(struct ranges *set, uint32_t start, uint32_t end, uint32_t *fresh)
{
    int at = ranges_after(set, start - 1), last = at; /* what ends at start touches */
    uint32_t known = 0, low = start, high = end;
    while (last < set->n && seq_le(set->r[last].start, end)) {
        known += seq_min(set->r[last].end, end) - seq_max(set->r[last].start, start);
        low = seq_min(low, set->r[last].start);
        high = seq_max(high, set->r[last].end);
        last++;
    }
    if (last == at) {
        if (ranges_room(set))
            return -1;
        memmove(&set->r[at + 1], &set->r[at], (size_t)(set->n - at) * sizeof *set->r);
        set->n++;
    } else {
        ranges_remove(set, at + 1, last - at - 1);
    }
    set->r[at] = (struct range){low, high};
    set->bytes += end - start - known;
    *fresh += end - start - known;
    return 0;
}

/* Takes [start, end) out of a sorted set. A range that it would split while the set is full keeps only
 * its lower part. */
void ranges_subtract(struct ranges *set, uint32_t start, uint32_t end)
{
    int at = ranges_after(set, start);
    if (at < set->n && seq_lt(set->r[at].start, start)) {
        struct range whole = set->r[at];
        set->r[at].end = start;
        set->bytes -= whole.end - start;
        at++;
        if (seq_gt(whole.end, end) && !ranges_room(set)) {
            memmove(&set->r[at + 1], &set->r[at], (size_t)(set->n - at) * sizeof *set->r);
            set->r[at] = (struct range){end, whole.end};
            set->bytes += whole.end - end;
            set->n++;
            return;
        }
    }
    int last = at;
    while (last < set->n && seq_le(set->r[last].end, end)) {
        set->bytes -= set->r[last].end - set->r[last].start;
        last++;
    }
    if (last < set->n && seq_lt(set->r[last].start, end)) {
        set->bytes -= end - set->r[last].start;
        set->r[last].start = end;
    }
    ranges_remove(set, at, last - at);
    if (!set->n)
        ranges_free(set);
}

/* Bytes of [start, end) that a sorted set holds. */
uint32_t ranges_overlap(const struct ranges *set, uint32_t start, uint32_t end)
{
    uint32_t n = 0;
    for (int i = ranges_after(set, start); i < set->n && seq_lt(set->r[i].start, end); i++)
        n += seq_min(set->r[i].end, end) - seq_max(set->r[i].start, start);
    return n;
}

/* Forgets everything below a sequence number (sorted or not). */
void ranges_cut(struct ranges *set, uint32_t below)
{
    int kept = 0;
    for (int i = 0; i < set->n; i++) {
        struct range r = set->r[i];
        if (seq_le(r.end, below))
            continue;
        r.start = seq_max(r.start, below);
        set->r[kept++] = r;
    }
    set->n = (uint16_t)kept;
    set->bytes = 0;
    for (int i = 0; i < kept; i++)
        set->bytes += set->r[i].end - set->r[i].start;
    if (!kept)
        ranges_free(set);
}

/* Adds [start, end) to a set kept by recency; the merged range comes first. -1: full. */
int ranges_add_recent(struct ranges *set, uint32_t start, uint32_t end)
{
    struct range merged = {start, end};
    int kept = 0;
    for (int i = 0; i < set->n; i++) {
        struct range r = set->r[i];
        if (seq_le(r.start, merged.end) && seq_ge(r.end, merged.start)) {
            merged.start = seq_min(merged.start, r.start);
            merged.end = seq_max(merged.end, r.end);
        } else {
            set->r[kept++] = r;
        }
    }
    set->n = (uint16_t)kept;
    if (ranges_room(set))
        return -1;
    memmove(&set->r[1], &set->r[0], set->n * sizeof *set->r);
    set->r[0] = merged;
    set->n++;
    return 0;
}

/* Is seq inside a range? Then *end is that range's end. */
int ranges_cover(const struct ranges *set, uint32_t seq, uint32_t *end)
{
    for (int i = 0; i < set->n; i++)
        if (seq_in(seq, set->r[i].start, set->r[i].end)) {
            *end = set->r[i].end;
            return 1;
        }
    return 0;
}

/* The highest range end, at least seq. */
uint32_t ranges_end(const struct ranges *set, uint32_t seq)
{
    for (int i = 0; i < set->n; i++)
        seq = seq_max(seq, set->r[i].end);
    return seq;
}

/* The lowest range start at or after seq, at most limit. */
uint32_t ranges_next(const struct ranges *set, uint32_t seq, uint32_t limit)
{
    for (int i = 0; i < set->n; i++)
        if (seq_ge(set->r[i].start, seq) && seq_lt(set->r[i].start, limit))
            limit = set->r[i].start;
    return limit;
}
