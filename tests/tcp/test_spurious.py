"""Reductions that prove wrong: F-RTO (RFC 5682), Eifel (RFC 3522, RFC 4015), D-SACK (RFC 2883)."""

from __future__ import annotations

import pytest

from tests.kit.flight import MSS, at, blocks, numbers, opened, sends
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

UNDOS = "tcp_spurious_recoveries_undone"


def timed_out(tcp: Tcp, n: int, **options: int | bool) -> Sock:
    """n segments went; the first went again after a time-out (and the last as a probe before)."""
    sock = opened(tcp, **options)
    sends(tcp, sock, n)
    while not tcp.stack.counters()["tcp_retransmission_timeouts"]:
        tcp.drain("10ms")
    assert sock.inside.cwnd == MSS
    return sock


# ---- F-RTO -------------------------------------------------------------------------------------------


def test_data_never_sent_again_shows_a_spurious_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5682 section 3.1 with SACK's knowledge: an original arrives after the time-out."""
    sock = timed_out(tcp, 6)
    with tcp.counts(UNDOS):
        peer.sends(ack=1, sack=blocks((1, 2)))
    assert (sock.inside.cwnd, sock.inside.flags) == (10 * MSS, 0)
    assert sock.inside.ssthresh > 1 << 20, "as before"


def test_a_timeout_that_was_right_is_not_undone(tcp: Tcp, peer: TcpPeer) -> None:
    sock = timed_out(tcp, 6)
    tcp.run("100ms")
    peer.sends(ack=at(1))
    tcp.drain("100ms")
    peer.sends(ack=at(3))
    tcp.drain("100ms")
    peer.sends(ack=at(6))
    assert tcp.stack.counters()[UNDOS] == 0
    assert sock.inside.cwnd < 10 * MSS


def test_after_an_undo_a_hole_waits_for_no_second_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    """Transmissions keep their times over a time-out, so that RACK judges them anew."""
    timed_out(tcp, 8)
    with tcp.counts(UNDOS):
        peer.sends(ack=at(2), sack=blocks((3, 4)))
    assert 2 in numbers(tcp.drain("150ms"), tcp)
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] == 1


