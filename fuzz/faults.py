"""Frames drawn for a conversation that no well-behaved peer sends: urgent data at odd places, broken options
and headers, fragments, nonsense of the link."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from .conversation import Step

FIN, SYN, RST, PSH, ACK, URG = (1 << n for n in range(6))
SIZES = (1, 8, 100, 536, 1400)
# TCP options: none, lengths of 0, 1 and beyond the list, an end before more, an unknown one, MSS of a wrong
# length, of 0, of 1 and twice, SACK permitted of a wrong length, a window scale of 15 and of a wrong length,
# timestamps of a wrong length, SACK of an odd length, MD5, Fast Open's cookie request, user time-out, 40
# bytes of nothing.
TCP_OPTIONS = (
    "", "0200", "0201", "02ff05b4", "00020405b4", "fd04abcd", "020305", "02040000", "02040001",
    "020405b402040218", "0403", "0402", "03030f", "0302", "030307020405b4", "08090000000000000000",
    "0101080a0000100000000000", "05090000000000000000", "0512" + "00" * 16, "13120000", "2202", "1c048001",
    "01" * 40, "05", "0205b4ff01",
)  # fmt: skip
POINTERS = (0, 1, 2, 50, 100, 101, 536, 1400, 1401, 5000, 65535)
ADDRESSES = (
    "198.18.0.1", "198.18.0.2", "198.18.0.9", "0.0.0.0", "198.18.0.255", "255.255.255.255", "224.0.0.1",
    "203.0.113.7", "127.0.0.1",
)  # fmt: skip
MACS = ("020000000001", "020000000009", "ffffffffffff", "01005e000001", "000000000000")
# Ethernet payloads: an ARP too short, of another hardware, of other lengths, IP too short, IPv6, an unknown
# type.
LINKS = (
    (0x0806, "00010800060400010200"),
    (0x0806, "00060800060400010200000000016312000102000000000263120002" + "00" * 8),
    (0x0806, "00010800080400010200000000016312000102000000000263120002" + "00" * 8),
    (0x0800, "4500"),
    (0x86DD, "60" + "00" * 39),
    (0x88B5, "00" * 46),
)
# Bytes of a packet by what stands there: version and length, total length, fragmentation, TTL, protocol,
# checksum, source, destination; then of the transport's header.
PLACES = (0, 2, 3, 6, 7, 8, 9, 10, 12, 15, 16, 19, 20, 22, 23, 24, 25, 26, 27, 32, 33, 34, 36, 38)


def stream_fault(rng: Random) -> Step:
    """One about the first flows, or beside them."""
    choice = rng.random()
    flow = rng.choice((0, 0, 0, 1))
    flags = rng.choice((ACK, ACK, ACK, ACK | FIN, ACK | PSH, RST | ACK, SYN | ACK, 0))
    if choice < 0.25:
        return Step(
            "urge",
            (flow, rng.choice((ACK, ACK, ACK, ACK | FIN, 0)), rng.choice((0, *SIZES)),
             rng.choice((0, 0, 0, -1, 1400)), rng.choice(POINTERS)),
        )  # fmt: skip
    if choice < 0.45:
        later = rng.choice((0, 0, 0, -100_000, 100_000, (1 << 31) + 60_000, -5000))
        echo = rng.choice((0, 0, 0, -1, 1, -100_000, 1 << 31))
        seq = rng.choice((0, 0, 0, -1, 1400))
        return Step("stamped", (flow, flags, rng.choice((0, *SIZES)), seq, later, echo))
    if choice < 0.6:
        return Step("options", (flow, flags, rng.choice((0, 100)), rng.choice(TCP_OPTIONS)))
    if choice < 0.7:
        return _sacking(rng, flow)
    if choice < 0.75:
        return Step("syn_options", (rng.randrange(3), rng.choice(TCP_OPTIONS)))
    return packet_fault(rng, rng.choice((0, 0, 3)))


def packet_fault(rng: Random, kind: int) -> Step:
    """A packet of that kind (of `Frames.on_mutant`) broken or in pieces, or something of the link."""
    choice = rng.random()
    if choice < 0.5:
        return _mutant(rng, kind)
    if choice < 0.85:
        return _fragments(rng, kind)
    if choice < 0.95:
        return Step(
            "arp",
            (rng.choice((1, 1, 1, 2, 2, 0, 3, 8, 65535)), rng.choice(MACS), rng.choice(ADDRESSES),
             rng.choice(ADDRESSES)),
        )  # fmt: skip
    return Step("link", rng.choice(LINKS))


def _sacking(rng: Random, flow: int) -> Step:
    """An ACK, of old or new, with blocks of SACK that may be nonsense."""
    edges: list[int] = []
    for _ in range(rng.randint(1, 4)):
        first = rng.choice((0, 1, 100, 1460, 2920, 5000, -1000, 100_000, 1 << 31))
        edges += [first, first + rng.choice((1, 100, 1460, 1460, 4380, 0, -1, 1 << 31))]
    hold, ack = rng.choice(((0, 0), (1, 0), (0, -1460), (0, 100)))
    return Step("step", (flow, ACK, rng.choice((0, 0, 100)), 0, ack, hold, 65535, "", *edges))


def _mutant(rng: Random, kind: int) -> Step:
    at = rng.choice((*PLACES, rng.randrange(80)))
    at = 33 if 28 <= at < 32 else at  # the acknowledgment is of a number that each target chose
    bits = rng.choice((1, 2, 4, 0x10, 0x20, 0x40, 0x80, 0xFF))
    repair = rng.choice((0, 1, 2, 2, 2))
    less = rng.choice((0, 0, 0, 0, 1, 20, -1, -46))
    return Step("mutant", (kind, rng.choice((0, *SIZES)), at, bits, repair, less))


def _fragments(rng: Random, kind: int) -> Step:
    """Pieces that make a whole; then perhaps out of order, one missing, twice, or over another."""
    size = rng.choice((100, 1400, 3000))
    words = (size + (20 if kind in (0, 3) else 8) + 7) // 8
    cuts = sorted({0, words, *(rng.randrange(1, words) for _ in range(rng.randint(1, 3)))})
    pieces = [(a, b - a, int(b < words)) for a, b in pairwise(cuts)]
    if rng.random() < 0.5:
        rng.shuffle(pieces)
    fault = rng.random()
    if fault < 0.15:
        pieces.pop(rng.randrange(len(pieces)))
    elif fault < 0.3:
        pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(pieces))
    elif fault < 0.45:
        at, length, more = rng.choice(pieces)
        pieces.insert(rng.randrange(len(pieces)), (max(0, at - 1), length + 1, more))
    elif fault < 0.5:
        at, length, _ = pieces[-1]
        pieces[-1] = (at, length, 1 - pieces[-1][2])
    numbers = [n for piece in pieces for n in piece]
    return Step("fragments", (kind, size, rng.choice((7, 7, 9)), *numbers))
