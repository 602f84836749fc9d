"""Every segment goes the way that the routes say when it leaves, whoever sends it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from barewire.l2 import ARP_REPLY, ARP_REQUEST, Arp, Mac
from barewire.nic_drivers import pipe_pair
from barewire.stack import lib

from tests.kit import frames
from tests.kit.ecn import ace
from tests.kit.packets import Packet
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

GATEWAY, GATEWAY_MAC = "198.18.0.9", Mac("02:00:00:00:00:09")
MSS = 1000
CE = 3


class Routed(Wire):
    """The far end's network has a gateway, too."""

    def _answer_arp(self, packet: Packet) -> bool:
        ask = packet.arp
        if ask is not None and ask.op == ARP_REQUEST and str(ask.target_ip) == GATEWAY:
            answer = Arp(ARP_REPLY, GATEWAY_MAC, ask.target_ip, ask.sender_mac, ask.sender_ip)
            self._put(frames.arp(ask.sender_mac, answer))
        return super()._answer_arp(packet)


@pytest.fixture
def tcp(world: World) -> Tcp:
    return Tcp(Routed(world, layer=2))


def reroute(tcp: Tcp, mtu: int = 0) -> None:
    """The peer is behind the gateway from now on."""
    tcp.stack.control.add_route(f"{tcp.wire.there}/32", GATEWAY, mtu=mtu)


def plain(tcp: Tcp, peer: TcpPeer) -> Sock:
    return tcp.established(mss=MSS)


def keepalives(tcp: Tcp, peer: TcpPeer) -> Sock:
    return tcp.established(mss=MSS, keepalive=1, keepidle=10)


