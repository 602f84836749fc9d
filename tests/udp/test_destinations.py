"""The cache of destinations: what an unconnected socket sends finds its path once a destination, and the
right one whatever has changed since."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network

import pytest
from barewire.nic_drivers import pipe_pair

from tests.kit import frames
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

FAR = IPv4Network("203.0.113.0/24")
PLACES = 1024  # DST_SETS of stack.h, two destinations each


def lookups(wire: Wire) -> int:
    return wire.stack.counters()["ip_paths_looked_up"]


def destination(wire: Wire) -> str:
    return str(wire.drain()[0].ip.dst)


def test_two_in_turn_are_looked_up_once(wire: Wire) -> None:
    sock = wire.udp(7)
    before = lookups(wire)
    for i in range(40):
        sock.sendto(b"x", f"198.18.0.{2 + i % 2}", 9)
    assert lookups(wire) - before == 2
    assert [str(p.ip.dst) for p in wire.drain()] == ["198.18.0.2", "198.18.0.3"] * 20


def test_more_than_it_holds(wire: Wire) -> None:
    """Each datagram goes where it was sent, and a second round finds most of what fits."""
    wire.stack.add_route("198.19.0.0/16", wire.there)
    sock = wire.udp(7)
    for count, most in ((4 * PLACES, 4 * PLACES), (PLACES // 8, PLACES // 32)):
        for round_ in range(2):
            before = lookups(wire)
            for i in range(count):
                to = str(IPv4Address("198.19.0.0") + i)
                sock.sendto(b"x", to, 9)
                assert destination(wire) == to
            assert lookups(wire) - before <= (count if round_ == 0 else most)


def test_a_route_that_changes(wire: Wire) -> None:
    wire.stack.add_route(str(FAR), wire.there)
    sock = wire.udp(7)
    sock.sendto(b"x", "203.0.113.9", 9)
    assert destination(wire) == "203.0.113.9"
    wire.stack.control.remove_route(str(FAR))
    with pytest.raises(OSError) as found:
        sock.sendto(b"x", "203.0.113.9", 9)
    assert found.value.errno == errno.ENETUNREACH
    wire.stack.add_route(str(FAR), wire.there)
    sock.sendto(b"x", "203.0.113.9", 9)
    assert destination(wire) == "203.0.113.9"


def test_a_path_mtu_that_is_learned(wire: Wire) -> None:
    """Of this destination; the one in turn with it stays."""
    sock = wire.udp(7).set(mtu_discover=2)
    for to in ("198.18.0.2", "198.18.0.3"):
        sock.sendto(bytes(1400), to, 9)
    first = wire.drain()[0]
    wire.sends(frames.unreachable("198.18.0.99", wire.here, 4, first.l3, 1000))
    assert sock.take_error() in (0, errno.EMSGSIZE)
    with pytest.raises(OSError) as found:
        sock.sendto(bytes(1400), "198.18.0.2", 9)
    assert found.value.errno == errno.EMSGSIZE
    sock.sendto(bytes(1400), "198.18.0.3", 9)


def test_sockets_bound_to_interfaces_have_paths_of_their_own(world: World) -> None:
    """One destination that both interfaces reach."""
    ends = [pipe_pair(layer=3, name=name) for name in ("one", "two")]
    stack = world.stack([mine for mine, _ in ends])
    for i, network in enumerate(("198.18.0", "192.0.2")):
        stack.add_address(f"{network}.1/24", stack.interfaces[1 + i].name)
        stack.control.add_route(str(FAR), f"{network}.2", metric=i)
    bound, free = Sock(stack, 2).set(bindtoif=stack.interfaces[2].index), Sock(stack, 2)
    for _ in range(3):
        bound.sendto(b"two", "203.0.113.9", 9)
        free.sendto(b"one", "203.0.113.9", 9)
    world.rest()
    for (_, theirs), data in zip(ends, (b"one", b"two"), strict=True):
        for _ in range(3):
            frame = theirs.recv(world.clock.now)
            assert frame is not None and frame[28:] == data
        assert theirs.recv(world.clock.now) is None
        theirs.close()


def test_elsewhere_leaves_the_peer_s_path(wire: Wire) -> None:
    """A connected socket that sends to others keeps the path to its peer: IP_MTU is the peer's."""
    wire.stack.add_route("198.19.0.0/16", wire.there, mtu=1000)
    with wire.stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(("198.18.0.2", 9))
        sock.sendto(b"x", ("198.19.0.1", 9))
        assert sock.getsockopt(socket.IPPROTO_IP, 14) == 1500  # IP_MTU
        before = lookups(wire)
        sock.send(b"x")
        assert lookups(wire) == before
