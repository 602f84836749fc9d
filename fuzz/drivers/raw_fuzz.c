/* SPDX-License-Identifier: MIT */
/* Fuzzing the raw driver's messages (raw.c) and TAP's reads (tap.c). The kernel's part is played here: messages of any
 * length, cut off or whole, with any virtio-net header; writes that fail or are taken in part. What is lent lies in the
 * driver's buffers, what is sent is an IPv4 packet as the stack gave it, and each frame is sent, dropped or left. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "exact.h"

static int come(struct mmsghdr *messages, unsigned n);
static int go(const struct mmsghdr *messages, unsigned n);
static ssize_t comes(void *to, size_t room);
static ssize_t goes(const struct iovec *iov, int n);
#define recvmmsg(fd, messages, n, flags, timeout) come(messages, n)
#define sendmmsg(fd, messages, n, flags) go(messages, n)
#define read(fd, to, len) comes(to, len)
#define writev(fd, iov, n) goes(iov, n)
#include "../../nic_drivers/raw/raw.c"
#define RX_MALFORMED TAP_RX_MALFORMED
#define TX_DOWN TAP_TX_DOWN
#define TX_REFUSED TAP_TX_REFUSED
#include "../../nic_drivers/tap/tap.c"
#undef recvmmsg
#undef sendmmsg
#undef read
#undef writev

enum { LONGEST = 4000 };

static struct input *the_input;
static uint32_t the_vnet, sent_bytes, sent_frames;

static uint32_t message(uint8_t *to, uint32_t room, int layer)
{
    uint8_t packet[LONGEST] = {0}, how = take8(the_input);
    uint32_t len = how & 1 ? take16(the_input) % LONGEST : the_vnet;
    if (how & 2)
        take_bytes(the_input, packet, the_vnet);
    if (!(how & 1))
        len += exact_packet(the_input, layer, packet + the_vnet, 1700);
    len = len < room ? len : room;
    memcpy(to, packet, len);
    return len;
}

static int come(struct mmsghdr *messages, unsigned n)
{
    uint8_t how = take8(the_input);
    if (how > 240) {
        errno = how & 1 ? ENETDOWN : EAGAIN;
        return -1;
    }
    n = how % 8 < n ? how % 8 : n;
    for (unsigned i = 0; i < n; i++) {
        struct iovec *iov = messages[i].msg_hdr.msg_iov;
        messages[i].msg_len = message(iov->iov_base, (uint32_t)iov->iov_len, 3);
        messages[i].msg_hdr.msg_flags = take8(the_input) > 240 ? MSG_TRUNC : 0;
    }
    return (int)n;
}

static int fails(void)
{
    static const int errors[] = {EAGAIN, ENOBUFS, EINTR, EIO, EINVAL, EPERM, ENETUNREACH, ENETDOWN, EBADFD};
    uint8_t how = take8(the_input);
    errno = how < 180 ? 0 : errors[how % 9];
    return errno;
}

static int go(const struct mmsghdr *messages, unsigned n)
{
    if (fails())
        return -1;
    n = take8(the_input) & 1 ? 1 : n;
    for (unsigned i = 0; i < n; i++) {
        const struct iovec *iov = messages[i].msg_hdr.msg_iov;
        const uint8_t *ip = iov->iov_base;
        const struct sockaddr_in *to = messages[i].msg_hdr.msg_name;
        MUST(iov->iov_len >= 20 && ip[0] >> 4 == 4 && !memcmp(&to->sin_addr, ip + 16, 4));
        sent_bytes += (uint32_t)iov->iov_len;
    }
    sent_frames += n;
    return (int)n;
}

static ssize_t comes(void *to, size_t room)
{
    uint8_t how = take8(the_input);
    errno = how < 200 ? 0 : how & 1 ? EAGAIN : EIO;
    return errno ? -1 : (ssize_t)message(to, (uint32_t)room, 2);
}

static ssize_t goes(const struct iovec *iov, int n)
{
    size_t len = 0;
    if (fails())
        return -1;
    for (int i = 0; i < n; len += iov[i++].iov_len)
        MUST(i < BW_TX_PIECES + 1);
    MUST(len > the_vnet);
    sent_bytes += (uint32_t)(len - the_vnet);
    sent_frames++;
    return (ssize_t)len;
}

static void receives(struct netdev *dev, const uint8_t *from, size_t room, uint32_t most)
{
    struct rx_frame frames[BW_RX_BURST];
    int n = dev->rx_burst(dev, 1, frames, 1 + take8(the_input) % 16);
    for (int i = 0; i < n; i++) {
        MUST(frames[i].len && frames[i].len <= most);
        MUST(frames[i].data >= from && frames[i].data + frames[i].len <= from + room);
        for (int j = 0; j < i; j++) /* none lies in another */
            MUST(frames[j].data + frames[j].len <= frames[i].data ||
                 frames[i].data + frames[i].len <= frames[j].data);
        frames[i].data[frames[i].len - 1] ^= 1;
    }
}

static void sends(struct netdev *dev)
{
    uint8_t packet[LONGEST];
    struct tx_frame frames[4];
    int n = 1 + take8(the_input) % 4;
    for (int i = 0; i < n; i++) {
        uint32_t len = exact_packet(the_input, dev->layer, packet + i * 900, 900),
                 cut = take8(the_input) % (len + 1);
        frames[i] = (struct tx_frame){
            .piece = {{packet + i * 900, cut}, {packet + i * 900 + cut, len - cut}}, .pieces = 2, .len = len};
    }
    struct netdev_stats before = dev->stats;
    uint32_t frames_before = sent_frames, bytes_before = sent_bytes;
    int took = dev->tx_burst(dev, 1, frames, n);
    MUST(took <= n);
    uint64_t sent = dev->stats.tx_frames - before.tx_frames, lost = dev->stats.tx_dropped - before.tx_dropped;
    MUST(sent == sent_frames - frames_before &&
         dev->stats.tx_bytes - before.tx_bytes == sent_bytes - bytes_before);
    MUST(took < 0 || sent + lost == (uint64_t)took);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t how = take8(&in);
    the_input = &in;
    struct netdev *dev;
    const uint8_t *from;
    size_t room;
    uint32_t most = 65535;
    if (how & 1) {
        const struct raw_config cfg = {.name = "raw",
                                       .rx_fd = -1,
                                       .tx_fd = -1,
                                       .held = {-1, -1},
                                       .tcp = how >> 1 & 1,
                                       .mtu = 1500,
                                       .link_header = how & 4 ? 14 : 0};
        dev = raw_new(&cfg);
        MUST(dev);
        from = ((struct raw *)dev)->buffers;
        room = (size_t)BW_RX_BURST * SLOT;
        the_vnet = VNET_HDR_LEN;
    } else {
        const struct tap_config cfg = {.name = "tap",
                                       .fd = {dup(2)}, /* any: it is closed */
                                       .queues = 1,
                                       .guard = -1,
                                       .mtu = 1500,
                                       .layer = how & 2 ? 2 : 3,
                                       .vnet = how >> 2 & 1,
                                       .gso = (how & 12) == 12,
                                       .offload = how >> 4 & 1};
        dev = tap_new(&cfg);
        MUST(dev);
        from = ((struct tap *)dev)->buffer;
        room = ((struct tap *)dev)->lent;
        the_vnet = ((struct tap *)dev)->vnet;
        most = ((struct tap *)dev)->most;
    }
    while (in.left)
        take8(&in) & 1 ? sends(dev) : receives(dev, from, room, most);
    dev->close(dev);
    return 0;
}
