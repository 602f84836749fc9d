"""Reassembly (RFC 791 3.2, RFC 815): whole datagrams in any order, nothing that contradicts itself, within
bounds; and the engine beside `tests/kit/reassembly.py`, which says the same in Python."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random

import pytest
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4, IPv4Option, build_options
from barewire.stack.udp.udp import Udp
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import frames
from tests.kit.budget import budget
from tests.kit.reassembly import (
    MAX_DATAGRAMS,
    MAX_FRAGMENTS,
    MAX_PER_SOURCE,
    TIMEOUT,
    Reassembler,
)
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

HERE, THERE = IPv4Address("198.18.0.1"), IPv4Address("198.18.0.2")
COUNTERS = (
    "ip_reassembled",
    "drop_fragment_nonsense",
    "drop_fragment_duplicate",
    "drop_fragment_overlap",
    "drop_fragment_of_dropped",
    "drop_fragment_too_many",
    "drop_fragment_ecn",
    "drop_reassembly_full",
    "drop_reassembly_timeout",
)


def datagram(size: int, src: IPv4Address = THERE, **fields: object) -> IPv4:
    """A UDP datagram to port 7 of `size` bytes of IP payload."""
    data = Udp(5000, 7, frames.pattern(size - 8), False).build(src, HERE)
    return IPv4(src=src, dst=HERE, payload=data, **({"ident": 7} | fields))  # type: ignore[arg-type]


def piece(offset: int, data: bytes, more: bool = True, ident: int = 7, **fields: object) -> IPv4:
    said = {"src": THERE, "dst": HERE, "ident": ident} | fields
    return IPv4(offset=offset, payload=data, mf=more, **said)  # type: ignore[arg-type]


DATAGRAM = datagram(2048)


@pytest.fixture
def sock(wire: Wire) -> Sock:
    return wire.udp(7)


def hears(wire: Wire, *pieces: IPv4) -> None:
    for p in pieces:
        wire.sends(p.build())


def got(sock: Sock) -> bytes | None:
    return sock.recvfrom()[0] if sock.readable else None


def counted(wire: Wire) -> dict[str, int]:
    found = wire.stack.counters()
    return {name: found[name] for name in COUNTERS if found[name]}


@pytest.mark.parametrize("order", [1, -1])
def test_in_order_and_in_reverse(wire: Wire, sock: Sock, order: int) -> None:
    *most, last = DATAGRAM.fragments(576)[::order]
    hears(wire, *most)
    assert got(sock) is None
    hears(wire, last)
    assert got(sock) == DATAGRAM.payload[8:]
    assert wire.stack.next_deadline() is None, "nothing is left of it"


def test_datagrams_are_told_apart_by_all_four(wire: Wire, sock: Sock) -> None:
    first, last = DATAGRAM.fragments(1500)
    others = (
        replace(last, ident=8),
        replace(last, proto=253),
        replace(last, src=IPv4Address("198.18.0.9")),
        replace(last, dst=IPv4Address("127.0.0.1")),
    )
    for other in others[:3]:
        hears(wire, other)
    hears(wire, first)
    assert got(sock) is None
    hears(wire, last)
    assert got(sock) == DATAGRAM.payload[8:]
    assert counted(wire) == {"ip_reassembled": 1}


def test_the_first_fragments_header_is_kept_with_its_options(wire: Wire) -> None:
    options = build_options(IPv4Option(0x94, b"\0\0"), IPv4Option(0x9E, bytes(9)))
    whole = replace(DATAGRAM, options=options, ttl=33, tos=0x10, proto=253)
    pieces = whole.fragments(700)
    pieces[1:] = [replace(p, ttl=1) for p in pieces[1:]]
    hears(wire, *pieces[::-1])
    error = wire.expects().icmp
    assert isinstance(error, icmp.Unreachable)
    assert error.quoted == whole.build()[:548]


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
def test_an_overlap_drops_the_whole_datagram_and_what_comes_later(wire: Wire, second: IPv4) -> None:
    hears(wire, piece(0, b"A" * 24), second)
    assert counted(wire) == {"drop_fragment_overlap": 1}
    hears(wire, piece(0, b"A" * 24), piece(24, b"A" * 8, more=False))
    assert counted(wire) == {"drop_fragment_overlap": 1, "drop_fragment_of_dropped": 2}
    wire.expects_nothing("31s", why="no error about it")
    hears(wire, piece(0, b"A" * 24), piece(24, b"A" * 8, more=False))
    assert counted(wire)["ip_reassembled"] == 1


def test_bytes_after_the_end_are_an_overlap_too(wire: Wire) -> None:
    hears(wire, piece(8, b"B" * 8, more=False), piece(16, b"C" * 8))
    assert counted(wire) == {"drop_fragment_overlap": 1}


def test_two_ends_are_an_overlap(wire: Wire) -> None:
    hears(wire, piece(8, b"B" * 8, more=False), piece(16, b"C" * 8, more=False))
    assert counted(wire) == {"drop_fragment_overlap": 1}


@pytest.mark.parametrize(
    "nonsense",
    [
        piece(0, b""),
        piece(0, b"1234567"),  # not whole units, and not the last
        piece(65528, b"12345678", more=False),  # past 64 KB: ping of death
        piece(65520, b"1" * 8),  # its header takes it past
        piece(0, b"1" * 16, proto=PROTO_TCP),  # TCP header in two pieces
        piece(8, b"1" * 16, proto=PROTO_TCP),
    ],
    ids=["empty", "odd", "past 64K", "past with header", "tiny TCP", "TCP at 8"],
)
def test_nonsense_is_dropped_alone(wire: Wire, nonsense: IPv4) -> None:
    hears(wire, nonsense)
    assert counted(wire) == {"drop_fragment_nonsense": 1}
    assert wire.stack.next_deadline() is None


def test_the_longest_datagram_is_taken(wire: Wire, sock: Sock) -> None:
    longest = datagram(65515)
    hears(wire, *longest.fragments(1500))
    assert got(sock) == longest.payload[8:]


def test_options_of_the_first_fragment_may_not_take_it_past_64k(wire: Wire, sock: Sock) -> None:
    pieces = datagram(65512).fragments(1500)
    pieces[0] = replace(pieces[0], options=bytes([1] * 8))
    hears(wire, *pieces)
    assert counted(wire) == {"drop_fragment_nonsense": 1}
    assert wire.stack.next_deadline() is None


def test_a_datagram_times_out_after_30_seconds_from_its_first_piece(wire: Wire) -> None:
    first, middle, _ = DATAGRAM.fragments(1000)
    hears(wire, first)
    wire.world.run("20s")
    hears(wire, middle)
    packet = wire.expects(after="10s")
    assert packet.icmp == icmp.TimeExceeded(icmp.EXCEEDED_REASSEMBLY, first.build()[:548])
    assert counted(wire) == {"drop_reassembly_timeout": 1}
    assert wire.stack.next_deadline() is None


def test_without_its_first_fragment_nobody_is_told(wire: Wire) -> None:
    hears(wire, DATAGRAM.fragments(1000)[1])
    wire.expects_nothing("31s")
    assert counted(wire) == {"drop_reassembly_timeout": 1}


def test_the_number_of_datagrams_is_bounded_the_oldest_goes(wire: Wire, sock: Sock) -> None:
    def of(i: int) -> list[IPv4]:
        return datagram(2000, IPv4Address(f"198.18.1.{i}"), ident=i).fragments(1500)

    for i in range(MAX_DATAGRAMS):
        hears(wire, of(i)[0])
    assert counted(wire) == {}
    hears(wire, replace(of(0)[0], ident=1000))
    assert counted(wire) == {"drop_reassembly_full": 1}
    hears(wire, of(1)[1])
    assert got(sock), "the second is still there"
    hears(wire, of(0)[1])
    assert got(sock) is None, "the oldest is not"


def test_datagrams_of_one_source_are_bounded_apart(wire: Wire, sock: Sock) -> None:
    other = datagram(2000, IPv4Address("198.18.0.9")).fragments(1500)
    hears(wire, other[0])
    for i in range(MAX_PER_SOURCE + 3):
        hears(wire, replace(DATAGRAM.fragments(1500)[0], ident=i))
    assert counted(wire) == {"drop_reassembly_full": 3}
    hears(wire, other[1])
    assert got(sock)


def test_fragments_of_one_datagram_are_bounded(wire: Wire) -> None:
    for i in range(MAX_FRAGMENTS):
        hears(wire, piece(i * 16, b"A" * 8))
    assert counted(wire) == {}
    hears(wire, piece(MAX_FRAGMENTS * 16, b"A" * 8))
    assert counted(wire) == {"drop_fragment_too_many": 1}


@pytest.mark.parametrize(
    ("marks", "result"),
    [((2, 2), 2), ((2, 3), 3), ((1, 3), 3), ((3, 0), None), ((0, 0), 0)],
)
def test_congestion_marks_are_merged(
    wire: Wire, marks: tuple[int, int], result: int | None
) -> None:
    ping = IPv4(src=THERE, dst=HERE, proto=PROTO_ICMP, payload=icmp.Echo(1, 1, bytes(2000)).build())
    first, last = ping.fragments(1500)
    hears(wire, replace(first, tos=marks[0]), replace(last, tos=marks[1]))
    found = {IPv4.parse(p.l3).tos for p in wire.drain()}
    assert found == (set() if result is None else {result})
    assert wire.stack.next_deadline() is None


# ---- beside Python ---------------------------------------------------------------------------------


class Both:
    """The engine and the reassembler of the kit, told the same."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.sock = wire.udp(7)
        self.expired: list[IPv4] = []
        self.python = Reassembler(lambda now, ifindex, first: self.expired.append(first))

    def hears(self, p: IPv4) -> None:
        fragment = p.is_fragment
        whole = self.python.on_fragment(self.wire.clock.now, 2, p.build()) if fragment else None
        self.wire.sends(p.build())
        self.compare()
        if p.proto != PROTO_UDP or not fragment:
            got(self.sock)
            return
        wanted = None
        if whole is not None:
            datagram = IPv4.parse(whole).payload
            length = int.from_bytes(datagram[4:6], "big")
            if datagram[2:4] == b"\0\7" and 8 <= length <= len(datagram):
                wanted = datagram[8:length]
        assert got(self.sock) == wanted

    def waits(self, ns: int) -> None:
        self.wire.world.run(ns)
        self.python.on_timer(self.wire.clock.now)
        self.compare()

    def compare(self) -> None:
        assert counted(self.wire) == {n: c for n, c in self.python.counters.items() if c}
        assert self.wire.stack.next_deadline() == self.python.next_deadline()


