"""Work that C hands to Python: one record a punt (`struct bw_punt` of engine.h), and the rate of each
class of it, which a token bucket in C keeps (`stack/punt.c`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple


class PuntClass(IntEnum):
    """Which queue a punt came through; the numbers are BW_PUNT_* of engine.h (a test compares)."""

    ARP = 0  # data: ARP packet (Ethernet payload)
    RESOLVE = 1  # data: the IP packet that waits for `nexthop`
    ICMP = 2  # data: IP packet with an echo reply somebody waits for, or an error that was applied
    RESOLVE_ANSWER = 3  # as RESOLVE, for a packet that answers what anybody may have sent
    ARP_ANSWER = 4  # as ARP: the reply to a question of ours
    RESOLVE_CONNECTED = 5  # as RESOLVE, for a packet of a connected socket, or a ping


class Rate(NamedTuple):
    """A token bucket: `rate` punts a second, up to `burst` at once."""

    rate: int
    burst: int


# What strangers cause has little (a new neighbour costs Python 0.1 to 0.2 ms), and never the bucket of what
# the program itself asks for. What a server sends with `sendto` strangers may have caused, too: it stands in
# no connection's way.
RATES: dict[PuntClass, Rate] = {
    PuntClass.ARP: Rate(250, 256),
    PuntClass.RESOLVE: Rate(10_000, 2048),
    PuntClass.RESOLVE_CONNECTED: Rate(10_000, 2048),
    PuntClass.ICMP: Rate(1000, 256),
    PuntClass.RESOLVE_ANSWER: Rate(200, 128),
    PuntClass.ARP_ANSWER: Rate(10_000, 2048),  # one a question
}


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
