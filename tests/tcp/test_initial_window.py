"""The initial congestion window: RFC 6928, and what a lost SYN makes of it (RFC 5681 section 3.1)."""

from __future__ import annotations

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World


def first_flight(tcp: Tcp) -> int:
    return sum(len(p.tcp.payload) for p in tcp.drain("50ms") if p.tcp)


@pytest.mark.parametrize(
    ("mss", "window"),
    [(536, 5360), (1000, 10_000), (1460, 14_600), (4000, 14_600), (8960, 17_920), (40_000, 80_000)],
)
def test_ten_segments_but_not_of_any_size(world: World, mss: int, window: int) -> None:
    """RFC 6928 (1): min(10 * MSS, max(2 * MSS, 14600))."""
    tcp = Tcp(Wire(world, mtu=65_535))
    sock = tcp.established(mss=mss, wscale=7, wnd=1 << 20)
    assert sock.inside.cwnd == window
    tcp.sends(sock, 200_000)
    assert first_flight(tcp) <= window


def test_less_may_be_sent(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6928 section 2: the peer's window and the program decide as ever."""
    sock = tcp.established(mss=1000, wnd=3000)
    tcp.sends(sock, 50_000)
    assert first_flight(tcp) == 3000


@pytest.mark.parametrize(("lost", "window"), [(0, 10), (1, 10), (2, 1), (3, 1)])
def test_lost_syns_leave_one_segment(tcp: Tcp, peer: TcpPeer, lost: int, window: int) -> None:
    """One may have been slow, or unlucky: with a timeout of 1 s only the second loss counts."""
    sock = tcp.connects()
    for _ in range(1 + lost):
        tcp.expects("S", within="5s")
    peer.sends("SA", seq=0, ack=1, mss=1000)
    tcp.expects("A")
    tcp.sends(sock, 50_000)
    assert first_flight(tcp) == 1000 * window


@pytest.mark.parametrize(("lost", "window"), [(0, 10), (1, 10), (2, 1)])
def test_lost_syn_acks_too(tcp: Tcp, peer: TcpPeer, lost: int, window: int) -> None:
    tcp.listens()
    peer.sends("S", seq=0, mss=1000)
    for _ in range(1 + lost):
        tcp.expects("SA", within="5s")
    peer.sends(ack=1)
    assert tcp._listener is not None
    sock = tcp._listener.accept()
    tcp.sends(sock, 50_000)
    assert first_flight(tcp) == 1000 * window


def test_the_handshake_does_not_open_the_window(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 section 3.1: neither the SYN,ACK nor its ACK is counted."""
    assert tcp.established(mss=1000).inside.cwnd == 10_000
    peer.begin()
    assert tcp.established(mss=1000, active=True).inside.cwnd == 10_000
