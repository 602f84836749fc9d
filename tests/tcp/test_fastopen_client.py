"""TCP Fast Open (RFC 7413) as a client: cookies asked for, kept, used, and given up."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from barewire.stack.tcp import FastOpen, Mss, Nop, SackPermitted, Timestamps, WindowScale

from tests.kit.checks import has_option
from tests.kit.frames import pattern
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock

MSG_FASTOPEN = 0x20000000
COOKIE = b"server's"
NO_OPTION = ~has_option("fast_open")


def learns_cookie(tcp: Tcp, cookie: bytes = COOKIE, mss: int = 1460, **options: int) -> None:
    """A first connection: the SYN asks, the server gives."""
    sock = tcp.connects(tcp.wire.tcp().set(fastopen_connect=1, **options))
    tcp.expects("S", seq=0, len=0, check=has_option("fast_open", b""))
    tcp.peer.sends("SA", seq=0, ack=1, options=(Mss(mss), FastOpen(cookie)))
    tcp.expects("A", seq=1, ack=1)
    sock.abort()
    tcp.drain()
    tcp.peer.begin()


SYN_DATA = 32  # of tcpi_options


def fast(tcp: Tcp, **options: int) -> Sock:
    """A socket that is connected in name."""
    sock = tcp.wire.tcp().set(fastopen_connect=1, **options)
    assert sock.connect_ex(tcp.peer.address, tcp.peer.port) == 0
    tcp.expects_nothing("1s", why="the SYN waits for data")
    assert sock.writable and not sock.readable
    assert sock.connect_ex(tcp.peer.address, tcp.peer.port) == errno.EISCONN
    return sock


def test_the_syn_takes_the_data_along(tcp: Tcp, peer: TcpPeer) -> None:
    """4.1.2, 4.2.2."""
    learns_cookie(tcp)
    sock = fast(tcp)
    assert sock.send(pattern(500)) == 500
    tcp.run("0s")
    syn = tcp.expects("S", seq=0, len=500, check=has_option("fast_open", COOKIE)).tcp
    assert syn is not None and syn.payload == pattern(500)
    assert not sock.writable, "what more is written waits for the SYN,ACK"
    with tcp.counts("tcp_fastopen_active"):
        peer.sends("SA", seq=0, ack=501, mss=1460)
    tcp.expects("A", seq=501, ack=1, len=0)
    assert (sock.state, sock.unacked, sock.take_error()) == ("ESTABLISHED", 0, 0)
    assert sock.info.tcpi_options & SYN_DATA
    peer.sends(len=100)
    tcp.expects(ack=101)


def test_what_the_syn_cannot_take_follows(tcp: Tcp, peer: TcpPeer) -> None:
    """4.1.3: no more than the server's MSS of last time, less the options."""
    learns_cookie(tcp, mss=1000)
    sock = fast(tcp)
    sock.send(pattern(3000))
    tcp.run("0s")
    tcp.expects("S", seq=0, len=960)
    peer.sends("SA", seq=0, ack=961, mss=1000)
    sizes = [len(p.tcp.payload) for p in tcp.drain() if p.tcp]
    assert sum(sizes) == 3000 - 960 and max(sizes) == 1000


@pytest.mark.parametrize("taken", [0, 200])
def test_data_that_is_not_taken_goes_again_at_once(tcp: Tcp, peer: TcpPeer, taken: int) -> None:
    learns_cookie(tcp)
    sock = fast(tcp)
    sock.send(pattern(500))
    tcp.run("0s")
    tcp.expects("S", len=500)
    with tcp.counts("tcp_fastopen_active" if taken else "tcp_fastopen_active_fail"):
        peer.sends("SA", seq=0, ack=1 + taken, mss=1460)
    again = tcp.expects("A", seq=1 + taken, ack=1, len=500 - taken).tcp
    assert again is not None and again.payload == pattern(500)[taken:]
    peer.sends("A", ack=501)
    assert (sock.unacked, sock.inside.cwnd >= 10 * sock.inside.mss) == (0, True)
    tcp.expects_nothing("5s")


