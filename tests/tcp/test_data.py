"""Data in: order, overlap, duplicates, windows, FIN out of order, urgent data (RFC 9293 3.10.7.4)."""

from __future__ import annotations

import random

import pytest

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import MSG_PEEK


def test_in_order(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(len=1460)
    peer.sends(len=1460)
    tcp.drain()
    tcp.reads(sock, 2920)
    with pytest.raises(BlockingIOError):
        sock.recv()


def test_reading_in_pieces_and_peeking(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(len=1000)
    assert sock.recv(100, MSG_PEEK) == frames.pattern(100)
    tcp.reads(sock, 300)
    tcp.reads(sock, 700, at=300)
    assert sock.unread == 0


def test_out_of_order(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(seq=1001, len=1000)
    tcp.expects("A", ack=1, why="a gap is acknowledged at once")
    assert not sock.readable
    peer.sends(seq=1, len=1000)
    tcp.expects("A", ack=2001, why="so is what fills it")
    tcp.reads(sock, 2000)


def test_backwards(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    for i in reversed(range(20)):
        peer.sends(seq=1 + 1000 * i, len=1000)
    assert [p.tcp.ack - peer.iss & 0xFFFFFFFF for p in tcp.drain() if p.tcp] == [1] * 19 + [20_001]
    tcp.reads(sock, 20_000)


def test_a_duplicate_is_acknowledged_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(len=1000)
    tcp.drain("1s")
    with tcp.counts("drop_tcp_out_of_window"):
        peer.sends(seq=1, len=1000)
    tcp.expects("A", ack=1001)
    assert sock.unread == 1000


@pytest.mark.parametrize(
    ("seq", "size"), [(501, 1000), (1, 2000), (501, 400), (1, 1000), (1000, 2)], ids=str
)
def test_overlap_with_what_was_read(tcp: Tcp, peer: TcpPeer, seq: int, size: int) -> None:
    sock = tcp.established()
    peer.sends(len=1000)
    tcp.drain("1s")
    peer.sends(seq=seq, len=size)
    end = max(1000, seq - 1 + size)
    tcp.expects("A", ack=end + 1)
    tcp.reads(sock, end)


@pytest.mark.parametrize("seed", range(20))
def test_any_overlap_and_order_gives_the_same_bytes(tcp: Tcp, peer: TcpPeer, seed: int) -> None:
    dice = random.Random(seed)
    sock = tcp.established(sack=True)
    size = dice.randrange(1000, 60_000)
    missing = set(range(size))
    while missing:
        at = dice.choice(sorted(missing)[:5000]) if dice.random() < 0.5 else dice.randrange(size)
        n = min(dice.randrange(1, 4000), size - at)
        peer.sends(seq=1 + at, len=n)
        missing -= set(range(at, at + n))
    tcp.drain()
    tcp.reads(sock, size)
    assert sock.unread == 0


def test_the_first_copy_of_out_of_order_data_wins(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(seq=11, data=b"B" * 10)
    peer.sends(seq=1, data=b"A" * 30)
    tcp.drain()
    assert sock.recv() == b"A" * 10 + b"B" * 10 + b"A" * 10


def test_data_beyond_the_window_is_cut(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(rcvbuf=4000)
    peer.sends(len=6000)
    tcp.expects("A", ack=4001, wnd=0)
    tcp.reads(sock, 4000)


def test_a_segment_wholly_beyond_the_window_is_dropped(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(rcvbuf=4000)
    with tcp.counts("drop_tcp_out_of_window"):
        peer.sends(seq=5001, len=100)
    tcp.expects("A", ack=1)
    assert sock.unread == 0


def test_the_ack_of_a_segment_at_a_closed_window_counts(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.7.4 first: "special allowance ... to accept valid ACKs"."""
    sock = tcp.established(rcvbuf=4000)
    peer.sends(len=4000)
    tcp.drain()
    tcp.sends(sock, 100)
    tcp.expects(seq=1, len=100)
    peer.sends(ack=101, seq=4001)
    assert sock.unacked == 0


def test_a_fin_out_of_order_waits(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA", seq=1001, len=500)
    tcp.expects("A", ack=1)
    assert sock.state == "ESTABLISHED"
    peer.sends(seq=1, len=1000)
    tcp.expects("A", ack=1502)
    assert sock.state == "CLOSE_WAIT"
    tcp.reads(sock, 1500)
    assert sock.recv() == b""


def test_a_bare_fin_out_of_order_waits(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA", seq=1001)
    tcp.expects("A", ack=1)
    peer.sends(seq=1, len=1000)
    tcp.expects("A", ack=1002)
    assert sock.state == "CLOSE_WAIT"


def test_a_fin_beyond_the_window_is_cut_off(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(rcvbuf=4000)
    peer.sends("FA", len=4100)
    tcp.expects("A", ack=4001)
    assert sock.state == "ESTABLISHED"
    tcp.reads(sock, 4000)
    tcp.drain()
    peer.sends("FA", seq=4001, len=100)
    tcp.expects("A", ack=4102)
    assert sock.state == "CLOSE_WAIT"


def test_data_after_a_fin_is_not_delivered(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA", len=100)
    tcp.expects("A", ack=102)
    peer.sends(seq=102, len=100)
    tcp.drain()
    tcp.reads(sock, 100)
    assert sock.recv() == b""
    assert sock.state == "CLOSE_WAIT"


@pytest.mark.parametrize("size", [0, 100])
def test_what_waited_behind_the_fin_goes(tcp: Tcp, peer: TcpPeer, size: int) -> None:
    """It was never part of the stream: no SACK block tells of it (as Linux)."""
    sock = tcp.established(sack=True)
    peer.sends(seq=1001, len=500)
    tcp.expects("A", ack=1, sack=[(1001, 1501)])
    peer.sends("FA", seq=1, len=size)
    tcp.expects("A", ack=size + 2, sack=[])
    assert sock.state == "CLOSE_WAIT"
    tcp.reads(sock, size)
    assert sock.recv() == b""


def test_data_in_the_place_of_a_fin_does_not_hide_it(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends(seq=101, len=1)
    peer.sends("FA", seq=1, len=100)
    tcp.drain()
    assert sock.state == "CLOSE_WAIT"
    tcp.reads(sock, 100)
    assert sock.recv() == b""


def test_a_fin_that_comes_twice_counts_once(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("FA", len=100)
    tcp.expects("A", ack=102)
    peer.sends("FA", seq=1, len=100)
    tcp.expects("A", ack=102)
    assert sock.state == "CLOSE_WAIT"


def test_segments_of_a_burst_are_merged(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    with tcp.counts("tcp_segments_merged", 9):
        tcp.wire.sends_burst(*[peer.packet(len=1000) for _ in range(10)])
    tcp.drain()
    tcp.reads(sock, 10_000)


def test_bare_acks_of_a_burst_are_merged_while_they_advance(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 8000)
    tcp.drain()
    with tcp.counts("tcp_segments_merged", 7):
        tcp.wire.sends_burst(*[peer.packet(ack=1 + 1000 * i) for i in range(1, 9)])
    assert sock.unacked == 0


def test_duplicate_acks_of_a_burst_stay_apart(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, nodelay=1)
    tcp.sends(sock, 6000)
    tcp.drain()
    with tcp.counts("tcp_segments_merged", 0), tcp.counts("tcp_fast_recoveries"):
        tcp.wire.sends_burst(*[peer.packet(ack=1) for _ in range(3)])
    tcp.expects(seq=1, len=1000, why="fast retransmit")


def test_a_burst_with_a_gap_is_not_merged_over_it(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    burst = [peer.packet(len=1000) for _ in range(10)]
    tcp.wire.sends_burst(*burst[:4], *burst[5:])
    tcp.drain()
    tcp.reads(sock, 4000)
    tcp.wire.sends(burst[4])
    tcp.reads(sock, 6000, at=4000)


def test_a_corrupted_segment_inside_a_burst(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    burst = [peer.packet(len=1000) for _ in range(5)]
    with tcp.counts("drop_tcp_checksum"):
        tcp.wire.sends_burst(*burst[:2], frames.wrong_sum(burst[2]), *burst[3:])
    tcp.drain()
    tcp.reads(sock, 2000)
    tcp.wire.sends(burst[2])
    tcp.reads(sock, 3000, at=2000)


def test_an_unfinished_checksum_inside_a_burst(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established()
    burst = [peer.packet(len=1000) for _ in range(3)]
    with tcp.counts("drop_tcp_checksum_unfinished"):
        tcp.wire.sends_burst(burst[0], frames.unfinished(burst[1]), burst[2])


def test_flows_in_one_burst_stay_apart(tcp: Tcp, peer: TcpPeer) -> None:
    one = tcp.established()
    other = tcp.another_peer(6000)
    two = tcp.established(peer=other)
    burst = [p.packet(len=500) for _ in range(10) for p in (peer, other)]
    tcp.wire.sends_burst(*burst)
    tcp.drain()
    tcp.reads(one, 5000)
    tcp.reads(two, 5000)


def test_a_reset_behind_data_in_one_burst(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.wire.sends_burst(peer.packet(len=500), peer.packet("R"))
    assert sock.state == "CLOSED"
    tcp.reads(sock, 500)


def test_the_out_of_order_queue_is_bounded(tcp: Tcp, peer: TcpPeer) -> None:
    """Holes are remembered up to TCP_MAX_RANGES; more are dropped, and nothing is delivered wrong."""
    sock = tcp.established(wscale=7, sack=True)
    for i in range(700):
        peer.sends(seq=3 + 2 * i, len=1)
    tcp.drain()
    assert tcp.stack.counters()["drop_tcp_out_of_order_memory"] > 0
    for i in range(700):
        peer.sends(seq=1 + 2 * i, len=2)
    tcp.drain()
    tcp.reads(sock, 1400)


def test_a_second_fin_beyond_the_first_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.10.7.4, CLOSE-WAIT: nothing can come behind a FIN, so there is nothing to answer."""
    tcp.established()
    peer.sends("FA", seq=1)
    tcp.expects("A", ack=2)
    peer.sends("FA", seq=102)
    tcp.expects_nothing("1s")
