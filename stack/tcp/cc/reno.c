/* SPDX-License-Identifier: MIT */
/* NewReno (RFC 5681, RFC 6582). */
#include "../tcp.h"

static void reno_init(struct tcb *t)
{
    t->cc_state[0] = 0; /* bytes acknowledged towards the next segment of growth */
}

static void reno_ack(struct tcb *t, const struct cc_ack *ack)
{
    if (!ack->limited || ack->in_recovery == RECOVERY_FAST || ack->ece) /* RFC 3168 6.1.2 */
        return;
    uint32_t left = t->cwnd < t->ssthresh ? cc_slow_start(t, ack->delivered) : ack->delivered;
    t->cc_state[0] += left;
    if (t->cc_state[0] >= t->cwnd) {
        t->cc_state[0] -= t->cwnd;
        cc_grow(t, t->mss);
    }
}

static uint32_t reno_ssthresh(struct tcb *t)
{
    return cc_two_segments(t, cc_used_window(t) / 2);
}

/* ABE (RFC 8511 section 3.1): a mark comes early, from a short queue; beta is 0.8. */
static uint32_t reno_ecn_ssthresh(struct tcb *t)
{
    return cc_two_segments(t, (uint64_t)cc_used_window(t) * 8 / 10);
}

const struct tcp_cc tcp_cc_newreno = {
    .name = "reno",
    .init = reno_init,
    .ack = reno_ack,
    .ssthresh = reno_ssthresh,
    .timeout = reno_init,
    .ecn_ssthresh = reno_ecn_ssthresh,
};
