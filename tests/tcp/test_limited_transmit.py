"""Limited transmit: RFC 3042, and with SACK RFC 6675 section 5 (3)."""

from __future__ import annotations

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock


def full_window(tcp: Tcp, **options: object) -> Sock:
    """Ten segments in flight, as many as the window has, and more to send."""
    sock = tcp.established(mss=1000, **options)  # type: ignore[arg-type]
    tcp.sends(sock, 30_000)
    for i in range(10):
        tcp.expects(seq=1 + 1000 * i, len=1000)
    tcp.expects_nothing()
    return sock


def test_two_duplicates_let_two_new_segments_go(tcp: Tcp, peer: TcpPeer) -> None:
    sock = full_window(tcp)
    for i in range(2):
        peer.sends(ack=1)
        tcp.expects(seq=10_001 + 1000 * i, len=1000, why="new data")
        tcp.expects_nothing()
    assert sock.inside.cwnd == 10_000, "RFC 3042: it does not change"
    peer.sends(ack=1)
    tcp.expects(seq=1, len=1000, why="fast retransmit")


def test_with_sack_as_much_goes_as_has_left(tcp: Tcp, peer: TcpPeer) -> None:
    sock = full_window(tcp, sack=True)
    peer.sends(ack=1, sack=[(1001, 2001)])
    tcp.expects(seq=10_001, len=1000)
    tcp.expects_nothing()
    peer.sends(ack=1, sack=[(1001, 3001)])
    tcp.expects(seq=11_001, len=1000)
    tcp.expects_nothing()
    assert sock.inside.cwnd == 10_000


def test_duplicates_without_news_let_nothing_go(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 3042 section 2: with SACK, such an ACK may be a lie."""
    full_window(tcp, sack=True)
    peer.sends(ack=1, sack=[(1001, 2001)])
    tcp.expects(seq=10_001, len=1000)
    for _ in range(5):
        peer.sends(ack=1, sack=[(1001, 2001)])
        peer.sends(ack=1)
    tcp.expects_nothing()


def test_the_peers_window_holds(tcp: Tcp, peer: TcpPeer) -> None:
    for sack in (False, True):
        other = tcp.another_peer(6000 + sack)
        sock = tcp.established(mss=1000, sack=sack, wnd=10_000, peer=other)
        tcp.sends(sock, 30_000, to=other)
        assert len(tcp.drain(to=other)) == 10
        other.sends(ack=1, sack=[(1001, 2001)] if sack else ())
        tcp.expects_nothing()


def test_nothing_new_nothing_goes(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 5000)
    tcp.drain()
    for _ in range(2):
        peer.sends(ack=1)
    tcp.expects_nothing()
