"""Was the time-out spurious? RFC 5682, with SACK and without."""

from __future__ import annotations

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

RENO = 1


def timed_out(tcp: Tcp, segments: int, *, sack: bool, queued: int = 0) -> Sock:
    """That many segments left, nothing came, and the first went again. The round trip is 100 ms."""
    peer = tcp.peer
    listener = tcp.listens(congestion=RENO)
    peer.sends("S", seq=0, mss=1000, sack_ok=sack, wscale=7)
    tcp.expects("SA", seq=0, ack=1)
    peer.shift = 7
    tcp.run("100ms")
    peer.sends("A", seq=1, ack=1, wnd=1 << 20)
    sock = listener.accept()
    tcp.sends(sock, 1000 * (segments + queued))
    assert len(tcp.drain("1ms")) == segments
    while not tcp.stack.counters()["tcp_retransmission_timeouts"]:
        tcp.drain("1ms")
    tcp.drain("1ms")
    assert sock.inside.cwnd <= 2000
    return sock


@pytest.mark.parametrize("sack", [True, False], ids=["sack", "none"])
def test_the_acks_of_the_originals_undo_it(tcp: Tcp, peer: TcpPeer, sack: bool) -> None:
    """Section 2.1 (2b), (3b): they were only late."""
    sock = timed_out(tcp, 10, sack=sack, queued=10)
    with tcp.counts("tcp_spurious_recoveries_undone"):
        for i in range(1, 5):
            peer.sends(ack=1 + 1000 * i)
            again = [p for p in tcp.drain("1ms") if p.tcp and p.tcp.seq - peer.irs < 10_001]
            assert i < 2 or not again, "nothing that left goes again"
    assert sock.inside.cwnd >= 10_000


def test_a_sack_of_an_original_undoes_it(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 3: data that was not sent again has arrived, though it was taken for lost."""
    sock = timed_out(tcp, 10, sack=True)
    with tcp.counts("tcp_spurious_recoveries_undone"):
        peer.sends(ack=1001, sack=[(2001, 4001)])
    assert sock.inside.ssthresh > 10_000


def test_the_ack_of_what_was_sent_again_proves_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """Without SACK: the first of three was lost, the others had arrived, and the ACK of the
    retransmission covers them all."""
    sock = timed_out(tcp, 3, sack=False)
    with tcp.counts("tcp_spurious_recoveries_undone", 0):
        peer.sends(ack=3001)
    assert sock.inside.ssthresh == 2000


@pytest.mark.parametrize("sack", [True, False], ids=["sack", "none"])
def test_a_true_time_out_is_none(tcp: Tcp, peer: TcpPeer, sack: bool) -> None:
    """Section 2.1 (2a), (3a): all were lost; each ACK is of a retransmission."""
    sock = timed_out(tcp, 5, sack=sack)
    with tcp.counts("tcp_spurious_recoveries_undone", 0):
        for i in range(1, 6):
            peer.sends(ack=1 + 1000 * i)
            tcp.drain("1ms")
    assert sock.unacked == 0
    assert sock.inside.ssthresh == 2500


def test_a_duplicate_after_the_time_out_ends_the_doubt(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 2.1 (2a): something is missing, recovery goes on."""
    sock = timed_out(tcp, 5, sack=False)
    with tcp.counts("tcp_spurious_recoveries_undone", 0):
        peer.sends(ack=1)
        peer.sends(ack=1001)
        peer.sends(ack=2001)
        tcp.drain("1ms")
    assert sock.inside.ssthresh == 2500


@pytest.mark.parametrize("sack", [True, False], ids=["sack", "none"])
def test_a_duplicate_after_the_new_data_goes_on_with_recovery(
    tcp: Tcp, peer: TcpPeer, sack: bool
) -> None:
    """Section 2.1 (3a): all ten were lost; the new segments find the second one missing."""
    sock = timed_out(tcp, 10, sack=sack, queued=10)
    with tcp.counts("tcp_spurious_recoveries_undone", 0):
        peer.sends(ack=1001)
        new = [p.tcp.seq - peer.irs for p in tcp.drain("1ms") if p.tcp]
        assert new and min(new) > 10_000
        peer.sends(ack=1001, sack=[(new[0], new[0] + 1000)] if sack else ())
        again = [p.tcp.seq - peer.irs for p in tcp.drain("10ms") if p.tcp]
        assert again and again[0] == 1001
    assert sock.inside.ssthresh == 5000
