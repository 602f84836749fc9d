/* SPDX-License-Identifier: MIT */
/* The XDP program: what is the stack's goes to the socket of the frame's queue, the rest to the kernel.
 * Compiled by clang when the package is built; the driver carries the object and attaches it as a BPF
 * link, which goes when the process goes. */
#define GUARD_CONTEXT struct xdp_md
#define LOAD bpf_xdp_load_bytes
#include "../guard/guard.bpf.h"
#include <linux/in.h>

#include "../toeplitz.h"
#include "steer.h"

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, STEER_QUEUES);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct steer_config);
} config SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, STEER_ADDRS);
    __type(key, __u32); /* IPv4, as on the wire */
    __type(value, __u8);
} addrs SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, VERDICTS);
    __type(key, __u32);
    __type(value, __u64);
} verdicts SEC(".maps");

enum {
    ARP_TARGET = 14 + 24,
    ARP_END = 14 + 28,
    IP_SOURCE = 14 + 12,
    IP_DESTINATION = 14 + 16,
    IP_END = 14 + 20
};

static __always_inline void count(__u32 verdict)
{
    __u64 *n = bpf_map_lookup_elem(&verdicts, &verdict);
    if (n)
        (*n)++;
}

/* Is the IPv4 address at that offset the stack's? */
static __always_inline int is_own(const __u8 *data, const __u8 *end, __u32 at, __u32 header)
{
    __u32 ip;
    if (data + header > end)
        return 0;
    __builtin_memcpy(&ip, data + at, 4);
    return bpf_map_lookup_elem(&addrs, &ip) != 0;
}

/* In a group: is it TCP or UDP of the stack that drives this queue? Fragments have no ports. */
static __always_inline int is_of_queue(const __u8 *data, const __u8 *end, const struct steer_config *cfg,
                                       __u32 queue)
{
    if (data + IP_END > end || data[12] != 8 || data[13] || data[20] & 0x3f || data[21])
        return 0;
    const __u8 *ports = data + 14 + (data[14] & 15) * 4;
    if ((data[23] != IPPROTO_TCP && data[23] != IPPROTO_UDP) || ports + 4 > end)
        return 0;
    if (!cfg->table_len)
        return (__u32)(ports[2] << 8 | ports[3]) % cfg->group == queue;
    __u8 name[12];
    __builtin_memcpy(name, data + IP_SOURCE, 8);
    __builtin_memcpy(name + 8, ports, 4);
    return cfg->table[toeplitz(cfg->key, name, sizeof name) & (cfg->table_len - 1u) & (STEER_TABLE - 1)] ==
           queue;
}

static __always_inline __u32 judge(const __u8 *data, const __u8 *end, __u32 queue)
{
    __u32 zero = 0;
    const struct steer_config *cfg = bpf_map_lookup_elem(&config, &zero);
    if (!cfg || data + 14 > end)
        return VERDICT_KERNEL;
    if (cfg->mode == STEER_ALL)
        return VERDICT_STACK;
    __u16 type = (__u16)(data[12] << 8 | data[13]);
    if (cfg->mode == STEER_OWN) {
        int own = 1;
        for (int i = 0; i < 6; i++)
            own &= data[i] == cfg->mac[i];
        if (own)
            return cfg->group > 1 && !is_of_queue(data, end, cfg, queue) ? VERDICT_GROUP : VERDICT_STACK;
    } else if (type == ETH_P_IP && is_own(data, end, IP_DESTINATION, IP_END)) {
        return VERDICT_STACK;
    }
    if (cfg->group <= 1 && type == ETH_P_ARP && is_own(data, end, ARP_TARGET, ARP_END))
        return VERDICT_STACK_ARP;
    return VERDICT_KERNEL;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
    const __u8 *data = (const __u8 *)(long)ctx->data, *end = (const __u8 *)(long)ctx->data_end;
    __u32 verdict = judge(data, end, ctx->rx_queue_index);
    if (verdict != VERDICT_KERNEL && !guard_lets_in(ctx))
        return XDP_DROP;
    if (verdict == VERDICT_KERNEL || verdict == VERDICT_GROUP) {
        count(verdict);
        return XDP_PASS;
    }
    long action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
    count(action == XDP_REDIRECT ? verdict : VERDICT_NO_SOCKET);
    return (int)action;
}

char _license[] SEC("license") = "Dual MIT/GPL";
