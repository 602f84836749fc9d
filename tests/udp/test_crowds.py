"""Many sockets on one port: SO_REUSEPORT groups, and broadcasts that are told in turns."""

from __future__ import annotations

import errno
import time
from collections import Counter

import pytest
from barewire.stack import lib

from tests.kit import frames
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

PORT = 7000
TURN = 256  # sockets told of a broadcast in one pass


@pytest.fixture
def wire(world: World) -> Wire:
    return Wire(world, prefix=16, ring=2048, max_sockets=4096)


def group(wire: Wire, n: int, host: str = "0.0.0.0") -> list[Sock]:
    return [wire.udp().set(reuseport=1).bind(host, PORT) for _ in range(n)]


def sends(wire: Wire, sport: int, data: bytes = b"x", dst: str | None = None) -> None:
    wire.sends(frames.udp(wire.there, dst or wire.here, sport, PORT, data))


def who(wire: Wire, socks: list[Sock], sport: int) -> int:
    """Which of them has the datagram of that flow."""
    sends(wire, sport)
    got = [i for i, s in enumerate(socks) if s.readable]
    assert len(got) == 1, got
    socks[got[0]].recv()
    return got[0]


def test_a_flow_stays_with_one_and_flows_are_shared_evenly(wire: Wire) -> None:
    socks = group(wire, 16)
    flows = range(2000, 2800)
    first = [who(wire, socks, sport) for sport in flows]
    assert first[:100] == [who(wire, socks, sport) for sport in flows[:100]]
    shares = Counter(first)
    assert len(shares) == 16
    assert all(20 < n < 90 for n in shares.values()), shares


def test_two_thousand_share(wire: Wire) -> None:
    """The pick among them is of all of them, the first and the last too."""
    socks = group(wire, 2000)
    for sport in range(1000, 3000):
        sends(wire, sport)
    full = [i for i, s in enumerate(socks) if s.readable]
    assert 1100 < len(full) < 1400, "2000 · (1 - 1/e)"
    assert min(full) < 20 and max(full) > 1980
    for sock in socks[:1999]:
        sock.close()
    assert who(wire, socks[1999:], 5) == 0


@pytest.mark.parametrize("out", [0, 1, 2])
def test_who_closes_or_connects_gets_nothing_more_for_the_group(wire: Wire, out: int) -> None:
    socks = group(wire, 3)
    socks[out].connect(wire.there, 9)
    rest = [s for i, s in enumerate(socks) if i != out]
    for sport in range(1000, 1050):
        who(wire, rest, sport)
    sends(wire, 9)
    assert socks[out].readable, "its own peer"
    socks[out].close()
    rest[0].close()
    assert who(wire, rest[1:], 1000) == 0


def test_who_dissolves_its_association_is_back_in_the_group(wire: Wire) -> None:
    socks = group(wire, 2)
    socks[0].connect(wire.there, 9)
    assert {who(wire, socks, sport) for sport in range(1000, 1050)} == {1}
    socks[0].disconnect()
    assert {who(wire, socks, sport) for sport in range(1000, 1050)} == {0, 1}


def connected(wire: Wire, n: int) -> list[Sock]:
    """A socket a client on the server's own port, as some servers have them."""
    socks = group(wire, n)
    for i, sock in enumerate(socks):
        sock.connect(f"198.18.{1 + i // 250}.{1 + i % 250}", 9)
    return socks


def test_connected_sockets_hear_their_peers_and_the_server_all_others(wire: Wire) -> None:
    [server], socks = group(wire, 1), connected(wire, 500)
    peers = [sock.peer[0] for sock in socks]

    def heard(src: str) -> list[Sock]:
        wire.sends(frames.udp(src, wire.here, 9, PORT, b"x"))
        found = [s for s in [server, *socks] if s.readable]
        for sock in found:
            sock.recv()
        return found

    assert heard(wire.there) == [server]
    assert all(heard(peers[i]) == [socks[i]] for i in (0, 1, 250, 499))
    socks[250].disconnect()
    socks[499].close()
    socks.pop()
    assert heard(peers[499]) in ([server], [socks[250]]), "these two are a group now"
    assert heard(peers[1]) == [socks[1]]
    server.close()
    socks[250].close()
    del socks[250]
    server = socks.pop(0)
    assert heard(wire.there) == []
    server.disconnect()
    assert heard(wire.there) == [server]


