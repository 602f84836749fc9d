"""IPv4 in: header checks, options, addresses that make no sense, protocols, fragments (RFC 791,
RFC 1122 section 3.2.1, RFC 6274)."""

from __future__ import annotations

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4

from tests.kit import frames
from tests.kit.checks import is_echo_reply, is_ip, is_unreachable
from tests.kit.wire import Wire
from tests.kit.world import World


def ping(wire: Wire, **ip: object) -> bytes:
    message = icmp.Echo(1, 1, b"ping")
    return frames.icmp_message(wire.there, wire.here, message, **ip)


def test_too_short_for_a_header(wire: Wire) -> None:
    with wire.counts("drop_ip_short"):
        wire.sends(ping(wire)[:19])


@pytest.mark.parametrize("version", [0, 5, 6, 15])
def test_a_version_that_is_not_4(wire: Wire, version: int) -> None:
    with wire.counts("drop_ip_version"):
        wire.sends(frames.with_byte(ping(wire), 0, version << 4 | 5))


@pytest.mark.parametrize("words", [0, 4, 15])
def test_a_header_length_that_lies(wire: Wire, words: int) -> None:
    with wire.counts("drop_ip_header"):
        wire.sends(frames.with_byte(ping(wire), 0, 4 << 4 | words))


def test_a_wrong_header_checksum(wire: Wire) -> None:
    with wire.counts("drop_ip_checksum"):
        wire.sends(frames.wrong_header_sum(ping(wire)))
    wire.expects_nothing()


@pytest.mark.parametrize("total", [0, 19, 33, 0xFFFF])
def test_a_total_length_that_lies(wire: Wire, total: int) -> None:
    packet = ping(wire)
    packet = packet[:2] + total.to_bytes(2, "big") + packet[4:]
    with wire.counts("drop_ip_length"):
        wire.sends(_sum(packet))


def _sum(packet: bytes) -> bytes:
    """Only the IP header's checksum."""
    return frames.mended(packet[:20])[:20] + packet[20:]


def test_link_padding_is_left_out(wire: Wire) -> None:
    wire.sends(ping(wire) + bytes(20))
    wire.expects(is_echo_reply(data=b"ping"))


@pytest.mark.parametrize(
    "options",
    [b"\x01\x01\x01\x00", b"\x94\x04\x00\x00", b"\x44\x04\x05\x00", b"\x00\xff\xff\xff"],
    ids=["nops", "router alert", "timestamp", "end"],
)
def test_harmless_options_are_skipped(wire: Wire, options: bytes) -> None:
    wire.sends(ping(wire, options=options))
    wire.expects(is_echo_reply(data=b"ping"))


@pytest.mark.parametrize(
    "options",
    [b"\x83\x07\x04\xc6\x12\x00\x63\x00", b"\x89\x07\x04\xc6\x12\x00\x63\x00"],
    ids=["loose source route", "strict source route"],
)
def test_a_source_route_condemns_the_packet(wire: Wire, options: bytes) -> None:
    with wire.counts("drop_ip_options"):
        packet = IPv4(
            src=wire.there,
            dst=wire.here,
            proto=1,
            payload=icmp.Echo().build(),
            options=options,  # type: ignore[arg-type]
        )
        wire.sends(packet.build())
    wire.expects_nothing()


@pytest.mark.parametrize("which", ["src", "dst"])
def test_loopback_addresses_from_outside(wire: Wire, which: str) -> None:
    there, here = ("127.0.0.1", wire.here) if which == "src" else (wire.there, "127.0.0.1")
    with wire.counts("drop_ip_martian_loopback"):
        wire.sends(frames.echo(there, here))
    wire.expects_nothing()


@pytest.mark.parametrize(
    "source", ["0.0.0.0", "0.1.2.3", "255.255.255.255", "198.18.0.255", "224.0.0.1", "198.18.0.1"]
)
def test_sources_that_nobody_has(wire: Wire, source: str) -> None:
    with wire.counts("drop_ip_bad_source"):
        wire.sends(frames.echo(source, wire.here))
    wire.expects_nothing()


@pytest.mark.parametrize("destination", ["198.18.0.77", "203.0.113.1", "224.0.0.5"])
def test_packets_for_others(wire: Wire, destination: str) -> None:
    """A host forwards nothing (RFC 1122 3.2.1.3)."""
    with wire.counts("drop_ip_not_ours"):
        wire.sends(frames.echo(wire.there, destination))
    wire.expects_nothing()


def test_an_unknown_protocol_is_said_to_be_unreachable(wire: Wire) -> None:
    with wire.counts("drop_ip_protocol"):
        wire.sends(frames.ip(wire.there, wire.here, 132, b"sctp?"))
    wire.expects(is_unreachable(code=2))


def test_ttl_0_is_none_of_a_hosts_business(wire: Wire) -> None:
    """RFC 1122 3.2.1.7: a packet for us is not thrown away for its TTL."""
    wire.sends(ping(wire, ttl=0))
    wire.expects(is_echo_reply())


# ---- echo ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_echo(wire: Wire, size: int) -> None:
    with wire.counts("icmp_echo_replies_sent"):
        wire.sends(frames.echo(wire.there, wire.here, 77, 5, frames.pattern(size)))
    wire.expects(is_echo_reply(77, 5, frames.pattern(size)) & is_ip(src=wire.here, dst=wire.there))


