/* SPDX-License-Identifier: MIT */
/* The guard of a TAP or TUN interface (TUNSETFILTEREBPF): runs when the kernel sends a frame to us. */
#define GUARD_CONTEXT struct __sk_buff
#define LOAD bpf_skb_load_bytes
#include "guard.bpf.h"

SEC("socket")
int tun_guard(struct __sk_buff *skb)
{
    return guard_lets_in(skb) ? -1 : 0; /* how many bytes of the frame to keep */
}

char _license[] SEC("license") = "Dual MIT/GPL";
