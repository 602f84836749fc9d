"""Congestion control: slow start and NewReno (RFC 5681), CUBIC against RFC 9438's arithmetic."""

from __future__ import annotations

import itertools

import pytest

from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

MSS = 1000
CUBIC, RENO = 0, 1
BIG = 1 << 24


def round_trip(tcp: Tcp, peer: TcpPeer, sock: Sock, rtt: str = "100ms", fill: bool = True) -> int:
    """One round trip of a saturated sender: everything in flight is acknowledged, segment by
    segment. Returns the congestion window afterwards, in segments."""
    while fill:
        try:
            tcp.sends(sock, 1 << 16)
        except BlockingIOError:
            break
    tcp.drain(rtt)
    una = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF
    acks = [peer.packet(ack=min(at + MSS, peer.got)) for at in range(una, peer.got, MSS)]
    tcp.wire.sends_burst(*acks)
    return sock.inside.cwnd // MSS


def saturated(tcp: Tcp, congestion: int, **options: int) -> Sock:
    sock = tcp.established(
        mss=MSS, wscale=8, wnd=65535, sack=True, congestion=congestion, sndbuf=1 << 22, **options
    )
    for _ in range(16):  # the round trip is known: no probe while round_trip waits
        tcp.sends(sock, 1)
        tcp.drain("100ms")
        tcp.peer.sends(ack=tcp.peer.got)
    return sock


def open_window(peer: TcpPeer) -> None:
    peer.sends(wnd=BIG - 256)


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


def lose_one(tcp: Tcp, peer: TcpPeer, sock: Sock) -> tuple[int, int]:
    """The first segment in flight is lost and found by SACK; returns cwnd before, ssthresh after."""
    round_trip(tcp, peer, sock)
    before = sock.inside.cwnd
    while True:
        try:
            tcp.sends(sock, 1 << 16)
        except BlockingIOError:
            break
    tcp.drain("100ms")
    una = sock.inside.snd_una - sock.inside.iss & 0xFFFFFFFF
    end = peer.got
    peer.sends(ack=una, sack=[(una + MSS, end)])
    ssthresh = sock.inside.ssthresh
    tcp.drain("100ms")
    peer.sends(ack=peer.got)
    tcp.drain()
    peer.sends(ack=peer.got)
    return before, ssthresh


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


def cubic_curve(w_max: float, epoch_cwnd: float, t: float) -> float:
    """W_cubic(t) in segments: RFC 9438 equations 1 and 2."""
    k = ((w_max - epoch_cwnd) / 0.4) ** (1 / 3)
    return float(0.4 * (t - k) ** 3 + w_max)


def test_the_shape_of_cubic(tcp: Tcp, peer: TcpPeer) -> None:
    """Concave towards W_max, flat around it at K, then convex; within 10 % of RFC 9438's curve as
    long as that is above the Reno-friendly estimate."""
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    for _ in range(3):
        round_trip(tcp, peer, sock)
    w_max, ssthresh = (n / MSS for n in lose_one(tcp, peer, sock))
    start, begin = tcp.clock.now, sock.inside.cwnd / MSS
    assert abs(begin - ssthresh) < 2 + 0.02 * w_max
    reno = begin
    worst = 0.0
    windows = []
    for _ in range(80):
        window = round_trip(tcp, peer, sock)
        windows.append(window)
        t = (tcp.clock.now - start) / 1e9
        reno += 9 / 17 if reno < w_max else 1
        wanted = max(cubic_curve(w_max, begin, t), reno)
        worst = max(worst, abs(window - wanted) / wanted)
    assert worst < 0.10, windows
    assert windows[-1] > w_max, "it probes beyond W_max in the end"


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
