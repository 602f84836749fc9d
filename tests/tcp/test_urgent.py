"""Urgent data: RFC 9293 3.8.5 and RFC 6093, with Linux's reading of both."""

from __future__ import annotations

import errno

import pytest

from tests.kit.checks import Check
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import IN, Sock

PRI, OOB, PEEK = 0x2, 0x1, 0x2


def urgent(pointer: int | None) -> Check:
    """URG with that pointer; None: no URG."""

    def find(p: object) -> str | None:
        s = p.tcp  # type: ignore[attr-defined]
        found = s.urgent if s.flags & 0x20 else None
        return None if found == pointer else f"urgent pointer is {found}, not {pointer}"

    return Check(f"urgent({pointer})", find)


def refused(call: object, *args: object) -> int | None:
    with pytest.raises(OSError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.errno


# ---- sending -------------------------------------------------------------------------------------


def test_the_pointer_names_the_byte_after_the_urgent_one(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10, check=urgent(None))
    tcp.sends(sock, 5, OOB)
    tcp.expects("UA", seq=11, len=5, check=urgent(5), why="Nagle does not hold it back")
    peer.sends(ack=16)
    tcp.sends(sock, 10)
    tcp.expects("A", seq=16, len=10, check=urgent(None))


def test_every_segment_below_the_mark_says_so(tcp: Tcp, peer: TcpPeer) -> None:
    """Retransmissions too; each with its own distance, also over a device that cuts segments."""
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 2500, OOB)
    for seq, size in ((1, 1000), (1001, 1000), (2001, 500)):
        tcp.expects("UA", seq=seq, len=size, check=urgent(2501 - seq))
    tcp.expects("UA", seq=1, len=1000, check=urgent(2500), within="1s")
    peer.sends(ack=2501)
    tcp.sends(sock, 1)
    tcp.expects("A", check=urgent(None))


def test_a_mark_beyond_the_pointers_reach(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wscale=4, wnd=200_000)
    tcp.sends(sock, 80_000, OOB)
    tcp.expects("UA", seq=1, len=1000, check=urgent(0xFFFF))
    tcp.drain()
    peer.sends(ack=20_001)
    assert all(
        p.tcp.urgent == min(0xFFFF, 80_001 - (p.tcp.seq - peer.irs & 0xFFFFFFFF))
        for p in tcp.drain()
        if p.tcp
    )


