"""When data is sent and acknowledged: Nagle, silly windows on both sides, corks, delayed ACKs
(RFC 9293 3.7.4, 3.8.6.2, 3.8.6.3)."""

from __future__ import annotations

import pytest

from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import MSG_MORE, Sock

# ---- the sender ----------------------------------------------------------------------------------


def test_nagle_holds_small_segments_while_something_is_in_flight(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10, why="nothing is in flight")
    tcp.sends(sock, 20)
    tcp.sends(sock, 30)
    tcp.expects_nothing("50ms")
    peer.sends(ack=11)
    tcp.expects(seq=11, len=50)


def test_nagle_never_holds_full_segments(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10)
    tcp.sends(sock, 999)
    tcp.expects_nothing()
    tcp.sends(sock, 1500)
    tcp.expects(seq=11, len=1000)
    tcp.expects(seq=1011, len=1000)
    tcp.expects_nothing("50ms")


def test_nagle_lets_the_end_of_a_message_follow_its_full_segments(tcp: Tcp, peer: TcpPeer) -> None:
    """Minshall's refinement, as on Linux: a short segment waits only for another short one."""
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 1500)
    tcp.expects(seq=1, len=1000)
    tcp.expects(seq=1001, len=500)
    tcp.sends(sock, 10)
    tcp.expects_nothing("50ms")
    peer.sends(ack=1501)
    tcp.expects(seq=1501, len=10)


def test_nodelay(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, nodelay=1)
    for i in range(5):
        tcp.sends(sock, 10)
        tcp.expects(seq=1 + 10 * i, len=10)


def test_switching_nodelay_on_pushes(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10)
    tcp.sends(sock, 20)
    tcp.expects_nothing()
    sock.set(nodelay=1)
    tcp.expects(seq=11, len=20)


def test_cork(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000).set(cork=1)
    tcp.sends(sock, 10)
    tcp.expects_nothing("100ms")
    tcp.sends(sock, 1500)
    tcp.expects(seq=1, len=1000)
    tcp.expects_nothing("100ms")
    sock.set(cork=0)
    tcp.expects(seq=1001, len=510)


def test_a_cork_holds_at_most_200_ms(tcp: Tcp, peer: TcpPeer) -> None:
    """tcp(7)."""
    sock = tcp.established(mss=1000).set(cork=1)
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10, after="200ms")


def test_msg_more(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 10, MSG_MORE)
    tcp.expects_nothing("100ms")
    tcp.sends(sock, 20)
    tcp.expects(seq=1, len=30)


def test_a_close_pulls_the_cork(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000).set(cork=1)
    tcp.sends(sock, 10)
    tcp.closes(sock)
    tcp.expects("FA", seq=1, len=10)


