"""What a receiver tells of data that came twice: RFC 2883, by the examples of its section 4; and the
rest of RFC 2018's receiver."""

from __future__ import annotations

from tests.kit.checks import has_option
from tests.kit.peer import Tcp, TcpPeer


def test_a_duplicate_below_the_ack(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.1.1; reported once."""
    tcp.established(sack=True)
    peer.sends(len=1000)
    tcp.expects("A", ack=1001, sack=[])
    with tcp.counts("tcp_dsacks_sent"):
        peer.sends(seq=1, len=1000)
        tcp.expects("A", ack=1001, sack=[(1, 1001)])
    peer.sends(seq=1001, len=1000)
    tcp.expects("A", ack=2001, sack=[])
    peer.sends(seq=501, len=1000)
    tcp.expects("A", ack=2001, sack=[(501, 1501)], why="each segment's duplicate is")


def test_a_duplicate_while_a_gap_is_open(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.1.2: the duplicate first, then what waits above the gap."""
    tcp.established(sack=True)
    peer.sends(len=1000)
    peer.sends(seq=2001, len=1000)
    tcp.drain()
    peer.sends(seq=501, len=500)
    tcp.expects("A", ack=1001, sack=[(501, 1001), (2001, 3001)])
    peer.sends(seq=3001, len=1000)
    tcp.expects("A", ack=1001, sack=[(2001, 4001)])


def test_a_duplicate_above_the_gap(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.1.3: the second block is the larger one that the duplicate lies in."""
    tcp.established(sack=True)
    for seq in (4001, 1001, 2001):
        peer.sends(seq=seq, len=1000)
    tcp.drain()
    peer.sends(seq=1001, len=1000)
    tcp.expects("A", ack=1, sack=[(1001, 2001), (1001, 3001), (4001, 5001)])


def test_a_part_that_came_before(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.2.1: only the duplicate part is reported, the rest is taken."""
    sock = tcp.established(sack=True)
    peer.sends(len=1000)
    tcp.drain()
    peer.sends(seq=501, len=1000)
    tcp.expects("A", ack=1501, sack=[(501, 1001)])
    tcp.reads(sock, 1500)


def test_of_two_duplicate_parts_the_first(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.2.3: one block reports one contiguous duplicate."""
    tcp.established(sack=True)
    peer.sends(seq=1001, len=500)
    peer.sends(seq=2001, len=500)
    tcp.drain()
    peer.sends(seq=1001, len=1500)
    tcp.expects("A", ack=1, sack=[(1001, 1501), (1001, 2501)])


def test_the_front_and_a_later_part(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.2.2."""
    tcp.established(sack=True)
    peer.sends(len=1000)
    peer.sends(seq=1501, len=500)
    tcp.drain()
    peer.sends(seq=501, len=1500)
    tcp.expects("A", ack=2001, sack=[(501, 1001)])


def test_what_paws_drops_is_reported_too(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2883 4.3."""
    tcp.established(sack=True, ts=True)
    tcp.run("1s")
    peer.sends(len=1000)
    tcp.drain()
    with tcp.counts("drop_tcp_paws"):
        peer.sends(seq=1, len=1000, ts=(peer.tsval - 500, 0))
    tcp.expects("A", ack=1001, sack=[(1, 1001)])


def test_no_report_without_an_agreement(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(sack=False)
    peer.sends(len=1000)
    tcp.drain()
    peer.sends(seq=1, len=1000)
    tcp.expects("A", ack=1001, sack=[])


def test_sack_permitted_is_for_syns(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2018 section 2."""
    none = ~has_option("sack_permitted")
    sock = tcp.established(sack=True, active=True)
    tcp.sends(sock, 10)
    tcp.expects(len=10, check=none)
    peer.sends(seq=101, len=100)
    tcp.expects("A", check=has_option("sack") & none)
    tcp.closes(sock)
    tcp.expects("FA", check=none)


def test_a_segment_with_data_is_preceded_by_the_blocks(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 2018 section 4: a full segment has no room for them."""
    sock = tcp.established(sack=True, mss=1000)
    tcp.sends(sock, 1000)
    tcp.expects(len=1000)
    peer.sends(seq=1001, len=100)
    tcp.expects("A", ack=1, len=0, sack=[(1001, 1101)])
    peer.sends(seq=2001, len=100, ack=1001)
    tcp.sends(sock, 1000)
    tcp.expects("A", ack=1, len=0, sack=[(2001, 2101), (1001, 1101)])
    tcp.expects(seq=1001, len=1000, sack=[])


def test_a_fin_that_came_twice(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux: the peer's probe of the tail may be its FIN alone, and it learns that both arrived."""
    tcp.established(sack=True)
    peer.sends("FA", seq=1)
    tcp.expects("A", ack=2, sack=[])
    peer.sends("FA", seq=1)
    tcp.expects("A", ack=2, sack=[(1, 2)])
