"""ICMP errors that the stack sends (`stack/icmp/icmp_error.c`): about what, with what in them, how many."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import IPv4

from tests.kit import frames
from tests.kit.wire import Wire
from tests.kit.world import World

HOST_BURST, TYPE_BURST = 6, 50


def to_closed_port(wire: Wire, src: str | None = None, size: int = 20, **ip: object) -> bytes:
    return frames.udp(src or wire.there, wire.here, 5000, 99, bytes(size), **ip)


def unknown_protocol(wire: Wire, src: str | None = None, **ip: object) -> bytes:
    return frames.ip(src or wire.there, wire.here, 253, b"12345678 and more", **ip)


def errors(wire: Wire) -> list[icmp.Message]:
    return [p.icmp for p in wire.drain() if p.icmp is not None]


@pytest.mark.parametrize(
    ("packet", "code"),
    [(to_closed_port, icmp.UNREACH_PORT), (unknown_protocol, icmp.UNREACH_PROTOCOL)],
)
def test_it_goes_back_with_the_packet_quoted(wire: Wire, packet, code: int) -> None:
    about = packet(wire, ttl=7, ident=99, tos=0x10)
    with wire.counts("icmp_errors_sent"):
        wire.sends(about)
    answer = wire.expects()
    ip = IPv4.parse(answer.l3)
    assert (str(ip.src), str(ip.dst), ip.ttl, ip.df) == (wire.here, wire.there, 64, False)
    assert answer.icmp == icmp.Unreachable(code, about)


def test_python_has_no_part_in_it(wire: Wire) -> None:
    """It is answered by C alone: nothing is handed up."""
    for packet in (to_closed_port(wire), unknown_protocol(wire)):
        wire.sends(packet)
    found = wire.stack.counters()
    assert found["icmp_errors_sent"] == 2
    assert not any(n.startswith("punts_") and n != "punts_arp" for n in found)


def test_the_whole_error_is_at_most_576_bytes(wire: Wire) -> None:
    about = to_closed_port(wire, size=1400)
    wire.sends(about)
    answer = wire.expects()
    assert len(answer.l3) == 576
    assert answer.icmp == icmp.Unreachable(icmp.UNREACH_PORT, about[:548])


ERRORS = (
    icmp.Unreachable(3),
    icmp.TimeExceeded(),
    icmp.Redirect(IPv4Address("198.18.0.9")),
    icmp.ParameterProblem(),
    icmp.Other(4),
)


@pytest.mark.parametrize(
    "change",
    [
        {"dst": "198.18.0.255"},
        {"dst": "255.255.255.255"},
        {"dst": "224.0.0.1"},
        {"src": "0.0.0.0"},
        {"src": "0.1.2.3"},
        {"src": "127.0.0.1"},
        {"src": "198.18.0.255"},
        {"src": "224.0.0.1"},
        {"src": "240.0.0.1"},
        {"src": "255.255.255.255"},
        {"src": "198.18.0.1"},
        {"offset": 8},
        {"offset": 8, "mf": True},
    ],
    ids=str,
)
def test_never_an_error_about_these(wire: Wire, change: dict[str, object]) -> None:
    """RFC 1122 3.2.2: a broadcast, a group, a source that is no single host, a later fragment."""
    said = {"src": wire.there, "dst": wire.here, "proto": 253, "payload": bytes(16)} | change
    wire.sends(frames.ip(**said))  # type: ignore[arg-type]
    wire.expects_nothing("31s")
    assert wire.stack.counters()["icmp_errors_sent"] == 0


@pytest.mark.parametrize("message", ERRORS, ids=lambda m: type(m).__name__)
def test_never_an_error_about_an_error(wire: Wire, message: icmp.Message) -> None:
    """One that comes in pieces and misses the last."""
    whole = IPv4.parse(frames.ip(wire.there, wire.here, 1, message.build() + bytes(1500)))
    with wire.counts("icmp_error_forbidden"):
        wire.sends(whole.fragments(1500)[0].build())
        wire.expects_nothing("31s")
    ping = IPv4.parse(frames.echo(wire.there, wire.here, data=bytes(1500)))
    wire.sends(ping.fragments(1500)[0].build())
    assert isinstance(wire.expects(within="31s").icmp, icmp.TimeExceeded), "an echo may be told"


def test_never_about_a_link_broadcast(ether: Wire) -> None:
    for packet in (to_closed_port(ether), unknown_protocol(ether)):
        with ether.counts("icmp_error_forbidden"):
            ether.sends(packet, broadcast=True)
    whole = IPv4.parse(frames.udp(ether.there, ether.here, 5000, 99, bytes(2000)))
    with ether.counts("icmp_error_forbidden"):
        ether.sends(whole.fragments(1500)[0].build(), broadcast=True)
        ether.expects_nothing("31s")


def test_one_destination_gets_a_burst_of_six_then_one_a_second(wire: Wire) -> None:
    """Linux's icmp_ratelimit, whatever the kinds of error."""
    for i in range(HOST_BURST):
        wire.sends(to_closed_port(wire) if i % 2 else unknown_protocol(wire))
    assert len(errors(wire)) == HOST_BURST
    with wire.counts("icmp_error_rate_limited"):
        wire.sends(to_closed_port(wire))
    wire.world.run("999ms")
    wire.sends(to_closed_port(wire))
    assert errors(wire) == []
    wire.world.run("1ms")
    wire.sends(to_closed_port(wire))
    wire.sends(to_closed_port(wire))
    wire.sends(to_closed_port(wire, "198.18.0.77"))
    assert len(errors(wire)) == 2, "another host has a rate of its own"
    wire.world.run("100s")
    for _ in range(HOST_BURST + 1):
        wire.sends(to_closed_port(wire))
    assert len(errors(wire)) == HOST_BURST