def closed_window(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(mss=MSS, wnd=0)
    tcp.sends(sock, 100)
    return sock


def tail(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(mss=MSS, sack=True)
    tcp.transfers(sock, 2 * MSS)  # a round trip is known
    tcp.sends(sock, 3 * MSS)
    return sock


def silence(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(mss=MSS)
    tcp.sends(sock, MSS)
    return sock


def unacknowledged(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(mss=MSS)
    for _ in range(20):  # past the quick ACKs
        peer.sends(len=10)
        tcp.drain("1s")
    peer.sends(len=10)
    return sock


def full_buffer(tcp: Tcp, peer: TcpPeer) -> Sock:
    sock = tcp.established(mss=MSS, rcvbuf=4096)
    peer.sends(len=4096)
    tcp.drain("1s")
    return sock


def accurate(tcp: Tcp, peer: TcpPeer) -> Sock:
    listener = tcp.listens(ecn=5)
    peer.sends("SeCE", seq=0, mss=MSS, sack_ok=True)
    tcp.expects("SA" + ace(2))
    peer.sends("A" + ace(2), seq=1, ack=1)
    return listener.accept()


def dctcp(tcp: Tcp, peer: TcpPeer) -> Sock:
    listener = tcp.listens(ecn=1, congestion=3)
    peer.sends("SEC", seq=0, mss=MSS, sack_ok=True)
    tcp.drain()
    peer.sends("A", seq=1, ack=1)
    sock = listener.accept()
    for _ in range(20):
        peer.sends(len=10, tos=2)
        tcp.drain("1s")
    peer.sends(len=10, tos=2)  # waits for its ACK
    return sock


def nothing(tcp: Tcp, peer: TcpPeer, sock: Sock) -> None:
    pass


Step = Callable[[Tcp, TcpPeer], Sock]
Provoke = Callable[[Tcp, TcpPeer, Sock], object]
EMITTERS: dict[str, tuple[Step, Provoke, str]] = {
    "data": (plain, lambda tcp, peer, sock: tcp.sends(sock, 10), "0ms"),
    "retransmission": (silence, nothing, "1100ms"),
    "tail loss probe": (tail, nothing, "190ms"),
    "keepalive": (keepalives, nothing, "11s"),
    "zero-window probe": (closed_window, nothing, "1100ms"),
    "delayed ACK": (unacknowledged, nothing, "50ms"),
    "window update": (full_buffer, lambda tcp, peer, sock: sock.recv(4096), "0ms"),
    "ACK of data": (plain, lambda tcp, peer, sock: peer.sends(len=10), "0ms"),
    "duplicate ACK": (plain, lambda tcp, peer, sock: peer.sends(seq=500, len=10), "0ms"),
    "challenge ACK": (plain, lambda tcp, peer, sock: peer.sends("S", seq=1), "0ms"),
    "answer to a keepalive": (plain, lambda tcp, peer, sock: peer.sends(seq=0), "0ms"),
    "accurate ECN": (
        accurate,
        lambda tcp, peer, sock: peer.sends("A" + ace(5), len=100, tos=CE),
        "0ms",
    ),
    "change of CE": (dctcp, lambda tcp, peer, sock: peer.sends(len=10, tos=CE), "0ms"),
    "FIN": (plain, lambda tcp, peer, sock: sock.shutdown(1), "0ms"),
    "RST": (plain, lambda tcp, peer, sock: sock.set(linger=0).close(), "0ms"),
}


@pytest.mark.parametrize("emitter", EMITTERS)
def test_after_a_change_of_routes(tcp: Tcp, peer: TcpPeer, emitter: str) -> None:
    begin, provoke, for_ = EMITTERS[emitter]
    sock = begin(tcp, peer)
    tcp.drain()
    reroute(tcp)
    provoke(tcp, peer, sock)
    found = tcp.drain(for_)
    assert found, "it was sent"
    assert [p.eth.dst for p in found if p.eth] == [GATEWAY_MAC] * len(found)


def test_a_probe_is_no_longer_than_the_new_path(tcp: Tcp, peer: TcpPeer) -> None:
    tail(tcp, peer)
    tcp.drain()
    reroute(tcp, mtu=600)
    found = tcp.drain("190ms")
    assert [len(p.l3) <= 600 for p in found] == [True]


# ---- what waits for a neighbour ------------------------------------------------------------------


class TwoLinks:
    """A stack on two links with the same network; the routes prefer the first."""

    def __init__(self, world: World) -> None:
        self.world = world
        pairs = [pipe_pair(layer=2, ring=64) for _ in range(2)]
        self.ends = [far for _, far in pairs]
        self.stack = world.stack([near for near, _ in pairs], "198.18.0.1/24")
        self.indexes = [2, 3]
        control = self.stack.control
        control.add_address(world.clock.now, self.indexes[1], "198.18.0.3/24")
        world.rest()
        self.take()

    def take(self) -> list[list[Packet]]:
        """What came out of either link."""
        now, found = self.world.clock.now, []
        for end in self.ends:
            seen = []
            while (frame := end.recv(now)) is not None:
                seen.append(Packet.parse(frame, 2, now))
            found.append(seen)
        return found

    def answers(self, link: int, ask: Packet, mac: Mac) -> None:
        assert ask.arp is not None
        answer = Arp(ARP_REPLY, mac, ask.arp.target_ip, ask.arp.sender_mac, ask.arp.sender_ip)
        self.ends[link].send(frames.arp(ask.arp.sender_mac, answer), self.world.clock.now)
        self.world.rest()

    def close(self) -> None:
        for end in self.ends:
            end.close()


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_what_waited_leaves_by_its_own_interface(world: World, kind: str) -> None:
    """The socket is bound to the second link, where the route is the worse one."""
    links = TwoLinks(world)
    world.add_closer(links.close)
    sock = Sock(links.stack, lib.BW_SOCK_TCP if kind == "tcp" else lib.BW_SOCK_UDP)
    sock.set(bindtoif=links.indexes[1])
    if kind == "tcp":
        sock.connect("198.18.0.77", 80)
    else:
        sock.sendto(b"x", "198.18.0.77", 80)
    world.rest()
    first, second = links.take()
    assert first == [] and [p.arp is not None for p in second] == [True]
    links.answers(1, second[0], GATEWAY_MAC)
    first, second = links.take()
    assert first == [], "it was routed anew"
    assert [(p.eth.dst, str(p.ip.dst)) for p in second if p.eth and p.ip] == [
        (GATEWAY_MAC, "198.18.0.77")
    ]


def test_what_waited_leaves_by_its_own_next_hop(world: World) -> None:
    """The route changed while the first gateway was asked for; its answer lets the packet go to it."""
    wire = Wire(world, layer=2, arp=False)
    control = wire.stack.control
    control.add_route("192.0.2.0/24", "198.18.0.8")
    wire.udp(1000).sendto(b"x", "192.0.2.1", 9)
    asked = wire.drain()
    assert [str(p.arp.target_ip) for p in asked if p.arp] == ["198.18.0.8"]
    control.remove_route("192.0.2.0/24")
    control.add_route("192.0.2.0/24", GATEWAY)
    ask = asked[0].arp
    assert ask is not None
    answer = Arp(ARP_REPLY, GATEWAY_MAC, IPv4Address("198.18.0.8"), ask.sender_mac, ask.sender_ip)
    wire.sends_frame(frames.arp(ask.sender_mac, answer))
    sent = wire.drain()
    assert [(p.eth.dst, str(p.ip.dst)) for p in sent if p.eth and p.ip] == [
        (GATEWAY_MAC, "192.0.2.1")
    ]
