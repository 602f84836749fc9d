"""Floods of each class of work for Python, received by C while Python is not asked."""

from __future__ import annotations

from ipaddress import IPv4Address

from barewire.l2 import Arp
from barewire.stack import lib
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4

from . import frames
from .wire import Wire

MANY = 20_000


def flood_until(wire: Wire, kind: str, counter: str) -> None:
    """Floods until the counter rises. Only C runs meanwhile."""
    frame = _frame(wire, kind)
    sock = wire.udp(9)
    for i in range(MANY):
        if kind == "resolve":
            sock.sendto(bytes(1000), f"198.18.0.{3 + i % 200}", 9)
        else:
            wire._end.send(frame, wire.clock.now)
        lib.host_poll(wire.stack.host)
        if wire.stack.counters()[counter]:
            return
    raise AssertionError(f"{MANY} frames did not fill the queue for {kind}")


def _frame(wire: Wire, kind: str) -> bytes:
    there, here = wire.there, wire.here
    if kind == "arp":
        announced = IPv4Address(there)
        return frames.arp(b"\xff" * 6, Arp(1, wire.mac, announced, wire.mac, announced))
    packets = {
        "icmp": frames.icmp_message(there, here, icmp.Echo(1, 1, bytes(1400), reply=True)),
        "fragment": IPv4(
            src=IPv4Address(there), dst=IPv4Address(here), payload=bytes(1400), mf=True
        ).build(),
        "error": frames.udp(there, here, 5000, 77, bytes(1400)),
        "other": frames.ip(there, here, 132, bytes(1400)),
        "resolve": b"",
    }
    return frames.ethernet(wire.stack_mac, wire.mac, packets[kind])
