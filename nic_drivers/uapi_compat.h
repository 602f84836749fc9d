/* SPDX-License-Identifier: MIT */
/* Kernel constants that the build machine's headers may be too old for. Each is probed at run time:
 * a kernel that does not know one says so. */
#ifndef BW_UAPI_COMPAT_H
#define BW_UAPI_COMPAT_H

/* linux/if_xdp.h, Linux 6.6: frames of several buffers */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

/* linux/if_tun.h, Linux 6.2: UDP super-segments, and only both together */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* linux/virtio_net.h, Linux 6.2: one of them, to be cut into datagrams */
#define BW_VIRTIO_NET_HDR_GSO_UDP_L4 5

/* linux/io_uring.h, Linux 6.7: an operation, there a name of an enum */
#define BW_IORING_OP_READ_MULTISHOT 49

/* asm-generic/socket.h, Linux 5.11 */
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif

#endif
