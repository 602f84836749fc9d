"""Proportional rate reduction (RFC 6937): what is sent in fast recovery follows what is delivered."""

from __future__ import annotations

from tests.kit.flight import MSS, blocks, numbers, opened
from tests.kit.peer import Tcp, TcpPeer

RENO = 1


def test_half_of_what_is_delivered_is_sent_while_more_than_ssthresh_is_in_flight(
    tcp: Tcp, peer: TcpPeer
) -> None:
    """Section 3: Reno's ssthresh is half of the flight, so each second delivery sends one segment."""
    sock = opened(tcp, congestion=RENO)
    tcp.sends(sock, 20 * MSS)
    tcp.drain("100ms")
    sent = []
    for delivered in range(3, 10):
        peer.sends(ack=1, sack=blocks((1, delivered + 1)))
        sent += numbers(tcp.drain("1ms"), tcp)
        assert len(sent) <= delivered // 2 + 2
        assert sent[0] == 0
    assert 4 <= len(sent) <= 5
    assert sock.inside.ssthresh == 5 * MSS


def test_after_heavy_loss_two_segments_are_sent_for_each_delivered(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3: below ssthresh as much as was delivered, and one more if recovery makes progress
    (RFC 9937)."""
    sock = opened(tcp, congestion=RENO)
    tcp.sends(sock, 20 * MSS)
    tcp.drain("100ms")
    peer.sends(ack=1, sack=blocks((8, 9)))
    found = numbers(tcp.drain("40ms"), tcp)
    assert [n for n in found if n < 8] == [0], "one: nothing was delivered since"
    peer.sends(ack=1, sack=blocks((8, 10)))
    assert numbers(tcp.drain("1ms"), tcp) == [1]
    peer.sends(ack=1 + MSS, sack=blocks((8, 10)))
    assert numbers(tcp.drain("1ms"), tcp) == [2, 3]


def test_recovery_ends_with_ssthresh(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp, congestion=RENO)
    tcp.sends(sock, 10 * MSS)
    tcp.drain("100ms")
    peer.sends(ack=1, sack=blocks((1, 10)))
    tcp.drain("100ms")
    peer.sends(ack=peer.got)
    assert sock.inside.flags == 0
    assert 5 * MSS <= sock.inside.cwnd <= 6 * MSS, "the ACK that ends it may add a segment"
