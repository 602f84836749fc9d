"""What the link-layer control plane asks of the engine: a handful of calls, as a Protocol.

`barewire.stack.port.EnginePort` answers them through cffi; tests answer them with a fake. Addresses
are `ipaddress` objects, MAC addresses 6 bytes, packets and frames bytes; times are ns.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class NeighbourInfo:
    """What C knows of a published neighbour entry. Times are ns; None: never."""

    mac: bytes
    used: int | None  # last transmit through it
    wanted: int | None  # last transmit of what was no answer to strangers
    confirmed: int | None  # last forward progress (TCP) through it


class LinkPort(Protocol):
    """The engine as ARP and the neighbour cache see it. Failures are False or None, not exceptions:
    a full table or queue in C is counted there, and the protocols' own timers try again."""

    def neigh_ask(self, ifindex: int, ip: Address) -> None:
        """A question for the next hop goes out: a reply to it is an answer, and not hearsay."""

    def neigh_set(self, ifindex: int, ip: Address, mac: bytes) -> bool:
        """Publishes (or replaces) a next hop; False: the engine's table is full."""

    def neigh_del(self, ifindex: int, ip: Address) -> None:
        """Withdraws a next hop; unknown ones are ignored."""

    def neigh_get(self, ifindex: int, ip: Address) -> NeighbourInfo | None:
        """The published entry, or None."""

    def send_frame(self, ifindex: int, frame: bytes) -> bool:
        """Queues a whole Ethernet frame; False: the transmit queue is full."""

    def send_packet(self, packet: bytes) -> bool:
        """Queues an IP packet with a finished header: routed, resolved, fragmented if need be."""

    def send_via(self, ifindex: int, nexthop: Address, packet: bytes) -> bool:
        """Queues an IP packet that was routed before: by that interface, to that next hop."""

    def local_error(self, packet: bytes, err: int) -> None:
        """The packet (ours, as sent) could not be delivered: err (errno) goes to its socket."""