def test_the_syn_comes_again_plain(tcp: Tcp, peer: TcpPeer) -> None:
    """4.1.3.1, 4.2.2: without option and data; the server may yet have had the first."""
    learns_cookie(tcp)
    sock = fast(tcp)
    sock.send(pattern(500))
    tcp.run("0s")
    tcp.expects("S", len=500)
    tcp.expects("S", len=0, check=NO_OPTION, after="1s")
    peer.sends("SA", seq=0, ack=501, mss=1460)
    tcp.expects("A", seq=501)
    assert sock.unacked == 0
    sock.abort()
    tcp.drain()
    peer.begin()
    fast(tcp)


def test_a_black_hole_is_remembered(tcp: Tcp, peer: TcpPeer) -> None:
    """Only the plain SYN is answered, and nothing of the data is known: something on the way drops
    the option. Twice as long each time."""
    learns_cookie(tcp)
    for pause in (60, 120):
        sock = fast(tcp)
        sock.send(pattern(500))
        tcp.run("0s")
        tcp.expects("S", len=500)
        tcp.expects("S", len=0, check=NO_OPTION, after="1s")
        with tcp.counts("tcp_fastopen_blackholes"):
            peer.sends("SA", seq=0, ack=1, mss=1460)
        tcp.expects("A", seq=1, len=500)
        peer.sends("A", ack=501)
        sock.abort()
        tcp.drain()
        peer.begin()
        plain = tcp.connects(tcp.wire.tcp().set(fastopen_connect=1))
        tcp.expects("S", len=0, check=NO_OPTION, why="a plain handshake for a while")
        plain.abort()
        tcp.drain(f"{pause}s")


def test_a_server_that_does_not_answer_is_remembered(tcp: Tcp, peer: TcpPeer) -> None:
    """4.1.3.1: perhaps it is the option that makes something on the way drop what follows, too."""
    sock = tcp.connects(tcp.wire.tcp().set(fastopen_connect=1, syncnt=2))
    tcp.expects("S", check=has_option("fast_open", b""))
    with tcp.counts("tcp_fastopen_blackholes"):
        tcp.drain("1min")
    assert sock.take_error() == errno.ETIMEDOUT
    tcp.connects(tcp.wire.tcp().set(fastopen_connect=1))
    tcp.expects("S", check=NO_OPTION)


def test_a_cookie_that_did_not_help_is_forgotten(tcp: Tcp, peer: TcpPeer) -> None:
    """4.1.3.1: the SYN,ACK leaves the data and brings no other cookie: the next SYN asks for one."""
    learns_cookie(tcp)
    sock = fast(tcp)
    sock.send(pattern(500))
    tcp.run("0s")
    tcp.expects("S", len=500)
    peer.sends("SA", seq=0, ack=1, mss=1460)
    tcp.expects("A", seq=1, len=500)
    sock.abort()
    tcp.drain()
    peer.begin()
    learns_cookie(tcp)
    fast(tcp)


def test_no_cookie_comes_back(tcp: Tcp, peer: TcpPeer) -> None:
    """The server does not speak Fast Open: an ordinary connection, and nothing remembered."""
    for _ in range(2):
        sock = tcp.connects(tcp.wire.tcp().set(fastopen_connect=1))
        tcp.expects("S", check=has_option("fast_open", b""))
        peer.sends("SA", seq=0, ack=1, mss=1460)
        tcp.expects("A")
        assert sock.writable
        sock.abort()
        tcp.drain()
        peer.begin()


def test_sendto_with_msg_fastopen(tcp: Tcp, peer: TcpPeer) -> None:
    """tcp(7): EINPROGRESS without a cookie, the bytes taken with one."""
    first = tcp.wire.tcp()
    to = (peer.address, peer.port)
    with pytest.raises(BlockingIOError) as caught:
        first.sendto(b"hello", *to, MSG_FASTOPEN)
    assert caught.value.errno == errno.EINPROGRESS
    tcp.run("0s")
    tcp.expects("S", len=0, check=has_option("fast_open", b""))
    with pytest.raises(OSError) as again:
        first.sendto(b"hello", *to, MSG_FASTOPEN)
    assert again.value.errno == errno.EALREADY
    peer.sends("SA", seq=0, ack=1, options=(Mss(1460), FastOpen(COOKIE)))
    tcp.expects("A")
    assert first.sendto(b"hello", *to, MSG_FASTOPEN) == 5, "now it has connected"
    tcp.run("0s")
    tcp.expects("A", len=5)
    with pytest.raises(OSError) as connected:
        first.sendto(b"hello", *to, MSG_FASTOPEN)
    assert connected.value.errno == errno.EISCONN
    first.abort()
    tcp.drain()
    peer.begin()
    second = tcp.wire.tcp()
    assert second.sendto(b"hello", *to, MSG_FASTOPEN) == 5
    tcp.run("0s")
    tcp.expects("S", len=5, check=has_option("fast_open", COOKIE))
    peer.sends("RA", seq=0, ack=6)
    assert second.take_error() == errno.ECONNREFUSED