SOURCES = [IPv4Address(f"198.18.0.{i}") for i in range(2, 6)]
hands = st.builds(
    piece,
    st.integers(0, 8).map(lambda n: n * 8),
    st.sampled_from([b"A" * 8, b"B" * 8, b"A" * 16, b"AAA", b"\0\5\0\7\0\x10\0\0" + b"C" * 8]),
    st.booleans(),
    st.integers(0, 2),
    src=st.sampled_from(SOURCES),
    proto=st.sampled_from([PROTO_UDP, PROTO_UDP, PROTO_TCP, 253]),
    tos=st.sampled_from([0, 0, 2, 3]),
)


@budget(100)
@given(st.lists(st.tuples(hands, st.sampled_from([0, 0, 1, 10**10])), max_size=60))
def test_the_engine_says_what_python_says_of_pieces_made_by_hand(steps) -> None:
    with World(1, buffer_bytes=1 << 20) as world:
        both = Both(Wire(world))
        for p, wait in steps:
            both.hears(p)
            if wait:
                both.waits(wait)
        both.waits(TIMEOUT)
        assert both.wire.stack.next_deadline() is None


@pytest.mark.parametrize("seed", range(3))
def test_the_engine_says_what_python_says_of_a_busy_network(wire: Wire, seed: int) -> None:
    """Some hundred datagrams of a few sources at once, cut, mixed, doubled, bent and lost: both bounds
    are met, and time passes."""
    rng, both = Random(seed), Both(wire)
    pending: list[IPv4] = []
    for i in range(900):
        src = SOURCES[0] if rng.random() < 0.3 else IPv4Address(f"198.18.0.{rng.randrange(2, 250)}")
        whole = datagram(
            rng.randrange(9, 4000), src, ident=rng.randrange(400), tos=rng.choice([0, 2])
        )
        cut = whole.fragments(rng.choice([68, 576, 1500]) if i % 40 == 0 else 1500)
        pending += [p for p in cut if p.is_fragment and rng.random() < 0.8]
        for _ in range(min(len(pending), 2)):
            p = pending.pop(rng.randrange(len(pending)))
            if rng.random() < 0.1:
                pending.append(p)
            if rng.random() < 0.05:
                p = replace(p, offset=max(0, p.offset - 8))
            if rng.random() < 0.05:
                p = replace(p, tos=3)
            both.hears(p)
        if rng.random() < 0.003:
            both.waits(rng.randrange(TIMEOUT // 8))
    both.waits(TIMEOUT)
    assert both.python.counters["drop_reassembly_full"] > 20
    assert both.python.counters["ip_reassembled"] > 20
    assert wire.stack.next_deadline() is None
