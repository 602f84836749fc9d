"""Work for Python has a rate, class by class: a token bucket in C (stack/punt.c)."""

from __future__ import annotations

import pytest
from barewire import Stack
from barewire.stack.icmp import icmp
from barewire.stack.punt import RATES, PuntClass

from tests.kit import frames
from tests.kit.flood import flood
from tests.kit.wire import Wire
from tests.kit.world import World

CLASSES = {
    "arp": "drop_punt_arp_rate",
    "resolve": "drop_punt_resolve_rate",
    "icmp": "drop_punt_icmp_rate",
    "resolve_answer": "drop_punt_resolve_answer_rate",
    "arp_answer": "drop_punt_arp_answer_rate",
    "resolve_connected": "drop_punt_resolve_connected_rate",
}
RATE, BURST = 100, 3


def drops(wire: Wire) -> dict[str, int]:
    """Of all classes, by counter, those that are not zero."""
    found = wire.stack.counters().items()
    return {name: n for name, n in found if name.startswith("drop_punt_") and n}


def test_every_class_is_here() -> None:
    assert set(CLASSES) == {cls.name.lower() for cls in PuntClass}
    assert set(RATES) == set(PuntClass)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_has_a_rate_and_a_burst(world: World, kind: str) -> None:
    wire = Wire(world, layer=2, punt_rates={kind: (RATE, BURST)})
    world.run("1s")
    wire.clock.advance("1s")  # the bucket is full, whatever the address took of it
    pieces, name = flood(wire, kind), CLASSES[kind]
    for _ in range(BURST):
        next(pieces)
    assert drops(wire) == {}
    next(pieces)
    assert drops(wire) == {name: 1}
    wire.clock.advance("9.9ms")
    next(pieces)
    assert drops(wire) == {name: 2}, "a token comes after 10 ms"
    wire.clock.advance("0.1ms")
    next(pieces)
    assert drops(wire) == {name: 2}
    next(pieces)
    assert drops(wire) == {name: 3}
    wire.clock.advance("1h")
    for _ in range(BURST + 1):
        next(pieces)
    assert drops(wire) == {name: 4}, "no more is saved than the burst"


@pytest.mark.parametrize("kind", [k for k in CLASSES if k not in ("resolve", "arp", "arp_answer")])
def test_what_strangers_cause_takes_nothing_from_our_own_sends(world: World, kind: str) -> None:
    """A class that is far above its rate, and a datagram to a neighbour nobody has asked for yet."""
    wire = Wire(world, layer=2)
    pieces = flood(wire, kind)
    for _ in range(RATES[PuntClass[kind.upper()]].burst + 50):
        next(pieces)
    wire.drain()
    sock = wire.udp(4000)
    sock.sendto(b"ours", wire.there, 9)
    assert wire.stack.counters()["drop_punt_resolve_rate"] == 0
    world.run("1ms")
    assert [p.udp.payload for p in wire.drain() if p.udp] == [b"ours"]


def test_a_syn_ack_for_an_invented_neighbour_is_an_answer(world: World) -> None:
    wire = Wire(world, layer=2, punt_rates={"resolve_answer": (1, 1)})
    wire.tcp().bind("0.0.0.0", 80).listen()
    for i in range(3):
        segment = frames.Segment(5000, 80, flags=frames.flags_of("S"))
        wire.sends(frames.tcp(f"198.18.0.{10 + i}", wire.here, segment))
    assert drops(wire) == {"drop_punt_resolve_answer_rate": 2}


def test_a_reset_for_an_invented_neighbour_is_an_answer(world: World) -> None:
    wire = Wire(world, layer=2, punt_rates={"resolve_answer": (1, 1)})
    for i in range(3):
        segment = frames.Segment(5000, 81, flags=frames.flags_of("S"))
        wire.sends(frames.tcp(f"198.18.0.{10 + i}", wire.here, segment))
    assert drops(wire) == {"drop_punt_resolve_answer_rate": 2}


def test_a_program_may_send_to_many_neighbours_at_once(world: World) -> None:
    """As many packets as the neighbour cache lets wait for one, to each of several."""
    wire = Wire(world, layer=2, arp=False)
    sock = wire.udp(4000)
    for i in range(1000):
        sock.sendto(b"x", f"198.18.0.{3 + i % 8}", 9)
    assert drops(wire) == {}


def test_pings_of_a_known_neighbour_are_answered_at_any_rate(world: World) -> None:
    wire = Wire(world, layer=2)
    ping = frames.icmp_message(wire.there, wire.here, icmp.Echo(1, 1, b""))
    wire.sends(ping)
    world.run("1s")
    wire.drain()
    for _ in range(1000):
        wire.sends(ping)
    assert len([p for p in wire.drain() if p.icmp]) == 1000


def test_arguments(world: World) -> None:
    with pytest.raises(ValueError, match="known are arp, resolve"):
        Stack(punt_rates={"nothing": (1, 1)})
    with pytest.raises(ValueError, match="'arp' 0"):
        Stack(punt_rates={"arp": (0, 1)})
    with pytest.raises(ValueError, match="burst 0"):
        Stack(punt_rates={"arp": (1, 0)})
    with pytest.raises(TypeError, match="must be a dict"):
        Stack(punt_rates=5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a second, at once"):
        Stack(punt_rates={"arp": 5})  # type: ignore[dict-item]
