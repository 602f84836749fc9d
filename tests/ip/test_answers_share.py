"""Answers to strangers have a bounded share of a transmit queue (TX_STATELESS): a device that takes nothing
for a while keeps room for what programs send."""

from __future__ import annotations

import pytest
from barewire.l2 import UNSPECIFIED, Arp, Mac
from barewire.stack import lib
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4

from tests.kit import frames
from tests.kit.wire import Wire
from tests.kit.world import World

SHARE, QUEUE, RING = 64, 256, 64
MANY = 500


def fills(wire: Wire, *frames_in: bytes) -> None:
    """The stack gets them while nobody takes what it sends. Only C runs."""
    lib.host_set_now(wire.stack.host, wire.clock.now)
    for frame in frames_in:
        wire._end.send(frame, wire.clock.now)
        lib.host_poll(wire.stack.host)


def arp_question(wire: Wire) -> bytes:
    from ipaddress import IPv4Address

    question = Arp(1, wire.mac, IPv4Address(wire.there), UNSPECIFIED, IPv4Address(wire.here))
    return frames.arp(Mac(b"\xff" * 6), question)


def question(wire: Wire, kind: str) -> bytes:
    if kind == "arp":
        return arp_question(wire)
    packets = {
        "echo": frames.echo(wire.there, wire.here),
        "large echo": frames.echo(wire.there, wire.here, data=bytes(1400)),
        "reset": frames.tcp(
            wire.there, wire.here, frames.Segment(1, 2, flags=frames.flags_of("S"))
        ),
    }
    return frames.ethernet(wire.stack_mac, wire.mac, packets[kind])


@pytest.mark.parametrize("kind", ["echo", "large echo", "arp", "reset"])
def test_answers_leave_room_for_data(world: World, kind: str) -> None:
    wire = Wire(world, layer=2, ring=RING)
    wire.sends(frames.echo(wire.there, wire.here))  # the neighbour is known
    wire.drain()
    fills(wire, *[question(wire, kind)] * MANY)
    counters = wire.stack.counters()
    assert counters["drop_transmit_stateless_share"] >= MANY - RING - SHARE - 2
    assert counters["drop_transmit_queue_full"] == 0
    sock = wire.udp(7)
    for _ in range(QUEUE - SHARE):
        sock.sendto(b"data", wire.there, 9)
    found = wire.drain()
    assert sum(p.udp is not None for p in found) == QUEUE - SHARE
    assert wire.stack.counters()["drop_transmit_queue_full"] == 0


def test_an_answer_in_pieces_goes_whole_or_not_at_all(world: World) -> None:
    """One that has more fragments than the share goes when nothing else has a part of it."""
    wire = Wire(world, mtu=576, ring=RING)
    ping = icmp.Echo(1, 1, frames.pattern(60_000))
    pieces = IPv4.parse(frames.icmp_message(wire.there, wire.here, ping)).fragments(65535 // 2 & ~7)
    fills(wire, *[frames.echo(wire.there, wire.here)] * (RING + 1))  # one waits in the queue
    fills(wire, *[p.build() for p in pieces])
    assert wire.stack.counters()["drop_transmit_stateless_share"] == 1
    assert len(wire.drain()) == RING + 1
    for piece in pieces:
        wire.sends(piece.build())
    found = sorted((IPv4.parse(p.l3) for p in wire.drain()), key=lambda p: p.offset)
    assert len(found) > SHARE
    whole = b"".join(p.payload for p in found)
    assert icmp.parse(whole) == icmp.Echo(1, 1, frames.pattern(60_000), reply=True)
