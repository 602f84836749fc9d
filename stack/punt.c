/* SPDX-License-Identifier: MIT */
/* Work for Python: one bounded ring of records a class, filled at the class's rate and popped round
 * robin, so that a flood of one class starves no other, all of them together take a bounded part of the
 * interpreter, and the data path never waits. A record is a struct bw_punt and its data in one run,
 * 8-byte aligned; what would cross the ring's end starts again at its beginning. */
#include "stack.h"

enum { PUNT_FILLER = 0xff, PUNT_HEAD = (sizeof(struct bw_punt) + 7) & ~7 };

static const struct {
    enum bw_counter_id full, rate;
} punt_drops[BW_PUNT_CLASSES] = {
    [BW_PUNT_ARP] = {DROP_PUNT_ARP, DROP_PUNT_ARP_RATE},
    [BW_PUNT_RESOLVE] = {DROP_PUNT_RESOLVE, DROP_PUNT_RESOLVE_RATE},
    [BW_PUNT_ICMP] = {DROP_PUNT_ICMP, DROP_PUNT_ICMP_RATE},
    [BW_PUNT_ARP_ANSWER] = {DROP_PUNT_ARP_ANSWER, DROP_PUNT_ARP_ANSWER_RATE},
    [BW_PUNT_RESOLVE_CONNECTED] = {DROP_PUNT_RESOLVE_CONNECTED, DROP_PUNT_RESOLVE_CONNECTED_RATE},
    [BW_PUNT_RESOLVE_ANSWER] = {DROP_PUNT_RESOLVE_ANSWER, DROP_PUNT_RESOLVE_ANSWER_RATE},
};

void punt_init(struct bw_stack *st)
{
    const struct bw_punt_rate *r = st->cfg.punt_rate;
    for (int i = 0; i < BW_PUNT_CLASSES; i++)
        st->punt[i].bucket = bucket_of(r[i].rate, r[i].burst);
}

static uint32_t punt_size(uint32_t len)
{
    return PUNT_HEAD + ((len + 7) & ~7u);
}

uint8_t *punt_reserve(struct bw_stack *st, struct bw_punt head)
{
    struct punt_queue *q = &st->punt[head.cls];
    uint32_t size = punt_size(head.len), tail = (q->head + q->used) % PUNT_QUEUE;
    uint32_t skip = PUNT_QUEUE - tail < size ? PUNT_QUEUE - tail : 0;
    if (!bucket_has_token(&q->bucket, st->now)) {
        drop(st, punt_drops[head.cls].rate, head.len);
        return NULL;
    }
    if (head.len > 65535 || q->used + skip + size > PUNT_QUEUE) {
        drop(st, punt_drops[head.cls].full, head.len);
        return NULL;
    }
    bucket_take(&q->bucket, st->now);
    if (skip >= PUNT_HEAD)
        memcpy(q->ring + tail, &(struct bw_punt){.cls = PUNT_FILLER}, sizeof(struct bw_punt));
    if (skip) {
        q->used += skip;
        tail = 0;
    }
    head.when = st->now;
    memcpy(q->ring + tail, &head, sizeof head);
    q->used += size;
    q->count++;
    st->punt_count++;
    return q->ring + tail + PUNT_HEAD;
}

int punt(struct bw_stack *st, int cls, const struct packet *pkt, uint32_t arg, const uint8_t *data,
         uint32_t len)
{
    struct bw_punt head = {.ifindex = pkt->ifindex, .len = len, .arg = arg, .cls = (uint8_t)cls};
    head.l2_broadcast = pkt->l2_broadcast;
    memcpy(head.src_mac, pkt->src_mac, sizeof head.src_mac);
    uint8_t *at = punt_reserve(st, head);
    if (at)
        memcpy(at, data, len);
    return at != NULL;
}

/* Reads the oldest record's head, over the gap at the ring's end if there is one. */
static uint8_t *punt_oldest(struct punt_queue *q, struct bw_punt *head)
{
    uint32_t left = PUNT_QUEUE - q->head;
    if (left >= PUNT_HEAD)
        memcpy(head, q->ring + q->head, sizeof *head);
    if (left < PUNT_HEAD || head->cls == PUNT_FILLER) {
        q->used -= left;
        q->head = 0;
        memcpy(head, q->ring, sizeof *head);
    }
    return q->ring + q->head + PUNT_HEAD;
}

int bw_punt_pop(struct bw_stack *st, struct bw_punt *punt, uint8_t *data, uint32_t size)
{
    if (!st->punt_count)
        return 0;
    while (!st->punt[st->punt_next].count)
        st->punt_next = (st->punt_next + 1) % BW_PUNT_CLASSES;
    struct punt_queue *q = &st->punt[st->punt_next];
    st->punt_next = (st->punt_next + 1) % BW_PUNT_CLASSES;

    const uint8_t *from = punt_oldest(q, punt);
    uint32_t used = punt_size(punt->len);
    if (punt->len > size)
        punt->len = size;
    memcpy(data, from, punt->len);
    q->head = (q->head + used) % PUNT_QUEUE;
    q->used -= used;
    q->count--;
    st->punt_count--;
    return 1;
}

int bw_punt_pending(const struct bw_stack *st)
{
    return st->punt_count != 0 || st->unfinished_news != 0 || bw_cc_reports(st);
}