def test_a_closed_window_does_not_keep_the_news_back(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.8.6: the urgent pointer goes out though the data cannot."""
    sock = tcp.established(wnd=100)
    tcp.sends(sock, 100)
    tcp.expects(seq=1, len=100)
    peer.sends(ack=101, wnd=0)
    tcp.sends(sock, 50, OOB)
    tcp.expects("UA", seq=101, len=0, check=urgent(50))
    tcp.expects("UA", seq=101, len=0, check=urgent(50), within="1s", why="the window probe says it")
    peer.sends(ack=101, wnd=20)
    tcp.expects("UA", seq=101, len=20, check=urgent(50), within="2s")
    peer.sends(ack=121, wnd=1000)
    tcp.expects("UA", seq=121, len=30, check=urgent(30))


def test_a_later_mark_replaces_the_earlier(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.sends(sock, 1, OOB)
    tcp.expects("UA", seq=1, len=1, check=urgent(1))
    tcp.sends(sock, 1, OOB)
    tcp.expects("UA", seq=2, len=1, check=urgent(1))
    tcp.expects("UA", seq=1, check=urgent(2), within="1s")
    peer.sends(ack=2)
    assert sock.unacked == 1


# ---- receiving -----------------------------------------------------------------------------------


def received(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """abc, X urgent, def."""
    sock = tcp.established(**options)
    peer.sends("UAP", data=b"abcX", urgent=4)
    peer.sends("AP", data=b"def")
    tcp.drain()
    return sock


def test_the_urgent_byte_is_read_apart(tcp: Tcp, peer: TcpPeer) -> None:
    sock = received(tcp, peer)
    assert sock.ready & (PRI | IN) == PRI | IN
    assert sock.recv(1, OOB | PEEK) == b"X"
    assert sock.recv(1, OOB) == b"X"
    assert not sock.ready & PRI
    assert refused(sock.recv, 1, OOB) == errno.EINVAL, "it is read once"
    assert (sock.unread, sock.get("atmark")) == (3, 0)
    assert sock.recv(100) == b"abc", "a read stops at the mark"
    assert sock.get("atmark") == 1
    assert sock.recv(100) == b"def", "the urgent byte is no part of the stream"
    assert sock.get("atmark") == 0


def test_it_may_also_be_read_after_what_precedes_it(tcp: Tcp, peer: TcpPeer) -> None:
    sock = received(tcp, peer)
    assert sock.recv(100) == b"abc"
    assert sock.recv(1, OOB) == b"X"
    assert sock.recv(100) == b"def"


def test_unread_it_is_lost_once_it_is_passed(tcp: Tcp, peer: TcpPeer) -> None:
    sock = received(tcp, peer)
    assert sock.recv(100) == b"abc"
    assert sock.recv(100, PEEK) == b"def"
    assert sock.recv(2) == b"de"
    assert refused(sock.recv, 1, OOB) == errno.EINVAL
    assert sock.recv(100) == b"f"


def test_inline_it_stays_where_it_is(tcp: Tcp, peer: TcpPeer) -> None:
    sock = received(tcp, peer, oobinline=1)
    assert sock.ready & PRI
    assert refused(sock.recv, 1, OOB) == errno.EINVAL
    assert sock.unread == 7
    assert sock.recv(100) == b"abc"
    assert sock.get("atmark") == 1
    assert sock.recv(100) == b"Xdef"
    assert not sock.ready & PRI


def test_alone_it_makes_nothing_readable(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("UAP", data=b"X", urgent=1)
    tcp.drain()
    assert sock.ready & (PRI | IN) == PRI
    assert refused(sock.recv, 10, PEEK) == errno.EAGAIN
    assert sock.recv(1, OOB) == b"X"
    assert refused(sock.recv, 10) == errno.EAGAIN
    peer.sends("FA")
    assert sock.recv(10) == b""


def test_there_is_none_without_urg(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("AP", data=b"abc", urgent=2)
    assert refused(sock.recv, 1, OOB) == errno.EINVAL
    assert not sock.ready & PRI


def test_a_pointer_of_0_names_the_first_byte(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux, measured by barewire.fuzz."""
    sock = tcp.established()
    peer.sends("UA", data=b"Xbc", urgent=0)
    assert sock.ready & PRI
    assert sock.recv(1, OOB) == b"X"
    assert sock.recv(10) == b"bc"


def test_a_reset_takes_it_from_the_reader(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux (tests/fuzz/test_found.py): it stays announced, and there is nothing to read it from."""
    sock = tcp.established()
    peer.sends("UAP", data=b"X", urgent=1)
    peer.sends("R", seq=2)
    assert sock.state == "CLOSED"
    assert sock.ready & PRI
    assert refused(sock.recv, 1, OOB) == errno.ENOTCONN
    assert sock.ready & PRI


def test_announced_before_it_comes(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("UA", data=b"ab", urgent=4)
    assert refused(sock.recv, 1, OOB) == errno.EAGAIN
    assert not sock.ready & PRI
    peer.sends("UA", data=b"cX", urgent=2)
    assert sock.ready & PRI
    assert sock.recv(10) == b"abc"
    assert sock.recv(1, OOB) == b"X"


def test_announced_through_a_closed_window(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.8.6 MUST-66: URG is processed though the receive window is zero."""
    sock = tcp.established(rcvbuf=2304)
    peer.sends(len=1460)
    peer.sends(len=844)
    tcp.drain("1s")
    assert sock.inside.rcv_wnd == 0
    peer.sends("UA", urgent=1)
    assert refused(sock.recv, 1, OOB) == errno.EAGAIN, "announced, not here yet"
    tcp.reads(sock, 2304)
    tcp.drain()
    peer.sends("UA", data=b"X", urgent=1)
    assert sock.recv(1, OOB) == b"X"


def test_it_may_come_out_of_order(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(sack=True)
    peer.sends("UA", seq=4, data=b"X", urgent=1)
    assert sock.ready & (PRI | IN) == PRI
    assert sock.recv(1, OOB) == b"X"
    peer.sends(seq=1, data=b"abc")
    assert sock.recv(10) == b"abc"


def test_a_newer_mark_makes_the_older_byte_an_ordinary_one(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("UA", data=b"aX", urgent=2)
    peer.sends("UA", data=b"bY", urgent=2)
    assert sock.recv(1, OOB) == b"Y"
    assert sock.recv(10) == b"aXb"


def test_an_older_byte_at_the_front_leaves_a_hole(tcp: Tcp, peer: TcpPeer) -> None:
    """As Linux: the reader stood at the old mark when the new one came."""
    sock = tcp.established()
    peer.sends("UA", data=b"aX", urgent=2)
    assert sock.recv(10) == b"a"
    peer.sends("UA", data=b"bY", urgent=2)
    assert sock.recv(1, OOB) == b"Y"
    assert sock.recv(10) == b"b"


def test_an_old_pointer_is_ignored(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("UA", data=b"abX", urgent=3)
    assert sock.recv(1, OOB) == b"X"
    peer.sends("UA", seq=1, data=b"abX", urgent=3)
    assert refused(sock.recv, 1, OOB) == errno.EINVAL
    assert sock.recv(10) == b"ab"


def test_merged_frames_of_one_burst(tcp: Tcp, peer: TcpPeer) -> None:
    """A pointer far ahead, then many segments that arrive as one."""
    sock = tcp.established()
    first = peer.packet("UA", data=b"ab", urgent=2 + 3000 + 1)
    rest = [peer.packet(data=bytes(1000)) for _ in range(3)]
    tcp.wire.sends_burst(first, *rest, peer.packet(data=b"X"), peer.packet(data=b"tail"))
    assert sock.recv(1, OOB) == b"X"
    assert len(sock.recv()) == 3002
    assert sock.recv() == b"tail"


def test_after_the_end(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    peer.sends("UFA", data=b"aX", urgent=2)
    assert sock.recv(1, OOB) == b"X"
    assert sock.recv(10) == b"a"
    assert sock.recv(10) == b""
