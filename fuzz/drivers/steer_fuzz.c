/* SPDX-License-Identifier: MIT */
/* Fuzzing the XDP program's reading of frames (xdp/steer.bpf.c and guard/guard.bpf.h), compiled for this
 * machine: maps and helpers are stand-ins. A frame ends where memory ends, so that a read beyond it faults, and
 * the verdict is held against a second reading of the frame. */
#include <sys/mman.h>
#include <unistd.h>

#include "exact.h"

/* ---- what libbpf's bpf_helpers.h declares for a program in the kernel --------------------------------------- */
#define __BPF_HELPERS__
#include <linux/bpf.h>
#include <linux/if_ether.h>
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, what) what *name
static void *bpf_map_lookup_elem(void *map, const void *key);
static long bpf_redirect_map(void *map, __u64 key, __u64 otherwise);
static __u64 bpf_ktime_get_ns(void);
static long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 offset, void *to, __u32 len);

#include "../../nic_drivers/xdp/steer.bpf.c"

enum { AREA = 8192, OWN_IP = 0x020012c6 /* 198.18.0.2, as on the wire */ };

static struct steer_config the_config;
static struct guard_state the_guard;
static struct guard_block *blocks;
static __u64 counts[VERDICTS], the_time;
static int has_socket;
static const __u8 present = 1;

static void *bpf_map_lookup_elem(void *map, const void *key)
{
    __u32 at;
    memcpy(&at, key, 4);
    if (map == &config)
        return at ? NULL : &the_config;
    if (map == &guard_state)
        return at ? NULL : &the_guard;
    if (map == &guard_seen)
        return at < GUARD_BLOCKS ? &blocks[at] : NULL;
    if (map == &verdicts)
        return at < VERDICTS ? &counts[at] : NULL;
    MUST(map == &addrs);
    return at == OWN_IP ? (void *)(uintptr_t)&present : NULL;
}

static long bpf_redirect_map(void *map, __u64 key, __u64 otherwise)
{
    MUST(map == &sockets);
    return has_socket && key < STEER_QUEUES ? XDP_REDIRECT : (long)otherwise;
}

static __u64 bpf_ktime_get_ns(void)
{
    return the_time;
}

static long bpf_xdp_load_bytes(struct xdp_md *ctx, __u32 offset, void *to, __u32 len)
{
    if (len > ctx->data_end - ctx->data || offset > ctx->data_end - ctx->data - len)
        return -14;
    memcpy(to, (const __u8 *)(long)ctx->data + offset, len);
    return 0;
}

/* Is it the stack's, by the words of steer.h? */
static int belongs(const uint8_t *frame, uint32_t len)
{
    __u32 own = OWN_IP;
    if (len < 14)
        return 0;
    int ip = frame[12] == 8 && frame[13] == 0, arp = frame[12] == 8 && frame[13] == 6;
    if (the_config.mode == STEER_ALL ||
        (arp && the_config.group <= 1 && len >= 42 && !memcmp(frame + 38, &own, 4)))
        return 1;
    if (the_config.mode == STEER_OWN)
        return !memcmp(frame, the_config.mac, 6);
    return ip && len >= 34 && !memcmp(frame + 30, &own, 4);
}

static void one_frame(struct input *in, uint8_t *end)
{
    uint8_t packet[1600], how = take8(in);
    uint32_t len = exact_packet(in, 2, packet, sizeof packet);
    if (how & 1) { /* ARP */
        packet[13] = 6;
        memcpy(packet + 38, (uint8_t[]){198, 18, 0, 2}, how & 2 ? 4 : 0);
    }
    if (how & 4)
        packet[5] = 9;
    uint8_t *frame = memcpy(end - len, packet, len);
    struct xdp_md ctx = {.data = (__u32)(uintptr_t)frame, .data_end = (__u32)(uintptr_t)end};
    ctx.rx_queue_index = how >> 3 & 1 ? 100 : 0;
    has_socket = how >> 4 & 1;
    the_time += (__u64)take8(in) << 22;
    __u64 before = 0, after = 0, held = the_guard.held;
    for (int i = 0; i < VERDICTS; i++)
        before += counts[i];
    int action = steer(&ctx);
    for (int i = 0; i < VERDICTS; i++)
        after += counts[i];
    int mine = belongs(frame, len), there = has_socket && ctx.rx_queue_index < STEER_QUEUES;
    if (the_config.mode == STEER_OWN && the_config.group > 1)
        there &= is_of_queue(frame, end, &the_config, ctx.rx_queue_index);
    if (action == XDP_DROP) /* held back, and by nothing but the guard */
        MUST(mine && after == before && the_guard.held == held + 1 && the_guard.allowance);
    else
        MUST(after == before + 1 && action == (mine && there ? XDP_REDIRECT : XDP_PASS));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t *area; /* its addresses fit the 32 bits that a program sees */
    struct input in = {data, size};
    if (!area) {
        area = mmap(NULL, AREA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1,
                    0);
        MUST(area != MAP_FAILED && !mprotect(area + AREA, 4096, PROT_NONE));
        MUST((blocks = calloc(GUARD_BLOCKS, sizeof *blocks)));
    }
    uint8_t how = take8(&in);
    the_config = (struct steer_config){.mac = {2, 0, 0, 0, 0, 2}, .mode = how % 3, .group = how >> 2 & 3};
    the_guard = (struct guard_state){.key = how, .allowance = how >> 4 & 3, .link = how >> 6 & 1};
    while (in.left)
        one_frame(&in, area + AREA);
    return 0;
}
