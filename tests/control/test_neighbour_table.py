"""A full neighbour table: who makes room, who never does, and that neither costs a walk."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from barewire.l2.neighbour import (
    MAX_DUE,
    MAX_PENDING_BYTES,
    MAX_STRANGERS_BYTES,
    MAX_STRANGERS_PENDING,
    STALE_CHECK,
)
from barewire.l2.neighbour_table import FULL_TIME, IN_USE, Sender
from barewire.l2.port import Address, NeighbourInfo

from tests.control.fake_port import MS, PEER, PEER_MAC, S
from tests.control.test_neighbour import IF, State, World

SIZE = 16


def invented(start: int = 0) -> Iterator[IPv4Address]:
    base = int(IPv4Address("198.19.0.0")) + start
    while True:
        yield IPv4Address(base)
        base += 1


@pytest.fixture
def w() -> World:
    return World(max_entries=SIZE)


def asks_for_us(w: World, now: int, ip: Address) -> None:
    """An ARP request from ip for our address."""
    w.cache.observe(now, IF, ip, PEER_MAC, create=True)


def fill(w: World, now: int, n: int = SIZE, start: int = 0) -> list[IPv4Address]:
    strangers = [ip for ip, _ in zip(invented(start), range(n), strict=False)]
    for ip in strangers:
        asks_for_us(w, now, ip)
    return strangers


def test_a_stale_peer_in_use_outlives_any_number_of_strangers(w: World) -> None:
    """It asked for us first, as any client does; then the program answered it."""
    asks_for_us(w, 0, PEER)
    w.port.touch(IF, PEER, used=1, wanted=1, confirmed=2)
    fill(w, 3, 20 * SIZE)
    assert w.state() is State.STALE
    assert (IF, PEER) in w.port.neighbours
    assert len(w.cache) == SIZE


@pytest.mark.parametrize("what", ["wanted", "confirmed"])
def test_what_the_program_sent_or_heard_through_an_entry_makes_it_ours(w: World, what: str) -> None:
    asks_for_us(w, 0, PEER)
    w.port.touch(IF, PEER, **{what: 1})
    fill(w, 2 * S, 2 * SIZE)
    assert w.entry().sender is Sender.DATAGRAM


def test_answers_to_a_stranger_do_not_make_it_ours(w: World) -> None:
    asks_for_us(w, 0, PEER)
    w.port.touch(IF, PEER, used=1)
    fill(w, 2, SIZE)
    assert w.state() is None


def test_the_programs_first_packet_gets_a_place_among_strangers(w: World) -> None:
    strangers = fill(w, 0)
    w.cache.resolve(1, IF, PEER, b"ours")
    assert w.state() is State.INCOMPLETE
    assert w.state(strangers[0]) is None, "the oldest of them"
    fill(w, 2, 20 * SIZE, 100)
    w.cache.confirm(3, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"ours"]


def test_questions_for_strangers_are_recycled(w: World) -> None:
    """Replies to pings of invented neighbours: nobody answers, and each is forgotten for the next."""
    for i, ip in zip(range(10 * SIZE), invented(), strict=False):
        w.cache.resolve(i, IF, ip, b"echo reply", sender=Sender.STRANGER)
    w.cache.resolve(S, IF, PEER, b"ours")
    assert len(w.cache) == SIZE
    assert w.state() is State.INCOMPLETE
    for i, ip in zip(range(10 * SIZE), invented(1000), strict=False):
        w.cache.resolve(S + i, IF, ip, b"echo reply", sender=Sender.STRANGER)
    assert w.state() is State.INCOMPLETE, "strangers do not end a question of ours"
    w.cache.confirm(S + MS, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"ours"]
    assert (b"ours", errno.EHOSTUNREACH) not in w.port.errors


def test_a_strangers_entry_that_the_program_sends_to_is_ours(w: World) -> None:
    w.cache.resolve(0, IF, PEER, b"echo reply", sender=Sender.STRANGER)
    w.cache.resolve(1, IF, PEER, b"ours")
    fill(w, 2, 3 * SIZE)
    w.cache.confirm(3, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"echo reply", b"ours"]


def test_failed_entries_go_first(w: World) -> None:
    w.cache.resolve(0, IF, PEER, b"one")
    w.until(State.FAILED)
    strangers = fill(w, 3 * S, SIZE - 1)
    asks_for_us(w, 4 * S, next(invented(500)))
    assert w.state() is None
    assert all(w.state(ip) is not None for ip in strangers)


def test_the_programs_own_give_way_when_nothing_is_sent_to_them(w: World) -> None:
    mine = [ip for ip, _ in zip(invented(), range(SIZE), strict=False)]
    for ip in mine:
        w.cache.resolve(0, IF, ip, b"")
        w.cache.confirm(0, IF, ip, PEER_MAC)
        w.port.touch(IF, ip, used=1)
    w.port.touch(IF, mine[0], used=2 * S)
    w.cache.resolve(IN_USE, IF, PEER, b"too early")
    assert w.port.errors == [(b"too early", errno.EHOSTUNREACH)]
    w.cache.resolve(IN_USE + 1, IF, PEER, b"the table was looked through just now")
    assert w.cache.counters["drop_neigh_table_full"] == 2
    later = IN_USE + FULL_TIME
    w.cache.resolve(later, IF, PEER, b"late enough")
    assert w.state() is State.INCOMPLETE
    assert w.state(mine[0]) is not None, "used two seconds ago"
    assert w.cache.counters["neigh_evicted"] == 1


def test_of_many_questions_of_the_program_the_oldest_ends(w: World) -> None:
    for i, ip in zip(range(SIZE + 3), invented(), strict=False):
        w.cache.resolve(i, IF, ip, b"%d" % i)
    assert w.port.errors == [(b"%d" % i, errno.EHOSTUNREACH) for i in range(3)]
    asks_for_us(w, S, PEER)
    assert w.state() is None, "a stranger ends none"


def test_a_question_of_a_connected_socket_ends_for_another_only(w: World) -> None:
    w.cache.resolve(0, IF, PEER, b"SYN", Sender.CONNECTED)
    for i, ip in zip(range(10 * SIZE), invented(), strict=False):
        w.cache.resolve(i, IF, ip, b"sendto")
    assert (b"SYN", errno.EHOSTUNREACH) not in w.port.errors
    w.cache.confirm(S, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"SYN"]
    w.port.errors.clear()
    for i, ip in zip(range(SIZE), invented(1000), strict=False):
        w.cache.resolve(S + i, IF, ip, b"SYN %d" % i, Sender.CONNECTED)
    assert {packet for packet, _ in w.port.errors} == {b"sendto"}, "those go first"
    w.cache.resolve(2 * S, IF, next(invented(2000)), b"sendto")
    assert w.port.errors[-1] == (b"sendto", errno.EHOSTUNREACH), "and end none"


def test_what_a_connected_socket_sends_waits_beside_all_that_is_sent_otherwise(w: World) -> None:
    w.cache.resolve(0, IF, PEER, b"first")
    others = [ip for ip, _ in zip(invented(), range(SIZE - 1), strict=False)]
    for i in range(MAX_PENDING_BYTES // 65_000):
        w.cache.resolve(0, IF, others[i % len(others)], bytes(65_000))
    w.cache.resolve(0, IF, PEER, bytes(65_000))
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    w.cache.resolve(0, IF, PEER, b"SYN", Sender.CONNECTED)
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    w.cache.confirm(0, IF, PEER, PEER_MAC)
    assert w.port.packets == [b"first", b"SYN"]
    w.cache.forget(IF)
    assert not any(w.cache._pending_bytes.values())


def test_what_waits_for_strangers_is_little_and_takes_nothing_from_us(w: World) -> None:
    for i in range(MAX_STRANGERS_PENDING + 1):
        w.cache.resolve(0, IF, PEER, b"%d" % i, sender=Sender.STRANGER)
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    big, ips = bytes(65_000), invented()
    for _ in range(MAX_STRANGERS_BYTES // 65_000):
        w.cache.resolve(1, IF, next(ips), big, sender=Sender.STRANGER)
    assert w.cache.counters["drop_neigh_pending_full"] == 1
    w.cache.resolve(1, IF, next(ips), big, sender=Sender.STRANGER)
    assert w.cache.counters["drop_neigh_pending_full"] == 2
    w.cache.resolve(1, IF, next(ips), big)
    assert w.cache.counters["drop_neigh_pending_full"] == 2, "ours waits beside them"
    assert w.cache._pending_bytes == {
        Sender.STRANGER: 4 * 65_000 + MAX_STRANGERS_PENDING,
        Sender.DATAGRAM: 65_000,
        Sender.CONNECTED: 0,
    }
    while len(w.cache):
        w.to_deadline()
    assert not any(w.cache._pending_bytes.values())


def test_making_room_is_constant_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions to C, at a full table: one a choice, and one more for each entry that is adopted."""
    w, asked = World(max_entries=1024), 0
    look = w.port.neigh_get

    def counted(ifindex: int, ip: Address) -> NeighbourInfo | None:
        nonlocal asked
        asked += 1
        return look(ifindex, ip)

    monkeypatch.setattr(w.port, "neigh_get", counted)
    peers = fill(w, 0, 1024)
    fill(w, 1, 500, 5000)
    assert asked == 500
    for ip in peers[500:]:
        w.port.touch(IF, ip, wanted=1)
    asked = 0
    fill(w, 2, 1000, 10_000)
    assert asked == 1000 + 524, "each of ours once"
    asked = 0
    fill(w, 3, 1000, 20_000)
    assert asked == 1000
    assert all(w.cache.get(IF, ip) for ip in peers[500:])


def test_timers_that_are_due_together_are_served_in_turns() -> None:
    w = World()
    fill(w, 0, 200)
    w.cache.on_timer(STALE_CHECK)
    assert w.cache.next_deadline() == STALE_CHECK, "the rest is due at once"
    for _ in range(200 // MAX_DUE):
        w.cache.on_timer(STALE_CHECK)
    assert w.cache.next_deadline() == 2 * STALE_CHECK


def test_each_question_is_announced_to_c(w: World) -> None:
    w.reachable(0)
    assert w.port.expected == [(IF, PEER)]
    stale = w.until(State.STALE)
    w.port.touch(IF, PEER, used=stale + 1)
    w.until(State.PROBE)
    assert w.port.expected == [(IF, PEER)] * 2
