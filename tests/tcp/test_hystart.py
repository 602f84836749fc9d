"""HyStart++ (RFC 9406): the first slow start ends when the round-trip time rises."""

from __future__ import annotations

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.tcp.saturated import (
    CUBIC,
    MSS,
    RENO,
    acks_each,
    fill,
    open_window,
    repairs,
    saturated,
    unacked,
)

NEVER_SET = 2**32 - 1


@pytest.fixture
def sock(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = saturated(tcp, CUBIC)
    open_window(peer)
    return sock


def conservative(tcp: Tcp, peer: TcpPeer, sock: Sock, base: str, raised: str) -> bool:
    """Two rounds of `base`, two of `raised`: did conservative slow start begin? Rounds end where the
    sender was when they began, so only the second lies wholly in what is raised."""
    assert [acks_each(tcp, peer, sock, base) for _ in range(2)] == [2.0, 2.0]
    acks_each(tcp, peer, sock, raised)
    return acks_each(tcp, peer, sock, raised) < 1.6


@pytest.mark.parametrize(
    ("base", "raised", "ends"),
    [
        ("10ms", "13ms", False),  # 4 ms at least
        ("10ms", "14ms", True),
        ("80ms", "89ms", False),  # an eighth
        ("80ms", "90ms", True),
        ("160ms", "175ms", False),  # 16 ms at most
        ("160ms", "176ms", True),
    ],
)
def test_the_rise_that_counts(
    tcp: Tcp, peer: TcpPeer, sock: Sock, base: str, raised: str, ends: bool
) -> None:
    """4.2: RttThresh is an eighth of the last round's smallest, clamped to 4 and 16 ms."""
    assert conservative(tcp, peer, sock, base, raised) == ends


@pytest.mark.parametrize(("acks", "ends"), [(6, False), (12, True)])
def test_a_round_needs_eight_samples(
    tcp: Tcp, peer: TcpPeer, sock: Sock, acks: int, ends: bool
) -> None:
    """4.2: N_RTT_SAMPLE: with six ACKs for a whole window nothing is said about its delay."""
    grown = 0.0
    for rtt in ("80ms", "80ms", "80ms", "120ms", "120ms"):
        before = sock.inside.cwnd
        fill(tcp, sock)
        tcp.drain(rtt)
        flight = unacked(peer, sock)
        for at in flight[:: -(-len(flight) // acks)][1:]:
            peer.sends(ack=at)
        peer.sends(ack=peer.got)
        grown = sock.inside.cwnd / before
    assert (grown < 1.6) == ends, grown


def test_conservative_slow_start_lasts_five_rounds(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """4.2: a quarter of the growth; the round in which it began counts; then congestion avoidance
    with ssthresh = cwnd."""
    assert conservative(tcp, peer, sock, "80ms", "100ms")
    for _ in range(3):
        assert acks_each(tcp, peer, sock, "100ms") == pytest.approx(1.25, abs=0.02)
        assert sock.inside.ssthresh == NEVER_SET
    begin = sock.inside.cwnd
    acks_each(tcp, peer, sock, "100ms")
    assert begin < sock.inside.ssthresh <= sock.inside.cwnd, "within the fifth"
    assert acks_each(tcp, peer, sock, "100ms") < 1.05
    assert sock.inside.retransmits == 0


def test_jitter_resumes_slow_start(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """4.2: a smallest round-trip time below the baseline says that the exit was spurious."""
    assert conservative(tcp, peer, sock, "80ms", "100ms")
    acks_each(tcp, peer, sock, "80ms")
    assert acks_each(tcp, peer, sock, "80ms") == pytest.approx(2.0, abs=0.02)
    assert sock.inside.ssthresh == NEVER_SET


def test_a_loss_ends_it(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """4.2: loss in either phase ends slow start; ssthresh is what CUBIC says."""
    assert conservative(tcp, peer, sock, "80ms", "100ms")
    fill(tcp, sock)
    tcp.drain("100ms")
    una = unacked(peer, sock)[0]
    flight = peer.got - una
    peer.sends(ack=una, sack=[(una + MSS, peer.got)])
    assert sock.inside.ssthresh == flight * 7 // 10


def test_later_slow_starts_are_plain(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    """4.3: only the initial slow start, while ssthresh was never set."""
    for _ in range(4):
        acks_each(tcp, peer, sock, "80ms")
    fill(tcp, sock)
    tcp.drain("100ms")
    tcp.drain("500ms")
    assert sock.inside.cwnd == MSS
    grown = 0
    for _ in repairs(tcp, peer, sock):
        if sock.inside.cwnd < sock.inside.ssthresh:
            grown += 1
            assert sock.inside.cwnd == MSS * (1 + grown), "a segment for each"
            tcp.run(f"{grown}ms")  # the round trips become longer all the time
    assert grown >= 70


def test_reno_has_plain_slow_start(tcp: Tcp, peer: TcpPeer) -> None:
    sock = saturated(tcp, RENO)
    open_window(peer)
    assert [acks_each(tcp, peer, sock, rtt) for rtt in ("80ms", "80ms", "120ms")] == [2.0] * 3


def test_rounds_are_counted_wherever_our_numbers_begin(tcp: Tcp, peer: TcpPeer) -> None:
    """Of a connection that the peer opened, too, the first round begins at our own first number."""
    tcp.listens()
    while not 9 <= peer.irs >> 28 <= 14:
        peer.port += 1
        peer.begin()
        peer.sends("S", seq=0)
        tcp.expects("SA")
        peer.sends("R", seq=1)
    peer.begin()
    sock = saturated(tcp, CUBIC)
    assert peer.irs >> 31 == 1
    open_window(peer)
    assert conservative(tcp, peer, sock, "80ms", "100ms")
