/* SPDX-License-Identifier: MIT */
/* A packet socket that shares its interface's MAC address with the kernel: its filter lets IPv4 to the
 * stack's addresses in, and ARP that asks for or tells one of them. For set_addrs of the drivers with such
 * a socket. */
#ifndef BW_PACKET_SHARE_H
#define BW_PACKET_SHARE_H

#include <errno.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include "bytes.h"
#include "kernel_address.h"

enum { SHARE_ADDRS_MAX = 256, SHARE_HEAD = 7 };

/* l2: bytes of the link header, 14 or 0. filtered 0: every frame comes in, and only the kernel's addresses
 * are looked at. 0; -EADDRINUSE: the kernel has one of them; -EAFNOSUPPORT: one is not IPv4; -errno. */
static inline int packet_share(int fd, uint32_t l2, int filtered, const struct netdev_addr *addrs, int n)
{
    struct sock_filter code[SHARE_HEAD + 2 * SHARE_ADDRS_MAX + 1] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12), /* EtherType */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0800, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0806, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 38), /* ARP's target */
        BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, l2 + 16), /* IPv4's destination */
    };
    int at = SHARE_HEAD;
    if (n > SHARE_ADDRS_MAX)
        return -ENOSPC;
    for (int i = 0; i < n; i++) {
        if (addrs[i].family != AF_INET)
            return -EAFNOSUPPORT;
        if (kernel_has_address(fd, &addrs[i]))
            return -EADDRINUSE;
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, get32(addrs[i].ip), 0, 1);
        code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0x40000);
    }
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    int begin = l2 ? 0 : SHARE_HEAD - 1; /* bare IP packets have a destination and nothing before */
    struct sock_fprog program = {.len = (unsigned short)(at - begin), .filter = code + begin};
    if (filtered && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
        return -errno;
    return 0;
}

#endif
