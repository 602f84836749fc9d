"""The engine as the control plane sees it: `ipaddress` objects and bytes here, C there.

Everything passes the border here, checked and copied. Calls into a stack that is closed or belongs
to another process do nothing: what the control plane still wanted has nobody left to want it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from ..l2.port import Address, NeighbourInfo
from ._engine import ffi, lib
from .ip.routes import IfAddr, Route, RouteFlag

_MAPPED = bytes(10) + b"\xff\xff"
_NEVER = -(2**63)


def ip16(ip: Address) -> bytes:
    """16 bytes as the engine keeps addresses: IPv4 mapped."""
    return _MAPPED + ip.packed if isinstance(ip, IPv4Address) else ip.packed


def from_ip16(raw: bytes) -> Address:
    """The address of 16 bytes of the engine."""
    return IPv4Address(raw[12:]) if raw.startswith(_MAPPED) else IPv6Address(raw)


def _prefix_len(length: int, version: int) -> int:
    return length + 96 if version == 4 else length


def check_addrs(result: int) -> None:
    """Raises OSError for what a device or the engine answered to a stack's addresses."""
    if result == -errno.EADDRINUSE:
        raise OSError(-result, "the kernel has one of the stack's addresses: give it another")
    if result == -errno.EADDRNOTAVAIL:
        text = "the kernel does not have one of the stack's addresses, which the device shares"
        raise OSError(-result, f"{text}: see `ip address`")
    if result == -errno.EAFNOSUPPORT:
        raise OSError(-result, "the device cannot steer by one of the stack's addresses: IPv4 only")
    if result < 0:
        raise OSError(-result, f"the addresses cannot be set: {os.strerror(-result)}")


class EnginePort:
    """Answers `barewire.stack.control.Port` for one host (`struct host *`), until it is detached."""

    def __init__(self, host: Any) -> None:
        self._host = host

    def detach(self) -> None:
        """The host is about to be freed: everything from now on is answered as if closed."""
        self._host = ffi.NULL

    def set_addrs(self, addrs: Sequence[IfAddr]) -> None:
        table = ffi.new("struct bw_ifaddr[]", len(addrs))
        for entry, a in zip(table, addrs, strict=True):
            entry.ip = ip16(a.address.ip)
            entry.ifindex = a.ifindex
            entry.prefix_len = _prefix_len(a.address.network.prefixlen, a.address.version)
            entry.flags = lib.BW_ADDR_TENTATIVE if a.tentative else 0
        result = lib.host_set_addrs(self._host, table, len(addrs))
        if result != -errno.EBADF:
            check_addrs(result)

    def set_routes(self, routes: Sequence[Route]) -> None:
        table = ffi.new("struct bw_route[]", len(routes))
        for entry, r in zip(table, routes, strict=True):
            entry.prefix = ip16(r.prefix.network_address)
            entry.prefix_len = _prefix_len(r.prefix.prefixlen, r.prefix.version)
            entry.flags = int(r.flags)
            if r.gateway is not None:
                entry.gateway = ip16(r.gateway)
                entry.flags |= int(RouteFlag.GATEWAY)
            if r.source is not None:
                entry.source = ip16(r.source)
            entry.ifindex, entry.mtu, entry.metric = r.ifindex, r.mtu, r.metric
        lib.host_set_routes(self._host, table, len(routes))

    def set_path_mtu(
        self, ip: Address, mtu: int, fragments: bool = False, *, zone: int = 0
    ) -> None:
        lib.host_set_path_mtu(self._host, ip16(ip), zone, mtu, fragments)

    def neigh_ask(self, ifindex: int, ip: Address) -> None:
        lib.host_neigh_ask(self._host, ifindex, ip16(ip))

    def neigh_set(self, ifindex: int, ip: Address, mac: bytes) -> bool:
        return int(lib.host_neigh_set(self._host, ifindex, ip16(ip), bytes(mac))) == 0

    def neigh_del(self, ifindex: int, ip: Address) -> None:
        lib.host_neigh_del(self._host, ifindex, ip16(ip))

    def neigh_get(self, ifindex: int, ip: Address) -> NeighbourInfo | None:
        info = ffi.new("struct bw_neigh_info *")
        if lib.host_neigh_get(self._host, ifindex, ip16(ip), info) < 0:
            return None
        times = (int(when) for when in (info.used, info.wanted, info.confirmed))
        return NeighbourInfo(
            bytes(ffi.buffer(info.mac)), *(None if when == _NEVER else when for when in times)
        )

    def send_frame(self, ifindex: int, frame: bytes) -> bool:
        return int(lib.host_send_frame(self._host, ifindex, frame, len(frame))) == 0

    def send_packet(self, packet: bytes) -> bool:
        return int(lib.host_send_packet(self._host, 0, ffi.NULL, packet, len(packet))) == 0

    def send_via(self, ifindex: int, nexthop: Address, packet: bytes) -> bool:
        hop = ip16(nexthop)
        return int(lib.host_send_packet(self._host, ifindex, hop, packet, len(packet))) == 0

    def echo_open(self, ip: Address, ident: int) -> bool:
        return int(lib.host_echo_open(self._host, ip16(ip), ident)) == 0

    def echo_close(self, ip: Address, ident: int) -> None:
        lib.host_echo_close(self._host, ip16(ip), ident)

    def local_error(self, packet: bytes, err: int) -> None:
        lib.host_local_error(self._host, packet, len(packet), err)

    def select_source(self, dst: Address, ifindex: int = 0) -> Address | None:
        source = ffi.new("uint8_t[16]")
        if lib.host_select_source(self._host, ip16(dst), ifindex, source) < 0:
            return None
        return from_ip16(bytes(ffi.buffer(source)))
