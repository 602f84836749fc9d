"""Work that C hands to Python: one record a punt (`struct bw_punt` of engine.h)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address


class PuntClass(IntEnum):
    """Which queue a punt came through; the numbers are BW_PUNT_* of engine.h (a test compares)."""

    ARP = 0  # data: ARP packet (Ethernet payload)
    RESOLVE = 1  # data: the IP packet that waits for `nexthop`
    ICMP = 2  # data: IP packet with an ICMP message for this host
    FRAGMENT = 3  # data: an IPv4 fragment for this host
    ERROR = 4  # data: head of the IP packet the error is about; arg = type << 8 | code
    OTHER = 5  # data: IP packet of a protocol C does not speak


@dataclass(frozen=True, slots=True)
class Punt:
    """One punt without its data. `when` is the ns at which C queued it."""

    cls: int
    ifindex: int
    arg: int = 0
    l2_broadcast: bool = False
    src_mac: bytes = bytes(6)
    nexthop: IPv4Address | IPv6Address | None = None
    when: int = 0