def test_a_broken_icmp_message(wire: Wire) -> None:
    with wire.counts("drop_icmp_checksum"):
        wire.sends(frames.wrong_sum(ping(wire)))
    with wire.counts("drop_icmp_short"):
        wire.sends(frames.ip(wire.there, wire.here, 1, b"\x08\0\0\0"))
    wire.expects_nothing()


def test_an_echo_from_where_no_route_leads_is_counted(wire: Wire) -> None:
    with wire.counts("drop_icmp_no_route_back"):
        wire.sends(frames.echo("203.0.113.9", wire.here))
    wire.expects_nothing()


@pytest.mark.parametrize("destination", ["198.18.0.255", "255.255.255.255", "224.0.0.1"])
def test_an_echo_to_a_broadcast_is_not_answered(wire: Wire, destination: str) -> None:
    """RFC 1122 3.2.2.6 allows silence: no amplifier."""
    with wire.counts("drop_icmp_broadcast"):
        wire.sends(frames.echo(wire.there, destination))
    wire.expects_nothing("1s")


@pytest.mark.parametrize("quoted", [0, 20, 27])
def test_an_error_that_quotes_too_little(wire: Wire, quoted: int) -> None:
    about = frames.udp(wire.here, wire.there, 7, 5000)
    with wire.counts("drop_icmp_no_owner"):
        wire.sends(frames.unreachable(wire.there, wire.here, 3, about, quote=quoted))
    wire.expects_nothing()


# ---- fragments -----------------------------------------------------------------------------------


def fragments(wire: Wire, size: int, mtu: int = 1500, ident: int = 1) -> list[bytes]:
    whole = IPv4.parse(
        frames.udp(wire.there, wire.here, 5000, 7, frames.pattern(size), ident=ident)
    )
    return [piece.build() for piece in whole.fragments(mtu)]


@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("size", [1473, 5000, 65_507])
def test_reassembly(wire: Wire, size: int, order: str) -> None:
    sock = wire.udp(7)
    pieces = fragments(wire, size)
    for piece in pieces if order == "forward" else reversed(pieces):
        assert not sock.readable
        wire.sends(piece)
    assert sock.recvfrom()[0] == frames.pattern(size)


def test_a_duplicate_fragment_changes_nothing(wire: Wire) -> None:
    sock = wire.udp(7)
    pieces = fragments(wire, 4000)
    for piece in (pieces[0], pieces[0], pieces[1], pieces[1], pieces[2]):
        wire.sends(piece)
    assert sock.recvfrom()[0] == frames.pattern(4000)


def test_datagrams_are_kept_apart(wire: Wire) -> None:
    sock = wire.udp(7)
    one, two = fragments(wire, 3000, ident=1), fragments(wire, 4000, ident=2)
    for piece in (one[0], two[0], one[1], two[1], two[2], one[2]):
        wire.sends(piece)
    assert sorted(len(sock.recvfrom()[0]) for _ in range(2)) == [3000, 4000]


def test_a_missing_fragment_is_given_up_and_told(wire: Wire) -> None:
    """RFC 1122 3.3.2: time exceeded, if the first fragment came."""
    sock = wire.udp(7)
    wire.sends(fragments(wire, 3000)[0])
    packet = wire.expects(within="2min")
    assert isinstance(packet.icmp, icmp.TimeExceeded)
    assert packet.icmp.code == icmp.EXCEEDED_REASSEMBLY
    assert not sock.readable


def test_fragments_of_tcp(wire: Wire) -> None:
    wire.tcp().bind("0.0.0.0", 80).listen()
    segment = frames.Segment(5000, 80, flags=frames.flags_of("S"), payload=bytes(100))
    whole = IPv4.parse(frames.tcp(wire.there, wire.here, segment))
    for piece in whole.fragments(60):
        wire.sends(piece.build())
    answer = wire.expects()
    assert answer.tcp is not None


# ---- work for Python is bounded ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("drop_punt_icmp_full", "icmp"),
        ("drop_punt_arp_full", "arp"),
        ("drop_punt_resolve_full", "resolve"),
        ("drop_punt_resolve_answer_full", "resolve_answer"),
        ("drop_punt_arp_answer_full", "arp_answer"),
        ("drop_punt_resolve_connected_full", "resolve_connected"),
    ],
)
def test_a_flood_for_python_is_dropped_by_class(world: World, name: str, kind: str) -> None:
    """While Python is away: C's queues fill up, each for itself, and the data path goes on."""
    from tests.kit.flood import UNLIMITED, flood_until

    wire = Wire(world, layer=2, ring=2048, punt_rates=UNLIMITED)
    flood_until(wire, kind, name)
    assert wire.stack.counters()[name] > 0
    others = [n for n in wire.stack.counters() if n.startswith("drop_punt_") and n != name]
    assert all(wire.stack.counters()[n] == 0 for n in others)
    wire.drain("1s")


def test_igmp_is_no_protocol_to_complain_of(wire: Wire) -> None:
    """Every host has it (RFC 1112): without groups there is nothing to answer."""
    with wire.counts("drop_ip_protocol"):
        wire.sends(frames.ip(wire.there, wire.here, 2, bytes([0x11, 0, 0xEE, 0xFF, 0, 0, 0, 0])))
    wire.expects_nothing()
