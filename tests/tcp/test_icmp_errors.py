"""What ICMP errors do to connections: RFC 1122 4.2.3.9, RFC 5461, RFC 5927, RFC 1191."""

from __future__ import annotations

import dataclasses
import errno

import pytest
from barewire.stack.icmp import icmp

from tests.kit import frames
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import ERR

NET, HOST, PROTOCOL, PORT, ADMIN = 0, 1, 2, 3, 13


def error(tcp: Tcp, code: int, about: Packet | bytes, mtu: int = 0) -> None:
    quoted = about if isinstance(about, bytes) else about.l3
    tcp.wire.sends(frames.unreachable("198.18.0.99", tcp.wire.here, code, quoted, mtu))


# Linux's errno of each code of "unreachable"; 4 is "fragmentation needed".
UNREACHABLE = {
    NET: errno.ENETUNREACH, HOST: errno.EHOSTUNREACH, PROTOCOL: errno.ENOPROTOOPT,
    PORT: errno.ECONNREFUSED, 5: errno.EOPNOTSUPP, 6: errno.ENETUNREACH, 7: errno.EHOSTDOWN,
    8: errno.ENONET, 9: errno.ENETUNREACH, 10: errno.EHOSTUNREACH, 11: errno.ENETUNREACH,
    12: errno.EHOSTUNREACH, ADMIN: errno.EHOSTUNREACH, 14: errno.EHOSTUNREACH, 15: errno.EHOSTUNREACH,
}  # fmt: skip
ENDING = [(icmp.Unreachable(code), err) for code, err in UNREACHABLE.items()] + [
    (icmp.TimeExceeded(0), errno.EHOSTUNREACH),
    (icmp.ParameterProblem(0), errno.EPROTO),
    (icmp.ParameterProblem(20, code=1), errno.EPROTO),
]
GONE = {NET, HOST, "TimeExceeded", "ParameterProblem"}  # what a half-open child believes


def sends_error(tcp: Tcp, message: icmp.ErrorMessage, about: Packet) -> None:
    quoting = dataclasses.replace(message, quoted=about.l3[:28])
    tcp.wire.sends(frames.icmp_message("198.18.0.99", tcp.wire.here, quoting))


def name_of(message: object) -> str:
    kind, code = type(message).__name__, getattr(message, "code", "")
    return f"{kind}-{code}" if isinstance(message, icmp.ErrorMessage) else str(message)


@pytest.mark.parametrize(("message", "err"), ENDING, ids=name_of)
def test_an_error_ends_a_connection_attempt(
    tcp: Tcp, peer: TcpPeer, message: icmp.ErrorMessage, err: int
) -> None:
    """At once, whether it is hard or soft, as on Linux (RFC 5461 4.1 lets us)."""
    sock = tcp.connects()
    syn = tcp.expects("S")
    with tcp.counts("icmp_errors_applied"):
        sends_error(tcp, message, syn)
    assert (sock.state, sock.ready & ERR, sock.take_error()) == ("CLOSED", ERR, err)
    tcp.expects_nothing("4min")


def test_an_error_ends_a_simultaneous_open(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.connects()
    tcp.expects("S")
    peer.sends("S", seq=0)
    answer = tcp.expects("SA")
    sends_error(tcp, icmp.Unreachable(PORT), answer)
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ECONNREFUSED)


@pytest.mark.parametrize("message", [message for message, _ in ENDING], ids=name_of)
def test_a_half_open_child_ends_where_nobody_is_there(
    tcp: Tcp, peer: TcpPeer, message: icmp.ErrorMessage
) -> None:
    """Net or host unreachable, time exceeded, parameter problem; the others it does not believe."""
    listener = tcp.listens()
    peer.sends("S", seq=0)
    sends_error(tcp, message, tcp.expects("SA"))
    peer.sends(ack=1)
    code = message.code if isinstance(message, icmp.Unreachable) else type(message).__name__
    if code in GONE:
        tcp.expects("R", seq=1)
        assert not listener.readable
    else:
        assert listener.accept().state == "ESTABLISHED"


@pytest.mark.parametrize("message", [icmp.TimeExceeded(1), icmp.Unreachable(16)], ids=name_of)
def test_what_is_nothing_to_a_socket(tcp: Tcp, peer: TcpPeer, message: icmp.ErrorMessage) -> None:
    """Time exceeded in reassembly, and codes that nobody knows, as on Linux."""
    sock = tcp.connects()
    syn = tcp.expects("S")
    with tcp.counts("drop_icmp_changes_nothing"):
        sends_error(tcp, message, syn)
    assert (sock.state, sock.take_error()) == ("SYN_SENT", 0)


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