def test_a_client_may_do_without_cookies(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.wire.tcp().set(fastopen_connect=1, fastopen_no_cookie=1)
    assert sock.connect_ex(peer.address, peer.port) == 0
    sock.send(b"hello")
    tcp.run("0s")
    tcp.expects("S", len=5, check=NO_OPTION)


def test_a_long_cookie_fits_beside_every_other_option(tcp: Tcp, peer: TcpPeer) -> None:
    learns_cookie(tcp, bytes(range(16)))
    sock = fast(tcp)
    sock.send(b"x")
    tcp.run("0s")
    syn = tcp.expects("S", len=1, check=has_option("fast_open", bytes(range(16)))).tcp
    kinds: tuple[type[Any], ...] = (Mss, SackPermitted, Timestamps, WindowScale, FastOpen)
    assert syn is not None and {type(o) for o in syn.options} - {Nop} == set(kinds)


def test_a_deferred_connection_that_is_closed_sends_nothing(tcp: Tcp, peer: TcpPeer) -> None:
    learns_cookie(tcp)
    sock = fast(tcp)
    sock.set(nodelay=1)
    with pytest.raises(BlockingIOError):
        sock.recv()
    sock.close()
    tcp.expects_nothing("1min")
    assert tcp.stack.stats()["sockets"] == 0


def test_two_opens_cross_with_data(tcp: Tcp, peer: TcpPeer) -> None:
    """Simultaneous open: our SYN had data, the peer's SYN,ACK acknowledges it or does not."""
    learns_cookie(tcp)
    sock = fast(tcp)
    sock.send(pattern(100))
    tcp.run("0s")
    tcp.expects("S", len=100)
    peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", seq=0, ack=1)
    peer.sends("SA", seq=0, ack=101, mss=1460)
    assert (sock.state, sock.unacked) == ("ESTABLISHED", 0)


def test_the_second_address_has_no_cookie_of_the_first(tcp: Tcp, peer: TcpPeer) -> None:
    learns_cookie(tcp)
    peer.address = "198.18.0.77"
    tcp.connects(tcp.wire.tcp().set(fastopen_connect=1))
    tcp.expects("S", len=0, check=has_option("fast_open", b""))


def test_both_open_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    """The option has no place in the SYN,ACK, and what the SYN took along goes again: the peer, who
    opened too, has not taken it."""
    learns_cookie(tcp)
    sock = fast(tcp)
    sock.send(pattern(500))
    tcp.run("0s")
    tcp.expects("S", seq=0, len=500, check=has_option("fast_open", COOKIE))
    peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", seq=0, ack=1, len=0, check=NO_OPTION)
    peer.sends("SA", seq=0, ack=1, mss=1460)
    again = tcp.expects("A", seq=1, ack=1, len=500).tcp
    assert again is not None and again.payload == pattern(500)
    peer.sends("A", ack=501)
    assert (sock.state, sock.unacked) == ("ESTABLISHED", 0)
    tcp.expects_nothing("5s")


def test_asking_for_a_cookie_while_both_open_at_once(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.connects(tcp.wire.tcp().set(fastopen_connect=1))
    tcp.expects("S", seq=0, len=0, check=has_option("fast_open", b""))
    peer.sends("S", seq=0, mss=1460)
    tcp.expects("SA", seq=0, ack=1, check=NO_OPTION)


@pytest.mark.parametrize("known", [False, True], ids=["without a cookie", "with a cookie"])
def test_an_empty_write_is_in_progress(tcp: Tcp, peer: TcpPeer, known: bool) -> None:
    """MSG_FASTOPEN without data connects and says so, as on Linux."""
    if known:
        learns_cookie(tcp)
    sock = tcp.wire.tcp()
    with pytest.raises(BlockingIOError) as caught:
        sock.sendto(b"", peer.address, peer.port, MSG_FASTOPEN)
    assert caught.value.errno == errno.EINPROGRESS
    tcp.expects("S", seq=0, len=0, check=has_option("fast_open", COOKIE if known else b""))