def test_the_undo_of_a_recovery_in_recovery_is_not_f_rtos(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5682 section 2: a time-out within fast recovery is taken as it is."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((4, 7)))
    tcp.drain()
    while not tcp.stack.counters()["tcp_retransmission_timeouts"]:
        tcp.drain("10ms")
    peer.sends(ack=1, sack=blocks((4, 8)))
    assert tcp.stack.counters()[UNDOS] == 0


# ---- Eifel -------------------------------------------------------------------------------------------


def test_the_echo_of_an_older_timestamp_shows_a_spurious_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3522: the ACK answers the original."""
    sock = opened(tcp, sack=False, ts=True)
    sends(tcp, sock, 6)
    stamp = peer.ts_seen
    tcp.expects("A", seq=1, after="300ms")
    with tcp.counts(UNDOS):
        peer.sends(ack=at(1), ts=(peer.tsval, stamp))
    assert (sock.inside.cwnd // (10 * MSS), sock.inside.flags) == (1, 0)


def test_the_echo_of_the_retransmission_shows_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp, sack=False, ts=True)
    sends(tcp, sock, 6)
    tcp.expects("A", seq=1, after="300ms")
    peer.sends(ack=at(1))
    assert tcp.stack.counters()[UNDOS] == 0
    assert sock.inside.cwnd < 10 * MSS


def test_a_fast_retransmission_in_vain_is_undone(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp, ts=True)
    sends(tcp, sock, 10)
    stamp = peer.ts_seen
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 4)), ts=(peer.tsval, stamp))
    tcp.expects("A", seq=1)
    tcp.drain("5ms")
    with tcp.counts(UNDOS):
        peer.sends(ack=at(4), ts=(peer.tsval, stamp))
    assert sock.inside.cwnd >= 10 * MSS


def test_a_retransmission_of_the_recovery_before_is_no_proof(tcp: Tcp, peer: TcpPeer) -> None:
    """It went before this recovery began, so its ACK echoes an older time; yet it was needed."""
    sock = opened(tcp, ts=True)
    tcp.sends(sock, 30 * MSS)
    tcp.drain("100ms")
    peer.sends(ack=1, sack=blocks((1, 6)))
    tcp.drain("50ms")
    peer.sends(ack=1, sack=blocks((1, 10)))
    tcp.drain("50ms")
    assert peer.got > at(12)
    peer.sends(ack=1, sack=blocks((1, 10), (11, 13)))
    tcp.drain("30ms")
    peer.sends(ack=1, sack=blocks((1, 10), (11, 14)))
    sent = numbers(tcp.drain("100ms"), tcp)
    assert 0 in sent or sock.inside.retransmits >= 2
    stamp = peer.ts_seen
    tcp.run("10ms")
    peer.sends(ack=at(10), sack=blocks((11, 14)), ts=(peer.tsval, stamp))
    tcp.drain("50ms")
    peer.sends(ack=at(14), ts=(peer.tsval, stamp))
    tcp.drain("100ms")
    assert tcp.stack.counters()[UNDOS] == 0


# ---- D-SACK -------------------------------------------------------------------------------------------


def test_a_dsack_for_all_that_was_sent_again_undoes(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 section 5, RFC 3708."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 4)))
    tcp.expects("A", seq=1)
    tcp.run("10ms")
    peer.sends(ack=at(4))
    with tcp.counts(UNDOS):
        peer.sends(ack=at(4), sack=blocks((0, 1)))
    assert sock.inside.cwnd >= 10 * MSS


def test_a_dsack_for_a_part_of_it_does_not(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 2), (3, 10)))
    assert numbers(tcp.drain("100ms"), tcp) == [0, 2]
    peer.sends(ack=at(10))
    peer.sends(ack=at(10), sack=blocks((0, 1)))
    assert tcp.stack.counters()[UNDOS] == 0
    peer.sends(ack=at(10), sack=blocks((2, 3)))
    assert tcp.stack.counters()[UNDOS] == 1
    assert sock.inside.cwnd >= 10 * MSS


@pytest.mark.parametrize("copies", [[(4, 5), (5, 6)], [(0, 1), (0, 1)], [(3, 4), (0, 1)]])
def test_what_the_network_duplicated_undoes_nothing(
    tcp: Tcp, peer: TcpPeer, copies: list[tuple[int, int]]
) -> None:
    """RFC 3708: of two segments that were sent again, D-SACKs tell of others, or of one twice."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 2), (3, 10)))
    assert numbers(tcp.drain("100ms"), tcp) == [0, 2]
    peer.sends(ack=at(10))
    for copy in copies:
        peer.sends(ack=at(10), sack=blocks(copy))
    assert tcp.stack.counters()[UNDOS] == 0
    assert sock.inside.cwnd < 10 * MSS


def test_more_dsacks_than_retransmissions_count_for_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux (DSACKIgnoredDubious): the network duplicates everything."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=at(2))
    for n in range(2):
        peer.sends(ack=at(2), sack=blocks((n, n + 1)))
    peer.sends(ack=at(2), sack=blocks((3, 6)))
    assert numbers(tcp.drain("100ms"), tcp)[0] == 2
    peer.sends(ack=at(10))
    peer.sends(ack=at(10), sack=blocks((2, 3)))
    assert tcp.stack.counters()[UNDOS] == 0


def test_a_dsack_before_anything_was_sent_again_undoes_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """Of an earlier recovery's copy, or of one that the network made."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=at(2))
    peer.sends(ack=at(2), sack=blocks((0, 1)))
    assert tcp.stack.counters()[UNDOS] == 0
    assert sock.inside.flags == 0


def test_what_was_late_and_not_lost_is_reordering(tcp: Tcp, peer: TcpPeer) -> None:
    """RACK waits from then on (RFC 8985 6.2)."""
    sock = opened(tcp, ts=True)
    tcp.sends(sock, 30 * MSS)
    tcp.drain()
    stamp = peer.ts_seen
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 4)), ts=(peer.tsval, stamp))
    tcp.drain("5ms")
    with tcp.counts(UNDOS):
        peer.sends(ack=at(4), ts=(peer.tsval, stamp))
    tcp.drain("95ms")
    peer.sends(ack=at(10), sack=blocks((11, 15)))
    assert 10 not in numbers(tcp.drain("10ms"), tcp), "three and more beyond the hole"
    assert 10 in numbers(tcp.drain("20ms"), tcp)
