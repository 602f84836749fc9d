"""Selective acknowledgment: what a receiver reports (RFC 2018), what a sender makes of it
(RFC 6675, RFC 8985), and the same without it (NewReno, RFC 6582)."""

from __future__ import annotations

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

# ---- the receiver --------------------------------------------------------------------------------


def test_no_blocks_unless_agreed_on(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(sack=False)
    peer.sends(seq=1001, len=100)
    tcp.expects("A", ack=1, sack=[])


def test_one_block(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(sack=True)
    peer.sends(seq=1001, len=1000)
    tcp.expects("A", ack=1, sack=[(1001, 2001)])
    peer.sends(seq=2001, len=1000)
    tcp.expects("A", ack=1, sack=[(1001, 3001)])
    peer.sends(seq=1, len=1000)
    tcp.expects("A", ack=3001, sack=[])


def test_the_newest_block_comes_first(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2018 section 4."""
    tcp.established(sack=True)
    peer.sends(seq=1001, len=100)
    tcp.expects("A", ack=1, sack=[(1001, 1101)])
    peer.sends(seq=3001, len=100)
    tcp.expects("A", ack=1, sack=[(3001, 3101), (1001, 1101)])
    peer.sends(seq=2001, len=100)
    tcp.expects("A", ack=1, sack=[(2001, 2101), (3001, 3101), (1001, 1101)])
    peer.sends(seq=1101, len=100)
    tcp.expects("A", ack=1, sack=[(1001, 1201), (2001, 2101), (3001, 3101)])


def test_at_most_four_blocks_three_with_timestamps(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(sack=True)
    for i in range(1, 7):
        peer.sends(seq=1 + 1000 * i, len=100)
    last = tcp.drain()[-1].tcp
    assert last is not None and len(last.sack) == 4
    other = tcp.another_peer(6000)
    tcp.established(sack=True, ts=True, peer=other)
    for i in range(1, 7):
        other.sends(seq=1 + 1000 * i, len=100)
    last = tcp.drain(to=other)[-1].tcp
    assert last is not None and len(last.sack) == 3


def test_a_block_that_fills_a_gap_joins_its_neighbours(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(sack=True)
    peer.sends(seq=1001, len=100)
    peer.sends(seq=1201, len=100)
    peer.sends(seq=1101, len=100)
    assert [b for p in tcp.drain() if p.tcp for b in p.tcp.sack][-1:] == [
        (peer.iss + 1001 & 0xFFFFFFFF, peer.iss + 1301 & 0xFFFFFFFF)
    ]


def test_a_fin_beyond_a_gap_is_reported_too(tcp: Tcp, peer: TcpPeer) -> None:
    """It occupies a sequence number: a sender that does not hear of it sends it again."""
    tcp.established(sack=True)
    peer.sends("FA", seq=101, len=100)
    tcp.expects("A", ack=1, sack=[(101, 202)])
    peer.sends("A", seq=1, len=50)
    tcp.expects("A", ack=51, sack=[(101, 202)])
    peer.sends("A", seq=51, len=50)
    tcp.expects("A", ack=202, sack=[])


def test_a_fin_alone_beyond_a_gap_is_a_block_of_one(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(sack=True)
    peer.sends("FA", seq=301)
    tcp.expects("A", ack=1, sack=[(301, 302)])
    peer.sends("A", seq=101, len=100)
    tcp.expects("A", ack=1, sack=[(101, 201), (301, 302)])
    peer.sends("A", seq=201, len=100)
    tcp.expects("A", ack=1, sack=[(101, 302)])


def test_reports_go_on_while_data_flows_the_other_way(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(sack=True)
    peer.sends(seq=1001, len=100)
    tcp.expects("A", ack=1, sack=[(1001, 1101)])
    tcp.sends(sock, 100)
    tcp.drain()
    peer.sends(seq=2001, len=100)
    tcp.expects("A", ack=1, sack=[(2001, 2101), (1001, 1101)])


# ---- the sender ----------------------------------------------------------------------------------


def flight(tcp: Tcp, segments: int, **options: object) -> Sock:
    """That many segments of 1000 bytes in flight; numbers 1, 1001, 2001, …"""
    sock = tcp.established(mss=1000, nodelay=1, **options)  # type: ignore[arg-type]
    tcp.sends(sock, 1000 * segments)
    for i in range(segments):
        tcp.expects(seq=1 + 1000 * i, len=1000)
    return sock


def test_the_blocks_of_an_overtaken_ack_count(tcp: Tcp, peer: TcpPeer) -> None:
    """Its ACK is old; that later data arrived is news. What it says of the window is not."""
    sock = tcp.established(mss=1000, sack=True)
    tcp.sends(sock, 10_000)
    tcp.drain("1ms")
    peer.sends(ack=2001, wnd=40_000)
    peer.sends(ack=1001, wnd=100, sack=[(3001, 7001)])
    assert (sock.info.tcpi_sacked, sock.inside.snd_wnd) == (4, 40_000)
    tcp.expects(seq=2001, len=1000, why="the hole")


def test_fast_retransmit_after_three_segments_beyond_the_hole(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6675 section 5 (1), (4.1): DupThresh segments, and not before."""
    flight(tcp, 5, sack=True)
    peer.sends(ack=1, sack=[(1001, 2001)])
    tcp.expects_nothing()
    peer.sends(ack=1, sack=[(1001, 3001)])
    tcp.expects_nothing()
    peer.sends(ack=1, sack=[(1001, 4001)])
    tcp.expects(seq=1, len=1000, why="fast retransmit")
    tcp.expects_nothing()


def test_one_ack_may_show_the_loss_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """IsLost by bytes: more than (DupThresh - 1) * SMSS beyond it."""
    flight(tcp, 6, sack=True)
    peer.sends(ack=1, sack=[(1001, 5001)])
    tcp.expects(seq=1, len=1000)


def test_only_holes_are_retransmitted(tcp: Tcp, peer: TcpPeer) -> None:
    sock = flight(tcp, 10, sack=True)
    # 1, 3001 and 6001 are lost.
    peer.sends(ack=1, sack=[(1001, 3001)])
    peer.sends(ack=1, sack=[(4001, 6001), (1001, 3001)])
    peer.sends(ack=1, sack=[(7001, 10_001), (4001, 6001), (1001, 3001)])
    resent = sorted(p.tcp.seq - peer.irs for p in tcp.drain() if p.tcp)
    assert resent == [1, 3001, 6001]
    peer.sends(ack=3001, sack=[(4001, 6001), (7001, 10_001)])
    peer.sends(ack=10_001)
    tcp.expects_nothing("10s")
    assert sock.inside.retransmits == 3


def test_a_hole_of_several_segments(tcp: Tcp, peer: TcpPeer) -> None:
    flight(tcp, 10, sack=True)
    peer.sends(ack=1, sack=[(3001, 10_001)])
    resent = [p.tcp.seq - peer.irs for p in tcp.drain() if p.tcp]
    peer.sends(ack=1001, sack=[(3001, 10_001)])
    resent += [p.tcp.seq - peer.irs for p in tcp.drain() if p.tcp]
    assert resent == [1, 1001, 2001]


def test_recovery_halves_the_window_once(tcp: Tcp, peer: TcpPeer) -> None:
    sock = flight(tcp, 10, sack=True, congestion=1)
    peer.sends(ack=1, sack=[(1001, 5001)])
    assert sock.inside.ssthresh == 5000
    tcp.drain()
    peer.sends(ack=1, sack=[(1001, 10_001)])
    assert sock.inside.ssthresh == 5000
    peer.sends(ack=10_001)
    assert sock.inside.cwnd <= 5000
    assert tcp.stack.counters()["tcp_fast_recoveries"] == 1


def test_losses_of_two_windows_count_twice(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 section 4.3."""
    sock = flight(tcp, 10, sack=True, congestion=1)
    peer.sends(ack=1, sack=[(1001, 10_001)])
    tcp.drain()
    peer.sends(ack=10_001)
    assert sock.inside.ssthresh == 5000
    tcp.sends(sock, 5000)
    assert len(tcp.drain()) == 5
    peer.sends(ack=10_001, sack=[(11_001, 15_001)])
    assert sock.inside.ssthresh == 2500


def test_new_data_flows_during_recovery(tcp: Tcp, peer: TcpPeer) -> None:
    """As the pipe drains below cwnd, new segments keep the ACK clock running."""
    sock = flight(tcp, 10, sack=True)
    tcp.sends(sock, 20_000)
    peer.sends(ack=1, sack=[(1001, 4001)])
    tcp.expects(seq=1, len=1000)
    new = 0
    for edge in range(5001, 10_002, 1000):
        peer.sends(ack=1, sack=[(1001, edge)])
        new += sum(p.tcp.seq - peer.irs >= 10_001 for p in tcp.drain() if p.tcp)
    assert 2 <= new <= 6


def test_a_lost_retransmission_is_left_to_the_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    flight(tcp, 6, sack=True)
    peer.sends(ack=1, sack=[(1001, 6001)])
    tcp.expects(seq=1, len=1000)
    tcp.expects(seq=1, len=1000, within="2s")


def test_nonsensical_blocks_are_passed_over(tcp: Tcp, peer: TcpPeer) -> None:
    """Backwards, below the ACK (D-SACK), beyond what was sent: nothing is taken for received."""
    flight(tcp, 5, sack=True)
    peer.sends(ack=1001, sack=[(4001, 2001)])
    peer.sends(ack=1001, sack=[(1, 1001)])
    peer.sends(ack=1001, sack=[(2001, 90_001)])
    peer.sends(ack=1001, sack=[(2001, 2001)])
    tcp.expects_nothing("1ms")
    tcp.expects(seq=4001, len=1000, within="100ms", why="tail loss probe")
    tcp.expects(seq=1001, len=1000, within="2s", why="the timeout finds it")


def test_blocks_without_an_agreement_mean_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    flight(tcp, 6, sack=False)
    peer.sends(ack=1, sack=[(1001, 6001)])
    tcp.expects_nothing("100ms")


def test_after_a_timeout_only_holes_are_sent_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = flight(tcp, 5, sack=True)
    peer.sends(ack=1, sack=[(2001, 3001)])
    assert tcp.drain("10ms"), "RACK sends what is below the block again, and it is lost again"
    tcp.expects(seq=1, len=1000, within="2s", why="timeout")
    assert sock.inside.cwnd == 1000
    peer.sends(ack=1001, sack=[(2001, 3001)])
    tcp.expects(seq=1001, len=1000)
    tcp.expects(seq=3001, len=1000, why="2001 has arrived")
    peer.sends(ack=4001)
    tcp.expects(seq=4001, len=1000)
    peer.sends(ack=5001)
    tcp.expects_nothing("1min")


def test_a_receiver_that_takes_back_what_it_reported(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2018 section 8: reneging. After a timeout nothing is believed that the ACK contradicts."""
    sock = flight(tcp, 4, sack=True)
    peer.sends(ack=1, sack=[(1001, 4001)])
    tcp.expects(seq=1, len=1000)
    peer.sends(ack=1001, sack=[(1001, 4001)])
    tcp.drain("200ms")
    peer.sends(ack=1001)
    sent = [p.tcp.seq - peer.irs for p in tcp.drain("5s") if p.tcp]
    assert 1001 in sent
    for i in range(2, 5):
        peer.sends(ack=1 + 1000 * i)
        tcp.drain()
    assert sock.unacked == 0


def test_the_ack_of_everything_ends_recovery(tcp: Tcp, peer: TcpPeer) -> None:
    sock = flight(tcp, 6, sack=True)
    peer.sends(ack=1, sack=[(1001, 6001)])
    tcp.expects(seq=1)
    assert sock.inside.flags == 1
    peer.sends(ack=6001)
    assert sock.inside.flags == 0
    tcp.transfers(sock, 5000)


# ---- without SACK: NewReno -----------------------------------------------------------------------


def test_three_duplicate_acks(tcp: Tcp, peer: TcpPeer) -> None:
    flight(tcp, 5)
    for _ in range(2):
        peer.sends(ack=1)
        tcp.expects_nothing()
    peer.sends(ack=1)
    tcp.expects(seq=1, len=1000, why="fast retransmit")
    tcp.expects_nothing()


@pytest.mark.parametrize("difference", ["window", "data"])
def test_what_is_no_duplicate_ack(tcp: Tcp, peer: TcpPeer, difference: str) -> None:
    """RFC 5681 section 2: no data, the same window."""
    flight(tcp, 5)
    for i in range(6):
        if difference == "window":
            peer.sends(ack=1, wnd=60_000 - i)
        else:
            peer.sends(ack=1, len=10)
    assert not [p for p in tcp.drain() if p.tcp and p.tcp.payload]


def test_a_partial_ack_sends_the_next_hole_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6582 section 3.2 (3): 1, 3001 and 6001 are lost."""
    sock = flight(tcp, 10)
    for _ in range(7):
        peer.sends(ack=1)
    tcp.expects(seq=1, len=1000)
    tcp.drain()
    peer.sends(ack=3001)
    tcp.expects(seq=3001, len=1000)
    tcp.drain()
    peer.sends(ack=6001)
    tcp.expects(seq=6001, len=1000)
    tcp.drain()
    peer.sends(ack=10_001)
    tcp.expects_nothing("1min")
    assert sock.inside.retransmits == 3
    assert tcp.stack.counters()["tcp_fast_recoveries"] == 1


def test_the_window_is_inflated_by_duplicates(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 section 3.2 (4): each duplicate ACK says that a segment left the network."""
    sock = flight(tcp, 10, congestion=1)
    tcp.sends(sock, 10_000)
    for new in (10_001, 11_001):
        peer.sends(ack=1)
        tcp.expects(seq=new, len=1000, why="limited transmit")
    peer.sends(ack=1)
    tcp.expects(seq=1, len=1000)
    tcp.expects_nothing()
    sent = []
    for _ in range(8):
        peer.sends(ack=1)
        sent += [p.tcp.seq - peer.irs for p in tcp.drain() if p.tcp]
    assert sent == [12_001, 13_001, 14_001, 15_001][: len(sent)]
    assert 3 <= len(sent) <= 4


def test_no_second_recovery_for_the_same_losses_after_a_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 6582 section 3.2 (2), (4): duplicates of retransmitted data are no new loss."""
    flight(tcp, 5)
    tcp.expects(seq=1, len=1000, within="2s")
    for _ in range(5):
        peer.sends(ack=1)
    assert tcp.stack.counters()["tcp_fast_recoveries"] == 0
