"""ARP: claiming, announcing and defending addresses (RFC 5227), and what is learned (RFC 826)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from random import Random

import pytest
from barewire.l2 import ARP_REPLY, ARP_REQUEST, BROADCAST, UNSPECIFIED, Arp, Mac
from barewire.l2.arp import (
    ANNOUNCE_INTERVAL,
    ANNOUNCE_WAIT,
    DEFEND_INTERVAL,
    MAX_CONFLICTS,
    PROBE_MAX,
    PROBE_MIN,
    PROBE_WAIT,
    RATE_LIMIT_INTERVAL,
    ArpProtocol,
    Claim,
)
from barewire.l2.neighbour import NeighbourCache, State

from tests.control.fake_port import (
    OTHER,
    OTHER_MAC,
    OUR_MAC,
    PEER,
    PEER_MAC,
    US,
    FakePort,
    S,
)

IF = 2
OURS = IPv4Interface("198.18.0.2/24")
ZERO = IPv4Address(0)
ANNOUNCEMENT = (BROADCAST, Arp(ARP_REQUEST, OUR_MAC, US, UNSPECIFIED, US))
PROBE = (BROADCAST, Arp(ARP_REQUEST, OUR_MAC, ZERO, UNSPECIFIED, US))


class World:
    def __init__(self, probe: bool = False, give_up: bool = False, seed: int = 1) -> None:
        self.port = FakePort()
        self.events: list[tuple[int, str]] = []
        self.cache = NeighbourCache(self.port, self._solicit, Random(2))
        self.arp = ArpProtocol(
            self.port,
            self.cache,
            {IF: OUR_MAC},
            Random(seed),
            lambda now, ifindex, ip: self.events.append((now, f"usable {ip}")),
            lambda now, ifindex, ip: self.events.append((now, f"lost {ip}")),
            probe=probe,
            give_up=give_up,
        )

    def _solicit(self, now: int, ifindex: int, ip: IPv4Address, mac: Mac | None) -> None:
        self.arp.solicit(now, ifindex, ip, mac)

    def hears(self, now: int, arp: Arp) -> None:
        self.arp.on_arp(now, IF, arp.build())

    def to_deadline(self) -> int:
        now = self.arp.next_deadline()
        assert now is not None
        self.arp.on_timer(now)
        return now


def request(sender: IPv4Address = PEER, mac: Mac = PEER_MAC, target: IPv4Address = US) -> Arp:
    return Arp(ARP_REQUEST, mac, sender, UNSPECIFIED, target)


def reply(sender: IPv4Address = PEER, mac: Mac = PEER_MAC, target: IPv4Address = US) -> Arp:
    return Arp(ARP_REPLY, mac, sender, OUR_MAC, target)


# ---- claiming ------------------------------------------------------------------------------------


def test_without_probing_an_address_is_usable_at_once_and_announced_twice() -> None:
    w = World()
    w.arp.add(0, IF, OURS)
    assert w.events == [(0, "usable 198.18.0.2")]
    assert w.port.taken_arps() == [ANNOUNCEMENT]
    assert w.to_deadline() == ANNOUNCE_INTERVAL
    assert w.port.taken_arps() == [ANNOUNCEMENT]
    assert w.arp.state(IF, US) is Claim.OWNED
    assert w.arp.next_deadline() is None


@pytest.mark.parametrize("seed", range(8))
def test_probing_three_times_then_announcing(seed: int) -> None:
    w = World(probe=True, seed=seed)
    w.arp.add(0, IF, OURS)
    assert w.port.frames == []
    first, second, third = w.to_deadline(), w.to_deadline(), w.to_deadline()
    assert first <= PROBE_WAIT
    assert PROBE_MIN <= second - first <= PROBE_MAX
    assert PROBE_MIN <= third - second <= PROBE_MAX
    assert w.port.taken_arps() == [PROBE] * 3
    assert w.events == []
    assert w.arp.state(IF, US) is Claim.PROBING
    assert w.to_deadline() == third + ANNOUNCE_WAIT
    assert w.events == [(third + ANNOUNCE_WAIT, "usable 198.18.0.2")]
    assert w.port.taken_arps() == [ANNOUNCEMENT]
    assert w.to_deadline() == third + ANNOUNCE_WAIT + ANNOUNCE_INTERVAL


@pytest.mark.parametrize(
    "claim",
    [reply(sender=US), request(sender=US, target=PEER), request(sender=ZERO)],
    ids=["a reply from it", "a request from it", "a probe for it too"],
)
def test_a_conflict_while_probing_loses_the_address(claim: Arp) -> None:
    w = World(probe=True)
    w.arp.add(0, IF, OURS)
    now = w.to_deadline()
    w.hears(now + 1, claim)
    assert w.events == [(now + 1, "lost 198.18.0.2")]
    assert w.arp.state(IF, US) is None
    assert w.arp.next_deadline() is None
    assert len(w.cache) == 0


def test_our_own_probe_come_back_is_no_conflict() -> None:
    w = World(probe=True)
    w.arp.add(0, IF, OURS)
    now = w.to_deadline()
    w.hears(now, PROBE[1])
    assert w.arp.state(IF, US) is Claim.PROBING


def test_after_ten_conflicts_probing_slows_down() -> None:
    w = World(probe=True)
    for i in range(MAX_CONFLICTS):
        w.arp.add(i, IF, OURS)
        assert (w.arp.next_deadline() or 0) <= i + PROBE_WAIT
        w.hears(i, reply(sender=US))
    w.arp.add(100, IF, OURS)
    assert w.arp.next_deadline() == MAX_CONFLICTS - 1 + RATE_LIMIT_INTERVAL


# ---- defending -----------------------------------------------------------------------------------


def owned(give_up: bool = False) -> World:
    w = World(give_up=give_up)
    w.arp.add(0, IF, OURS)
    w.to_deadline()
    w.port.frames.clear()
    return w


def test_a_conflict_is_answered_with_one_announcement_an_interval() -> None:
    w = owned()
    start = 10 * S
    w.hears(start, reply(sender=US))
    assert w.port.taken_arps() == [ANNOUNCEMENT]
    w.hears(start + DEFEND_INTERVAL - 1, reply(sender=US))
    assert w.port.taken_arps() == []
    w.hears(start + DEFEND_INTERVAL, request(sender=US, target=OTHER))
    assert w.port.taken_arps() == [ANNOUNCEMENT]
    assert w.arp.counters["arp_conflicts"] == 3
    assert w.events == [(0, "usable 198.18.0.2")]
    assert len(w.cache) == 0, "nobody learns our own address from somebody else"


def test_giving_up_at_the_second_conflict_within_an_interval() -> None:
    w = owned(give_up=True)
    w.hears(10 * S, reply(sender=US))
    w.hears(10 * S + DEFEND_INTERVAL - 1, reply(sender=US))
    assert w.events[-1] == (10 * S + DEFEND_INTERVAL - 1, "lost 198.18.0.2")


def test_somebodys_probe_for_our_address_is_answered_by_c_not_a_conflict() -> None:
    w = owned()
    w.hears(10 * S, request(sender=ZERO))
    assert w.port.taken_arps() == []
    assert w.arp.counters["arp_conflicts"] == 0


def test_a_removed_address_is_neither_announced_nor_defended() -> None:
    w = World()
    w.arp.add(0, IF, OURS)
    w.arp.remove(IF, US)
    w.port.frames.clear()
    assert w.arp.next_deadline() is None
    w.hears(1, reply(sender=US))
    assert w.port.frames == []


# ---- learning ------------------------------------------------------------------------------------


def test_a_question_and_its_answer() -> None:
    w = owned()
    w.cache.resolve(10 * S, IF, PEER, b"packet")
    assert w.port.taken_arps() == [(BROADCAST, Arp(ARP_REQUEST, OUR_MAC, US, UNSPECIFIED, PEER))]
    w.hears(10 * S + 1, reply())
    assert w.port.packets == [b"packet"]
    entry = w.cache.get(IF, PEER)
    assert entry is not None and entry.state is State.REACHABLE


def test_a_unicast_question_goes_to_the_neighbour_it_asks() -> None:
    w = owned()
    w.arp.solicit(0, IF, PEER, PEER_MAC)
    assert w.port.taken_arps() == [(PEER_MAC, Arp(ARP_REQUEST, OUR_MAC, US, PEER_MAC, PEER))]


def test_who_asks_for_us_is_learned_who_asks_for_others_is_not() -> None:
    w = owned()
    w.hears(10 * S, request(sender=PEER, target=OTHER))
    assert len(w.cache) == 0
    w.hears(10 * S, request(sender=PEER, target=US))
    entry = w.cache.get(IF, PEER)
    assert entry is not None and (entry.state, entry.mac) == (State.STALE, PEER_MAC)


@pytest.mark.parametrize("op", [ARP_REQUEST, ARP_REPLY])
def test_gratuitous_arp_updates_what_is_there_and_adds_nothing(op: int) -> None:
    w = owned()
    gratuitous = Arp(op, OTHER_MAC, PEER, UNSPECIFIED, PEER)
    w.hears(10 * S, gratuitous)
    assert len(w.cache) == 0
    w.hears(10 * S, request())
    w.hears(12 * S, gratuitous)
    assert w.port.neighbours[IF, PEER].mac == OTHER_MAC


@pytest.mark.parametrize(
    "nonsense",
    [
        replace(reply(), op=0),
        replace(reply(), op=3),
        replace(reply(), sender_mac=BROADCAST),
        replace(reply(), sender_mac=UNSPECIFIED),
        replace(reply(), sender_ip=IPv4Address("224.0.0.1")),
        replace(reply(), sender_ip=IPv4Address("127.0.0.1")),
        replace(reply(), sender_ip=IPv4Address("255.255.255.255")),
    ],
    ids=lambda arp: f"op {arp.op} from {arp.sender_mac} {arp.sender_ip}",
)
def test_nonsense_is_dropped_with_a_counter(nonsense: Arp) -> None:
    w = owned()
    w.cache.resolve(10 * S, IF, PEER, b"")
    w.hears(10 * S, nonsense)
    assert w.arp.counters["drop_arp_nonsense"] == 1
    assert w.port.neighbours == {}


def test_truncated_arp_is_dropped_with_a_counter() -> None:
    w = owned()
    for length in range(28):
        w.arp.on_arp(0, IF, reply().build()[:length])
    assert w.arp.counters["drop_arp_malformed"] == 28


def test_the_question_is_asked_from_the_targets_subnet() -> None:
    w = owned()
    w.arp.add(0, IF, IPv4Interface("198.51.100.5/24"))
    w.port.frames.clear()
    w.arp.solicit(0, IF, IPv4Address("198.51.100.9"), None)
    w.arp.solicit(0, IF, IPv4Address("203.0.113.1"), None)
    senders = [str(arp.sender_ip) for _, arp in w.port.taken_arps()]
    assert senders == ["198.51.100.5", "198.18.0.2"]


def test_without_a_usable_address_nothing_is_asked() -> None:
    w = World(probe=True)
    w.arp.add(0, IF, OURS)
    w.arp.solicit(0, IF, PEER, None)
    assert w.port.frames == []
    assert w.arp.counters["arp_no_source"] == 1
