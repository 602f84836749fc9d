"""Connections that want to send wait for their own interface, and for no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from barewire import Stack
from barewire.nic_drivers import PipeEnd, pipe_pair
from barewire.stack.ip.ipv4 import IPv4
from barewire.stack.tcp import Flags, Segment

from tests.kit.sock import Sock
from tests.kit.world import World

FAR = "203.0.113.0/24"
NETWORKS = ("198.18.0", "192.0.2")


@pytest.fixture
def two(world: World) -> Iterator[tuple[Stack, list[PipeEnd]]]:
    """A stack with two interfaces. Nobody takes what goes to the first, whose queue is full."""
    ends = [pipe_pair(layer=3, ring=16, name=name) for name in ("one", "two")]
    stack = world.stack([mine for mine, _ in ends], buffer_bytes=1 << 20)
    for network, interface in zip(NETWORKS, stack.interfaces[1:], strict=True):
        stack.add_address(f"{network}.1/24", interface.name)
    jam = Sock(stack, 2)
    with pytest.raises(BlockingIOError):
        while True:
            jam.sendto(b"x", "198.18.0.2", 9)
    yield stack, [theirs for _, theirs in ends]
    for _, theirs in ends:
        theirs.close()


def syns(world: World, end: PipeEnd) -> list[str]:
    """Destinations of the SYNs that have come there."""
    world.rest()
    found = []
    while (frame := end.recv(world.clock.now)) is not None:
        packet = IPv4.parse(frame)
        if packet.proto == 6:
            segment = Segment.parse(packet.payload, packet.src, packet.dst)
            assert segment.flags & Flags.SYN
            found.append(str(packet.dst))
        world.rest()
    return found


def test_one_that_waits_holds_up_no_other(world: World, two: tuple[Stack, list[PipeEnd]]) -> None:
    stack, ends = two
    waiting = [Sock(stack) for _ in range(100)]
    for sock in waiting:
        sock.connect_ex("198.18.0.2", 80)
    Sock(stack).connect_ex("192.0.2.2", 80)
    listener = Sock(stack).bind("127.0.0.1", 80).listen()
    client = Sock(stack)
    client.connect_ex("127.0.0.1", 80)
    world.rest()
    assert listener.readable and client.state == "ESTABLISHED"
    assert syns(world, ends[1]) == ["192.0.2.2"]
    assert syns(world, ends[0]) == ["198.18.0.2"] * 100


def test_its_route_moves_while_it_waits(world: World, two: tuple[Stack, list[PipeEnd]]) -> None:
    stack, ends = two
    stack.control.add_route(FAR, "198.18.0.2")
    Sock(stack).connect_ex("203.0.113.9", 80)
    assert syns(world, ends[1]) == []
    stack.control.remove_route(FAR)
    stack.control.add_route(FAR, "192.0.2.2")
    assert syns(world, ends[1]) == ["203.0.113.9"]
    assert syns(world, ends[0]) == []


def test_its_route_goes_and_comes_back(world: World, two: tuple[Stack, list[PipeEnd]]) -> None:
    """Without a path it waits for its retransmission timer."""
    stack, ends = two
    stack.control.add_route(FAR, "198.18.0.2")
    Sock(stack).connect_ex("203.0.113.9", 80)
    stack.control.remove_route(FAR)
    assert syns(world, ends[0]) == [] and syns(world, ends[1]) == []
    stack.control.add_route(FAR, "192.0.2.2")
    world.run("2s")
    assert syns(world, ends[1]) == ["203.0.113.9"]


def test_it_is_closed_while_it_waits(world: World, two: tuple[Stack, list[PipeEnd]]) -> None:
    stack, ends = two
    socks = [Sock(stack) for _ in range(3)]
    for sock in socks:
        sock.connect_ex("198.18.0.2", 80)
    for at in (2, 0):  # the last of the list, and the first
        socks[at].close()
    assert syns(world, ends[0]) == ["198.18.0.2"]
