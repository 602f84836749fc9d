/* SPDX-License-Identifier: MIT */
/* Delivery-rate samples (draft-cheng-iccrg-delivery-rate-estimation-02): how many bytes arrived between
 * the time a segment left and the time it was acknowledged. What the estimate needs stands in the
 * transmission records (txlog.c); an ACK's sample is that of the segment sent last of those it
 * delivered, over the longer of the sending and the acknowledging interval, so that neither a burst
 * sent at once nor ACKs that come at once look like a faster path. */
#include "../tcp.h"

enum { AGE_SHIFT = 10 }; /* ages count 1024 ns, rounded up */

static uint32_t age(int64_t ns)
{
    uint64_t units = ((uint64_t)ns + (1 << AGE_SHIFT) - 1) >> AGE_SHIFT;
    return units > INT32_MAX ? INT32_MAX : (uint32_t)units;
}

/* Section 3.2: the record of [seq, end), which leaves now. snd_nxt is still what it was. */
struct tx_record rate_sent(struct tcb *t, uint32_t seq, uint32_t end)
{
    int64_t now = t->base.st->now;
    if (t->snd_una == t->snd_nxt) { /* a new flight begins */
        t->first_sent_time = t->delivered_time = now;
        t->rack_judged = t->snd_una;
    }
    return (struct tx_record){
        .seq = seq,
        .end = end,
        .sent = now,
        .delivered = (uint32_t)t->delivered,
        .serial = ++t->sent_serial,
        .send_age = age(now - t->first_sent_time),
        .ack_age = age(now - t->delivered_time),
        .app_limited = t->app_limited != 0,
    };
}

/* Section 3.3, UpdateRateSample: bytes of this transmission have arrived. */
void rate_delivered(struct delivery *d, const struct tx_record *r, int resent)
{
    if (d->newest.end != d->newest.seq && seq_le(r->serial, d->newest.serial))
        return;
    d->newest = *r;
    d->newest_resent = resent != 0;
}

/* Section 3.3, GenerateRateSample: once for each ACK, after all it delivered is known. */
struct rate_sample rate_sample(struct tcb *t, const struct delivery *d)
{
    struct rate_sample s = {0};
    int64_t now = t->base.st->now;
    if (!d->delivered)
        return s;
    t->delivered += d->delivered;
    t->delivered_time = now;
    if (t->app_limited && t->delivered > t->app_limited)
        t->app_limited = 0;
    if (d->newest.seq == d->newest.end)
        return s;
    const struct tx_record *r = &d->newest;
    int64_t sending = (int64_t)r->send_age << AGE_SHIFT;
    int64_t acking = now - r->sent + ((int64_t)r->ack_age << AGE_SHIFT);
    t->first_sent_time = r->sent;
    s.delivered = (uint32_t)t->delivered - r->delivered;
    s.prior_delivered = t->delivered - s.delivered;
    s.interval = sending > acking ? sending : acking;
    s.app_limited = r->app_limited;
    s.valid = s.interval > 0 && s.interval >= t->min_rtt; /* shorter: an ACK of an earlier copy */
    return s;
}

/* Section 3.4: the program writes again after it let the path run dry. What leaves from now on tells
 * of the program, until what is in flight has been delivered. */
void rate_check_app_limited(struct tcb *t)
{
    uint32_t flight = t->snd_nxt - t->snd_una, pipe = tcp_pipe(t);
    if (t->sndq.len + !t->syn_acked < flight + t->mss && pipe < t->cwnd && !t->lost.n && !t->on_ready)
        t->app_limited = t->delivered + pipe ? t->delivered + pipe : 1;
}
