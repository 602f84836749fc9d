"""What RFC 9293 Appendix B asks for and no other topic shows, each by its label there."""

from __future__ import annotations

import dataclasses
import errno

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.tcp import Mss, Nop, Option, Segment, UnknownOption

from tests.kit import frames
from tests.kit.checks import has_option, is_ip
from tests.kit.clock import SECOND
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer


def size(packets: list[Packet]) -> int:
    return sum(len(p.tcp.payload) for p in packets if p.tcp)


# ---- windows -------------------------------------------------------------------------------------


def test_the_window_is_an_unsigned_number(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-1: with its highest bit set it is large, not negative."""
    sock = tcp.established(mss=1000, wnd=65_535)
    assert sock.inside.snd_wnd == 65_535
    tcp.transfers(sock, 500_000)
    tcp.sends(sock, 200_000)
    assert 32_768 < size(tcp.drain("20ms")) <= 65_535


def test_data_beyond_a_shrunken_window_does_not_time_out(tcp: Tcp, peer: TcpPeer) -> None:
    """SHLD-16, SHLD-17, MUST-35: what is sent again probes the window, and the peer lives."""
    sock = tcp.established(mss=1000, wnd=5000)
    tcp.sends(sock, 5000)
    tcp.drain()
    peer.sends(ack=1001, wnd=0)
    for _ in range(60):
        tcp.expects("A", seq=1001, within="61s")
        peer.sends(ack=1001, wnd=0)
        tcp.drain()
    assert sock.state == "ESTABLISHED"
    peer.sends(ack=1001, wnd=5000)
    tcp.drain("2min")
    peer.sends(ack=5001)
    assert sock.unacked == 0


def test_data_beyond_a_shrunken_window_of_a_dead_peer_times_out(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, wnd=5000)
    tcp.sends(sock, 5000)
    tcp.drain()
    peer.sends(ack=1001, wnd=0)
    tcp.drain("1h")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["A", "FA"])
@pytest.mark.parametrize(
    "options",
    [
        (UnknownOption(253, b"abcdef"),),
        (Nop(), UnknownOption(77, b""), Nop(), Mss(100)),
        (UnknownOption(254, b"x"), Mss(9000), Nop(), Nop()),
    ],
    ids=["unknown", "mss", "misaligned"],
)
def test_options_may_stand_in_any_segment(
    tcp: Tcp, peer: TcpPeer, flags: str, options: tuple[Option, ...]
) -> None:
    """MUST-5, MUST-6, MUST-64; and an MSS outside a SYN means nothing."""
    sock = tcp.established(mss=1000)
    peer.sends(flags, len=100, options=options)
    tcp.expects("A", ack=101 + (flags == "FA"))
    tcp.reads(sock, 100)
    assert sock.inside.mss == 1000
    tcp.sends(sock, 100)
    tcp.expects(seq=1, len=100)
    peer.sends(ack=101, options=options)
    assert sock.unacked == 0
    peer.sends("R", options=options)
    assert sock.state == "CLOSED"


def test_only_syns_have_an_mss_option(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-65."""
    none = ~has_option("mss")
    sock = tcp.established(active=True, ts=True, sack=True, wscale=7)
    tcp.sends(sock, 100)
    tcp.expects(len=100, check=none)
    peer.sends(len=100)
    tcp.expects("A", ack=101, check=none)
    peer.sends(seq=201, len=100)
    tcp.expects("A", ack=101, check=has_option("sack") & none)
    sock.shutdown()
    tcp.run("0s")
    tcp.expects("FA", check=none)
    sock.abort()
    tcp.run("0s")
    tcp.expects("RA", check=none)


def test_our_options_fill_the_header_without_padding(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-69, MUST-68: NOPs align, and each option has its length; no octet is left over."""
    sock = tcp.established(active=True, ts=True, sack=True, wscale=7)
    tcp.sends(sock, 100)
    peer.sends(seq=201, len=100)
    tcp.closes(sock)
    tcp.connects(tcp.wire.tcp().set(sack=0))
    seen = [p for p in tcp.drain("3s") if p.tcp]
    assert len(seen) >= 4
    for packet in seen:
        assert packet.tcp is not None
        written = sum(len(o.build()) for o in packet.tcp.options)
        assert written == (packet.l3[20 + 12] >> 4) * 4 - 20


def test_the_codec_pads_options_with_zeros() -> None:
    """MUST-69."""
    raw = Segment(1, 2, options=(UnknownOption(254, b"x"),)).build(
        frames.IPv4Address("198.18.0.1"), frames.IPv4Address("198.18.0.2")
    )
    assert raw[20:] == b"\xfe\x03x\x00"


def test_the_mss_option_is_not_the_paths(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-67 and section 3.7.2: what we may receive is the interface's matter, and a small path MTU
    learned in one direction says nothing of the other."""
    sock = tcp.established(mss=1460)
    tcp.sends(sock, 1460)
    about = tcp.expects(seq=1).l3
    tcp.wire.sends(frames.unreachable("198.18.0.99", tcp.wire.here, 4, about, 1000))
    tcp.drain()
    assert sock.inside.mss == 960
    other = tcp.another_peer(6000)
    other.sends("S", seq=0, mss=1460)
    tcp.expects("SA", to=other, check=has_option("mss", 1460))


# ---- opening and closing -------------------------------------------------------------------------


def test_a_reset_in_simultaneous_open_refuses(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-11: SYN-RECEIVED knows that it came from an active OPEN, and tells its user."""
    sock = tcp.connects()
    tcp.expects("S")
    peer.sends("S", seq=0)
    tcp.expects("SA")
    peer.sends("R", seq=1)
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ECONNREFUSED)


def test_a_failed_listen_harms_nobody(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-41."""
    sock = tcp.established()
    half_open = tcp.another_peer(6000)
    half_open.sends("S", seq=0)
    tcp.expects("SA", to=half_open)
    with pytest.raises(OSError) as caught:
        tcp.wire.tcp().set(reuseaddr=1).bind("0.0.0.0", 80).listen()
    assert caught.value.errno == errno.EADDRINUSE
    half_open.sends("A", seq=1, ack=1)
    assert tcp._listener is not None
    assert tcp._listener.accept().state == "ESTABLISHED"
    peer.sends(len=10)
    tcp.expects("A", ack=11)
    tcp.reads(sock, 10)


@pytest.mark.parametrize("state", ["SYN_SENT", "SYN_RCVD"])
def test_one_may_listen_on_a_port_that_is_connecting(tcp: Tcp, peer: TcpPeer, state: str) -> None:
    """MUST-42."""
    sock = tcp.wire.tcp().set(reuseaddr=1).bind(tcp.wire.here, 4000)
    tcp.connects(sock)
    tcp.expects("S")
    if state == "SYN_RCVD":
        peer.sends("S", seq=0)
        tcp.expects("SA")
    assert sock.state == state
    listener = tcp.wire.tcp().set(reuseaddr=1).bind(tcp.wire.here, 4000).listen()
    other = tcp.another_peer(6000)
    other.stack_port = 4000
    other.sends("S", seq=0)
    tcp.expects("SA", to=other)
    other.sends(ack=1)
    assert listener.accept().peer == (other.address, 6000)
    assert sock.state == state


def test_a_reset_may_carry_data(tcp: Tcp, peer: TcpPeer) -> None:
    """SHLD-2: the cause in words, which nobody reads as part of the stream."""
    sock = tcp.established()
    peer.sends("RA", data=b"because")
    assert sock.state == "CLOSED"
    with pytest.raises(ConnectionResetError):
        sock.recv()
    tcp.expects_nothing("1min")


@pytest.mark.parametrize("address", ["224.0.0.1", "255.255.255.255", "198.18.0.255"])
@pytest.mark.parametrize("flags", ["S", "A"])
def test_tcp_for_many_is_dropped_silently(
    tcp: Tcp, peer: TcpPeer, address: str, flags: str
) -> None:
    """MUST-57, and what 3.9.2.3 says of segments that are no SYN."""
    tcp.listens()
    packet = peer.packet(flags, seq=0)
    many = frames.mended(packet[:16] + frames.IPv4Address(address).packed + packet[20:])
    with tcp.counts("drop_tcp_broadcast"):
        tcp.wire.sends(many)
    tcp.expects_nothing("1min")


@pytest.mark.parametrize(
    "source", ["0.0.0.0", "255.255.255.255", "198.18.0.255", "224.0.0.1", "198.18.0.1"]
)
def test_a_syn_from_an_address_nobody_has_is_dropped(tcp: Tcp, peer: TcpPeer, source: str) -> None:
    """MUST-63."""
    tcp.listens()
    packet = peer.packet("S", seq=0)
    forged = frames.mended(packet[:12] + frames.IPv4Address(source).packed + packet[16:])
    with tcp.counts("drop_ip_bad_source"):
        tcp.wire.sends(forged)
    tcp.expects_nothing("1min")
    assert tcp.stack.stats()["sockets"] == 1


def test_the_local_address_stays_what_it_was(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-43, MUST-44, MUST-45: bound, or chosen with the first SYN; then for every segment."""
    tcp.stack.add_address("198.18.0.7/24")
    chosen = tcp.connects()
    assert chosen.name[0] == tcp.wire.here
    tcp.expects("S", check=is_ip(src=tcp.wire.here))
    other = tcp.another_peer(6000)
    bound = tcp.wire.tcp().bind("198.18.0.7", 0).connect(other.address, other.port)
    tcp.run("0s")
    tcp.expects("S", to=other, check=is_ip(src="198.18.0.7"))
    assert bound.name[0] == "198.18.0.7"
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A", check=is_ip(src=tcp.wire.here))
    tcp.stack.add_address("198.18.0.8/24")
    tcp.sends(chosen, 10)
    tcp.expects(seq=1, len=10, check=is_ip(src=tcp.wire.here))


# ---- acknowledging, sending, giving up -----------------------------------------------------------


def test_a_burst_is_acknowledged_once(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-58, MUST-59: all that has arrived is processed before an ACK goes out."""
    sock = tcp.established()
    peer.sends(seq=5001, len=500)
    tcp.drain()
    tcp.wire.sends_burst(*[peer.packet(seq=1 + 1000 * i, len=1000) for i in range(5)])
    tcp.expects("A", ack=5501)
    tcp.expects_nothing("1s")
    tcp.reads(sock, 5500)


def test_ttl_of_tcp(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-49, on both ways of opening, and changed in between."""
    sock = tcp.established(active=True, ttl=9)
    tcp.sends(sock, 10)
    tcp.expects(len=10, check=is_ip(ttl=9))
    sock.set(ttl=200)
    tcp.sends(sock, 1460)
    tcp.expects(check=is_ip(ttl=200))
    sock.abort()
    tcp.run("0s")
    tcp.expects("RA", check=is_ip(ttl=200))
    other = tcp.another_peer(6000)
    tcp.listens(ttl=3)
    other.stack_port = 80
    other.sends("S", seq=0)
    tcp.expects("SA", to=other, check=is_ip(ttl=3))


def test_diffserv_of_tcp(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-48, SHLD-21, SHLD-22: as the program said, from the SYN on, and as it says now."""
    sock = tcp.connects(tcp.wire.tcp().set(tos=0x28))
    tcp.expects("S", check=is_ip(tos=0x28))
    peer.sends("SA", seq=0, ack=1)
    tcp.expects("A", check=is_ip(tos=0x28))
    sock.set(tos=0xB8)
    tcp.sends(sock, 10)
    tcp.expects(seq=1, len=10, check=is_ip(tos=0xB8))


@pytest.mark.parametrize("options", [b"\x94\x04\x00\x00", b"\x1e\x04\x00\x00"])
def test_ip_options_are_ignored(tcp: Tcp, peer: TcpPeer, options: bytes) -> None:
    """MUST-50: router alert, and one that nobody knows."""
    sock = tcp.established()
    packet = peer.packet(len=100)
    header = bytearray(packet[:20])
    header[0] = 0x46
    header[2:4] = (len(packet) + 4).to_bytes(2, "big")
    tcp.wire.sends(frames.mended(bytes(header) + options + packet[20:]))
    tcp.drain("1s")
    tcp.reads(sock, 100)


def test_the_user_timeout_may_be_longer_than_ours(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-21: a program sets R2, here to ten hours."""
    sock = tcp.established(user_timeout=10 * 3600 * 1000)
    tcp.sends(sock, 1000)
    tcp.drain("9h")
    assert sock.state == "ESTABLISHED"
    tcp.drain("2h")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_data_is_sent_again_for_more_than_100_seconds(tcp: Tcp, peer: TcpPeer) -> None:
    """SHLD-11, on the shortest timeout there is."""
    sock = tcp.established()
    assert sock.inside.rto <= SECOND
    tcp.sends(sock, 1000)
    begin = tcp.clock.now
    sent = tcp.drain("1h")
    assert sent[-1].time - begin > 100 * SECOND


def test_a_syn_is_sent_again_for_three_minutes(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-22, MUST-23."""
    begin = tcp.clock.now
    sock = tcp.connects()
    tcp.drain("179s")
    assert sock.state == "SYN_SENT"
    tcp.drain("10min")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)
    assert tcp.clock.now > begin


# ---- errors --------------------------------------------------------------------------------------


def test_a_soft_error_can_be_asked_for(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-47, MUST-54, SHLD-25: SO_ERROR tells it, once, and the connection goes on."""
    sock = tcp.established()
    tcp.sends(sock, 1000)
    about = tcp.expects(seq=1).l3
    tcp.wire.sends(frames.unreachable("198.18.0.99", tcp.wire.here, 1, about))
    assert sock.take_error() == errno.EHOSTUNREACH
    assert sock.take_error() == 0
    peer.sends(ack=1001)
    assert (sock.state, sock.unacked) == ("ESTABLISHED", 0)


@pytest.mark.parametrize(
    ("message", "err"),
    [(icmp.TimeExceeded(0), errno.EHOSTUNREACH), (icmp.ParameterProblem(0), errno.EPROTO)],
    ids=["ttl", "parameter"],
)
def test_soft_errors_of_other_kinds_end_no_connection(
    tcp: Tcp, peer: TcpPeer, message: icmp.TimeExceeded | icmp.ParameterProblem, err: int
) -> None:
    """MUST-56."""
    sock = tcp.established()
    tcp.sends(sock, 1000)
    about = tcp.expects().l3[:28]
    with tcp.counts("icmp_errors_applied"):
        quoting = dataclasses.replace(message, quoted=about)
        tcp.wire.sends(frames.icmp_message("198.18.0.99", tcp.wire.here, quoting))
    assert (sock.state, sock.take_error()) == ("ESTABLISHED", err), "a program may ask"


def test_source_quench_is_discarded(tcp: Tcp, peer: TcpPeer) -> None:
    """MUST-55."""
    sock = tcp.established(mss=1000)
    tcp.sends(sock, 5000)
    about = tcp.expects(seq=1).l3[:28]
    tcp.drain("0s")
    before = sock.inside.cwnd
    quench = icmp.Other(4, data=about)
    with tcp.counts("icmp_errors_applied", 0):
        tcp.wire.sends(frames.icmp_message("198.18.0.99", tcp.wire.here, quench))
    tcp.expects_nothing()
    assert (sock.inside.cwnd, sock.take_error()) == (before, 0)


def test_every_connection_over_the_path_is_told(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 1191 section 6.2: one that was there before sends its next segments smaller, too."""
    one = tcp.established(mss=1460)
    other = tcp.another_peer(6000)
    two = tcp.established(mss=1460, peer=other)
    tcp.sends(one, 1460)
    about = tcp.expects(seq=1, len=1460).l3
    tcp.wire.sends(frames.unreachable("198.18.0.99", tcp.wire.here, 4, about, 1000))
    tcp.drain()
    tcp.sends(two, 1920, to=other)
    tcp.expects(seq=1, len=960, to=other)


def test_the_user_timeout_can_be_changed_meanwhile(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 5482 section 1: while data waits for its acknowledgment."""
    sock = tcp.established(user_timeout=5000)
    tcp.sends(sock, 1000)
    tcp.drain("4s")
    sock.set(user_timeout=60_000)
    tcp.drain("40s")
    assert sock.state == "ESTABLISHED"
    sock.set(user_timeout=1000)
    tcp.drain("1min")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)
