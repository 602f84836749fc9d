"""A peer that is in use, and one that is connected to, while strangers invent neighbours: virtual time."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from barewire.l2 import ARP_REPLY, ARP_REQUEST, Arp, Mac
from barewire.l2.neighbour import MAX_ENTRIES
from barewire.l2.neighbour_table import State
from barewire.stack.punt import RATES, PuntClass

from tests.kit import frames
from tests.kit.clock import SECOND
from tests.kit.flood import UNLIMITED
from tests.kit.wire import Wire
from tests.kit.world import World

IF = 2
REAL = "198.18.9.9"
REAL_MAC = Mac("02:00:00:00:09:09")


class Lan:
    """A wire whose far end is one real peer and any number of invented ones."""

    def __init__(self, world: World, **options: object) -> None:
        self.wire = Wire(world, layer=2, prefix=16, ring=2048, arp=False, **options)
        self.world = world
        self.invented = 0

    def frame(self, payload: bytes, mac: Mac = REAL_MAC) -> bytes:
        return frames.ethernet(self.wire.stack_mac, mac, payload)

    def asks(self, ip: str, mac: Mac) -> bytes:
        """An ARP request for the stack's address."""
        here = IPv4Address(self.wire.here)
        return frames.arp(b"\xff" * 6, Arp(ARP_REQUEST, mac, IPv4Address(ip), Mac(bytes(6)), here))

    def answers(self, ip: str = REAL, mac: Mac = REAL_MAC) -> None:
        here = IPv4Address(self.wire.here)
        reply = Arp(ARP_REPLY, mac, IPv4Address(ip), self.wire.stack_mac, here)
        self.wire.sends_frame(frames.arp(self.wire.stack_mac, reply))

    def floods(self, kind: str, n: int, second: int) -> None:
        """So many of so many a second, each of another neighbour that does not exist."""
        for _ in range(n):
            self.invented += 1
            ip = f"198.18.{64 + self.invented // 250 % 128}.{1 + self.invented % 250}"
            mac = Mac(b"\x02\x01" + self.invented.to_bytes(4))
            if kind == "arp":
                self.wire._put(self.asks(ip, mac))
            else:
                self.wire._put(self.frame(frames.echo(ip, self.wire.here), mac))
            self.world.run(SECOND // second)
            self.wire._seen.clear()

    def state(self, ip: str = REAL) -> State | None:
        entry = self.wire.stack.control.neighbours.get(IF, IPv4Address(ip))
        return entry.state if entry else None


@pytest.fixture(params=["at the rates that are set", "at any rate"])
def lan(world: World, request: pytest.FixtureRequest) -> Lan:
    return Lan(world, **({} if "set" in request.param else {"punt_rates": UNLIMITED}))


def udp_sent(lan: Lan) -> int:
    return sum(1 for p in lan.wire.drain() if p.udp)


@pytest.mark.parametrize("kind", ["arp", "ping"])
def test_a_peer_in_use_stays_reachable_for_the_program(lan: Lan, kind: str) -> None:
    """It asked for us as any client does, so it is as unknown as the others; then we answered it."""
    wire = lan.wire
    wire.sends_frame(lan.asks(REAL, REAL_MAC))
    sock = wire.udp(4000)
    for _ in range(3):
        sock.sendto(b"answer", REAL, 9)
        lan.floods(kind, MAX_ENTRIES * 2 // 3 + 100, 1000)
        wire.drain()
    sock.sendto(b"answer", REAL, 9)
    assert udp_sent(lan) == 1, "at once, without a question"
    assert lan.state() is not None


@pytest.mark.parametrize("kind", ["arp", "ping"])
def test_the_program_reaches_a_new_peer_in_the_midst_of_a_flood(lan: Lan, kind: str) -> None:
    wire = lan.wire
    lan.floods(kind, 3 * MAX_ENTRIES, 1000)
    wire.drain()
    sock = wire.udp(4000)
    sock.sendto(b"first", REAL, 9)
    asked = [p for p in wire.drain() if p.arp and p.arp.target_ip == IPv4Address(REAL)]
    assert len(asked) == 1
    lan.floods(kind, 50, 1000)  # 50 ms: the peer is slow to answer
    lan.answers()
    assert udp_sent(lan) == 1


@pytest.mark.parametrize("kind", ["tcp", "udp", "ping"])
def test_answers_by_sendto_do_not_delay_who_chose_its_peer(world: World, kind: str) -> None:
    """A UDP server answers 30,000 datagrams a second, each of another neighbour that does not exist."""
    lan = Lan(world)
    wire, server = lan.wire, lan.wire.udp(53)

    def serves(ms: int) -> None:
        for _ in range(ms):
            for _ in range(30):
                lan.invented += 1
                host = f"198.18.{64 + lan.invented // 250 % 128}.{1 + lan.invented % 250}"
                wire._put(lan.frame(frames.udp(host, wire.here, 4000, 53, b"?")))
            world.run("1ms")
            for _ in range(30):
                data, (host, port) = server.recvfrom(2000)
                server.sendto(data, host, port)
            wire._seen.clear()

    serves(110)
    assert wire.stack.counters()["drop_punt_resolve_rate"] > 0
    if kind == "tcp":
        wire.tcp().connect(REAL, 80)
    elif kind == "udp":
        wire.udp().connect(REAL, 9).send(b"first")
    else:
        session = wire.stack.control.echo.open(IPv4Address(REAL), lambda result: None)
        session.send(wire.clock.now, b"first")
    asked = [p for p in wire.drain() if p.arp and p.arp.target_ip == IPv4Address(REAL)]
    assert len(asked) == 1, "at once"
    serves(110)  # the peer is slow to answer
    lan.answers()
    assert [p for p in wire.drain() if p.ip and p.ip.dst == IPv4Address(REAL)]


def test_what_strangers_say_does_not_stand_in_the_way_of_an_answer(world: World) -> None:
    """ARP of every sort beyond its rate, all at one instant; and the reply that we wait for."""
    lan = Lan(world)
    wire = lan.wire
    wire.udp(4000).sendto(b"first", REAL, 9)
    world.rest()
    wire._seen.clear()
    for i in range(2 * RATES[PuntClass.ARP].burst):
        ip, mac = f"198.18.65.{1 + i % 250}", Mac(b"\x02\x02" + i.to_bytes(4))
        wire._put(lan.asks(ip, mac))
        unasked = Arp(ARP_REPLY, mac, IPv4Address(ip), wire.stack_mac, IPv4Address(wire.here))
        wire._put(frames.arp(wire.stack_mac, unasked))
    assert wire.stack.counters()["drop_punt_arp_rate"] == 0, "not read yet"
    lan.answers()
    assert wire.stack.counters()["drop_punt_arp_rate"] > 0
    assert udp_sent(lan) == 1


def test_replies_that_nobody_asked_for_never_reach_python(world: World) -> None:
    lan = Lan(world)
    for i in range(100):
        lan.answers(f"198.18.7.{1 + i}")
    assert lan.wire.stack.control.counters.get("punts_arp", 0) == 0
    assert lan.wire.stack.counters()["drop_arp_not_ours"] == 100


def test_an_answer_counts_once(world: World) -> None:
    """The second one, of who would be the peer, is hearsay: too soon after the first."""
    lan = Lan(world)
    lan.wire.udp(4000).sendto(b"first", REAL, 9)
    lan.wire.drain()
    lan.answers()
    lan.answers(mac=Mac("02:00:00:00:66:66"))
    entry = lan.wire.stack.control.neighbours.get(IF, IPv4Address(REAL))
    assert entry is not None and entry.mac == REAL_MAC
    assert lan.wire.stack.control.counters["punts_arp_answer"] == 1
    assert lan.wire.stack.control.counters["neigh_update_too_soon"] == 1


def test_the_engines_table_gives_its_places_again(world: World) -> None:
    """Three times as many as it has, one after the other and all of a sudden."""
    lan = Lan(world, punt_rates=UNLIMITED)
    lan.floods("arp", 3 * MAX_ENTRIES, 1_000_000)
    neighbours = lan.wire.stack.control.neighbours
    assert len(neighbours) == MAX_ENTRIES
    assert lan.wire.stack.control.counters.get("neigh_publish_failed", 0) == 0
    neighbours.forget(IF)
    assert len(neighbours) == 0
    lan.floods("arp", MAX_ENTRIES, 1_000_000)
    assert len(neighbours) == MAX_ENTRIES
    assert lan.wire.stack.control.counters.get("neigh_publish_failed", 0) == 0
