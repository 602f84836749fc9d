"""Addresses and routes of one stack: Python owns them, C reads a copy that is published whole.

Each usable address brings its connected route; own, loopback and broadcast addresses need none,
they are known from the address table. The longest prefix wins, then the lowest metric, then the
older route. The source is an address of the outgoing interface, best one in the next hop's subnet,
else one of any other interface (RFC 1122 3.3.4). C decides the same way; a test compares.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Protocol

LOOPBACK = 1  # interface index
MAX_ADDRESSES = 256  # MAX_ADDRS and MAX_ROUTES of stack.h
MAX_ROUTES = 256
LOCALHOST = IPv4Address("127.0.0.1")


class RouteFlag(IntFlag):
    """BW_ROUTE_* of engine.h."""

    GATEWAY = 1
    BROADCAST = 2
    LOCAL = 4
    UNREACHABLE = 8


NO_FLAGS = RouteFlag(0)


@dataclass(frozen=True, slots=True)
class IfAddr:
    """struct bw_ifaddr: an address with its prefix length (of 32 here; C counts of 128)."""

    ifindex: int
    address: IPv4Interface
    tentative: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """struct bw_route. mtu 0: the interface's."""

    prefix: IPv4Network
    ifindex: int
    gateway: IPv4Address | None = None
    source: IPv4Address | None = None
    mtu: int = 0
    metric: int = 0
    flags: RouteFlag = NO_FLAGS


class RoutePort(Protocol):
    """Where the tables are published; each call replaces the table before."""

    def set_addrs(self, addrs: list[IfAddr]) -> None: ...

    def set_routes(self, routes: list[Route]) -> None: ...


