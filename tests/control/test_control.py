"""The control plane as a whole: punts in, decisions out, through a fake port."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv4Interface

import pytest
from barewire.fuzz import strategies as s
from barewire.l2 import ARP_REPLY, Arp, Malformed
from barewire.l2.arp import ANNOUNCE_WAIT, Claim
from barewire.stack.control import ControlPlane, Interface
from barewire.stack.icmp import icmp
from barewire.stack.icmp.echo import EchoResult
from barewire.stack.ip.ipv4 import PROTO_ICMP, IPv4
from barewire.stack.ip.routes import LOOPBACK, IfAddr, RouteFlag
from barewire.stack.punt import Punt, PuntClass
from hypothesis import given
from hypothesis import strategies as st

from tests.control.fake_port import OUR_MAC, PEER, PEER_MAC, US, FakePort, S
from tests.kit.budget import budget

ETH, TUN = 2, 3
INTERFACES = [Interface(ETH, "eth", 2, OUR_MAC, 1500), Interface(TUN, "tun", 3, bytes(6), 1400)]


class World:
    def __init__(self, probe: bool = False) -> None:
        self.port = FakePort()
        self.control = ControlPlane(self.port, INTERFACES, now=0, seed=1, probe=probe)
        self.control.add_address(0, ETH, "198.18.0.2/24")

    def punt(self, cls: PuntClass, data: bytes, now: int = 0, **fields: object) -> None:
        self.control.on_punt(now, Punt(cls, ETH, when=now, **fields), data)  # type: ignore[arg-type]


def test_the_loopback_and_the_address_are_published() -> None:
    w = World()
    assert w.port.addrs == [
        IfAddr(LOOPBACK, IPv4Interface("127.0.0.1/8")),
        IfAddr(ETH, IPv4Interface("198.18.0.2/24")),
    ]
    assert [str(r.prefix) for r in w.port.routes] == ["198.18.0.0/24"]
    assert len(w.port.taken_arps()) == 1, "announced"


def test_a_probed_address_is_published_as_tentative_first() -> None:
    w = World(probe=True)
    assert w.port.addrs[-1].tentative
    assert w.port.routes == []
    while w.control.arp.state(ETH, US) is Claim.PROBING:
        now = w.control.next_deadline()
        assert now is not None and now < 10 * S
        w.control.on_timer(now)
    assert now >= ANNOUNCE_WAIT
    assert not w.port.addrs[-1].tentative
    assert len(w.port.routes) == 1


def test_a_lost_address_is_unpublished_and_somebody_hears_of_it(caplog) -> None:
    w = World(probe=True)
    w.punt(PuntClass.ARP, Arp(ARP_REPLY, PEER_MAC, US, OUR_MAC, US).build())
    assert [a.ifindex for a in w.port.addrs] == [LOOPBACK]
    assert "198.18.0.2" in caplog.text


def test_a_layer_3_interface_has_no_arp() -> None:
    w = World()
    w.port.frames.clear()
    w.control.add_address(0, TUN, "192.0.2.1/30")
    assert w.port.frames == []
    assert not w.port.addrs[-1].tentative


def test_routes_go_through_and_come_back() -> None:
    w = World()
    w.control.add_route("default", gateway="198.18.0.1", mtu=1400)
    assert w.port.routes[-1].flags is RouteFlag.GATEWAY
    assert w.control.path_mtu.get(IPv4Address("192.0.2.1")) == 1400
    w.control.remove_route("0.0.0.0/0")
    assert len(w.port.routes) == 1
    w.control.remove_address(0, ETH, "198.18.0.2/24")
    assert (len(w.port.addrs), w.port.routes) == (1, [])
    assert w.control.next_deadline() is None, "no second announcement of it"


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (errno.ENODEV, lambda c: c.add_address(0, 9, "192.0.2.1/24")),
        (errno.EAFNOSUPPORT, lambda c: c.add_address(0, ETH, "2001:db8::1/64")),
        (errno.EAFNOSUPPORT, lambda c: c.add_route("2001:db8::/32", ifindex=ETH)),
        (errno.ENODEV, lambda c: c.add_route("192.0.2.0/24", ifindex=9)),
        (errno.EEXIST, lambda c: c.add_address(0, TUN, "198.18.0.2/24")),
    ],
)
def test_wrong_configuration_is_refused(code, change) -> None:
    w = World()
    before = (w.port.addrs, w.port.routes)
    with pytest.raises(OSError) as raised:
        change(w.control)
    assert raised.value.errno == code
    assert (w.port.addrs, w.port.routes) == before


def test_a_packet_waits_for_its_neighbour_and_then_goes() -> None:
    w = World()
    w.punt(PuntClass.RESOLVE, b"packet", nexthop=PEER)
    reply = Arp(ARP_REPLY, PEER_MAC, PEER, OUR_MAC, US)
    w.punt(PuntClass.ARP, reply.build())
    assert w.port.packets == [b"packet"]
    assert w.port.neighbours[ETH, PEER].mac == PEER_MAC


def test_a_packet_whose_neighbour_never_answers_comes_back_without_icmp() -> None:
    w = World()
    w.punt(PuntClass.RESOLVE, b"packet", nexthop=PEER)
    for now in (1 * S, 2 * S, 3 * S):
        w.control.on_timer(now)
    assert w.port.errors == [(b"packet", errno.EHOSTUNREACH)]
    assert w.port.packets == []


def icmp_packet(message: icmp.Message, src: IPv4Address = PEER) -> bytes:
    return IPv4(src=src, dst=US, proto=PROTO_ICMP, payload=message.build()).build()


def test_fragmentation_needed_sets_the_path_mtu() -> None:
    w = World()
    sent = IPv4(src=US, dst=PEER, proto=6, payload=bytes(1480), df=True).build()
    message = icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, sent[:28], 1280)
    w.punt(PuntClass.ICMP, icmp_packet(message))
    assert w.port.path_mtu == {PEER: 1280}


def test_a_ping_and_its_answers() -> None:
    w = World()
    results: list[EchoResult] = []
    session = w.control.echo.open(PEER, results.append)
    session.send(0, b"abc")
    session.send(0, b"abc")
    (first, second) = w.port.taken_packets()
    w.punt(PuntClass.ICMP, icmp_packet(icmp.Echo(session.ident, 0, b"abc", True)), now=7)
    w.punt(PuntClass.ICMP, icmp_packet(icmp.TimeExceeded(0, second.build())), now=9)
    assert [(r.seq, r.rtt, r.error is None) for r in results] == [(0, 7, True), (1, 9, False)]
    assert first.src == US


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (icmp.Echo(1, 1, reply=True), "drop_echo_reply_unasked"),
        (icmp.Other(13), "drop_icmp_type"),
        (icmp.Unreachable(4, b"nonsense", 1000), "drop_icmp_bad_quote"),
    ],
)
def test_icmp_that_changes_nothing_is_counted(message: icmp.Message, counter: str) -> None:
    w = World()
    w.punt(PuntClass.ICMP, icmp_packet(message))
    assert w.control.counters[counter] == 1
    assert w.port.path_mtu == {}


def test_a_vanished_interface_takes_its_own_with_it() -> None:
    w = World()
    w.control.add_route("default", gateway="198.18.0.1")
    w.punt(PuntClass.RESOLVE, b"packet", nexthop=PEER)
    w.control.interface_down(ETH)
    assert w.port.errors == [(b"packet", errno.EHOSTUNREACH)]
    assert [a.ifindex for a in w.port.addrs] == [LOOPBACK]
    assert w.control.next_deadline() is None


def test_the_same_seed_makes_the_same_frames() -> None:
    def run() -> list[tuple[int, bytes]]:
        w = World(probe=True)
        for _ in range(8):
            now = w.control.next_deadline()
            if now is None:
                break
            w.control.on_timer(now)
        return [(now, frame) for now, (_, frame) in enumerate(w.port.frames)]

    assert run() == run()
    assert len(run()) == 5


@budget(150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(PuntClass)),
            st.one_of(
                s.ip_payloads(), s.mutated(s.ip_payloads()), s.arps.map(Arp.build), st.binary()
            ),
            s.u16,
            st.booleans(),
            st.one_of(st.none(), st.sampled_from([PEER, US])),
            st.integers(0, 40 * S),
        ),
        max_size=12,
    )
)
def test_nothing_in_a_punt_raises_and_time_brings_it_to_rest(punts) -> None:
    w = World()
    now = 0
    for cls, data, arg, broadcast, nexthop, wait in punts:
        now += wait
        w.control.on_timer(now)
        w.punt(cls, data, now, arg=arg, l2_broadcast=broadcast, nexthop=nexthop)
    for _ in range(10_000):
        deadline = w.control.next_deadline()
        if deadline is None:
            break
        now = max(now, deadline)
        w.control.on_timer(now)
    assert w.control.next_deadline() is None, "everything is forgotten in the end"
    for _, frame in w.port.frames:
        Arp.parse(frame[14:])
    for packet in w.port.packets:
        try:
            IPv4.parse(packet)
        except Malformed:
            assert packet in [data for _, data, *_ in punts], "only what waited is sent as it came"
