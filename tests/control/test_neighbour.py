"""The neighbour cache: one scenario a rule, at the exact times and bounds."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from random import Random

import pytest
from barewire.l2.mac import Mac
from barewire.l2.neighbour import (
    DELAY_FIRST_PROBE,
    FAILED_KEEP,
    LOCK_TIME,
    MAX_PENDING,
    MAX_PENDING_BYTES,
    REACHABLE_TIME,
    RETRANS_TIMER,
    STALE_CHECK,
    STALE_KEEP,
    Neighbour,
    NeighbourCache,
    State,
)
from barewire.l2.port import Address

from tests.control.fake_port import MS, OTHER_MAC, PEER, PEER_MAC, FakePort, S

IF = 2


class World:
    """A cache with a fake engine and the questions it asked."""

    def __init__(self, max_entries: int = 1024) -> None:
        self.port = FakePort()
        self.asked: list[tuple[int, Address, Mac | None]] = []
        self.cache = NeighbourCache(self.port, self._solicit, Random(1), max_entries=max_entries)

    def _solicit(self, now: int, ifindex: int, ip: Address, mac: Mac | None) -> None:
        self.asked.append((now, ip, mac))

    def state(self, ip: Address = PEER) -> State | None:
        entry = self.cache.get(IF, ip)
        return entry.state if entry else None

    def entry(self, ip: Address = PEER) -> Neighbour:
        entry = self.cache.get(IF, ip)
        assert entry is not None
        return entry

    def to_deadline(self) -> int:
        """Time passes up to the next deadline, which is handled."""
        now = self.cache.next_deadline()
        assert now is not None
        self.cache.on_timer(now - 1)
        assert self.cache.next_deadline() == now, "nothing happens before its time"
        self.cache.on_timer(now)
        return now

    def reachable(self, now: int) -> None:
        self.cache.resolve(now, IF, PEER, b"first")
        self.cache.confirm(now, IF, PEER, PEER_MAC)

    def until(self, state: State) -> int:
        for _ in range(2000):
            now = self.to_deadline()
            if self.state() is state:
                return now
        pytest.fail(f"never got to {state}")


def test_a_waiting_packet_goes_out_once_the_neighbour_answers() -> None:
    w = World()
    w.cache.resolve(0, IF, PEER, b"one")
    w.cache.resolve(1, IF, PEER, b"two")
    assert w.asked == [(0, PEER, None)], "asked once, by broadcast"
    w.cache.confirm(5 * MS, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"one", b"two"]
    assert w.port.neighbours[IF, PEER].mac == PEER_MAC
    assert w.state() is State.REACHABLE


def test_nobody_answers_three_questions_a_second_apart() -> None:
    w = World()
    w.cache.resolve(0, IF, PEER, b"one")
    assert [w.to_deadline() for _ in range(3)] == [RETRANS_TIMER, 2 * S, 3 * S]
    assert [when for when, *_ in w.asked] == [0, 1 * S, 2 * S]
    assert w.port.errors == [(b"one", errno.EHOSTUNREACH)]
    assert w.state() is State.FAILED
    assert (IF, PEER) not in w.port.neighbours


def test_a_failed_neighbour_is_asked_again_for_the_next_packet_and_forgotten_later() -> None:
    w = World()
    w.cache.resolve(0, IF, PEER, b"one")
    assert w.until(State.FAILED) == 3 * S
    w.cache.resolve(4 * S, IF, PEER, b"two")
    assert w.state() is State.INCOMPLETE
    assert w.asked[-1] == (4 * S, PEER, None)
    assert w.until(State.FAILED) == 7 * S
    assert w.to_deadline() == 7 * S + FAILED_KEEP
    assert len(w.cache) == 0
    assert w.cache.next_deadline() is None


def test_pending_packets_are_bounded_and_the_oldest_goes() -> None:
    w = World()
    for i in range(MAX_PENDING):
        w.cache.resolve(0, IF, PEER, b"%d" % i)
    assert w.cache.counters["drop_neigh_pending_full"] == 0
    w.cache.resolve(0, IF, PEER, b"last")
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    w.cache.confirm(1, IF, PEER, PEER_MAC)
    assert len(w.port.packets) == MAX_PENDING
    assert (w.port.packets[0], w.port.packets[-1]) == (b"1", b"last")


def test_what_waits_for_all_neighbours_is_bounded_too() -> None:
    w, packet = World(), bytes(65_536)
    others = [IPv4Address(f"198.18.1.{i}") for i in range(64)]
    for other in others:
        w.cache.resolve(0, IF, other, packet)
    w.cache.resolve(0, IF, PEER, b"one too many")
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    w.cache.confirm(1, IF, others[0], PEER_MAC)
    w.cache.resolve(1, IF, PEER, b"room again")
    w.cache.confirm(2, IF, PEER, PEER_MAC)
    assert w.port.packets == [packet, b"room again"]
    w.cache.resolve(3, IF, others[1], packet)
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    while w.state(others[1]) is not State.FAILED:
        w.to_deadline()
    assert len(w.port.errors) == 64, "nothing waits any more"
    for i in range(MAX_PENDING_BYTES // 65_536):
        w.cache.resolve(4 * S, IF, IPv4Address(f"198.18.2.{i}"), packet)
    assert w.cache.counters["drop_neigh_pending_full"] == 1


def test_reachable_time_is_random_within_half_and_one_and_a_half() -> None:
    times = set()
    w = World()
    for i in range(200):
        ip = IPv4Address(f"198.18.1.{i}")
        w.cache.resolve(0, IF, ip, b"")
        w.cache.confirm(0, IF, ip, PEER_MAC)
        times.add(w.cache._timers._live[IF, ip][0])
    assert REACHABLE_TIME // 2 <= min(times) < REACHABLE_TIME * 6 // 10
    assert REACHABLE_TIME * 14 // 10 < max(times) <= REACHABLE_TIME * 3 // 2


def test_an_unused_neighbour_becomes_stale_and_at_last_is_forgotten() -> None:
    w = World()
    w.reachable(0)
    stale = w.until(State.STALE)
    assert (IF, PEER) in w.port.neighbours, "a stale entry stays in use"
    while w.state() is State.STALE:
        last = w.to_deadline()
    assert last == stale + STALE_KEEP
    assert w.state() is None
    assert w.port.neighbours == {}
    assert w.asked == [(0, PEER, None)], "an idle neighbour costs no question"


def test_a_stale_neighbour_in_use_is_probed_by_unicast_and_answers() -> None:
    w = World()
    w.reachable(0)
    stale = w.until(State.STALE)
    w.port.touch(IF, PEER, used=stale + 1)
    assert w.to_deadline() == stale + STALE_CHECK
    assert w.state() is State.DELAY
    assert w.to_deadline() == stale + STALE_CHECK + DELAY_FIRST_PROBE
    assert w.state() is State.PROBE
    assert w.asked[-1] == (stale + STALE_CHECK + DELAY_FIRST_PROBE, PEER, PEER_MAC)
    w.cache.confirm(stale + 11 * S, IF, PEER, PEER_MAC)
    assert w.state() is State.REACHABLE


def test_use_exactly_when_it_became_stale_is_not_use_since() -> None:
    w = World()
    w.reachable(0)
    stale = w.until(State.STALE)
    w.port.touch(IF, PEER, used=stale)
    w.to_deadline()
    assert w.state() is State.STALE


def test_a_neighbour_that_is_gone_is_withdrawn_after_three_probes() -> None:
    w = World()
    w.reachable(0)
    stale = w.until(State.STALE)
    w.port.touch(IF, PEER, used=stale + 1)
    start = w.until(State.PROBE)
    assert (IF, PEER) in w.port.neighbours
    assert w.until(State.FAILED) == start + 3 * RETRANS_TIMER
    assert [mac for _, _, mac in w.asked] == [None, PEER_MAC, PEER_MAC, PEER_MAC]
    assert (IF, PEER) not in w.port.neighbours, "withdrawn only now"
    assert w.port.errors == []


@pytest.mark.parametrize("state", [State.DELAY, State.PROBE])
def test_progress_of_a_connection_is_as_good_as_an_answer(state: State) -> None:
    w = World()
    w.reachable(0)
    stale = w.until(State.STALE)
    w.port.touch(IF, PEER, used=stale + 1)
    now = w.until(state)
    w.port.touch(IF, PEER, confirmed=now + 1)
    asked = len(w.asked)
    w.to_deadline()
    assert w.state() is State.REACHABLE
    assert len(w.asked) == asked


def test_a_busy_connection_keeps_its_neighbour_reachable_without_questions() -> None:
    w = World()
    w.reachable(0)
    for _ in range(50):
        deadline = w.cache.next_deadline()
        assert deadline is not None
        w.port.touch(IF, PEER, used=deadline - 1, confirmed=deadline - 1)
        w.to_deadline()
        assert w.state() is State.REACHABLE
    assert len(w.asked) == 1


def test_hearsay_of_the_same_address_confirms_nothing() -> None:
    w = World()
    w.reachable(0)
    w.until(State.STALE)
    w.cache.observe(50 * S, IF, PEER, PEER_MAC)
    assert w.state() is State.STALE


def test_a_new_address_is_taken_as_stale_but_not_within_a_second() -> None:
    w = World()
    w.reachable(0)
    w.cache.observe(LOCK_TIME - 1, IF, PEER, OTHER_MAC)
    assert w.port.neighbours[IF, PEER].mac == PEER_MAC
    assert w.cache.counters["neigh_update_too_soon"] == 1
    w.cache.observe(LOCK_TIME, IF, PEER, OTHER_MAC)
    assert w.port.neighbours[IF, PEER].mac == OTHER_MAC
    assert w.state() is State.STALE


def test_hearsay_makes_no_entry_unless_somebody_asks_for_us() -> None:
    w = World()
    w.cache.observe(0, IF, PEER, PEER_MAC)
    w.cache.confirm(0, IF, PEER, PEER_MAC)
    assert len(w.cache) == 0
    w.cache.observe(0, IF, PEER, PEER_MAC, create=True)
    assert w.state() is State.STALE
    assert w.port.neighbours[IF, PEER].mac == PEER_MAC


def test_hearsay_answers_an_open_question() -> None:
    w = World()
    w.cache.resolve(0, IF, PEER, b"one")
    w.cache.observe(1, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"one"]
    assert w.state() is State.STALE


def test_a_probed_neighbour_may_answer_from_a_new_place() -> None:
    w = World()
    w.reachable(0)
    stale = w.until(State.STALE)
    w.port.touch(IF, PEER, used=stale + 1)
    now = w.until(State.PROBE)
    w.cache.confirm(now + 1, IF, PEER, OTHER_MAC)
    assert w.state() is State.REACHABLE
    assert w.port.neighbours[IF, PEER].mac == OTHER_MAC


def test_progress_through_an_old_address_does_not_confirm_the_new_one() -> None:
    w = World()
    w.reachable(0)
    w.cache.observe(2 * S, IF, PEER, OTHER_MAC)
    w.port.touch(IF, PEER, used=2 * S + 1, confirmed=2 * S - 1)
    w.to_deadline()
    assert w.state() is State.DELAY


def test_the_table_is_bounded_and_the_longest_stale_entry_makes_room() -> None:
    w = World(max_entries=2)
    a, b, c, d = (IPv4Address(f"198.18.0.{i}") for i in (11, 12, 13, 14))
    w.cache.observe(0, IF, a, PEER_MAC, create=True)
    w.cache.observe(1, IF, b, PEER_MAC, create=True)
    w.cache.resolve(2, IF, c, b"c")
    assert {e.ip for e in w.cache.entries()} == {b, c}
    assert (IF, a) not in w.port.neighbours
    assert w.cache.counters["neigh_evicted"] == 1
    w.cache.confirm(3, IF, c, PEER_MAC)
    w.cache.resolve(4, IF, d, b"d")
    assert {e.ip for e in w.cache.entries()} == {c, d}


def test_a_table_full_of_neighbours_in_use_takes_no_more() -> None:
    w = World(max_entries=1)
    w.reachable(0)
    w.port.touch(IF, PEER, used=1)
    other = IPv4Address("198.18.0.9")
    w.cache.resolve(1, IF, other, b"late")
    assert w.port.errors == [(b"late", errno.EHOSTUNREACH)]
    assert w.cache.counters["drop_neigh_table_full"] == 1
    w.cache.observe(1, IF, other, OTHER_MAC, create=True)
    assert len(w.cache) == 1


def test_a_packet_punted_just_before_publication_goes_again() -> None:
    w = World()
    w.reachable(0)
    w.port.packets.clear()
    w.cache.resolve(1, IF, PEER, b"again")
    assert w.port.packets == [b"again"]


def test_a_full_engine_table_is_counted() -> None:
    w = World()
    w.port.room = 0
    w.reachable(0)
    assert w.cache.counters["neigh_publish_failed"] == 1


def test_forgetting_an_interface_gives_its_waiting_packets_back() -> None:
    w = World()
    w.cache.resolve(0, IF, PEER, b"one")
    w.cache.observe(0, IF + 1, PEER, PEER_MAC, create=True)
    w.cache.forget(IF)
    assert w.port.errors == [(b"one", errno.EHOSTUNREACH)]
    assert [e.ifindex for e in w.cache.entries()] == [IF + 1]
    w.cache.forget(IF + 1, PEER)
    assert len(w.cache) == 0
    assert w.cache.next_deadline() is None
