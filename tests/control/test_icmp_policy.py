"""Which ICMP errors are sent, how fast, and which path MTUs are believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.icmp.policy import (
    HOST_BURST,
    MAX_HOSTS,
    MAX_PATHS,
    MIN_PATH_MTU,
    PATH_MTU_AGE,
    TYPE_BURST,
    ErrorSender,
    PathMtu,
    TokenBucket,
)
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_UDP, IPv4
from barewire.stack.ip.routes import LOOPBACK, RouteTable

from tests.control.fake_port import PEER, US, FakePort, S

IF = 2
DATAGRAM = IPv4(src=PEER, dst=US, proto=PROTO_UDP, payload=b"12345678 and user data")


class World:
    def __init__(self) -> None:
        self.port = FakePort()
        self.routes = RouteTable()
        self.routes.add_address(LOOPBACK, IPv4Interface("127.0.0.1/8"))
        self.routes.add_address(IF, IPv4Interface((US, 24)))
        self.routes.add_route(IPv4Network("0.0.0.0/0"), PEER)
        self.counters: Counter[str] = Counter()
        self.errors = ErrorSender(self.port, self.routes, self.counters)
        self.pmtu = PathMtu(self.port, self.routes, lambda dst: 1500, self.counters)

    def send(
        self, about: IPv4, now: int = 0, ifindex: int = IF, l2_broadcast: bool = False
    ) -> bool:
        return self.errors.send(
            now, ifindex, about.build(), icmp.UNREACHABLE, icmp.UNREACH_PORT, 0, l2_broadcast
        )


# ---- sending -------------------------------------------------------------------------------------


def test_port_unreachable_goes_back_with_the_packet_quoted() -> None:
    w = World()
    assert w.send(DATAGRAM)
    (packet,) = w.port.taken_packets()
    assert (packet.src, packet.dst, packet.proto, packet.tos) == (US, PEER, PROTO_ICMP, 0xC0)
    assert icmp.parse(packet.payload) == icmp.Unreachable(icmp.UNREACH_PORT, DATAGRAM.build())
    assert w.counters == {"icmp_errors_sent": 1}


def test_the_whole_error_is_at_most_576_bytes() -> None:
    w = World()
    long = replace(DATAGRAM, payload=bytes(1400))
    w.send(long)
    (packet,) = w.port.taken_packets()
    assert packet.total_length == 576
    message = icmp.parse(packet.payload)
    assert isinstance(message, icmp.Unreachable)
    assert message.quoted == long.build()[:548]


def test_other_kinds_carry_their_second_word() -> None:
    w = World()
    raw = DATAGRAM.build()
    w.errors.send(0, IF, raw, icmp.UNREACHABLE, icmp.UNREACH_FRAG_NEEDED, 1400)
    w.errors.send(0, IF, raw, icmp.TIME_EXCEEDED, icmp.EXCEEDED_TTL)
    w.errors.send(0, IF, raw, icmp.PARAMETER_PROBLEM, 0, 20 << 24)
    assert [icmp.parse(p.payload) for p in w.port.taken_packets()] == [
        icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, raw, 1400),
        icmp.TimeExceeded(icmp.EXCEEDED_TTL, raw),
        icmp.ParameterProblem(20, raw),
    ]


ECHO_REQUEST = icmp.Echo(1, 1, b"x").build()


@pytest.mark.parametrize(
    "about",
    [
        replace(DATAGRAM, dst=IPv4Address("198.18.0.255")),
        replace(DATAGRAM, dst=IPv4Address("255.255.255.255")),
        replace(DATAGRAM, dst=IPv4Address("224.0.0.1")),
        replace(DATAGRAM, src=IPv4Address("0.0.0.0")),
        replace(DATAGRAM, src=IPv4Address("0.1.2.3")),
        replace(DATAGRAM, src=IPv4Address("127.0.0.1")),
        replace(DATAGRAM, src=IPv4Address("198.18.0.255")),
        replace(DATAGRAM, src=IPv4Address("224.0.0.1")),
        replace(DATAGRAM, src=IPv4Address("240.0.0.1")),
        replace(DATAGRAM, src=IPv4Address("255.255.255.255")),
        replace(DATAGRAM, offset=8),
        replace(DATAGRAM, offset=8, mf=True),
        replace(DATAGRAM, proto=PROTO_ICMP, payload=icmp.Unreachable(3).build()),
        replace(DATAGRAM, proto=PROTO_ICMP, payload=icmp.TimeExceeded().build()),
        replace(DATAGRAM, proto=PROTO_ICMP, payload=icmp.Redirect(PEER).build()),
        replace(DATAGRAM, proto=PROTO_ICMP, payload=icmp.ParameterProblem().build()),
        replace(DATAGRAM, proto=PROTO_ICMP, payload=icmp.Other(4).build()),
        replace(DATAGRAM, proto=PROTO_ICMP, payload=b""),
    ],
    ids=lambda p: f"{p.src} to {p.dst} proto {p.proto} {p.payload[:1].hex()} at {p.offset}",
)
def test_never_an_error_about_these(about: IPv4) -> None:
    w = World()
    assert not w.send(about)
    assert w.port.packets == []
    assert w.counters == {"icmp_error_forbidden": 1}


def test_never_about_a_link_broadcast_or_what_is_no_packet() -> None:
    w = World()
    assert not w.send(DATAGRAM, l2_broadcast=True)
    for length in range(20):
        assert not w.errors.send(0, IF, DATAGRAM.build()[:length], icmp.UNREACHABLE, 3)
    assert w.counters == {"icmp_error_forbidden": 21}


def test_an_echo_request_and_a_first_fragment_may_be_answered() -> None:
    w = World()
    assert w.send(replace(DATAGRAM, proto=PROTO_ICMP, payload=ECHO_REQUEST))
    assert w.send(replace(DATAGRAM, mf=True))


def test_about_a_packet_not_for_us_the_source_is_ours() -> None:
    w = World()
    w.send(replace(DATAGRAM, dst=IPv4Address("192.0.2.1")))
    (packet,) = w.port.taken_packets()
    assert packet.src == US


def test_one_destination_gets_a_burst_of_six_then_one_a_second() -> None:
    w = World()
    assert [w.send(DATAGRAM) for _ in range(HOST_BURST + 1)] == [True] * HOST_BURST + [False]
    assert w.counters["icmp_error_rate_limited"] == 1
    assert not w.send(DATAGRAM, now=S - 1)
    assert w.send(DATAGRAM, now=S)
    assert not w.send(DATAGRAM, now=S)
    assert w.send(replace(DATAGRAM, src=IPv4Address("198.18.0.77")), now=S)
    assert all(w.send(DATAGRAM, now=100 * S) for _ in range(HOST_BURST))


def test_one_type_is_limited_over_all_destinations() -> None:
    w = World()
    hosts = [IPv4Address(int(IPv4Address("198.19.0.0")) + i) for i in range(TYPE_BURST + 1)]
    sent = [w.send(replace(DATAGRAM, src=host)) for host in hosts]
    assert sent == [True] * TYPE_BURST + [False]
    raw = DATAGRAM.build()
    assert w.errors.send(0, IF, raw, icmp.TIME_EXCEEDED, 0), "another type has a rate of its own"
    assert w.send(replace(DATAGRAM, src=hosts[-1]), now=S // 1000)


def test_remembered_destinations_are_bounded() -> None:
    w = World()
    for i in range(MAX_HOSTS + 50):
        w.send(replace(DATAGRAM, src=IPv4Address(int(IPv4Address("198.19.0.0")) + i)), now=i * S)
    assert len(w.errors._hosts) == MAX_HOSTS


def test_the_loopback_is_not_limited() -> None:
    w = World()
    local = replace(DATAGRAM, src=IPv4Address("127.0.0.1"), dst=IPv4Address("127.0.0.1"))
    assert all(w.send(local, ifindex=LOOPBACK) for _ in range(200))


def test_token_bucket_at_its_bounds() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    for _ in range(2):
        assert bucket.has_token(0)
        bucket.take(0)
    assert not bucket.has_token(S // 10 - 1)
    assert bucket.has_token(S // 10)


# ---- path MTU ------------------------------------------------------------------------------------

FAR = IPv4Address("192.0.2.1")
SENT = IPv4(src=US, dst=FAR, proto=6, payload=bytes(1480), df=True)


def needed(mtu: int, about: IPv4 = SENT) -> icmp.Unreachable:
    return icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, about.build()[:28], mtu)


def test_a_smaller_mtu_is_believed_for_ten_minutes() -> None:
    w = World()
    w.pmtu.on_frag_needed(0, needed(1400))
    assert w.port.path_mtu == {FAR: 1400}
    assert w.pmtu.get(FAR) == 1400
    assert w.pmtu.next_deadline() == PATH_MTU_AGE
    w.pmtu.on_timer(PATH_MTU_AGE - 1)
    assert w.port.path_mtu == {FAR: 1400}
    w.pmtu.on_timer(PATH_MTU_AGE)
    assert w.port.path_mtu == {FAR: 0}
    assert w.pmtu.get(FAR) == 1500
    assert w.pmtu.next_deadline() is None


@pytest.mark.parametrize(("mtu", "result"), [(552, 552), (551, 552), (68, 552), (1, 552)])
def test_nothing_below_the_minimum_is_believed(mtu: int, result: int) -> None:
    w = World()
    w.pmtu.on_frag_needed(0, needed(mtu))
    assert w.port.path_mtu == {FAR: result}
    assert MIN_PATH_MTU == 552


@pytest.mark.parametrize(
    "message",
    [
        needed(1500),
        needed(1501),
        needed(1400, replace(SENT, src=FAR)),  # not ours
        needed(1400, replace(SENT, df=False)),  # nobody needed to tell us
        needed(1400, replace(SENT, payload=bytes(100))),  # it would have fitted
        icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, SENT.build()[:27], 1400),
        icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, b"", 1400),
    ],
)
def test_what_cannot_be_about_our_packets_is_not_believed(message: icmp.Unreachable) -> None:
    w = World()
    w.pmtu.on_frag_needed(0, message)
    assert w.port.path_mtu == {}
    assert sum(w.counters.values()) == 1


def test_a_path_mtu_only_goes_down() -> None:
    w = World()
    w.pmtu.on_frag_needed(0, needed(1000))
    w.pmtu.on_frag_needed(1, needed(1400))
    assert w.pmtu.get(FAR) == 1000
    w.pmtu.on_frag_needed(2, needed(900))
    assert w.port.path_mtu == {FAR: 900}
    assert w.pmtu.next_deadline() == 2 + PATH_MTU_AGE


@pytest.mark.parametrize(("total", "guess"), [(1500, 1492), (1492, 1006), (1006, 552)])
def test_an_old_router_names_no_mtu_and_the_next_plateau_is_tried(total: int, guess: int) -> None:
    w = World()
    w.pmtu.on_frag_needed(0, needed(0, replace(SENT, payload=bytes(total - 20))))
    assert w.port.path_mtu == {FAR: guess}


def test_remembered_paths_are_bounded_and_the_oldest_is_forgotten() -> None:
    w = World()
    paths = [IPv4Address(int(IPv4Address("198.19.0.0")) + i) for i in range(MAX_PATHS + 1)]
    for now, dst in enumerate(paths):
        w.pmtu.on_frag_needed(now, needed(1400, replace(SENT, dst=dst)))
    assert len(w.pmtu) == MAX_PATHS
    assert w.port.path_mtu[paths[0]] == 0
    assert w.port.path_mtu[paths[1]] == 1400
