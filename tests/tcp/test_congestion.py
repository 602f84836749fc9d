"""Congestion control: slow start, NewReno (RFC 5681), and what CUBIC does at a loss (RFC 9438)."""

from __future__ import annotations

import itertools

import pytest

from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer
from tests.tcp.saturated import CUBIC, MSS, RENO, lose_one, open_window, round_trip, saturated


@pytest.mark.parametrize("congestion", [CUBIC, RENO])
def test_the_initial_window_has_ten_segments(tcp: Tcp, peer: TcpPeer, congestion: int) -> None:
    """RFC 6928."""
    sock = saturated(tcp, congestion)
    open_window(peer)
    tcp.sends(sock, 30_000)
    assert len(tcp.drain()) == 10


@pytest.mark.parametrize("congestion", [CUBIC, RENO])
def test_slow_start_doubles_each_round_trip(tcp: Tcp, peer: TcpPeer, congestion: int) -> None:
    sock = saturated(tcp, congestion)
    open_window(peer)
    windows = [round_trip(tcp, peer, sock) for _ in range(4)]
    assert windows == [20, 40, 80, 160]


@pytest.mark.parametrize("congestion", [CUBIC, RENO])
def test_the_window_does_not_grow_while_it_is_not_used(
    tcp: Tcp, peer: TcpPeer, congestion: int
) -> None:
    """RFC 7661: what the program does not send proves nothing."""
    sock = saturated(tcp, congestion)
    open_window(peer)
    for i in range(20):
        tcp.sends(sock, MSS)
        tcp.drain("100ms")
        peer.sends(ack=1 + MSS * (i + 1))
    assert sock.inside.cwnd == 10 * MSS