def flood(world: World, n: int = 200, seed: int = 0, packet=to_closed_port) -> tuple[Wire, int]:
    """So many at once from as many sources; how many were answered."""
    wire = Wire(world, prefix=15, ring=1024, seed=seed)
    for i in range(n):
        wire.sends(packet(wire, f"198.18.{1 + i // 200}.{1 + i % 200}"))
    return wire, len(errors(wire))


def test_one_type_is_limited_over_all_destinations(world: World) -> None:
    """Linux's icmp_msgs_burst and icmp_msgs_per_sec, give or take what hides them."""
    wire, first = flood(world)
    assert TYPE_BURST * 0.6 < first < TYPE_BURST * 1.6
    assert wire.stack.counters()["icmp_error_rate_limited"] == 200 - first
    fragment = IPv4.parse(frames.udp(wire.there, wire.here, 1, 2, bytes(2000))).fragments(1500)[0]
    wire.sends(fragment.build())
    late = wire.drain("31s")
    assert [type(p.icmp) for p in late] == [icmp.TimeExceeded], "another type has its own"
    for i in range(2000):
        wire.sends(to_closed_port(wire, f"198.18.{100 + i // 200}.{1 + i % 200}"))
        wire.world.run("0.5ms")
    assert 900 < len(errors(wire)) < 1150


def test_how_many_there_are_at_once_is_no_channel(world: World) -> None:
    """CVE-2020-25705: a number that one can count tells what others were answered."""
    counts = {flood(world, seed=seed)[1] for seed in range(12)}
    assert len(counts) > 4


def test_remembered_destinations_are_bounded_and_the_slowest_stay(world: World) -> None:
    """A flood from invented sources does not wash out what a host has used up."""
    wire = Wire(world, prefix=15, ring=1024)
    for _ in range(HOST_BURST + 1):
        wire.sends(to_closed_port(wire))
    assert len(errors(wire)) == HOST_BURST
    for i in range(900):
        wire.sends(to_closed_port(wire, f"198.19.{i // 200}.{1 + i % 200}"))
        world.run("1ms")
    assert len(errors(wire)) > 800
    wire.sends(to_closed_port(wire))
    assert errors(wire) == []


def test_the_loopback_is_not_limited(world: World) -> None:
    wire = Wire(world)
    for _ in range(200):
        sock = wire.udp().connect("127.0.0.1", 99)
        sock.send(b"x")
        wire.world.rest()
        with pytest.raises(ConnectionRefusedError):
            sock.recv()
        sock.close()


def test_without_a_way_back_there_is_none(wire: Wire) -> None:
    with wire.counts("drop_icmp_no_route_back"):
        wire.sends(to_closed_port(wire, "203.0.113.5"))
    wire.expects_nothing()


def test_in_an_answer_to_nobody_there_is_silence(wire: Wire) -> None:
    """Echo replies nobody waits for, redirects and unknown types end in C, counted."""
    for message, name in (
        (icmp.Echo(1, 1, reply=True), "drop_echo_reply_unasked"),
        (icmp.Other(13), "drop_icmp_type"),
        (icmp.Other(17), "drop_icmp_type"),
        (icmp.Other(200), "drop_icmp_type"),
        (icmp.Redirect(IPv4Address("198.18.0.9")), "drop_icmp_redirect"),
        (icmp.Unreachable(4, b"nonsense", 1000), "drop_icmp_no_owner"),
    ):
        with wire.counts(name):
            wire.sends(frames.icmp_message(wire.there, wire.here, message))
    wire.expects_nothing()
    assert wire.stack.counters().get("punts_icmp", 0) == 0


def test_what_a_ping_waits_for_comes_up_and_nothing_else(wire: Wire) -> None:
    results: list[object] = []
    session = wire.stack.control.echo.open(IPv4Address(wire.there), results.append)
    session.send(wire.clock.now, b"hello")
    request = wire.expects()
    assert isinstance(request.icmp, icmp.Echo)
    answer = icmp.Echo(request.icmp.ident, 0, b"hello", reply=True)
    with wire.counts("drop_echo_reply_unasked", 2):
        wire.sends(frames.icmp_message("198.18.0.7", wire.here, answer))
        other = icmp.Echo(answer.ident ^ 1, 0, b"hello", reply=True)
        wire.sends(frames.icmp_message(wire.there, wire.here, other))
    wire.sends(frames.icmp_message(wire.there, wire.here, answer))
    assert len(results) == 1
    session.close()
    with wire.counts("drop_echo_reply_unasked"):
        wire.sends(frames.icmp_message(wire.there, wire.here, answer))
    assert wire.stack.counters()["punts_icmp"] == 1


def test_sessions_are_bounded(wire: Wire) -> None:
    echo = wire.stack.control.echo
    sessions = [echo.open(IPv4Address(wire.there), print) for _ in range(64)]
    with pytest.raises(OSError, match="at most 64"):
        echo.open(IPv4Address(wire.there), print)
    sessions[0].close()
    echo.open(IPv4Address(wire.there), print)
