"""Reassembly: whole datagrams in any order, nothing that contradicts itself, within bounds."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

import pytest
from barewire.stack.ip.ipv4 import PROTO_TCP, IPv4, IPv4Option, build_options
from barewire.stack.ip.reassembly import (
    FRAGMENT_COST,
    MAX_FRAGMENTS,
    TIMEOUT,
    Reassembler,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.control.fake_port import PEER, US
from tests.kit.budget import budget

IF = 2
DATAGRAM = IPv4(src=PEER, dst=US, ident=7, payload=bytes(range(256)) * 8)


class World:
    def __init__(self, **bounds: int) -> None:
        self.expired: list[tuple[int, IPv4]] = []
        self.r = Reassembler(
            lambda now, ifindex, first: self.expired.append((now, first)), **bounds
        )

    def hears(self, *pieces: IPv4, now: int = 0) -> bytes | None:
        """The datagram the last piece completed."""
        whole = None
        for piece in pieces:
            assert whole is None
            whole = self.r.on_fragment(now, IF, piece.build())
        return whole

    def count(self, name: str) -> int:
        return self.r.counters[name]

    def is_empty(self) -> bool:
        return (len(self.r), self.r.bytes, self.r.next_deadline()) == (0, 0, None)


def piece(offset: int, data: bytes, more: bool = True, ident: int = 7, **fields: int) -> IPv4:
    return IPv4(src=PEER, dst=US, ident=ident, offset=offset, payload=data, mf=more, **fields)


def test_in_order_and_in_reverse() -> None:
    for order in (1, -1):
        w = World()
        assert w.hears(*DATAGRAM.fragments(576)[::order]) == DATAGRAM.build()
        assert w.is_empty()


@budget(60)
@given(st.integers(1, 3000), st.integers(68, 1500), st.randoms(use_true_random=False))
def test_any_order_with_duplicates(size: int, mtu: int, rng: Random) -> None:
    datagram = replace(DATAGRAM, payload=rng.randbytes(size))
    pieces = datagram.fragments(mtu)
    if len(pieces) == 1:
        return
    rng.shuffle(pieces)
    again = [pieces[rng.randrange(i + 1)] for i in range(len(pieces) - 1)]
    mixed = [p for pair in zip(pieces, again, strict=False) for p in pair]
    w = World()
    assert w.hears(*mixed, pieces[-1]) == datagram.build()
    assert w.count("drop_fragment_duplicate") == len(again)
    assert w.is_empty()


def test_datagrams_are_told_apart_by_all_four() -> None:
    w = World()
    first, last = DATAGRAM.fragments(1500)
    for other in (
        replace(last, ident=8),
        replace(last, proto=253),
        replace(last, src=IPv4Address("198.18.0.9")),
        replace(last, dst=IPv4Address("198.18.0.8")),
    ):
        assert w.hears(other) is None
    assert w.hears(first) is None
    assert w.hears(last) == DATAGRAM.build()
    assert len(w.r) == 4


def test_the_first_fragments_header_is_kept_with_its_options() -> None:
    options = build_options(IPv4Option(0x94, b"\0\0"), IPv4Option(7, bytes(9)))
    datagram = replace(DATAGRAM, options=options, ttl=33, tos=0x10)
    pieces = datagram.fragments(700)
    pieces[1:] = [replace(p, ttl=1) for p in pieces[1:]]
    w = World()
    assert w.hears(*pieces[::-1]) == datagram.build()


@pytest.mark.parametrize(
    "second",
    [
        piece(8, b"B" * 16),  # inside
        piece(0, b"B" * 24),  # same start, other bytes
        piece(0, b"A" * 16),  # same start, shorter
        piece(16, b"A" * 16),  # over the end
        piece(16, b"A" * 4, more=False),  # ends before what is there
    ],
    ids=["inside", "rewrites", "shorter", "over the end", "ends early"],
)
def test_an_overlap_drops_the_whole_datagram_and_what_comes_later(second: IPv4) -> None:
    w = World()
    assert w.hears(piece(0, b"A" * 24), second) is None
    assert w.count("drop_fragment_overlap") == 1
    assert w.hears(piece(0, b"A" * 24), piece(24, b"A" * 8, more=False)) is None
    assert w.count("drop_fragment_of_dropped") == 2
    w.r.on_timer(TIMEOUT)
    assert w.is_empty()
    assert w.expired == [], "no error about it"
    assert w.hears(piece(0, b"A" * 24), piece(24, b"A" * 8, more=False)) is not None


def test_bytes_after_the_end_are_an_overlap_too() -> None:
    w = World()
    assert w.hears(piece(8, b"B" * 8, more=False), piece(16, b"C" * 8)) is None
    assert w.count("drop_fragment_overlap") == 1


def test_two_ends_are_an_overlap() -> None:
    w = World()
    w.hears(piece(8, b"B" * 8, more=False), piece(16, b"C" * 8, more=False))
    assert w.count("drop_fragment_overlap") == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        replace(DATAGRAM, payload=b"whole"),
        piece(0, b""),
        piece(0, b"1234567"),  # not whole units, and not the last
        piece(65528, b"12345678", more=False),  # past 64 KB: ping of death
        piece(65520, b"1" * 8),  # its header takes it past
        piece(0, b"1" * 16, proto=PROTO_TCP),  # TCP header in two pieces
        piece(8, b"1" * 16, proto=PROTO_TCP),
    ],
    ids=["no fragment", "empty", "odd", "past 64K", "past with header", "tiny TCP", "TCP at 8"],
)
def test_nonsense_is_dropped_alone(nonsense: IPv4) -> None:
    w = World()
    assert w.hears(nonsense) is None
    assert w.count("drop_fragment_nonsense") == 1
    assert w.is_empty()


def test_the_longest_datagram_is_taken() -> None:
    datagram = replace(DATAGRAM, payload=bytes(65515))
    w = World()
    assert w.hears(*datagram.fragments(1500)) == datagram.build()


def test_options_of_the_first_fragment_may_not_take_it_past_64k() -> None:
    pieces = replace(DATAGRAM, payload=bytes(65512)).fragments(1500)
    pieces[0] = replace(pieces[0], options=bytes([1] * 8))
    w = World()
    assert w.hears(*pieces) is None
    assert w.is_empty()


def test_a_datagram_times_out_after_30_seconds_from_its_first_piece() -> None:
    w = World()
    first, middle, _ = DATAGRAM.fragments(1000)
    w.hears(first, now=5)
    w.hears(middle, now=TIMEOUT)
    assert w.r.next_deadline() == 5 + TIMEOUT
    w.r.on_timer(5 + TIMEOUT - 1)
    assert w.expired == []
    w.r.on_timer(5 + TIMEOUT)
    assert w.expired == [(5 + TIMEOUT, first)]
    assert w.count("drop_reassembly_timeout") == 1
    assert w.is_empty()


def test_without_its_first_fragment_nobody_is_told() -> None:
    w = World()
    w.hears(DATAGRAM.fragments(1000)[1])
    w.r.on_timer(TIMEOUT)
    assert w.expired == []
    assert w.count("drop_reassembly_timeout") == 1


def test_the_number_of_datagrams_is_bounded_the_oldest_goes() -> None:
    w = World(max_datagrams=4)
    for i in range(5):
        w.hears(piece(0, b"A" * 8, ident=i))
    assert len(w.r) == 4
    assert w.count("drop_reassembly_full") == 1
    assert w.hears(piece(8, b"A", more=False, ident=1)) is not None
    assert w.hears(piece(8, b"A", more=False, ident=0)) is None


def test_one_source_has_its_own_bound() -> None:
    w = World(max_per_source=2)
    other = replace(piece(0, b"A" * 8), src=IPv4Address("198.18.0.9"))
    w.hears(other)
    for i in range(10):
        w.hears(piece(0, b"A" * 8, ident=i))
    assert len(w.r) == 3
    assert w.hears(replace(other, offset=8, mf=False)) is not None, "the other one lives"


def test_bytes_are_bounded() -> None:
    cost = 1000 + FRAGMENT_COST
    w = World(max_bytes=3 * cost)
    for i in range(3):
        w.hears(piece(0, bytes(1000), ident=i))
    assert (w.r.bytes, w.count("drop_reassembly_full")) == (3 * cost, 0)
    w.hears(piece(0, bytes(1000), ident=3))
    assert (w.r.bytes, w.count("drop_reassembly_full")) == (3 * cost, 1)


def test_fragments_of_one_datagram_are_bounded() -> None:
    w = World()
    for i in range(MAX_FRAGMENTS):
        w.hears(piece(i * 16, b"A" * 8))
    assert w.count("drop_fragment_too_many") == 0
    w.hears(piece(MAX_FRAGMENTS * 16, b"A" * 8))
    assert w.count("drop_fragment_too_many") == 1
    assert w.r.bytes == FRAGMENT_COST


@pytest.mark.parametrize(
    ("marks", "result"),
    [((2, 2), 2), ((2, 3), 3), ((1, 3), 3), ((3, 0), None), ((0, 0), 0)],
)
def test_congestion_marks_are_merged(marks: tuple[int, int], result: int | None) -> None:
    w = World()
    first, last = DATAGRAM.fragments(1500)
    whole = w.hears(replace(first, tos=marks[0]), replace(last, tos=marks[1]))
    assert (whole[1] if whole else None) == result
    assert w.is_empty()


@budget(60)
@given(
    st.lists(
        st.builds(
            piece,
            st.integers(0, 8).map(lambda n: n * 8),
            st.sampled_from([b"A" * 8, b"B" * 8, b"A" * 16, b"AAA"]),
            st.booleans(),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
def test_bounds_and_accounts_hold_for_anything(pieces: list[IPv4]) -> None:
    w = World(max_datagrams=2, max_bytes=1000)
    for now, p in enumerate(pieces):
        whole = w.r.on_fragment(now, IF, p.build())
        assert whole is None or not IPv4.parse(whole).is_fragment
        assert len(w.r) <= 2
        assert w.r.bytes <= 1000
        assert w.r.bytes == sum(d.cost for d in w.r._datagrams.values())
    w.r.on_timer(len(pieces) + TIMEOUT)
    assert w.is_empty()
    assert not w.r._by_source
