"""The local ports of a raw device: which they are, and that the kernel does not have them."""

from __future__ import annotations

import errno
import re

from ..errors import DeviceError

Ports = tuple[tuple[int, int], ...]
"""Ranges, inclusive, in order, none touching another."""

DEFAULT: Ports = ((61_000, 65_535),)
"""Above those that Linux chooses by itself."""

_MOST = 16
_TIME_WAIT = "06"


def parse_ports(text: str) -> Ports:
    """`80,443,61000-65535`"""
    expected = f"expected ports from 1 to 65535, such as 80,443,61000-65535 (at most {_MOST})"
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)
        if not match:
            raise ValueError(expected)
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= 65_535:
            raise ValueError(expected)
        found.append((first, last))
    if len(found) > _MOST:
        raise ValueError(expected)
    joined: list[tuple[int, int]] = []
    for first, last in sorted(found):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return tuple(joined)


def ports_text(ports: Ports) -> str:
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ports)


def _among(port: int, ports: Ports) -> bool:
    return any(first <= port <= last for first, last in ports)


def overlap(one: Ports, other: Ports) -> bool:
    return any(a <= last and first <= b for a, b in one for first, last in other)


# ---- in the helper thread: /proc of the interface's namespace --------------------------------------


def check_kernel(ports: Ports) -> None:
    """Raises DeviceError, EADDRINUSE, if the kernel has one of the ports, or may choose one."""
    for protocol in ("tcp", "udp"):
        for port in _bound(protocol) | _bound(f"{protocol}6"):
            if _among(port, ports):
                raise taken(ports, f"the kernel has a socket on {protocol.upper()} port {port}")
    first, last = map(int, _read("/proc/sys/net/ipv4/ip_local_port_range").split())
    reserved = _read("/proc/sys/net/ipv4/ip_local_reserved_ports").strip()
    kept = _ranges(reserved) if reserved else ()
    for low, high in ports:
        shared = range(max(low, first), min(high, last) + 1)
        if not all(_among(port, kept) for port in shared):
            raise taken(
                ports,
                f"the kernel chooses ports from {first} to {last} for its own connections: take "
                f"others, or set `sysctl net.ipv4.ip_local_reserved_ports`",
            )


def taken(ports: Ports, why: str) -> DeviceError:
    return DeviceError(errno.EADDRINUSE, f"ports={ports_text(ports)}: {why}")


def _ranges(text: str) -> Ports:
    pairs = [part.partition("-") for part in text.split(",")]
    return tuple((int(first), int(last or first)) for first, _, last in pairs)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _bound(table: str) -> set[int]:
    """Local ports of the kernel's sockets that an interface can reach."""
    found = set()
    for line in _read(f"/proc/thread-self/net/{table}").splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        address, _, port = local.partition(":")
        if state != _TIME_WAIT and not _is_loopback(address):
            found.add(int(port, 16))
    return found


def _is_loopback(address: str) -> bool:
    if len(address) == 8:
        return address.endswith("7F")
    mapped = "0000000000000000FFFF0000"
    return address == "0" * 24 + "01000000" or (
        address.startswith(mapped) and address.endswith("7F")
    )
