"""Pacing: a quantum at a time, at the algorithm's rate or SO_MAX_PACING_RATE's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.kit.clock import MS, SECOND
from tests.kit.link import NAMES, Link
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.world import World

MSS = 1000
RATE = 1_000_000  # bytes a second: a segment each millisecond
UNLIMITED = 2**64 - 1


def limited(tcp: Tcp, rate: int = RATE, **options: Any) -> Sock:
    sock = tcp.established(mss=MSS, **options)
    return sock.set(max_pacing_rate=rate)


def bursts(packets: list[Packet]) -> list[tuple[int, int]]:
    """(time, bytes of data) of each instant at which data left."""
    found: dict[int, int] = {}
    for p in packets:
        if p.tcp is not None and p.tcp.payload:
            found[p.time] = found.get(p.time, 0) + len(p.tcp.payload)
    return sorted(found.items())


def test_a_limited_connection_sends_a_quantum_at_a_time(tcp: Tcp, peer: TcpPeer) -> None:
    """At least two segments; here two of them each two milliseconds."""
    sock = limited(tcp)
    tcp.sends(sock, 10 * MSS)
    sent = bursts(tcp.drain("20ms"))
    assert [n for _, n in sent] == [2 * MSS] * 5
    gaps = [b[0] - a[0] for a, b in pairwise(sent)]
    assert gaps[1:] == [2 * MS] * 3
    assert gaps[0] >= MS, "a connection that was late makes up for half of an interval"


@pytest.mark.parametrize("rate", [200_000, 1_000_000, 8_000_000])
def test_no_window_of_time_carries_more_than_the_rate_and_a_quantum(
    tcp: Tcp, peer: TcpPeer, rate: int
) -> None:
    sock = limited(tcp, rate)
    packets: list[Packet] = []
    for _ in range(120):
        if len(peer.stream) < 60 * MSS:
            tcp.sends(sock, 3 * MSS)
        packets += tcp.drain("3ms")
        peer.sends(ack=peer.got)
    sent = bursts(packets)
    assert sum(n for _, n in sent) == len(peer.stream)
    quantum = max(2 * MSS, rate // 1000)
    for i, (begin, _) in enumerate(sent):
        total = 0
        for time, n in sent[i:]:
            total += n
            assert total <= (time - begin) * rate // SECOND + 2 * quantum + MSS


def test_retransmissions_are_paced_as_well(tcp: Tcp, peer: TcpPeer) -> None:
    sock = limited(tcp, sack=True)
    tcp.sends(sock, 10 * MSS)
    tcp.drain("30ms")
    peer.sends(ack=1, sack=[(1 + 6 * MSS, 1 + 10 * MSS)])
    sent = bursts(tcp.drain("8ms"))
    assert sum(n for _, n in sent) >= 3 * MSS
    assert all(n <= 2 * MSS for _, n in sent)


def test_the_timer_is_idle_when_there_is_nothing_to_send(tcp: Tcp, peer: TcpPeer) -> None:
    sock = limited(tcp)
    tcp.sends(sock, 2 * MSS)
    tcp.drain("1ms")
    peer.sends(ack=peer.got)
    tcp.expects_nothing("10ms")
    assert tcp.stack.next_deadline() > tcp.clock.now + 100 * MS, "where the time-out would be"


def test_a_connection_without_a_limit_is_not_paced(tcp: Tcp, peer: TcpPeer) -> None:
    sock = limited(tcp, 0)
    assert (sock.info.tcpi_pacing_rate, sock.get("max_pacing_rate")) == (UNLIMITED, 0)
    tcp.sends(sock, 10 * MSS)
    assert [n for _, n in bursts(tcp.drain())] == [10 * MSS]


def test_the_limit_can_be_lifted(tcp: Tcp, peer: TcpPeer) -> None:
    sock = limited(tcp, 10_000)
    assert sock.get("max_pacing_rate") == 10_000
    tcp.sends(sock, 10 * MSS)
    assert [n for _, n in bursts(tcp.drain("50ms"))] == [2 * MSS]
    sock.set(max_pacing_rate=0)
    assert sock.info.tcpi_pacing_rate == UNLIMITED
    assert sum(n for _, n in bursts(tcp.drain())) == 8 * MSS


def test_a_child_has_its_listeners_limit(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=MSS, max_pacing_rate=RATE)
    assert sock.info.tcpi_pacing_rate == RATE
    tcp.sends(sock, 10 * MSS)
    assert [n for _, n in bursts(tcp.drain())] == [2 * MSS]


@pytest.mark.parametrize("congestion", ["cubic", "bbr"])
def test_the_limit_holds_for_every_algorithm(world: World, congestion: str) -> None:
    link = Link(world, congestion, max_pacing_rate=500_000)
    link.pour()
    world.run("500ms")
    before = link.received
    world.run("2s")
    assert 0.93 * 500_000 < (link.received - before) / 2 <= 1.01 * 500_000
    assert link.source.info.tcpi_max_pacing_rate == 500_000
    assert link.source.info.tcpi_pacing_rate <= 500_000


def test_a_quantum_is_what_the_rate_carries_in_a_millisecond(tcp: Tcp, peer: TcpPeer) -> None:
    """So that a fast flow keeps its super-segments."""
    sock = limited(tcp, 6_500_000)
    tcp.sends(sock, 10 * MSS)
    assert [n for _, n in bursts(tcp.drain("2ms"))] == [6 * MSS, 4 * MSS]


def test_the_algorithms_that_are_not_paced_have_no_rate(tcp: Tcp, peer: TcpPeer) -> None:
    for name in ("cubic", "reno"):
        sock = tcp.established(
            mss=MSS, peer=tcp.another_peer(6000 + NAMES.index(name)), congestion=NAMES.index(name)
        )
        assert sock.info.tcpi_pacing_rate == UNLIMITED


def test_a_larger_mss_finds_its_way_out_of_a_quantum_for_a_smaller(tcp: Tcp, peer: TcpPeer) -> None:
    """What is left of the quantum is less than a segment now: the timer brings the next one."""
    sock = limited(tcp)
    sock.set(maxseg=500)
    tcp.sends(sock, 500)
    tcp.expects(len=500)
    peer.sends(ack=501)
    sock.set(maxseg=0)
    tcp.sends(sock, MSS)
    tcp.expects(len=MSS, within="1ms")