def test_a_datagram_costs_the_same_however_many_are_connected(world: World) -> None:
    """2,000 stood in its way once, and took 10 us of it; processor time, the best of several bursts."""

    def cost(n: int) -> int:
        wire = Wire(world, prefix=16, ring=2048, max_sockets=4096)
        group(wire, 1)
        connected(wire, n)
        frame = frames.udp(wire.there, wire.here, 5, PORT, b"x")
        bursts = []
        for _ in range(9):
            for _ in range(64):
                wire._put(frame)
            begin = time.thread_time_ns()
            lib.host_poll(wire.stack.host)
            bursts.append(time.thread_time_ns() - begin)
        return min(bursts)

    assert cost(2000) < 5 * cost(10)


def test_an_option_that_is_taken_back_leaves_the_group(wire: Wire) -> None:
    socks = group(wire, 3)
    socks[1].set(reuseport=0)
    with pytest.raises(OSError, match="in use") as told:
        wire.udp().set(reuseport=1).bind("0.0.0.0", PORT)
    assert told.value.errno == errno.EADDRINUSE
    socks[1].set(reuseport=1)
    group(wire, 1)


def test_groups_of_different_names_are_different_groups(wire: Wire) -> None:
    everybody, here = group(wire, 2), group(wire, 3, wire.here)
    assert {who(wire, everybody + here, sport) for sport in range(1000, 1060)} == {2, 3, 4}
    for sock in here:
        sock.close()
    assert {who(wire, everybody, sport) for sport in range(1000, 1060)} == {0, 1}


def test_only_listeners_of_a_group_have_connections(world: World) -> None:
    wire = Wire(world)
    socks = [wire.tcp().set(reuseport=1).bind("0.0.0.0", 80) for _ in range(4)]
    syns = [
        frames.tcp(
            wire.there, wire.here, frames.Segment(5000 + i, 80, 1, 0, frames.Flags.SYN, 1000)
        )
        for i in range(40)
    ]

    def answered(syn: bytes) -> bool:
        wire.sends(syn)
        answer = wire.expects().tcp
        assert answer is not None
        return bool(answer.flags & frames.Flags.SYN)

    assert not answered(syns[0])
    socks[2].listen(64)
    socks[0].listen(64)
    assert all(answered(syn) for syn in syns)
    socks[2].close()
    socks[0].shutdown(0)
    wire.drain()
    assert not answered(syns[1])
    socks[1].listen(64)
    assert answered(syns[2])


# ---- broadcasts ----------------------------------------------------------------------------------------


def broadcast(wire: Wire, data: bytes) -> None:
    sends(wire, 9, data, "198.18.255.255")


@pytest.mark.parametrize("n", [1, TURN, TURN + 1, 3 * TURN + 5])
@pytest.mark.parametrize("kind", ["reuseport", "reuseaddr"])
def test_a_broadcast_reaches_every_socket_once(wire: Wire, n: int, kind: str) -> None:
    others = [wire.udp(20_000 + i) for i in range(10)]
    socks = [wire.udp().set(**{kind: 1}).bind("0.0.0.0", PORT) for _ in range(n)]
    peer = wire.udp().set(**{kind: 1}).bind("0.0.0.0", PORT).connect("198.18.0.77", 9)
    broadcast(wire, b"all")
    assert [s.recv() for s in socks] == [b"all"] * n
    assert not any(s.readable for s in [*socks, *others, peer])
    broadcast(wire, b"again")
    assert [s.recv() for s in socks] == [b"again"] * n


def test_one_broadcast_to_many_at_a_time(wire: Wire) -> None:
    """They come in one burst: the second finds the first on its way."""
    socks = group(wire, TURN + 10)
    packets = [
        frames.udp(wire.there, "198.18.255.255", 9, PORT, data) for data in (b"first", b"second")
    ]
    for packet in packets:
        wire._put(packet)
    with wire.counts("drop_udp_broadcast_to_many"):
        wire.world.rest()
    assert [s.recv() for s in socks] == [b"first"] * len(socks)
    for sock in socks[10:]:
        sock.close()
    wire.sends_burst(*packets)
    assert [s.recv() for s in socks[:10]] == [b"first"] * 10
    assert [s.recv() for s in socks[:10]] == [b"second"] * 10, "few are told at once"
