"""The identification field (RFC 6864): what may be fragmented has one, and none tells of other flows."""

from __future__ import annotations

from itertools import pairwise

import pytest
from barewire.stack.ip.ipv4 import IPv4

from tests.kit import frames
from tests.kit.wire import Wire
from tests.kit.world import World


def idents(wire: Wire) -> list[int]:
    return [IPv4.parse(p.l3).ident for p in wire.drain()]


def asked(wire: Wire, src: str, times: int = 1) -> list[int]:
    for _ in range(times):
        wire.sends(frames.echo(src, wire.here))
    return idents(wire)


def steps(found: list[int]) -> list[int]:
    return [(b - a) & 0xFFFF for a, b in pairwise(found)]


def test_one_host_sees_a_counter_that_others_do_not_move(wire: Wire) -> None:
    """At one instant; "13176, 77, 78" of three hosts was a counter for all."""
    first = asked(wire, "198.18.0.2")
    for i in range(3, 20):
        asked(wire, f"198.18.0.{i}", 5)
    assert steps(first + asked(wire, "198.18.0.2")) == [1]
    starts = [asked(wire, f"198.18.0.{i}")[0] for i in range(3, 100)]
    assert sum(step < 100 for step in steps(starts)) < 3, "they begin anywhere"


def test_time_moves_it_by_a_random_number(wire: Wire) -> None:
    """As Linux's ip_idents: at most what ticks have passed, so that a count of it says nothing."""
    found = []
    for _ in range(200):
        found += asked(wire, "198.18.0.2")
        wire.world.run("10ms")
    moved = steps(found)
    assert all(1 <= step <= 10 for step in moved)
    assert len(set(moved)) == 10


def test_sources_and_protocols_are_told_apart(wire: Wire) -> None:
    wire.stack.control.add_address(wire.clock.now, 2, "198.18.0.50/24")
    wire.world.rest()
    asked(wire, "198.18.0.2")
    sock = wire.udp(7).set(mtu_discover=0)
    before = idents(wire) or asked(wire, "198.18.0.2")
    for _ in range(5):
        sock.sendto(b"x", "198.18.0.2", 9)
        wire.sends(frames.echo("198.18.0.2", "198.18.0.50"))
    idents(wire)
    assert steps(before + asked(wire, "198.18.0.2")) == [1]


def test_errors_and_replies_have_one(wire: Wire) -> None:
    """RFC 6864 4.3: what says nothing of "don't fragment" varies; the fragments of one share it."""
    for _ in range(3):
        wire.sends(frames.udp(wire.there, wire.here, 5000, 99, b"x"))
    errors = idents(wire)
    assert len(set(errors)) == 3
    assert 0 not in errors
    sock = wire.udp(7).set(mtu_discover=0)
    sock.sendto(bytes(4000), wire.there, 9)
    sock.sendto(bytes(4000), wire.there, 9)
    one, two = set(found := idents(wire)[:3]), set(found)
    assert len(one) == len(two) == 1


def test_what_is_not_to_be_fragmented_has_none(wire: Wire) -> None:
    sock = wire.udp(7).set(mtu_discover=2)
    sock.sendto(b"x", wire.there, 9)
    wire.sends(frames.tcp(wire.there, wire.here, frames.Segment(1, 2, flags=frames.flags_of("S"))))
    assert idents(wire) == [0, 0]


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)])
def test_the_seed_decides(world: World, seeds: tuple[int, int]) -> None:
    one, two = ([asked(Wire(world, seed=seed), "198.18.0.2", 2)] for seed in seeds)
    assert (one == two) == (seeds[0] == seeds[1])
