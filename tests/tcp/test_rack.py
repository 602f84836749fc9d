"""RACK-TLP (RFC 8985): time tells what is lost, and a probe turns a lost tail into evidence."""

from __future__ import annotations

import pytest

from tests.kit.clock import MS
from tests.kit.flight import MSS, at, blocks, numbers, opened, sends
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

# ---- RACK ----------------------------------------------------------------------------------------


def test_three_segments_beyond_the_hole_show_the_loss_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 6.2 step 4: without reordering seen, DupThresh leaves no reordering window."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 4)))
    assert numbers(tcp.drain(), tcp)[0] == 0


def test_one_segment_beyond_the_hole_shows_it_after_the_reordering_window(
    tcp: Tcp, peer: TcpPeer
) -> None:
    """A quarter of the least round trip: 25 ms."""
    sock = opened(tcp)
    sends(tcp, sock, 8)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 2)))
    tcp.expects("A", seq=1, after="25ms", why="the reordering timer")


def test_what_arrives_within_the_window_is_not_sent_again(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp)
    sends(tcp, sock, 8)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 2)))
    tcp.run("20ms")
    peer.sends(ack=at(8))
    tcp.expects_nothing("1s")
    assert sock.inside.retransmits == 0


def reordering(tcp: Tcp, peer: TcpPeer) -> None:
    """Segment 0 arrives after segment 1."""
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 2)))
    tcp.run("10ms")
    peer.sends(ack=at(2))
    tcp.drain()


def test_once_reordering_was_seen_the_window_stays(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 6.2 step 3: not even three segments beyond the hole show a loss before."""
    sock = opened(tcp)
    sends(tcp, sock, 8)
    reordering(tcp, peer)
    peer.sends(ack=at(2), sack=blocks((3, 7)))
    assert numbers(tcp.drain("10ms"), tcp) == []
    assert numbers(tcp.drain("20ms"), tcp)[0] == 2


def test_a_dsack_widens_the_window(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 6.2 step 4: by a quarter of the least round trip for each round with one."""
    sock = opened(tcp)
    sends(tcp, sock, 2)
    reordering(tcp, peer)
    sends(tcp, sock, 1)
    assert numbers(tcp.drain("400ms"), tcp) == [2], "a probe in vain"
    peer.sends(ack=at(3), sack=blocks((2, 3)))
    sends(tcp, sock, 5)
    tcp.run("100ms")
    peer.sends(ack=at(3), sack=blocks((4, 8)))
    assert numbers(tcp.drain("30ms"), tcp) == []
    assert numbers(tcp.drain("25ms"), tcp)[0] == 3


def test_what_the_network_duplicates_widens_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    """More D-SACKs than retransmissions are not about us (RFC 3708; Linux's DSACKIgnoredDubious)."""
    sock = opened(tcp)
    sends(tcp, sock, 8)
    reordering(tcp, peer)
    peer.sends(ack=at(2), sack=blocks((0, 1)))
    peer.sends(ack=at(2), sack=blocks((3, 7)))
    assert numbers(tcp.drain("10ms"), tcp) == []
    assert numbers(tcp.drain("20ms"), tcp)[0] == 2, "a quarter of the round trip"


def test_the_window_is_never_longer_than_the_round_trip(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp)
    sends(tcp, sock, 2)
    reordering(tcp, peer)
    for n in range(2, 12):  # a probe in vain a round: 10 quarters
        sends(tcp, sock, 1)
        assert numbers(tcp.drain("400ms"), tcp) == [n]
        peer.sends(ack=at(n + 1), sack=blocks((n, n + 1)))
    sends(tcp, sock, 3)
    tcp.run("100ms")
    peer.sends(ack=at(12), sack=blocks((13, 14)))
    tcp.expects("A", seq=at(12), within="105ms", why="a round trip after it could have come")


def test_a_lost_retransmission_is_found_by_what_was_sent_after_it(tcp: Tcp, peer: TcpPeer) -> None:
    """And the time-out counts from the last retransmission of the first segment."""
    sock = opened(tcp)
    tcp.sends(sock, 20 * MSS)
    tcp.drain("100ms")
    peer.sends(ack=1, sack=blocks((1, 5)))
    sent = numbers(tcp.drain(), tcp)
    assert sent[0] == 0
    peer.sends(ack=1, sack=blocks((1, 10)))
    new = [n for n in sent[1:] + numbers(tcp.drain("100ms"), tcp) if n >= 10]
    assert new, "new data went after the retransmission"
    peer.sends(ack=1, sack=blocks((1, new[0] + 1)))
    assert numbers(tcp.drain(), tcp)[0] == 0, "again, without a time-out"
    assert sock.inside.retransmits == 2
    assert numbers(tcp.drain(sock.inside.rto - MS), tcp) == []
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] == 0


