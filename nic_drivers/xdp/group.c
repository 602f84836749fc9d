/* SPDX-License-Identifier: MIT */
/* What comes to a stack of a group beside its queue: ARP and other frames to groups, ICMP errors, fragments, and
 * flows of its own that the interface brought to another queue. The XDP program leaves these to the kernel, where
 * the packet socket of each stack takes what is for it by a filter; the kernel itself does nothing with frames to
 * a MAC address that is not its own. A program cannot do it: it redirects a frame once, and to sockets of the
 * frame's own queue only. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../vnet.h"
#include "xdp_device.h"

int xdp_group_open(struct xdp *x, const struct xdp_config *cfg, char *text)
{
    int on = 1, buffer = GROUP_BUFFER / 2; /* the kernel doubles it */
    struct sock_fprog filter = {.len = cfg->filter_len, .filter = (struct sock_filter *)cfg->filter};
    struct sockaddr_ll at = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = x->ifindex};
    x->group_frames = malloc((size_t)GROUP_BURST * GROUP_ROOM);
    if (!x->group_frames)
        return xdp_fail(text, ENOMEM, "no memory for frames");
    if (setsockopt(x->control, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) ||
        setsockopt(x->control, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) ||
        setsockopt(x->control, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) ||
        setsockopt(x->control, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) ||
        bind(x->control, (struct sockaddr *)&at, sizeof at))
        return xdp_fail(text, errno, "cannot listen on %s with a packet socket: %s", cfg->name,
                        strerror(errno));
    return 0;
}

/* At most GROUP_BURST frames, every GROUP_LOOK nanoseconds while there are none, and never twice without a look
 * at the queue between. */
int xdp_group_receive(struct xdp *x, int64_t now, struct rx_frame *frames, int max)
{
    int n = 0;
    if (x->group_turn || now < x->group_look) {
        x->group_turn = 0;
        return 0;
    }
    while (n < max && n < GROUP_BURST) {
        uint8_t *buffer = x->group_frames + (size_t)n * GROUP_ROOM;
        ssize_t got = recv(x->control, buffer, GROUP_ROOM, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0)
            break;
        struct rx_frame f = {.data = buffer + VNET_HDR_LEN, .len = (uint32_t)got - VNET_HDR_LEN};
        if (got <= VNET_HDR_LEN || got > GROUP_ROOM || !vnet_parse(buffer, x->dev.caps, &f)) {
            x->dev.stats.rx_dropped++;
            x->count[got > GROUP_ROOM ? RX_TOO_LONG : RX_EMPTY]++;
            continue;
        }
        x->count[GROUP_FRAMES]++;
        x->dev.stats.rx_bytes += f.len;
        frames[n++] = f;
    }
    x->group_turn = n != 0;
    x->group_look = n ? now : now + GROUP_LOOK;
    return n;
}

/* What its buffer had no room for. */
void xdp_group_count(struct xdp *x)
{
    struct tpacket_stats now = {0};
    socklen_t len = sizeof now;
    if (!getsockopt(x->control, SOL_PACKET, PACKET_STATISTICS, &now, &len))
        x->count[GROUP_DROPPED] += now.tp_drops;
}