class RouteTable:
    """What is configured. Nothing reaches C before `publish`. Raises OSError as Linux's netlink
    does: EEXIST, ESRCH, EADDRNOTAVAIL, ENETUNREACH; and ENOSPC."""

    def __init__(self) -> None:
        self._addrs: list[IfAddr] = []
        self._routes: list[Route] = []

    @property
    def addresses(self) -> list[IfAddr]:
        return list(self._addrs)

    @property
    def configured(self) -> list[Route]:
        """The routes that somebody added."""
        return list(self._routes)

    def restore(self, routes: list[Route]) -> None:
        """Routes that went with an address, now that it is back: those that nobody replaced."""
        there = {(r.prefix, r.metric) for r in self._routes}
        self._routes += [r for r in routes if (r.prefix, r.metric) not in there]

    def is_own(self, ip: IPv4Address) -> bool:
        """Usable and ours (all of 127.0.0.0/8 is)."""
        return ip.is_loopback or any(a.address.ip == ip for a in self._addrs if not a.tentative)

    def is_broadcast(self, ip: IPv4Address) -> bool:
        """Limited, or of a subnet of ours; or multicast: not a single host."""
        if ip.is_multicast or int(ip) == 0xFFFFFFFF:
            return True
        return any(
            ip == a.address.network.broadcast_address and a.address.network.prefixlen < 31
            for a in self._addrs
        )

    # ---- configuration ---------------------------------------------------------------------

    def add_address(self, ifindex: int, address: IPv4Interface, tentative: bool = False) -> None:
        if any(a.address.ip == address.ip for a in self._addrs):
            raise OSError(errno.EEXIST, f"address {address.ip} is already there")
        if len(self._addrs) >= MAX_ADDRESSES:
            raise OSError(errno.ENOSPC, f"at most {MAX_ADDRESSES} addresses")
        self._addrs.append(IfAddr(ifindex, address, tentative))
        self._check_room(self._addrs)

    def set_usable(self, ifindex: int, ip: IPv4Address) -> None:
        """A tentative address passed its probes."""
        for i, a in enumerate(self._addrs):
            if a.ifindex == ifindex and a.address.ip == ip:
                self._addrs[i] = IfAddr(ifindex, a.address)

    def remove_address(self, ifindex: int, ip: IPv4Address) -> IPv4Interface:
        """Routes that name it as their source go with it."""
        for i, a in enumerate(self._addrs):
            if a.ifindex == ifindex and a.address.ip == ip:
                del self._addrs[i]
                self._routes = [r for r in self._routes if r.source != ip]
                return a.address
        raise OSError(errno.EADDRNOTAVAIL, f"address {ip} is not on interface {ifindex}")

    def add_route(
        self,
        prefix: IPv4Network,
        gateway: IPv4Address | None = None,
        ifindex: int | None = None,
        source: IPv4Address | None = None,
        mtu: int = 0,
        metric: int = 0,
        unreachable: bool = False,
    ) -> Route:
        """The interface may be left out with a gateway: the one whose subnet the gateway is in."""
        flags = NO_FLAGS
        if unreachable:
            flags, ifindex = RouteFlag.UNREACHABLE, ifindex or LOOPBACK
        elif gateway is not None:
            flags = RouteFlag.GATEWAY
            ifindex = ifindex or self._interface_of(gateway)
        if ifindex is None:
            raise OSError(errno.EINVAL, f"route {prefix} needs a gateway or an interface")
        if source is not None and not self.is_own(source):
            raise OSError(errno.EADDRNOTAVAIL, f"source {source} is not an address of this stack")
        route = Route(prefix, ifindex, gateway, source, mtu, metric, flags)
        if any((r.prefix, r.metric) == (prefix, metric) for r in self._routes):
            raise OSError(errno.EEXIST, f"route {prefix} with metric {metric} is already there")
        self._routes.append(route)
        self._check_room(self._routes)
        return route

    def remove_route(self, prefix: IPv4Network, metric: int | None = None) -> None:
        """The first route to that prefix (with that metric)."""
        for i, r in enumerate(self._routes):
            if r.prefix == prefix and metric in (None, r.metric):
                del self._routes[i]
                return
        raise OSError(errno.ESRCH, f"no route {prefix}")

    def _interface_of(self, gateway: IPv4Address) -> int:
        for a in self._addrs:
            if gateway in a.address.network and a.address.ip != gateway:
                return a.ifindex
        raise OSError(errno.ENETUNREACH, f"gateway {gateway} is in no connected subnet")

    def _check_room(self, grown: list[IfAddr] | list[Route]) -> None:
        if len(self.routes()) > MAX_ROUTES:
            grown.pop()
            raise OSError(errno.ENOSPC, f"at most {MAX_ROUTES} routes, connected ones included")

    # ---- what follows from it ----------------------------------------------------------------

    def routes(self) -> list[Route]:
        """All routes as C gets them: the connected ones first, then the configured ones."""
        connected = [
            Route(a.address.network, a.ifindex, source=a.address.ip)
            for a in self._addrs
            if not a.tentative and a.ifindex != LOOPBACK and a.address.network.prefixlen < 32
        ]
        return connected + self._routes

    def publish(self, port: RoutePort) -> None:
        port.set_addrs(self.addresses)
        port.set_routes(self.routes())

    def lookup(self, dst: IPv4Address) -> Route | None:
        """Longest prefix, then lowest metric, then the older; None without a route."""
        matching = [r for r in self.routes() if dst in r.prefix]
        return min(matching, key=lambda r: (-r.prefix.prefixlen, r.metric), default=None)

    def select_source(self, dst: IPv4Address) -> IPv4Address | None:
        """The source address for a packet to dst; None: unreachable."""
        if any(a.address.ip == dst for a in self._addrs if not a.tentative):
            return dst
        if dst.is_loopback:
            return LOCALHOST
        route = self.lookup(dst)
        if route is None or route.flags & RouteFlag.UNREACHABLE:
            return None
        if route.source is not None:
            return route.source
        nexthop = route.gateway or dst
        usable = [a for a in self._addrs if not a.tentative and not a.address.is_loopback]
        best = max(
            usable,
            key=lambda a: (a.ifindex == route.ifindex) * (1 + (nexthop in a.address.network)),
            default=None,
        )
        return best.address.ip if best else None
