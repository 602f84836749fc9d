/* SPDX-License-Identifier: MIT */
/* Is an address the kernel's? For devices that share an interface with it. */
#ifndef BW_KERNEL_ADDRESS_H
#define BW_KERNEL_ADDRESS_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "netdev.h"

/* An IPv4 address: SIOCGIFCONF tells of no others. fd: any socket of the network namespace in question. */
static inline int kernel_has_address(int fd, const struct netdev_addr *own)
{
    struct ifconf conf = {0};
    int found = 0;
    if (ioctl(fd, SIOCGIFCONF, &conf) || conf.ifc_len <= 0)
        return 0;
    conf.ifc_req = calloc(1, (size_t)conf.ifc_len);
    if (!conf.ifc_req || ioctl(fd, SIOCGIFCONF, &conf))
        conf.ifc_len = 0;
    for (int i = 0; i < conf.ifc_len / (int)sizeof(struct ifreq); i++) {
        struct sockaddr_in addr;
        memcpy(&addr, &conf.ifc_req[i].ifr_addr, sizeof addr);
        found |= own->family == AF_INET && memcmp(&addr.sin_addr, own->ip, 4) == 0;
    }
    free(conf.ifc_req);
    return found;
}

#endif