def test_the_sender_avoids_silly_windows(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.8.6.2.1: less than a segment is sent if it is half of the largest window seen."""
    sock = tcp.established(mss=1000, wnd=4000)
    tcp.sends(sock, 8000)
    for i in range(4):
        tcp.expects(seq=1 + 1000 * i, len=1000)
    peer.sends(ack=4001, wnd=300)
    tcp.expects_nothing("150ms", why="300 of a window that was 4000")
    peer.sends(ack=4001, wnd=900)
    tcp.expects_nothing("150ms")
    peer.sends(ack=4001, wnd=2500)
    tcp.expects(seq=4001, len=1000)


def test_a_peer_with_tiny_windows_is_served(tcp: Tcp, peer: TcpPeer) -> None:
    """Its largest window is below a segment: half of it is worth sending."""
    sock = tcp.established(mss=1000, wnd=400)
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=400)
    peer.sends(ack=401, wnd=200)
    tcp.expects(seq=401, len=200)
    peer.sends(ack=601, wnd=400)
    tcp.expects(seq=601, len=400)


def test_the_override_timer_sends_what_avoidance_held_back(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wnd=4000)
    tcp.sends(sock, 8000)
    tcp.drain()
    peer.sends(ack=4001, wnd=300)
    tcp.expects(seq=4001, len=300, within="1s")


def test_push_marks_the_end_of_what_was_written(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 2000)
    tcp.expects("A", seq=1, len=1000)
    tcp.expects("PA", seq=1001, len=1000)


# ---- the receiver --------------------------------------------------------------------------------


def settled(tcp: Tcp, peer: TcpPeer, **options: object) -> Sock:
    """A connection that is past its quick ACKs: 20 segments of 1000 bytes were read."""
    sock = tcp.established(**options)  # type: ignore[arg-type]
    for i in range(20):
        peer.sends(len=1000)
        tcp.drain("50ms")
        tcp.reads(sock, 1000, at=1000 * i)
    tcp.drain("1s")
    return sock


def test_quick_acks_at_the_start(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux, so that the peer's slow start is fed."""
    tcp.established()
    for i in range(5):
        peer.sends(len=100)
        tcp.expects("A", ack=101 + 100 * i)


def test_an_ack_is_delayed_by_at_most_40_ms(tcp: Tcp, peer: TcpPeer) -> None:
    settled(tcp, peer)
    with tcp.counts("tcp_delayed_acks"):
        peer.sends(len=100)
        tcp.expects_nothing("39ms")
        tcp.expects("A", ack=20_101, within="2ms")


def test_every_second_full_segment_is_acknowledged_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 MUST-58, SHLD-19."""
    settled(tcp, peer)
    for i in range(5):
        peer.sends(len=1000)
        tcp.expects_nothing("5ms")
        peer.sends(len=1000)
        tcp.expects("A", ack=22_001 + 2000 * i)


def test_an_answer_carries_the_ack(tcp: Tcp, peer: TcpPeer) -> None:
    sock = settled(tcp, peer)
    peer.sends(len=100)
    tcp.expects_nothing("5ms")
    tcp.sends(sock, 50)
    tcp.expects("A", seq=1, ack=20_101, len=50)
    tcp.expects_nothing("190ms")


def test_quickack_asks_for_acks_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    sock = settled(tcp, peer)
    peer.sends(len=100)
    tcp.expects_nothing("5ms")
    sock.set(quickack=1)
    tcp.expects("A", ack=20_101)
    peer.sends(len=100)
    tcp.expects("A", ack=20_201)


def test_quick_acks_after_data_that_came_twice(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux: our ACK was lost, and the peer's window is small now."""
    settled(tcp, peer)
    peer.sends(seq=19_001, len=1000)
    tcp.expects("A", ack=20_001)
    for i in range(16):
        peer.sends(len=100)
        tcp.expects("A", ack=20_101 + 100 * i)
    peer.sends(len=100)
    tcp.expects_nothing("39ms", why="quick ACKs are over")


def test_a_fin_is_acknowledged_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    settled(tcp, peer)
    peer.sends("FA", len=100)
    tcp.expects("A", ack=20_102)


def test_the_receiver_avoids_silly_windows(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.8.6.2.2: the window opens by a segment or half the buffer, whichever is less."""
    sock = tcp.established(rcvbuf=8000)
    for _ in range(8):
        peer.sends(len=1000)
    tcp.drain("1s")
    assert sock.inside.rcv_wnd == 0
    tcp.reads(sock, 100)
    tcp.expects_nothing("1s", why="100 bytes are not worth an update")
    tcp.reads(sock, 700, at=100)
    tcp.expects_nothing("1s")
    tcp.reads(sock, 300, at=800)
    tcp.expects("A", ack=8001, wnd=1100)


@pytest.mark.parametrize("rcvbuf", [2048, 5000, 65_535])
def test_a_program_that_reads_slowly_gets_everything(tcp: Tcp, peer: TcpPeer, rcvbuf: int) -> None:
    sock = tcp.established(rcvbuf=rcvbuf)
    total, sent, read = 40_000, 0, 0
    edge = min(rcvbuf, 65_535) + 1
    begin = tcp.clock.now
    while read < total:
        n = min(1000, total - sent, edge - 1 - sent)
        if n > 0:
            peer.sends(len=n)
            sent += n
        for p in tcp.drain("50ms"):
            assert p.tcp is not None
            edge = max(edge, (p.tcp.ack - peer.iss & 0xFFFFFFFF) + p.tcp.window)
        if sock.unread:
            n = min(300, sock.unread)
            tcp.reads(sock, n, at=read)
            read += n
        assert tcp.clock.now - begin < 60_000 * MS, "the window was never opened again"