def test_of_two_retransmissions_of_one_instant_the_order_counts(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 5.2: of equal times the one sent later tells of the one before it."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 2), (3, 10)))
    assert numbers(tcp.drain("100ms"), tcp) == [0, 2]
    peer.sends(ack=1, sack=blocks((1, 10)))
    assert numbers(tcp.drain(), tcp) == [0], "2 arrived and 0 did not"


def test_a_sack_gives_a_round_trip_sample(tcp: Tcp, peer: TcpPeer) -> None:
    """Also while the first segment is missing, whose ACK would be ambiguous (RFC 6298 section 3)."""
    sock = opened(tcp)
    sends(tcp, sock, 5)
    before = sock.inside.srtt
    tcp.run("180ms")
    peer.sends(ack=1, sack=blocks((1, 2)))
    assert sock.inside.srtt == before + (180 * MS - before) // 8


# ---- the tail loss probe ---------------------------------------------------------------------------


def test_a_silent_tail_is_probed_after_two_round_trips(tcp: Tcp, peer: TcpPeer) -> None:
    """Sections 7.2 and 7.3: without new data the last segment goes again."""
    sock = opened(tcp)
    sends(tcp, sock, 3)
    with tcp.counts("tcp_tail_loss_probes"):
        tcp.expects("A", seq=at(2), len=MSS, after="202ms")


def test_new_data_is_the_better_probe(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 7.3: one segment of it, even where the congestion window is full."""
    sock = opened(tcp)
    sends(tcp, sock, 12)
    assert peer.got == at(10)
    tcp.expects("A", seq=at(10), len=MSS, after="202ms")
    assert numbers(tcp.drain("100ms"), tcp) == [], "one"


def test_a_short_probe_is_answered_by_its_own_end(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 7.3: TLP.end_seq is SND.NXT behind it, so that the next tail can be probed, too."""
    sock = opened(tcp)
    tcp.sends(sock, 10 * MSS + 100)
    tcp.drain()
    tcp.expects("A", seq=at(10), len=100, after="202ms")
    peer.sends()
    sends(tcp, sock, 3)
    with tcp.counts("tcp_tail_loss_probes"):
        tcp.drain("299ms")


def test_a_lone_segment_may_wait_for_a_delayed_ack(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 7.2: the timer adds what a receiver may wait, but the probe never comes after the
    time-out: it stands in for it."""
    sock = opened(tcp)
    sends(tcp, sock, 1)
    tcp.expects("A", seq=1, after="300ms", why="402 ms would be after the RTO")
    assert sock.inside.cwnd == 10 * MSS
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] == 0
    tcp.expects("A", seq=1, after="300ms", why="a whole time-out after the probe")
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] == 1


def test_there_is_one_probe_until_it_is_answered(tcp: Tcp, peer: TcpPeer) -> None:
    sock = opened(tcp)
    sends(tcp, sock, 3)
    tcp.expects("A", seq=at(2), after="202ms")
    tcp.expects("A", seq=at(0), after="300ms", why="the time-out")
    assert tcp.stack.counters()["tcp_tail_loss_probes"] == 1


def test_the_answer_to_a_probe_shows_what_is_lost(tcp: Tcp, peer: TcpPeer) -> None:
    """Fast recovery, and no time-out."""
    sock = opened(tcp)
    sends(tcp, sock, 4)
    tcp.expects("A", seq=at(3), after="202ms")
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((3, 4)))
    assert numbers(tcp.drain("50ms"), tcp)[0] == 0
    assert sock.inside.flags == 1, "fast recovery"


def probed(tcp: Tcp, peer: TcpPeer, ts: bool = False) -> Sock:
    """The last of ten segments has gone again, as a probe."""
    sock = opened(tcp, congestion=1, ts=ts)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=at(4))
    tcp.expects("A", seq=at(9), within="250ms")
    return sock


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("ts", [False, True])
def test_a_loss_that_the_probe_repaired_lowers_the_window(
    tcp: Tcp, peer: TcpPeer, ts: bool, reads: bool
) -> None:
    """Section 7.4.2, third case: nothing told of a second copy before later data was acknowledged. That
    the peer's program reads, and its window opens, tells of none."""
    sock = probed(tcp, peer, ts)
    tcp.run("100ms")
    with tcp.counts("tcp_tail_loss_repairs", 0):
        peer.sends(ack=at(10), wnd=60_000 if reads else None)
        if reads:
            peer.sends(ack=at(10), wnd=65_000)
    sends(tcp, sock, 1)
    tcp.run("100ms")
    with tcp.counts("tcp_tail_loss_repairs"):
        peer.sends(ack=at(11))
    assert sock.inside.ssthresh == 5 * MSS, "half of what was in flight then"
    assert sock.inside.cwnd <= 6 * MSS


@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("second", ["in one with a D-SACK", "D-SACK", "duplicate"])
def test_a_probe_in_vain_lowers_nothing(tcp: Tcp, peer: TcpPeer, second: str, ts: bool) -> None:
    """Section 7.4.2, first and second case: both copies arrived."""
    sock = probed(tcp, peer, ts)
    window = sock.inside.cwnd
    if second == "in one with a D-SACK":
        peer.sends(ack=at(10), sack=blocks((9, 10)))
    else:
        peer.sends(ack=at(10))
        assert sock.inside.cwnd >= window, "an ACK of the probe's end says nothing"
        peer.sends(ack=at(10), sack=blocks((9, 10)) if second == "D-SACK" else [])
    sends(tcp, sock, 1)
    peer.sends(ack=at(11))
    assert sock.inside.cwnd >= window
    assert sock.inside.ssthresh == 2**32 - 1
    assert tcp.stack.counters()["tcp_tail_loss_repairs"] == 0


def test_a_peer_that_delays_its_ack_costs_no_window(tcp: Tcp, peer: TcpPeer) -> None:
    """A round trip of 20 ms, an ACK 40 ms late: the probe crosses it."""
    sock = tcp.connects(tcp.wire.tcp().set(nodelay=1))
    tcp.expects("S")
    tcp.run("20ms")
    peer.sends("SA", seq=0, ack=1, mss=MSS, sack_ok=True)
    tcp.expects("A")
    for turn in range(1, 5):
        sends(tcp, sock, 10)
        sent = tcp.drain("60ms")
        assert numbers(sent, tcp) == [10 * turn - 1], "the probe"
        peer.sends(ack=at(10 * turn))
        peer.sends(ack=at(10 * turn), sack=blocks((10 * turn - 1, 10 * turn)))
        assert sock.inside.cwnd >= 10 * MSS
    assert sock.inside.ssthresh == 2**32 - 1


def test_recovery_needs_no_probe(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 7.2: none is armed while SACKs or a recovery tell of losses."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 4)))
    tcp.drain("290ms")
    assert tcp.stack.counters()["tcp_tail_loss_probes"] == 0


# ---- the time-out ------------------------------------------------------------------------------------


def test_a_timeout_takes_only_old_transmissions_as_lost(tcp: Tcp, peer: TcpPeer) -> None:
    """Section 6.3: what left less than a round trip ago is still in flight."""
    sock = opened(tcp, sack=False)
    sends(tcp, sock, 4)
    tcp.run("250ms")
    sends(tcp, sock, 4)
    tcp.expects("A", seq=1, after="50ms", why="the time-out")
    assert sock.inside.cwnd == 5 * MSS, "four in flight, and one"
    peer.sends(ack=at(8))
    tcp.expects_nothing("1s", why="the second four were not sent again")


def test_a_timeout_within_recovery_does_not_reduce_twice(tcp: Tcp, peer: TcpPeer) -> None:
    """One window of data, one reduction (Linux's tcp_enter_loss)."""
    sock = opened(tcp)
    sends(tcp, sock, 10)
    tcp.run("100ms")
    peer.sends(ack=1, sack=blocks((1, 4)))
    tcp.drain()
    ssthresh = sock.inside.ssthresh
    assert ssthresh == 7 * MSS
    tcp.drain("400ms")
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] == 1
    assert (sock.inside.flags, sock.inside.ssthresh) == (2, ssthresh)


def test_a_timeout_after_progress_reduces_anew(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5681 equation (4): what is lost now had been sent again, and nothing of it came through."""
    sock = opened(tcp, sack=False, congestion=1)
    sends(tcp, sock, 10)
    tcp.expects("A", seq=1, after="300ms")
    assert sock.inside.ssthresh == 5 * MSS
    tcp.run("100ms")
    peer.sends(ack=at(1))
    assert numbers(tcp.drain(), tcp) == [1, 2]
    while tcp.stack.counters()["tcp_retransmission_timeouts"] < 2:
        tcp.drain("50ms")
    assert sock.inside.ssthresh == 2 * MSS
    tcp.drain("3s")
    assert tcp.stack.counters()["tcp_retransmission_timeouts"] > 2
    assert sock.inside.ssthresh == 2 * MSS
