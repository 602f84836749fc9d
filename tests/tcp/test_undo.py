"""What proves that a recovery was spurious, and what does not (RFC 3522, RFC 4015)."""

from __future__ import annotations

from tests.kit.clock import Time
from tests.kit.peer import Tcp, TcpPeer

MSS = 1448


def at(n: int) -> int:
    """Where the n-th segment begins."""
    return 1 + n * MSS


def sending(tcp: Tcp) -> None:
    """A connection with SACK and timestamps that has 40 segments to send, ten of them on the way for
    20 ms, as its SYN,ACK was."""
    peer = tcp.peer
    listener = tcp.listens()
    peer.sends("S", seq=0, mss=1460, sack_ok=True, ts=True, wscale=7)
    tcp.expects("SA", seq=0, ack=1)
    peer.ts, peer.shift = True, 7
    tcp.run("20ms")
    peer.sends("A", seq=1, ack=1, wnd=1 << 20)
    tcp.sends(listener.accept(), 40 * MSS)
    assert len(tcp.drain("20ms")) == 10


def acks(
    tcp: Tcp,
    peer: TcpPeer,
    n: int,
    *blocks: tuple[int, int],
    echo: int | None = None,
    after: Time = "5ms",
) -> list[int]:
    """All before segment n has arrived, and the segments of these blocks; echo: the timestamp of what
    brought it. Returns the segments that the stack sends at it, in so long."""
    sack = [(at(first), at(last)) for first, last in blocks]
    peer.sends(ack=at(n), sack=sack, ts=(peer.tsval, peer.ts_seen if echo is None else echo))
    sent = [p.tcp for p in tcp.drain(after)]
    return [(s.seq - peer.irs & 0xFFFFFFFF) // MSS for s in sent if s]


def test_an_ack_of_the_original_undoes(tcp: Tcp, peer: TcpPeer) -> None:
    """Segment 0 was only late: the ACK of it echoes a time before its retransmission."""
    sending(tcp)
    original = peer.ts_seen
    assert acks(tcp, peer, 0, (1, 4))[0] == 0
    with tcp.counts("tcp_spurious_recoveries_undone", 1):
        acks(tcp, peer, 4, echo=original)


def test_an_undone_recovery_opens_the_reordering_window(tcp: Tcp, peer: TcpPeer) -> None:
    """What was taken as lost came late: the next hole is given a quarter of a round trip."""
    sending(tcp)
    original = peer.ts_seen
    assert acks(tcp, peer, 0, (1, 4), after=0)[0] == 0
    acks(tcp, peer, 4, echo=original, after=0)
    assert 4 not in acks(tcp, peer, 4, (5, 9), after="4ms")
    assert 4 in [(p.tcp.seq - peer.irs) // MSS for p in tcp.drain("2ms") if p.tcp]


def test_an_ack_of_an_earlier_retransmission_proves_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """Segment 10, lost and sent again in one recovery, arrives in the next: its time is before that
    recovery's first retransmission, which it does not acknowledge."""
    sending(tcp)
    assert acks(tcp, peer, 0, (1, 4))[0] == 0
    assert acks(tcp, peer, 0, (1, 8))[:4] == [10, 11, 12, 13], "new data"
    assert acks(tcp, peer, 0, (1, 8), (9, 10))[0] == 8
    tcp.run("5ms")
    acks(tcp, peer, 8, (9, 10))
    assert acks(tcp, peer, 8, (11, 14), (9, 10))[0] == 10, "lost as well"
    again = peer.ts_seen
    acks(tcp, peer, 10, (11, 14))  # 8 arrived: recovery is over
    tcp.run("5ms")
    assert acks(tcp, peer, 10, (15, 16), (11, 14))[0] == 14, "the next recovery"
    with tcp.counts("tcp_spurious_recoveries_undone", 0):
        acks(tcp, peer, 14, (15, 16), echo=again)


def test_two_holes_told_of_at_once_are_no_reordering(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 8985 6.2 step 3 compares with what earlier ACKs told. One that tells of all that arrived in a
    round trip, below and above two holes, is no sign of reordering: both are lost at once."""
    sending(tcp)
    assert acks(tcp, peer, 2, (6, 10), (3, 5))[:2] == [2, 5]


def test_what_arrives_below_an_earlier_report_is_reordering(tcp: Tcp, peer: TcpPeer) -> None:
    """The reordering window opens: the next hole is given a quarter of a round trip."""
    sending(tcp)
    acks(tcp, peer, 0, (1, 2), after="2ms")
    acks(tcp, peer, 2)
    assert 2 not in acks(tcp, peer, 2, (3, 10), after="4ms")
    assert 2 in [(p.tcp.seq - peer.irs) // MSS for p in tcp.drain("2ms") if p.tcp]


def test_what_was_sent_again_in_vain_is_reordering(tcp: Tcp, peer: TcpPeer) -> None:
    """Segment 0 was late, and had been sent again: from now on a hole is given time, though three
    segments and more beyond it have arrived."""
    sending(tcp)
    original = peer.ts_seen
    assert acks(tcp, peer, 0, (1, 4))[0] == 0
    with tcp.counts("tcp_spurious_recoveries_undone", 1):
        acks(tcp, peer, 4, echo=original, after="1ms")
    assert 4 not in acks(tcp, peer, 4, (5, 10), after="4ms")


def test_recovery_that_makes_no_progress_sends_what_is_delivered(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9937: below ssthresh, an ACK that advances nothing lets go of as much as it delivers; one
    that advances and tells of no loss, of a segment more."""
    sending(tcp)
    assert acks(tcp, peer, 0, (7, 10)) == [0, 1, 2], "three were delivered"
    assert acks(tcp, peer, 0, (1, 2), (7, 10)) == [3]
    assert acks(tcp, peer, 2, (7, 10)) == [4, 5]
