"""The control plane with the real engine, in virtual time: what only both together show."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from socket import IPPROTO_IP, SO_ERROR, SOCK_DGRAM, SOL_SOCKET

import pytest
from barewire import Stack
from barewire.fuzz.strategies import OUR_MAC, PEER, PEER_MAC, US, frame
from barewire.fuzz.targets import SECOND
from barewire.l2 import ARP_REPLY, ARP_REQUEST, ETH_P_ARP, UNSPECIFIED, Arp, Ethernet, Mac
from barewire.l2.neighbour import State
from barewire.nic_drivers import pipe_pair
from barewire.stack.icmp import icmp
from barewire.stack.icmp.echo import EchoResult
from barewire.stack.icmp.policy import PATH_MTU_AGE
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_UDP, IPv4, IPv4Option, build_options
from barewire.stack.ip.routes import LOOPBACK
from barewire.stack.port import EnginePort
from barewire.stack.udp.udp import Udp

from tests.fuzz.world import World

TCP, UDP = 1, 2
IF = 2
NEW_MAC = Mac("02:00:00:00:00:99")


@pytest.fixture
def w() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def sent(w: World, proto: int) -> list[IPv4]:
    found = [p for p in w.out if p.proto == proto]
    w.out.clear()
    return found


def echo(ident: int = 1, size: int = 56, **fields: object) -> IPv4:
    """A ping from the peer; `ident` is that of the message."""
    message = icmp.Echo(ident, 1, bytes(size))
    return IPv4(src=PEER, dst=US, proto=PROTO_ICMP, payload=message.build(), **fields)


def test_a_ping_is_answered_and_the_pinger_learned_from_its_question(w: World) -> None:
    w.send(frame(Arp(ARP_REQUEST, PEER_MAC, PEER, UNSPECIFIED, US).build(), ETH_P_ARP))
    w.send(frame(echo().build()))
    (reply,) = sent(w, PROTO_ICMP)
    assert icmp.parse(reply.payload) == icmp.Echo(1, 1, bytes(56), reply=True)
    assert "neigh_solicitations" not in w.stack.counters()


def test_a_fragmented_ping_is_answered_in_fragments(w: World) -> None:
    ping = echo(ident=77, size=4000)
    for piece in reversed(ping.fragments(1500)):
        w.send(frame(piece.build()))
    reply = sent(w, PROTO_ICMP)
    assert len(reply) == 3
    whole = b"".join(p.payload for p in sorted(reply, key=lambda p: p.offset))
    assert icmp.parse(whole) == icmp.Echo(77, 1, bytes(4000), reply=True)


def test_options_are_skipped(w: World) -> None:
    w.send(frame(echo(options=build_options(IPv4Option(0x94, b"\0\0"))).build()))
    assert len(sent(w, PROTO_ICMP)) == 1


def test_a_closed_udp_port_is_unreachable_with_the_packet_quoted(w: World) -> None:
    datagram = IPv4(
        src=PEER, dst=US, proto=PROTO_UDP, payload=Udp(1000, 9, b"anybody?").build(PEER, US)
    )
    w.send(frame(datagram.build()))
    (error,) = sent(w, PROTO_ICMP)
    assert icmp.parse(error.payload) == icmp.Unreachable(icmp.UNREACH_PORT, datagram.build())


def test_a_protocol_nobody_speaks_is_unreachable(w: World) -> None:
    packet = replace(echo(), proto=132)
    w.send(frame(packet.build()))
    (error,) = sent(w, PROTO_ICMP)
    assert icmp.parse(error.payload) == icmp.Unreachable(icmp.UNREACH_PROTOCOL, packet.build())


def test_a_neighbour_that_does_not_answer_is_an_error_of_the_socket(w: World) -> None:
    w.answers_arp = False
    with w.stack.socket(type=TCP) as sock:
        sock.setblocking(False)
        assert sock.connect_ex((str(PEER), 9)) == errno.EINPROGRESS
        w.settle()
        w.advance(3 * SECOND - 1)
        assert sock.getsockopt(SOL_SOCKET, SO_ERROR) == 0
        w.advance(1)
        assert sock.getsockopt(SOL_SOCKET, SO_ERROR) == errno.EHOSTUNREACH


def test_a_used_neighbour_is_probed_by_unicast_and_withdrawn_when_it_is_gone(w: World) -> None:
    with w.stack.socket(type=UDP) as sock:
        sock.setblocking(False)
        sock.sendto(b"one", (str(PEER), 9))
        w.settle()
        neighbours = w.stack.control.neighbours
        entry = neighbours.get(IF, PEER)
        assert entry is not None and entry.state is State.REACHABLE
        w.answers_arp = False
        while entry.state is not State.STALE:
            w.advance(SECOND)
        sock.sendto(b"two", (str(PEER), 9))
        assert len(sent(w, PROTO_UDP)) >= 1, "a stale entry stays in use"
        while entry.state is not State.FAILED:
            w.advance(SECOND)
        w.out.clear()
        sock.sendto(b"three", (str(PEER), 9))
        w.settle()
        assert sent(w, PROTO_UDP) == [], "it waits for an answer"
        w.answers_arp = True
        w.advance(SECOND)
        assert len(sent(w, PROTO_UDP)) == 1


def test_an_announcement_moves_the_traffic_to_a_new_mac(w: World) -> None:
    w.send(frame(Arp(ARP_REQUEST, PEER_MAC, PEER, UNSPECIFIED, US).build(), ETH_P_ARP))
    w.advance(2 * SECOND)
    w.send(frame(Arp(ARP_REPLY, NEW_MAC, PEER, UNSPECIFIED, PEER).build(), ETH_P_ARP))
    w.put(frame(echo().build()))
    w.stack.poll()
    reply = w.end.link.recv()
    assert reply is not None and reply[:6] == NEW_MAC


def test_an_address_somebody_else_uses_is_defended(w: World) -> None:
    w.put(frame(Arp(ARP_REPLY, NEW_MAC, US, PEER_MAC, PEER).build(), ETH_P_ARP))
    w.stack.poll()
    defence = w.end.link.recv()
    assert defence is not None
    assert Arp.parse(defence[14:]) == Arp(ARP_REQUEST, OUR_MAC, US, UNSPECIFIED, US)


def test_fragmentation_needed_lowers_the_path_mtu_for_ten_minutes(w: World) -> None:
    with w.stack.socket(type=UDP) as sock:
        sock.setblocking(False)
        sock.sendto(bytes(1400), (str(PEER), 9))
        w.settle()
        (whole,) = sent(w, PROTO_UDP)
        about = replace(whole, df=True).build()[:28]
        message = icmp.Unreachable(icmp.UNREACH_FRAG_NEEDED, about, 1000)
        error = IPv4(src=PEER, dst=US, proto=PROTO_ICMP, payload=message.build())
        w.send(frame(error.build()))
        assert w.stack.control.path_mtu.get(PEER) == 1000
        w.advance(PATH_MTU_AGE)
        assert w.stack.control.path_mtu.get(PEER) == 1500


def test_the_echo_client_times_its_answers_by_c(w: World) -> None:
    results: list[EchoResult] = []
    session = w.stack.control.echo.open(PEER, results.append)
    session.send(w.end.now(), b"x" * 20)
    w.settle()
    (request,) = sent(w, PROTO_ICMP)
    question = icmp.parse(request.payload)
    assert isinstance(question, icmp.Echo)
    w.advance(SECOND)
    answer = replace(question, reply=True)
    w.send(frame(IPv4(src=PEER, dst=US, proto=PROTO_ICMP, payload=answer.build()).build()))
    assert results == [EchoResult(0, PEER, 64, 20, SECOND)]
    session.close()


def test_the_loopback_answers_too(w: World) -> None:
    results: list[EchoResult] = []
    for dst in (IPv4Address("127.0.0.1"), US):
        session = w.stack.control.echo.open(dst, results.append)
        session.send(w.end.now())
        w.settle()
        session.close()
    assert [str(r.source) for r in results] == ["127.0.0.1", str(US)]


def test_a_vanished_device_takes_its_addresses_and_neighbours_along(w: World) -> None:
    w.send(frame(Arp(ARP_REQUEST, PEER_MAC, PEER, UNSPECIFIED, US).build(), ETH_P_ARP))
    assert w.stack.control.neighbours.get(IF, PEER) is not None
    w.end.link.close()
    w.stack.poll()
    assert w.stack.control.neighbours.get(IF, PEER) is None
    assert [str(a.address.ip) for a in w.stack.addresses] == ["127.0.0.1"]


def test_work_for_python_is_work_now(w: World) -> None:
    """A SYN without a next hop waits for Python: the time of the next poll is the present."""
    with w.stack.socket(type=TCP) as sock:
        sock.setblocking(False)
        assert sock.connect_ex((str(PEER), 9)) == errno.EINPROGRESS
        assert w.stack.next_deadline() == w.end.now()


def test_addresses_are_probed_on_request() -> None:
    """RFC 5227 2.1.1: three probes from the unspecified address, then it is announced and used."""
    ours, theirs = pipe_pair()
    now = [0]
    with (
        theirs,
        Stack(ours, addresses=[f"{US}/24"], clock=lambda: now[0], probe_addresses=True) as stack,
    ):
        arps = []
        while now[0] < 20 * SECOND:
            stack.poll()
            while (raw := theirs.recv(now[0])) is not None:
                arps.append(Arp.parse(Ethernet.parse(raw).payload))
            now[0] += SECOND // 10
        probes = [a for a in arps if a.sender_ip == IPv4Address(0)]
        announcements = [a for a in arps if a.sender_ip == US]
        assert (len(probes), len(announcements)) == (3, 2)
        assert {a.target_ip for a in arps} == {US}


def test_a_source_is_chosen_by_the_interface_that_is_named(w: World) -> None:
    port = EnginePort(w.stack.host)
    assert port.select_source(PEER) == port.select_source(PEER, IF) == US
    assert port.select_source(PEER, LOOPBACK) is None


def test_a_path_mtu_is_of_an_address_whatever_the_zone_unless_it_is_link_local(w: World) -> None:
    """RFC 4007: the zone of any other address says nothing."""
    port = EnginePort(w.stack.host)
    sock = w.stack.socket(type=SOCK_DGRAM)
    with sock:
        sock.connect((str(PEER), 7))
        port.set_path_mtu(PEER, 600, zone=IF)
        assert sock.getsockopt(IPPROTO_IP, 14) == 600  # IP_MTU
        port.set_path_mtu(PEER, 0)
        assert sock.getsockopt(IPPROTO_IP, 14) == 1500
