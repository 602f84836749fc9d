"""IPv4 options in (RFC 791 3.1, RFC 1122 3.2.1.8): what is wrong with one is told, what records a route is
brought up to date in the answer. `tests/netns/test_icmp_meets_linux.py` holds the same against the kernel."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4

from tests.kit import frames
from tests.kit.wire import Wire

US = IPv4Address("198.18.0.1").packed
PEER = IPv4Address("198.18.0.2").packed
HOP = bytes([192, 0, 2, 9])


def ping(wire: Wire, options: bytes, **ip: object) -> bytes:
    message = icmp.Echo(1, 1, b"ping")
    return frames.icmp_message(wire.there, wire.here, message, options=options, **ip)


# Options, and which byte of the header is wrong.
BROKEN = {
    "length 0": (bytes([9, 0, 0, 0]), 20),
    "length 1": (bytes([9, 1, 0, 0]), 20),
    "too long": (bytes([9, 9, 0, 0]), 20),
    "cut": (bytes([1, 1, 1, 9]), 23),
    "record route of 2": (bytes([7, 2, 0, 0]), 21),
    "record route before its first place": (bytes([7, 7, 3]) + bytes(5), 22),
    "record route with half a place": (bytes([7, 7, 6]) + bytes(5), 22),
    "two record routes": (bytes([7, 3, 4, 7, 3, 4, 0, 0]), 23),
    "timestamp of 3": (bytes([68, 3, 5, 0]), 21),
    "timestamp before its first place": (bytes([68, 12, 4, 0]) + bytes(8), 22),
    "timestamp with half a place": (bytes([68, 11, 9, 0]) + bytes(8), 22),
    "timestamp without room for an address": (bytes([68, 8, 5, 1]) + bytes(4), 22),
    "timestamp that too many passed": (bytes([68, 8, 9, 0xF0]) + bytes(4), 23),
    "router alert of 3": (bytes([148, 3, 0, 0]), 21),
    "source route of 2": (bytes([131, 2, 0, 0]), 21),
    "source route before its first place": (bytes([131, 7, 3]) + PEER + b"\0", 22),
}


@pytest.mark.parametrize(("options", "at"), BROKEN.values(), ids=BROKEN)
def test_a_broken_option_is_told(wire: Wire, options: bytes, at: int) -> None:
    """RFC 1122 3.2.2.5."""
    about = ping(wire, options)
    with wire.counts("drop_ip_options"):
        wire.sends(about)
    assert wire.expects().icmp == icmp.ParameterProblem(at, about)


def test_not_to_everybody(ether: Wire) -> None:
    """RFC 1122 3.2.2: neither about a broadcast, nor about a later fragment."""
    broken = BROKEN["length 0"][0]
    ether.sends(ping(ether, broken), broadcast=True)
    ether.sends(ping(ether, broken, offset=8))
    ether.expects_nothing("31s")


def answer(wire: Wire, options: bytes) -> bytes:
    wire.sends(ping(wire, options))
    packet = wire.expects()
    assert packet.icmp == icmp.Echo(1, 1, b"ping", reply=True)
    return IPv4.parse(packet.l3).options


# Options of a request, and of the answer.
ECHOED = {
    "record route": (bytes([7, 15, 4]) + bytes(13), bytes([7, 15, 12]) + US * 2 + bytes(5)),
    "on its way": (bytes([7, 15, 8]) + HOP + bytes(9), bytes([7, 15, 16]) + HOP + US * 2 + b"\0"),
    "with one place": (bytes([7, 7, 4]) + bytes(5), bytes([7, 7, 8]) + US + b"\0"),
    "full": (bytes([7, 7, 8]) + HOP + b"\0", bytes([7, 7, 8]) + HOP + b"\0"),
    "with an odd place": (bytes([7, 9, 4]) + bytes(6) + bytes(3), bytes([7, 9, 8]) + US + bytes(5)),
    "behind others": (
        bytes([148, 4, 0, 0, 1, 7, 7, 4]) + bytes(4),
        bytes([7, 7, 8]) + US + b"\0",
    ),
    "others": (bytes([130, 11]) + bytes(9) + b"\0", b""),
    "after the end": (bytes([0, 7, 7, 4]), b""),
    "timestamp, full": (bytes([68, 8, 9, 0]) + HOP, bytes([68, 8, 9, 0x10]) + HOP),
    "timestamp of others": (bytes([68, 12, 5, 3]) + PEER + bytes(4),) * 2,
    "timestamp of a kind nobody knows": (bytes([68, 12, 5, 2]) + bytes(8),) * 2,
}


@pytest.mark.parametrize(("asked", "wanted"), ECHOED.values(), ids=ECHOED)
def test_a_route_is_recorded_in_the_answer(wire: Wire, asked: bytes, wanted: bytes) -> None:
    """RFC 1122 3.2.2.6; as on Linux we are met twice, coming and going."""
    assert answer(wire, asked) == wanted


def test_timestamps_are_of_our_own_kind(wire: Wire) -> None:
    """RFC 791: milliseconds, but not since midnight, so the high bit is set."""
    wire.world.run("5s")
    now = (wire.clock.now // 1_000_000 & 0x7FFFFFFF | 0x80000000).to_bytes(4, "big")
    assert answer(wire, bytes([68, 12, 5, 0]) + bytes(8)) == bytes([68, 12, 13, 0]) + now * 2
    asked = bytes([68, 20, 5, 1]) + bytes(16)
    assert answer(wire, asked) == bytes([68, 20, 21, 1]) + (US + now) * 2
    asked = bytes([68, 20, 5, 3]) + US + bytes(4) + PEER + bytes(4)
    assert answer(wire, asked) == bytes([68, 20, 13, 3]) + US + now + PEER + bytes(4)


def test_both_and_forty_bytes(wire: Wire) -> None:
    asked = bytes([7, 23, 4]) + bytes(20) + bytes([68, 16, 5, 3]) + PEER + bytes(8) + b"\0"
    wanted = bytes([7, 23, 12]) + US * 2 + bytes(12) + asked[23:]
    assert answer(wire, asked) == wanted


def test_a_long_answer_has_them_in_its_first_fragment(wire: Wire) -> None:
    """Record route is not copied into the others (RFC 791)."""
    message = icmp.Echo(1, 1, bytes(4000))
    options = bytes([7, 11, 4]) + bytes(9)
    whole = IPv4.parse(frames.icmp_message(wire.there, wire.here, message, options=options))
    for piece in whole.fragments(1500):
        wire.sends(piece.build())
    found = [IPv4.parse(p.l3) for p in wire.drain()]
    assert [p.options for p in found] == [bytes([7, 11, 12]) + US * 2 + b"\0"] + [b"\1" * 12] * 2
    data = b"".join(p.payload for p in found)
    assert icmp.parse(data) == icmp.Echo(1, 1, bytes(4000), reply=True)


def test_an_error_takes_the_route_back_too(wire: Wire) -> None:
    wire.sends(
        frames.udp(wire.there, wire.here, 1, 99, bytes(600), options=bytes([7, 11, 4]) + bytes(9))
    )
    error = wire.expects()
    assert isinstance(error.icmp, icmp.Unreachable)
    assert IPv4.parse(error.l3).options == bytes([7, 11, 12]) + US * 2 + b"\0"
    assert len(error.l3) == 576
