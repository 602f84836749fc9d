/* SPDX-License-Identifier: MIT */
/* Frames in: Ethernet and ARP, then the IP layer. C answers ARP requests for addresses the stack
 * owns; whatever the neighbour state machine may learn from goes to Python, which alone writes the
 * neighbour table. */
#include "stack.h"
#include "../l2/arp.h"
#include "../l2/ethernet.h"

/* Is ip an address of that interface? tentative: counts one that is still being probed. */
static int arp_address_is_ours(const struct bw_stack *st, uint32_t ifindex, const uint8_t *ip, int tentative)
{
    for (int i = 0; i < st->addrs; i++)
        if (st->addr[i].ifindex == ifindex && ip_equal(st->addr[i].ip, ip))
            return tentative || !(st->addr[i].flags & BW_ADDR_TENTATIVE);
    return 0;
}

/* Would the neighbour table or an address's state change by this packet? RFC 826 merges the sender
 * of whatever concerns an entry that exists or a request for us; RFC 5227 watches for our addresses.
 * n: what is known of the sender, or asked about it. */
static int arp_is_news(struct bw_stack *st, const struct iface *in, const struct arp_view *arp,
                       const uint8_t *sender, const uint8_t *target, const struct neigh *n)
{
    if (arp_address_is_ours(st, in->index, sender, 1))
        return 1; /* conflict */
    int ours = arp_address_is_ours(st, in->index, target, 1);
    if (ip_is_any(sender))
        return ours; /* probe */
    if (n)
        return n->asked || memcmp(n->mac, arp->sha, 6) != 0;
    return ours && arp->op == ARP_REQUEST;
}

/* To Python; the answer to a question of ours by a way of its own, which strangers do not fill. */
static void arp_punt(struct bw_stack *st, const struct iface *in, const struct arp_view *arp,
                     const struct eth_view *eth, const uint8_t *p, struct neigh *n)
{
    int answer = n && n->asked && arp->op == ARP_REPLY;
    struct packet about = {.ifindex = in->index, .l2_broadcast = (uint8_t)eth_is_group(eth->dst)};
    memcpy(about.src_mac, eth->src, 6);
    if (punt(st, answer ? BW_PUNT_ARP_ANSWER : BW_PUNT_ARP, &about, 0, p, ARP_LEN) && answer)
        n->asked = 0;
}

static void arp_input(struct bw_stack *st, struct iface *in, const uint8_t *p, uint32_t len,
                      const struct eth_view *eth)
{
    struct arp_view arp;
    uint8_t sender[16], target[16];
    if (arp_parse(p, len, &arp)) {
        drop(st, DROP_ARP_MALFORMED, len);
        return;
    }
    if (memcmp(arp.sha, in->mac, 6) == 0) {
        drop(st, DROP_ARP_NOT_OURS, len); /* our own frame, come back */
        return;
    }
    ip_from_v4(sender, arp.spa);
    ip_from_v4(target, arp.tpa);
    struct neigh *n = neigh_find(st, in->index, sender);
    int news = arp_is_news(st, in, &arp, sender, target, n);
    if (news)
        arp_punt(st, in, &arp, eth, p, n);
    if (arp.op == ARP_REQUEST && arp_address_is_ours(st, in->index, target, 0) &&
        !arp_address_is_ours(st, in->index, sender, 1) && !ip_is_broadcast(st, sender) && arp.spa[0] != 127) {
        uint8_t frame[ETH_HLEN + ARP_LEN];
        if (tx_raw(st, in, frame, arp_build_reply(frame, &arp, in->mac), 1) == 0)
            count(st, COUNT_ARP_REPLIES);
    } else if (!news) {
        drop(st, n ? DROP_ARP_DUPLICATE : DROP_ARP_NOT_OURS, len); /* known: it says nothing new */
    }
}

static void ethernet_input(struct bw_stack *st, struct iface *in, const struct rx_frame *f)
{
    struct eth_view eth;
    if (eth_parse(f->data, f->len, &eth)) {
        drop(st, DROP_ETH_SHORT, f->len);
        return;
    }
    int group = eth_is_group(eth.dst);
    if (!group && memcmp(eth.dst, in->mac, 6) != 0) {
        drop(st, DROP_ETH_NOT_OURS, f->len);
        return;
    }
    if (unlikely(eth.vid || eth.type == ETHERTYPE_VLAN || eth.type == ETHERTYPE_QINQ)) {
        drop(st, DROP_VLAN, f->len);
        return;
    }
    uint8_t *payload = f->data + eth.hlen;
    uint32_t len = f->len - eth.hlen;
    if (likely(eth.type == ETHERTYPE_IPV4))
        ip_input(st, in, payload, len, f, eth.src, group);
    else if (eth.type == ETHERTYPE_ARP)
        arp_input(st, in, payload, len, &eth);
    else
        drop(st, eth.type == ETHERTYPE_IPV6 ? DROP_IP_VERSION : DROP_ETH_TYPE, f->len);
}

void bw_input(struct bw_stack *st, int ifindex, struct rx_frame *frames, int n)
{
    static const uint8_t no_mac[6];
    if (ifindex < 1 || ifindex > st->ifaces)
        return;
    struct iface *in = &st->iface[ifindex];
    uint32_t hash[LOOK_AHEAD];
    st->counter[COUNT_RX_FRAMES] += (uint64_t)(n > 0 ? n : 0);
    int ahead = look_ahead(st, in, frames, n, hash);
    for (int i = 0; i < n; i++) {
        if (unlikely(ahead))
            st->rx_flow = i < ahead ? hash[i] : 0;
        if (i + 1 < n)
            __builtin_prefetch(frames[i + 1].data);
        if (in->layer == 2)
            ethernet_input(st, in, &frames[i]);
        else
            ip_input(st, in, frames[i].data, frames[i].len, &frames[i], no_mac, 0);
    }
    st->rx_flow = 0;
    tcp_flush_burst(st);
}
