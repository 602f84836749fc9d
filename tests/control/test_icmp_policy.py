"""Which path MTUs are believed, and for how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.icmp.policy import MAX_PATHS, MIN_PATH_MTU, PATH_MTU_AGE, PathMtu
from barewire.stack.ip.ipv4 import PROTO_UDP, IPv4
from barewire.stack.ip.routes import LOOPBACK, RouteTable

from tests.control.fake_port import PEER, US, FakePort

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
        self.pmtu = PathMtu(self.port, self.routes, lambda dst: 1500, self.counters)


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