def test_reno_halves(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 equation (4)."""
    sock = saturated(tcp, RENO)
    open_window(peer)
    for _ in range(3):
        round_trip(tcp, peer, sock)
    before, after = lose_one(tcp, peer, sock)
    assert after == before // 2


def test_cubic_keeps_seven_tenths(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9438 section 4.6."""
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    for _ in range(3):
        round_trip(tcp, peer, sock)
    before, after = lose_one(tcp, peer, sock)
    assert after == before * 7 // 10


def test_reno_grows_by_a_segment_each_round_trip(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 section 3.1, congestion avoidance."""
    sock = saturated(tcp, RENO)
    open_window(peer)
    for _ in range(2):
        round_trip(tcp, peer, sock)
    lose_one(tcp, peer, sock)
    windows = [round_trip(tcp, peer, sock) for _ in range(12)]
    steps = [b - a for a, b in itertools.pairwise(windows)]
    assert all(0 <= step <= 2 for step in steps), windows
    assert 7 <= sum(steps) <= 11, windows


def test_the_reno_friendly_region(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9438 section 4.3: with a short round trip and a small window CUBIC does what Reno would
    (9/17 of a segment each round trip)."""
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    round_trip(tcp, peer, sock, "2ms")
    before, _ = lose_one(tcp, peer, sock)
    begin = sock.inside.cwnd / MSS
    for _ in range(17):
        window = round_trip(tcp, peer, sock, "2ms")
    assert abs(window - (begin + 9)) <= 3, (before, begin, window)


def test_fast_convergence(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9438 section 4.7: a flow that loses below its last W_max makes room for others, and so
    comes back more slowly."""
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    for _ in range(3):
        round_trip(tcp, peer, sock)
    lose_one(tcp, peer, sock)
    w_second = lose_one(tcp, peer, sock)[0] / MSS
    windows = [round_trip(tcp, peer, sock) for _ in range(40)]
    plateau = w_second * 0.85
    near = [w for w in windows if abs(w - plateau) < plateau * 0.04]
    assert len(near) >= 8, (plateau, windows)


def test_a_timeout_begins_with_one_segment(tcp: Tcp, peer: TcpPeer) -> None:
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    round_trip(tcp, peer, sock)
    tcp.sends(sock, 40_000)
    tcp.drain()
    tcp.drain("500ms")
    assert (sock.inside.cwnd, sock.inside.ssthresh) == (MSS, 20 * MSS * 7 // 10)


def test_after_an_idle_time_the_window_starts_anew(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 section 4.1."""
    sock = saturated(tcp, RENO)
    open_window(peer)
    for _ in range(3):
        round_trip(tcp, peer, sock)
    while sock.unacked:
        round_trip(tcp, peer, sock, fill=False)
    tcp.run("10s")
    tcp.sends(sock, 200_000)
    assert len(tcp.drain()) == 10


def test_the_algorithm_can_be_changed_while_connected(tcp: Tcp, peer: TcpPeer) -> None:
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    round_trip(tcp, peer, sock)
    sock.set(congestion=RENO)
    assert sock.get("congestion") == RENO
    assert round_trip(tcp, peer, sock) == 40
    with pytest.raises(OSError):
        sock.set(congestion=99)
    assert tcp.clock.now > MS


def test_acknowledging_is_not_sending(tcp, peer):
    """RFC 5681 section 4.1: a connection that only received for longer than its time-out has no ACK
    clock left, however many ACKs it sent meanwhile."""
    conn = tcp.established()
    tcp.transfers(conn, 200_000)
    grown = conn.inside.cwnd
    assert grown > 2 * 10 * 1460
    for _ in range(20):
        peer.sends("PA", len=100)
        tcp.drain("100ms")
    tcp.sends(conn, 100_000)
    tcp.drain()
    assert conn.inside.cwnd == 10 * 1460


@pytest.mark.parametrize(("congestion", "kept"), [(RENO, 5), (CUBIC, 7)])
def test_an_ack_that_advances_and_tells_of_a_loss(
    tcp: Tcp, peer: TcpPeer, congestion: int, kept: int
) -> None:
    """FlightSize is what was on the way, not what the ACK left of it."""
    sock = tcp.established(sack=True, mss=MSS, congestion=congestion)
    tcp.sends(sock, 10 * MSS)
    tcp.drain("1ms")
    peer.sends(ack=1 + 5 * MSS, sack=[(1 + 6 * MSS, 1 + 10 * MSS)])
    tcp.expects(seq=1 + 5 * MSS, why="lost")
    assert sock.inside.ssthresh == kept * MSS


@pytest.mark.parametrize(("used", "grown"), [(5, 10), (6, 16)])
def test_slow_start_needs_more_than_half_of_the_window(
    tcp: Tcp, peer: TcpPeer, used: int, grown: int
) -> None:
    """What was not used was not tried (Linux's tcp_is_cwnd_limited)."""
    sock = tcp.established(mss=MSS, congestion=RENO)
    tcp.sends(sock, used * MSS)
    tcp.drain("1ms")
    peer.sends()
    assert sock.inside.cwnd == grown * MSS


@pytest.mark.parametrize(("congestion", "kept"), [(RENO, 5), (CUBIC, 7)])
def test_a_repaired_tail_reduces_the_window_once(
    tcp: Tcp, peer: TcpPeer, congestion: int, kept: int
) -> None:
    """RFC 8985 section 7.4.2: as for a loss that duplicates told of; what was in flight then counts."""
    sock = tcp.established(sack=True, mss=MSS, congestion=congestion)
    tcp.sends(sock, 10 * MSS)
    tcp.drain("1ms")
    peer.sends(ack=1 + 9 * MSS)
    tcp.expects(seq=1 + 9 * MSS, within="300ms", why="tail loss probe")
    tcp.run("20ms")
    peer.sends(ack=1 + 10 * MSS)
    tcp.sends(sock, MSS)
    tcp.drain("20ms")
    with tcp.counts("tcp_tail_loss_repairs"):
        peer.sends(ack=1 + 11 * MSS)
    assert sock.inside.ssthresh == kept * MSS
    assert kept * MSS <= sock.inside.cwnd <= (kept + 1) * MSS
