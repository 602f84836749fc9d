/* SPDX-License-Identifier: MIT */
/* The ring of trace records (trace.h). TCP's records are made in tcp/tcp_trace.c. */
#include "stack.h"

/* The next record, zeroed but for its head; the oldest gives way. */
struct bw_trace_record *trace_add(struct bw_stack *st, int kind, uint32_t conn)
{
    struct trace_ring *ring = &st->trace;
    uint32_t at = ring->head + ring->len;
    struct bw_trace_record *r = &ring->record[at < ring->size ? at : at - ring->size];
    if (ring->len < ring->size) {
        ring->len++;
    } else {
        ring->head = ring->head + 1 < ring->size ? ring->head + 1 : 0;
        ring->gap += ring->gap < UINT32_MAX;
        count(st, COUNT_TRACE_OVERWRITTEN);
    }
    *r = (struct bw_trace_record){.when = st->now, .conn = conn, .kind = (uint8_t)kind};
    return r;
}

void trace_drop(struct bw_stack *st, enum bw_counter_id reason, uint32_t len)
{
    struct bw_trace_record *r = trace_add(st, BW_TRACE_DROP, 0);
    r->code = (uint16_t)reason;
    r->len = len;
}

int bw_trace_pop(struct bw_stack *st, struct bw_trace_record *out, int max)
{
    struct trace_ring *ring = &st->trace;
    int n = 0;
    if (ring->gap && max > 0) {
        out[n++] = (struct bw_trace_record){
            .when = ring->record[ring->head].when, .kind = BW_TRACE_GAP, .len = ring->gap};
        ring->gap = 0;
    }
    for (; n < max && ring->len; ring->len--) {
        out[n++] = ring->record[ring->head];
        ring->head = ring->head + 1 < ring->size ? ring->head + 1 : 0;
    }
    return n;
}
