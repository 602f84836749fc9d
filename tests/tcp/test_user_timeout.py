"""The user timeout: TCP_USER_TIMEOUT, RFC 9293 3.8.3, RFC 5482 (whose option is not spoken)."""

from __future__ import annotations

import errno

from barewire.stack.tcp import UnknownOption

from tests.kit.peer import Tcp, TcpPeer


def test_user_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5482 by TCP_USER_TIMEOUT, ms."""
    sock = tcp.established(user_timeout=5000)
    tcp.sends(sock, 1000)
    tcp.drain("4.9s")
    assert sock.state == "ESTABLISHED"
    tcp.drain("4s")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_user_timeout_counts_from_the_last_progress(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, user_timeout=5000)
    tcp.sends(sock, 3000)
    for i in range(1, 3):
        tcp.drain("4s")
        peer.sends(ack=1 + 1000 * i)
    tcp.drain("4s")
    assert sock.state == "ESTABLISHED"


def test_it_ends_waiting_for_a_window_too(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(wnd=0, user_timeout=10_000)
    tcp.sends(sock, 100)
    tcp.drain("30s")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_what_is_acknowledged_in_time_does_not_end(tcp: Tcp, peer: TcpPeer) -> None:
    """It bounds how long data may stay unacknowledged, not how long a connection may be quiet."""
    sock = tcp.established(user_timeout=5000)
    tcp.run("1h")
    for _ in range(10):
        tcp.sends(sock, 100)
        tcp.drain("4s")
        peer.sends()
        tcp.drain("1s")
    assert sock.state == "ESTABLISHED"


def test_it_does_not_hasten_a_connection_attempt(tcp: Tcp, peer: TcpPeer) -> None:
    """As on Linux, TCP_SYNCNT bounds that."""
    sock = tcp.wire.tcp().set(user_timeout=1000)
    tcp.connects(sock)
    tcp.drain("10s")
    assert sock.state == "SYN_SENT"


def test_the_option_of_rfc_5482_is_passed_over(tcp: Tcp, peer: TcpPeer) -> None:
    """Kind 28: neither answered nor obeyed."""
    sock = tcp.established()
    peer.sends(len=10, options=(UnknownOption(28, b"\0\x05"),))
    answer = tcp.expects("A", ack=11)
    assert answer.tcp is not None and answer.tcp.options == ()
    tcp.reads(sock, 10)
    tcp.sends(sock, 100)
    tcp.drain("1min")
    assert sock.state == "ESTABLISHED"
