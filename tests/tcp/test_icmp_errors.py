"""What ICMP errors do to connections: RFC 1122 4.2.3.9, RFC 5461, RFC 5927, RFC 1191."""

from __future__ import annotations

import errno

import pytest

from tests.kit import frames
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer

NET, HOST, PROTOCOL, PORT, ADMIN = 0, 1, 2, 3, 13


def error(tcp: Tcp, code: int, about: Packet | bytes, mtu: int = 0) -> None:
    quoted = about if isinstance(about, bytes) else about.l3
    tcp.wire.sends(frames.unreachable("198.18.0.99", tcp.wire.here, code, quoted, mtu))


@pytest.mark.parametrize(
    ("code", "err"),
    [(PROTOCOL, errno.ENOPROTOOPT), (PORT, errno.ECONNREFUSED), (ADMIN, errno.EHOSTUNREACH)],
)
def test_a_hard_error_ends_a_connection_attempt(
    tcp: Tcp, peer: TcpPeer, code: int, err: int
) -> None:
    sock = tcp.connects()
    syn = tcp.expects("S")
    with tcp.counts("icmp_errors_applied"):
        error(tcp, code, syn)
    assert (sock.state, sock.take_error()) == ("CLOSED", err)


@pytest.mark.parametrize(("code", "err"), [(NET, errno.ENETUNREACH), (HOST, errno.EHOSTUNREACH)])
def test_a_soft_error_is_said_when_the_attempt_is_given_up(
    tcp: Tcp, peer: TcpPeer, code: int, err: int
) -> None:
    """RFC 1122 4.2.3.9: unreachable networks and hosts may come back."""
    sock = tcp.connects()
    syn = tcp.expects("S")
    error(tcp, code, syn)
    assert sock.state == "SYN_SENT"
    tcp.drain("4min")
    assert (sock.state, sock.take_error()) == ("CLOSED", err)


@pytest.mark.parametrize("code", [NET, HOST, PROTOCOL, PORT, ADMIN])
def test_no_error_ends_an_established_connection(tcp: Tcp, peer: TcpPeer, code: int) -> None:
    """RFC 5927 section 5.2: hard errors are soft ones then."""
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 1000)
    data = tcp.expects(seq=1, len=1000)
    error(tcp, code, data)
    assert sock.state == "ESTABLISHED"
    peer.sends(ack=1001)
    assert sock.take_error() == 0


def test_a_soft_error_explains_the_timeout(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 1000)
    data = tcp.expects(seq=1, len=1000)
    error(tcp, HOST, data)
    tcp.drain("1h")
    assert sock.take_error() == errno.EHOSTUNREACH


def test_progress_forgets_a_soft_error(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 1000)
    error(tcp, HOST, tcp.expects(seq=1, len=1000))
    peer.sends(ack=1001)
    tcp.sends(sock, 1000)
    tcp.drain("1h")
    assert sock.take_error() == errno.ETIMEDOUT


@pytest.mark.parametrize("seq", [0, 5000, 0x7000_0000])
def test_a_forged_error_is_ignored(tcp: Tcp, peer: TcpPeer, seq: int) -> None:
    """RFC 5927 section 4.1: the quoted sequence number must be one in flight."""
    sock = tcp.connects()
    syn = tcp.expects("S")
    quoted = bytearray(syn.l3)
    quoted[24:28] = (peer.stack_seq(seq) + 1 & 0xFFFFFFFF).to_bytes(4, "big")
    with tcp.counts("drop_icmp_out_of_window"), tcp.counts("icmp_errors_applied", 0):
        error(tcp, PORT, bytes(quoted))
    assert sock.state == "SYN_SENT"


def test_an_error_about_nothing_of_ours(tcp: Tcp, peer: TcpPeer) -> None:
    foreign = frames.tcp("198.18.0.77", "198.18.0.2", _segment())
    with tcp.counts("drop_icmp_no_owner"):
        error(tcp, PORT, foreign)
    unknown = frames.tcp(tcp.wire.here, "198.18.0.2", _segment())
    error(tcp, PORT, unknown)
    tcp.expects_nothing()


def _segment() -> frames.Segment:
    return frames.Segment(1, 2)
