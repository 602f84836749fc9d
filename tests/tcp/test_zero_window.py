"""The persist timer: probing a closed window (RFC 9293 3.8.6.1)."""

from __future__ import annotations

import errno

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock


def closed_window(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """2000 bytes wait before a window that the peer has closed after 1000."""
    sock = tcp.established(mss=1000, wnd=1000, **options)
    tcp.sends(sock, 3000)
    tcp.expects(seq=1, len=1000)
    peer.sends(ack=1001, wnd=0)
    return sock


def test_probes_back_off(tcp: Tcp, peer: TcpPeer) -> None:
    closed_window(tcp, peer)
    with tcp.counts("tcp_zero_window_probes", 6):
        for pause in ("200ms", "400ms", "800ms", "1.6s", "3.2s", "6.4s"):
            tcp.expects("A", seq=1000, ack=1, len=0, after=pause)


def test_probes_go_on_at_most_a_minute_apart_while_answered(tcp: Tcp, peer: TcpPeer) -> None:
    """An open connection whose peer answers is never given up (RFC 9293 3.8.6.1 MUST-37)."""
    sock = closed_window(tcp, peer)
    for _ in range(60):
        tcp.expects("A", seq=1000, within="61s")
        peer.sends(wnd=0)
    assert sock.state == "ESTABLISHED"


def test_unanswered_probes_give_up(tcp: Tcp, peer: TcpPeer) -> None:
    sock = closed_window(tcp, peer)
    sent = tcp.drain("1h")
    assert len(sent) == 15
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_a_window_update_ends_it(tcp: Tcp, peer: TcpPeer) -> None:
    closed_window(tcp, peer)
    tcp.expects("A", seq=1000, within="1s")
    peer.sends(ack=1001, wnd=5000)
    tcp.expects(seq=1001, len=1000)
    tcp.expects(seq=2001, len=1000)
    peer.sends(ack=3001)
    tcp.expects_nothing("10min")


def test_a_lost_window_update_is_found_by_the_probe(tcp: Tcp, peer: TcpPeer) -> None:
    closed_window(tcp, peer)
    tcp.expects("A", seq=1000, within="1s", why="the peer answers with its window")
    peer.sends(ack=1001, wnd=1000)
    tcp.expects(seq=1001, len=1000)


def test_a_window_that_opens_and_closes_again(tcp: Tcp, peer: TcpPeer) -> None:
    closed_window(tcp, peer)
    for i in range(2):
        peer.sends(ack=1001 + 1000 * i, wnd=1000)
        tcp.expects(seq=1001 + 1000 * i, len=1000)
        peer.sends(ack=2001 + 1000 * i, wnd=0)
    tcp.expects_nothing("1h")


def test_data_given_while_the_window_is_closed(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wnd=1000)
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=1000)
    peer.sends(ack=1001, wnd=0)
    tcp.expects_nothing("10min", why="nothing waits")
    tcp.sends(sock, 500)
    tcp.expects("A", seq=1000, len=0, within="1s")


def test_a_fin_waits_behind_a_closed_window(tcp: Tcp, peer: TcpPeer) -> None:
    sock = closed_window(tcp, peer)
    tcp.closes(sock)
    tcp.expects("A", seq=1000, within="1s")
    peer.sends(ack=1001, wnd=2000)
    tcp.expects(seq=1001, len=1000)
    tcp.expects("PA", seq=2001, len=1000, why="the FIN would be behind the window")
    peer.sends(ack=3001, wnd=1)
    tcp.expects("FA", seq=3001, len=0)


def test_a_fin_alone_waits_for_a_window(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wnd=1000)
    tcp.sends(sock, 1000)
    tcp.expects(seq=1, len=1000)
    peer.sends(ack=1001, wnd=0)
    sock.shutdown()
    tcp.expects("A", seq=1000, after="200ms", why="a probe, as for data")
    peer.sends(ack=1001, wnd=0)
    tcp.expects("A", seq=1000, within="1s")
    peer.sends(ack=1001, wnd=1)
    tcp.expects("FA", seq=1001, len=0)
    peer.sends(ack=1002, wnd=1)
    assert sock.state == "FIN_WAIT_2"


def test_an_orphan_is_given_up_earlier(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.closes(closed_window(tcp, peer))
    assert len(tcp.drain("1h")) <= 9
    assert tcp.stack.stats()["sockets"] == 1


def test_a_shrinking_window_is_borne(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.8.6: what was sent beyond the new edge is retransmitted, nothing new is sent."""
    sock = tcp.established(mss=1000, wnd=5000)
    tcp.sends(sock, 8000)
    for i in range(5):
        tcp.expects(seq=1 + 1000 * i, len=1000)
    peer.sends(ack=1001, wnd=1000)
    tcp.expects_nothing("100ms")
    assert sock.state == "ESTABLISHED"
    peer.sends(ack=5001, wnd=8000)
    tcp.expects(seq=5001, len=1000)


def test_our_closed_window_answers_probes(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(rcvbuf=2304)
    peer.sends(len=2304)
    tcp.expects("A", ack=2305, wnd=0)
    for _ in range(5):
        peer.sends(seq=2304)
        tcp.expects("A", ack=2305, wnd=0)
        peer.sends(seq=2305, data=b"x")
        tcp.expects("A", ack=2305, wnd=0)
    tcp.reads(sock, 2304)
    tcp.expects("A", ack=2305, wnd=2304, why="window update")


def test_a_late_dsack_does_not_stop_the_timer(tcp: Tcp, peer: TcpPeer) -> None:
    """All is acknowledged and a small window is waited for, when D-SACKs undo the last recovery."""
    sock = tcp.established(mss=1000, wnd=5000, sack=True)
    tcp.sends(sock, 8000)
    tcp.drain()
    peer.sends(ack=1, sack=[(1001, 5001)])
    tcp.expects(seq=1, len=1000, within="1ms", why="fast retransmit")
    peer.sends(ack=5001, wnd=300)
    tcp.expects_nothing()
    with tcp.counts("tcp_spurious_recoveries_undone"):
        peer.sends(ack=5001, wnd=300, sack=[(1, 1001)])
    tcp.expects(seq=5001, len=300, within="1s")
