"""Floods of each class of work for Python, received by C while Python is not asked."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from itertools import count

from barewire.l2 import ARP_REPLY, ARP_REQUEST, Arp
from barewire.stack import lib
from barewire.stack.icmp import icmp
from barewire.stack.port import EnginePort, ip16
from barewire.stack.punt import PuntClass

from . import frames
from .wire import Wire

MANY = 20_000
UNLIMITED = {cls.name.lower(): (1_000_000, 1 << 16) for cls in PuntClass}  # punt_rates


def flood_until(wire: Wire, kind: str, counter: str) -> None:
    """Floods until the counter rises. Only C runs meanwhile."""
    pieces = flood(wire, kind)
    for _ in range(MANY):
        next(pieces)
        if wire.stack.counters()[counter]:
            return
    raise AssertionError(f"{MANY} frames did not fill the queue for {kind}")


def flood(wire: Wire, kind: str) -> Iterator[None]:
    """Each step makes one piece of work of the class. Only C runs meanwhile."""
    frame = _frame(wire, kind)
    sock = wire.udp(9)
    if kind == "icmp":  # somebody waits for an answer
        lib.host_echo_open(wire.stack.host, ip16(IPv4Address(wire.there)), 1)
    for i in count():
        lib.host_set_now(wire.stack.host, wire.clock.now)
        stranger = f"198.18.0.{3 + i % 200}"
        if kind == "resolve":
            sock.sendto(bytes(1000), stranger, 9)
        elif kind == "resolve_connected":
            sock.connect(stranger, 9)
            sock.send(bytes(1000))
        elif kind == "arp_answer":
            ip = IPv4Address(stranger)
            EnginePort(wire.stack.host).neigh_ask(2, ip)
            reply = Arp(ARP_REPLY, wire.mac, ip, wire.stack_mac, IPv4Address(wire.here))
            wire._end.send(frames.arp(wire.stack_mac, reply), wire.clock.now)
        elif kind == "resolve_answer":
            ping = frames.icmp_message(stranger, wire.here, icmp.Echo(1, 1, bytes(1000)))
            wire._end.send(frames.ethernet(wire.stack_mac, wire.mac, ping), wire.clock.now)
        else:
            wire._end.send(frame, wire.clock.now)
        lib.host_poll(wire.stack.host)
        yield


def _frame(wire: Wire, kind: str) -> bytes:
    there, here = wire.there, wire.here
    if kind == "arp":
        request = Arp(ARP_REQUEST, wire.mac, IPv4Address(there), wire.mac, IPv4Address(here))
        return frames.arp(b"\xff" * 6, request)
    packets = {
        "icmp": frames.icmp_message(there, here, icmp.Echo(1, 1, bytes(1400), reply=True)),
        "resolve": b"",
        "resolve_answer": b"",
        "resolve_connected": b"",
        "arp_answer": b"",
    }
    return frames.ethernet(wire.stack_mac, wire.mac, packets[kind])
