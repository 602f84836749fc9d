"""Reassembly of IPv4 fragments in Python: what `stack/ip/ip4_reassembly.c` is held against.

A datagram whose fragments overlap is dropped whole, and so is what still comes of it (RFC 5722
section 4, for IPv4 too); an exact duplicate is left out. Everything is bounded: datagrams, those of
one source, and fragments a datagram; over a bound the oldest datagram goes. What misses a piece
after 30 s is dropped, and its sender told if the first fragment came (RFC 792).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from barewire.l2.codec import Malformed
from barewire.l2.deadlines import SECOND, Deadlines
from barewire.stack.ip.ipv4 import MAX_PACKET, PROTO_TCP, IPv4

TIMEOUT = 30 * SECOND
MAX_DATAGRAMS = 256
MAX_PER_SOURCE = 64
MAX_FRAGMENTS = 128  # a datagram; enough for 64 KB over an MTU of 576
MIN_TCP_HEAD = 20  # bytes of TCP a first fragment must have (RFC 1858)
ECN_MASK = 3
ECN_CE = 3

Key = tuple[IPv4Address, IPv4Address, int, int]  # RFC 791: source, destination, protocol, ident
Expired = Callable[[int, int, IPv4], None]


@dataclass(slots=True)
class _Datagram:
    source: IPv4Address
    ifindex: int
    pieces: dict[int, IPv4] = field(default_factory=dict)  # by offset
    end: int | None = None  # length of the whole payload, once the last fragment came
    have: int = 0  # payload bytes here
    dead: bool = False  # overlapped: nothing of it is taken any more


class Reassembler:
    """All incomplete datagrams of one stack. `expired(now, ifindex, first)` is called for one that
    timed out with its first fragment present. Drops are in `counters`."""

    def __init__(
        self,
        expired: Expired,
        counters: Counter[str] | None = None,
        max_datagrams: int = MAX_DATAGRAMS,
        max_per_source: int = MAX_PER_SOURCE,
    ) -> None:
        self.counters: Counter[str] = Counter() if counters is None else counters
        self._expired = expired
        self._max_datagrams = max_datagrams
        self._max_per_source = max_per_source
        self._datagrams: dict[Key, _Datagram] = {}  # oldest first
        self._by_source: Counter[IPv4Address] = Counter()
        self._timers: Deadlines[Key] = Deadlines()

    def __len__(self) -> int:
        return len(self._datagrams)

    def on_fragment(self, now: int, ifindex: int, data: bytes) -> bytes | None:
        """One IP packet that is a fragment; returns the whole datagram when it was the last piece
        missing, with the first fragment's header."""
        try:
            piece = IPv4.parse(data)
        except Malformed:
            self.counters["drop_fragment_malformed"] += 1
            return None
        if not _acceptable(piece):
            self.counters["drop_fragment_nonsense"] += 1
            return None
        key = (piece.src, piece.dst, piece.proto, piece.ident)
        datagram = self._datagrams.get(key)
        if datagram is None:
            datagram = self._create(now, ifindex, key)
        self._insert(datagram, piece)
        if datagram.end is None or datagram.have < datagram.end:
            return None
        self._remove(key)
        whole = _join(datagram)
        self.counters["ip_reassembled" if isinstance(whole, bytes) else whole] += 1
        return whole if isinstance(whole, bytes) else None

    def on_timer(self, now: int) -> None:
        for key in self._timers.due(now):
            datagram = self._remove(key)
            self.counters["drop_reassembly_timeout"] += 1
            first = datagram.pieces.get(0)
            if first is not None:
                self._expired(now, datagram.ifindex, first)

    def next_deadline(self) -> int | None:
        return self._timers.next()

    # ---- one datagram ------------------------------------------------------------------------

    def _insert(self, datagram: _Datagram, piece: IPv4) -> None:
        start, end = piece.offset, piece.offset + len(piece.payload)
        if datagram.dead:
            self.counters["drop_fragment_of_dropped"] += 1
            return
        twin = datagram.pieces.get(start)
        if twin is not None and (twin.payload, twin.mf) == (piece.payload, piece.mf):
            self.counters["drop_fragment_duplicate"] += 1
            return
        if self._overlaps(datagram, start, end, piece.mf):
            self.counters["drop_fragment_overlap"] += 1
            self._kill(datagram)
            return
        if len(datagram.pieces) >= MAX_FRAGMENTS:
            self.counters["drop_fragment_too_many"] += 1
            self._kill(datagram)
            return
        datagram.pieces[start] = piece
        datagram.have += len(piece.payload)
        if not piece.mf:
            datagram.end = end

    @staticmethod
    def _overlaps(datagram: _Datagram, start: int, end: int, more: bool) -> bool:
        """Does the piece contradict what is there: its bytes, or where the datagram ends?"""
        if datagram.end is not None and (not more or end > datagram.end):
            return True
        for at, piece in datagram.pieces.items():
            if start < at + len(piece.payload) and at < end:
                return True
            if not more and at + len(piece.payload) > end:
                return True
        return False

    def _kill(self, datagram: _Datagram) -> None:
        """Drops what came; the entry stays until its time is over, to drop the rest too."""
        datagram.dead = True
        datagram.pieces.clear()
        datagram.end = None
        datagram.have = 0

    # ---- the table ---------------------------------------------------------------------------

    def _create(self, now: int, ifindex: int, key: Key) -> _Datagram:
        source = key[0]
        if self._by_source[source] >= self._max_per_source:
            self._evict(next(k for k in self._datagrams if k[0] == source))
        elif len(self._datagrams) >= self._max_datagrams:
            self._evict(next(iter(self._datagrams)))
        datagram = self._datagrams[key] = _Datagram(source, ifindex)
        self._by_source[source] += 1
        self._timers.set(key, now + TIMEOUT)
        return datagram

    def _evict(self, key: Key) -> None:
        self._remove(key)
        self.counters["drop_reassembly_full"] += 1

    def _remove(self, key: Key) -> _Datagram:
        datagram = self._datagrams.pop(key)
        self._timers.cancel(key)
        self._by_source[datagram.source] -= 1
        if not self._by_source[datagram.source]:
            del self._by_source[datagram.source]
        return datagram


def _acceptable(piece: IPv4) -> bool:
    """The checks one fragment must pass alone: it has bytes, whole units before the end, no end
    past 64 KB (ping of death), and no TCP header in two pieces (RFC 1858, RFC 3128)."""
    size = len(piece.payload)
    if not piece.is_fragment or size == 0 or (piece.mf and size % 8):
        return False
    if piece.header_length + piece.offset + size > MAX_PACKET:
        return False
    if piece.proto != PROTO_TCP:
        return True
    return piece.offset != 8 and (piece.offset > 0 or size >= MIN_TCP_HEAD)


def _join(datagram: _Datagram) -> bytes | str:
    """The whole packet; or why not: its fragments' congestion marks contradict (RFC 3168 5.3), or
    its header and payload together are too long."""
    pieces = [piece for _, piece in sorted(datagram.pieces.items())]
    first = pieces[0]
    payload = b"".join(piece.payload for piece in pieces)
    if first.header_length + len(payload) > MAX_PACKET:
        return "drop_fragment_nonsense"
    marks = {piece.tos & ECN_MASK for piece in pieces}
    tos = first.tos
    if ECN_CE in marks:
        if 0 in marks:
            return "drop_fragment_ecn"
        tos |= ECN_CE
    return replace(first, payload=payload, mf=False, offset=0, tos=tos).build()
