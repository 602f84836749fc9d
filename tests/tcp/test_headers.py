"""Malformed headers and options: dropped, each with its name."""

from __future__ import annotations

import pytest
from barewire.stack.tcp import Mss, Nop, UnknownOption

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer


def test_shorter_than_a_header(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    with tcp.counts("drop_tcp_short"):
        tcp.wire.sends(frames.ip(tcp.wire.there, tcp.wire.here, 6, b"\x13\x88\x00\x50" + bytes(15)))
    with tcp.counts("drop_tcp_short"):
        tcp.wire.sends(frames.ip(tcp.wire.there, tcp.wire.here, 6, b""))
    tcp.expects_nothing()


@pytest.mark.parametrize("offset", [0, 1, 4, 15])
def test_a_data_offset_that_lies(tcp: Tcp, peer: TcpPeer, offset: int) -> None:
    tcp.listens()
    packet = frames.patched(peer.packet("S", seq=0), 20 + 12, offset << 4)
    with tcp.counts("drop_tcp_data_offset"):
        tcp.wire.sends(packet)
    tcp.expects_nothing()


def test_a_wrong_checksum(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    with tcp.counts("drop_tcp_checksum"):
        tcp.wire.sends(frames.wrong_sum(peer.packet(len=100)))
    tcp.expects_nothing("1s")
    assert sock.unread == 0


@pytest.mark.parametrize("which", [0, 2], ids=["source", "destination"])
def test_port_zero(tcp: Tcp, peer: TcpPeer, which: int) -> None:
    peer.stack_port = 80
    packet = peer.packet("S", seq=0)
    for byte in (20 + which, 21 + which):
        packet = frames.patched(packet, byte, 0)
    with tcp.counts("drop_tcp_port_zero"):
        tcp.wire.sends(packet)
    tcp.expects_nothing()


@pytest.mark.parametrize(
    "options",
    [
        b"\x02\x00\x05\xb4",  # a length of 0 would loop
        b"\x02\x01\x05\xb4",
        b"\x01\x01\x01\x02",  # cut after the kind
        b"\x01\x01\x08\x0a",  # longer than the header
        b"\x02\xff\x05\xb4",
    ],
    ids=lambda options: options.hex(),
)
def test_options_that_lie_about_their_length(tcp: Tcp, peer: TcpPeer, options: bytes) -> None:
    """What stood before them counts, as on Linux, and what follows is not read."""
    listener = tcp.listens()
    packet = bytearray(peer.packet("S", seq=0, options=(Mss(700), Mss(1), Mss(2))))
    packet[44:48] = options
    with tcp.counts("tcp_option_lists_broken"):
        tcp.wire.sends(frames.mended(bytes(packet)))
    tcp.expects("SA")
    peer.sends(ack=1)
    assert listener.accept().inside.mss == 700


def test_data_with_a_broken_option_list_is_data(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(ts=True)
    packet = bytearray(peer.packet(len=100))
    packet[40:44] = b"\x08\x00\x08\x00"
    with tcp.counts("tcp_option_lists_broken"):
        tcp.wire.sends(frames.mended(bytes(packet)))
    tcp.expects(ack=101)
    tcp.reads(sock, 100)


def test_unknown_options_are_skipped(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0, options=(UnknownOption(254, b"abcd"), Nop(), Mss(700)))
    tcp.expects("SA")
    peer.sends(ack=1)
    assert tcp._listener is not None
    sock = tcp._listener.accept()
    assert sock.inside.mss == 700


def test_known_options_of_a_wrong_length_are_skipped(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    peer.sends("S", seq=0, options=(UnknownOption(2, b"a"), UnknownOption(3, b"ab"), Mss(700)))
    tcp.expects("SA")


def test_nothing_behind_the_end_of_options_counts(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.listens()
    packet = bytearray(peer.packet("S", seq=0, options=(Nop(), Nop(), Nop(), Nop(), Mss(700))))
    packet[40] = 0
    tcp.wire.sends(frames.mended(bytes(packet)))
    tcp.expects("SA")
    peer.sends(ack=1)
    assert tcp._listener is not None
    assert tcp._listener.accept().inside.mss == 536


def test_tcp_to_a_broadcast_address_is_dropped(tcp: Tcp, peer: TcpPeer) -> None:
    """RFC 9293 3.9.2.3."""
    tcp.listens()
    packet = peer.packet("S", seq=0)
    broadcast = frames.mended(packet[:16] + bytes([198, 18, 0, 255]) + packet[20:])
    with tcp.counts("drop_tcp_broadcast"):
        tcp.wire.sends(broadcast)
    tcp.expects_nothing()


@pytest.mark.parametrize("flags", ["SF", "SR", "SRF", "FSRPAU", "SFA", "", "U", "F"])
@pytest.mark.parametrize("state", ["listen", "syn_sent", "established", "time_wait"])
def test_no_combination_of_flags_breaks_anything(
    tcp: Tcp, peer: TcpPeer, flags: str, state: str
) -> None:
    if state == "listen":
        tcp.listens()
    elif state == "syn_sent":
        tcp.connects()
        tcp.expects("S")
    else:
        sock = tcp.established()
        if state == "time_wait":
            sock.shutdown()
            tcp.run("0s")
            tcp.expects("FA")
            peer.sends("FA", ack=2)
    tcp.drain()
    for seq in (0, 1, 2, 1000, 0x8000_0000):
        for size in (0, 10):
            peer.sends(flags, seq=seq, len=size)
    tcp.drain("10min")
    assert tcp.stack.counters()["tcp_bad_state_transition"] == 0
