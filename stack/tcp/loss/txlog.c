/* SPDX-License-Identifier: MIT */
/* What was sent when: the transmission records of RACK (RFC 8985 section 5.2), round-trip samples and
 * delivery rates. Two logs a connection, each in order of time: first transmissions (thus in order of
 * sequence too) and retransmissions. What goes out in one burst has one time and one record, so a
 * log is short. First transmissions stay until they are acknowledged, retransmissions until RACK has
 * judged them. */
#include "../tcp.h"

static struct tx_record *records(struct tx_log *log)
{
    return log->heap ? log->heap : log->inl;
}

static struct tx_record *record_at(struct tx_log *log, uint32_t i)
{
    uint32_t cap = log->heap ? log->cap : TXLOG_INLINE;
    return &records(log)[(log->head + i) & (cap - 1)];
}

struct tx_record *txlog_first(struct tx_log *log)
{
    return log->n ? record_at(log, 0) : NULL;
}

const struct tx_record *txlog_at(struct tx_log *log, uint32_t i)
{
    return record_at(log, i);
}

void txlog_clear(struct tx_log *log)
{
    log->n = log->head = 0;
    if (log->heap) {
        free(log->heap);
        log->heap = NULL;
        log->cap = 0;
    }
}

void txlog_pop(struct tx_log *log)
{
    uint32_t cap = log->heap ? log->cap : TXLOG_INLINE;
    log->head = (log->head + 1) & (cap - 1);
    if (--log->n == 0)
        txlog_clear(log);
}

/* Room for one record more. 0, or -1: no memory. */
static int txlog_grow(struct tx_log *log)
{
    uint32_t cap = log->heap ? log->cap : TXLOG_INLINE;
    if (log->n < cap)
        return 0;
    struct tx_record *heap = cap >= TXLOG_MAX ? NULL : malloc(2 * cap * sizeof *heap);
    if (!heap)
        return -1;
    for (uint32_t i = 0; i < log->n; i++)
        heap[i] = *record_at(log, i);
    free(log->heap);
    log->heap = heap;
    log->cap = 2 * cap;
    log->head = 0;
    return 0;
}

/* At the end. Without memory the bytes are left to the retransmission time-out alone. */
void txlog_add(struct tx_log *log, const struct tx_record *record)
{
    if (log->n) { /* the same burst goes on */
        struct tx_record *last = record_at(log, log->n - 1);
        if (last->end == record->seq && last->sent == record->sent && last->delivered == record->delivered) {
            last->end = record->end;
            return;
        }
    }
    if (!txlog_grow(log))
        *record_at(log, log->n++) = *record;
}

/* Everything below una is acknowledged. */
void txlog_acked(struct tx_log *log, uint32_t una)
{
    while (log->n && seq_le(record_at(log, 0)->end, una))
        txlog_pop(log);
    if (log->n && seq_lt(record_at(log, 0)->seq, una))
        record_at(log, 0)->seq = una;
}

/* The same for the log of retransmissions, which is not in order of sequence. */
void txlog_acked_any(struct tx_log *log, uint32_t una)
{
    uint32_t kept = 0, n = log->n;
    if (!n)
        return;
    for (uint32_t i = 0; i < n; i++) {
        struct tx_record r = *record_at(log, i);
        if (seq_gt(r.end, una)) {
            r.seq = seq_max(r.seq, una);
            *record_at(log, kept++) = r;
        }
    }
    log->n = kept;
    if (!kept)
        txlog_clear(log);
}

/* In a log in order of sequence, the number of records that begin below seq. */
static uint32_t records_below(struct tx_log *log, uint32_t seq)
{
    uint32_t low = 0, high = log->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (seq_lt(record_at(log, mid)->seq, seq))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Walks a log in order of sequence: the record that holds seq, or begins first above it, and so on
 * (*i: 0 at the beginning), or NULL. */
const struct tx_record *txlog_next(struct tx_log *log, uint32_t *i, uint32_t seq)
{
    if (*i == 0) {
        *i = records_below(log, seq + 1);
        if (*i && seq_gt(record_at(log, *i - 1)->end, seq))
            --*i;
    }
    return *i < log->n ? record_at(log, (*i)++) : NULL;
}

/* The latest record of a log in order of sequence that overlaps [start, end), or NULL. */
const struct tx_record *txlog_find(struct tx_log *log, uint32_t start, uint32_t end)
{
    uint32_t low = records_below(log, end);
    if (low == 0 || seq_le(record_at(log, low - 1)->end, start))
        return NULL;
    return record_at(log, low - 1);
}

/* The latest record of any log that overlaps [start, end), or NULL. */
const struct tx_record *txlog_find_any(struct tx_log *log, uint32_t start, uint32_t end)
{
    for (uint32_t i = log->n; i-- > 0;) {
        const struct tx_record *r = record_at(log, i);
        if (seq_lt(r->seq, end) && seq_gt(r->end, start))
            return r;
    }
    return NULL;
}
