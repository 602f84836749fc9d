"""TCP segments (RFC 9293 3.1) with their options (RFC 9293 3.2, RFC 7323, RFC 2018).

Options stay in the order they came, those that are not known (or whose length is not what their
kind needs) as `UnknownOption`. The checksum needs the IP addresses, so parse and build take them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag
from ipaddress import IPv4Address, IPv6Address

from ...l2.codec import Malformed, uint
from ..checksum import checksum, pseudo_header
from ..ip.ipv4 import PROTO_TCP

MIN_HEADER = 20
MAX_OPTIONS = 40
MAX_SACK_BLOCKS = 4
Address = IPv4Address | IPv6Address
_HEADER = struct.Struct("!HHIIHHHH")


class Flags(IntFlag):
    """Control bits (RFC 9293 3.1; AE: RFC 9768)."""

    FIN = 0x001
    SYN = 0x002
    RST = 0x004
    PSH = 0x008
    ACK = 0x010
    URG = 0x020
    ECE = 0x040
    CWR = 0x080
    AE = 0x100


@dataclass(frozen=True, slots=True)
class Nop:
    """Kind 1: padding between options."""

    def build(self) -> bytes:
        return b"\x01"


@dataclass(frozen=True, slots=True)
class EndOfOptions:
    """Kind 0 with what stands after it. Only needed where that is not the usual short padding with
    zeros, which `Segment.build` writes and `Segment.parse` leaves out."""

    rest: bytes = b""

    def build(self) -> bytes:
        return b"\0" + self.rest


@dataclass(frozen=True, slots=True)
class Mss:
    """Kind 2: largest segment the sender takes, bytes."""

    value: int = 1460

    def __post_init__(self) -> None:
        uint("mss", self.value, 16)

    def build(self) -> bytes:
        return struct.pack("!BBH", 2, 4, self.value)


@dataclass(frozen=True, slots=True)
class WindowScale:
    """Kind 3: left shift of the sender's window. Over 14 is used as 14 (RFC 7323 2.3)."""

    shift: int

    def __post_init__(self) -> None:
        uint("shift", self.shift, 8)

    def build(self) -> bytes:
        return bytes([3, 3, self.shift])


@dataclass(frozen=True, slots=True)
class SackPermitted:
    """Kind 4."""

    def build(self) -> bytes:
        return b"\x04\x02"


@dataclass(frozen=True, slots=True)
class Sack:
    """Kind 5: (left, right) edges of blocks received, newest first; right is excluded."""

    blocks: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple((left, right) for left, right in self.blocks))
        if not 1 <= len(self.blocks) <= MAX_SACK_BLOCKS:
            raise ValueError(f"1 to {MAX_SACK_BLOCKS} SACK blocks")
        for edges in self.blocks:
            for edge in edges:
                uint("edge", edge, 32)

    def build(self) -> bytes:
        edges = [edge for block in self.blocks for edge in block]
        return struct.pack(f"!BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges)


@dataclass(frozen=True, slots=True)
class Timestamps:
    """Kind 8: the sender's clock and the echo of the peer's."""

    value: int
    echo: int = 0

    def __post_init__(self) -> None:
        uint("value", self.value, 32)
        uint("echo", self.echo, 32)

    def build(self) -> bytes:
        return struct.pack("!BBII", 8, 10, self.value, self.echo)


@dataclass(frozen=True, slots=True)
class FastOpen:
    """Kind 34 (RFC 7413 4.1.1): a cookie of 4 to 16 bytes, or none: the client asks for one."""

    cookie: bytes = b""

    def __post_init__(self) -> None:
        if len(self.cookie) not in (0, *range(4, 17, 2)):
            raise ValueError(
                f"a cookie of {len(self.cookie)} bytes: it has 4 to 16, an even number"
            )

    def build(self) -> bytes:
        return bytes([34, len(self.cookie) + 2]) + self.cookie


@dataclass(frozen=True, slots=True)
class AccEcn:
    """Kinds 172 (order 0) and 174 (order 1) of RFC 9768 3.2.3: up to three byte counters of 24 bits.
    Order 0: ECT(0), CE, ECT(1); order 1: ECT(1), CE, ECT(0); the last may be left out."""

    counters: tuple[int, ...] = ()
    order: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "counters", tuple(self.counters))
        if len(self.counters) > 3 or self.order not in (0, 1):
            raise ValueError("up to three counters, in order 0 or 1")
        for counter in self.counters:
            uint("counter", counter, 24)

    def build(self) -> bytes:
        fields = b"".join(counter.to_bytes(3, "big") for counter in self.counters)
        return bytes([172 + 2 * self.order, 2 + len(fields)]) + fields


@dataclass(frozen=True, slots=True)
class UnknownOption:
    """Any other kind, or a known one with a length that is not its own."""

    kind: int
    data: bytes = b""

    def __post_init__(self) -> None:
        if not 2 <= self.kind <= 255:
            raise ValueError("kinds 0 and 1 have no length; a kind is at most 255")
        if len(self.data) > MAX_OPTIONS - 2:
            raise ValueError(f"{len(self.data)} bytes are too long for an option")

    def build(self) -> bytes:
        return bytes([self.kind, len(self.data) + 2]) + self.data


Option = (
    Nop
    | EndOfOptions
    | Mss
    | WindowScale
    | SackPermitted
    | Sack
    | Timestamps
    | FastOpen
    | AccEcn
    | UnknownOption
)


def _parse_option(kind: int, data: bytes) -> Option:
    if kind == 2 and len(data) == 2:
        return Mss(int.from_bytes(data, "big"))
    if kind == 3 and len(data) == 1:
        return WindowScale(data[0])
    if kind == 4 and not data:
        return SackPermitted()
    if kind == 5 and data and len(data) % 8 == 0:
        edges = struct.unpack(f"!{len(data) // 4}I", data)
        return Sack(tuple(zip(edges[::2], edges[1::2], strict=True)))
    if kind == 8 and len(data) == 8:
        return Timestamps(*struct.unpack("!II", data))
    if kind == 34 and len(data) in (0, *range(4, 17, 2)):
        return FastOpen(data)
    if kind in (172, 174) and len(data) in (0, 3, 6, 9):
        counters = (int.from_bytes(data[at : at + 3], "big") for at in range(0, len(data), 3))
        return AccEcn(tuple(counters), (kind - 172) // 2)
    return UnknownOption(kind, data)


def parse_options(data: bytes) -> tuple[Option, ...]:
    """Raises Malformed: an option that runs over the header or is shorter than its own head."""
    options: list[Option] = []
    at = 0
    while at < len(data):
        kind = data[at]
        if kind == 0:
            rest = data[at + 1 :]
            if len(rest) > 2 or any(rest):
                options.append(EndOfOptions(rest))
            break
        if kind == 1:
            options.append(Nop())
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            raise Malformed(f"TCP: option {kind} has a wrong length")
        options.append(_parse_option(kind, data[at + 2 : at + length]))
        at += length
    return tuple(options)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. `window` is the 16 bits on the wire, before any scaling."""

    sport: int
    dport: int
    seq: int = 0
    ack: int = 0
    flags: Flags = Flags.ACK
    window: int = 65535
    options: tuple[Option, ...] = ()
    payload: bytes = b""
    urgent: int = 0
    reserved: int = 0  # the 3 bits RFC 9293 leaves

    def __post_init__(self) -> None:
        for name in ("sport", "dport", "window", "urgent"):
            uint(name, getattr(self, name), 16)
        uint("seq", self.seq, 32)
        uint("ack", self.ack, 32)
        uint("flags", self.flags, 9)
        uint("reserved", self.reserved, 3)
        object.__setattr__(self, "flags", Flags(self.flags))
        object.__setattr__(self, "options", tuple(self.options))
        if len(self._options()) > MAX_OPTIONS:
            raise ValueError(f"more than {MAX_OPTIONS} bytes of options")

    def _options(self) -> bytes:
        raw = b"".join(option.build() for option in self.options)
        return raw + bytes(-len(raw) % 4)

    @classmethod
    def parse(cls, data: bytes, src: Address, dst: Address) -> Segment:
        """data: the whole payload of the IP packet. Raises Malformed: offset, options, checksum."""
        if len(data) < MIN_HEADER:
            raise Malformed(f"TCP: {len(data)} bytes are less than a header")
        sport, dport, seq, ack, bits, window, _, urgent = _HEADER.unpack_from(data)
        header_length = (bits >> 12) * 4
        if not MIN_HEADER <= header_length <= len(data):
            raise Malformed(f"TCP: header length {header_length} of {len(data)} bytes")
        if checksum(data, pseudo_header(src, dst, PROTO_TCP, len(data))) != 0:
            raise Malformed("TCP: checksum")
        return cls(
            sport,
            dport,
            seq,
            ack,
            Flags(bits & 0x1FF),
            window,
            parse_options(bytes(data[MIN_HEADER:header_length])),
            bytes(data[header_length:]),
            urgent,
            bits >> 9 & 7,
        )

    def build(self, src: Address, dst: Address) -> bytes:
        options = self._options()
        bits = (MIN_HEADER + len(options)) << 10 | self.reserved << 9 | self.flags
        data = bytearray(
            _HEADER.pack(
                self.sport, self.dport, self.seq, self.ack, bits, self.window, 0, self.urgent
            )
        )
        data += options + self.payload
        value = checksum(bytes(data), pseudo_header(src, dst, PROTO_TCP, len(data)))
        struct.pack_into("!H", data, 16, value)
        return bytes(data)

    @property
    def length(self) -> int:
        """SEG.LEN: sequence numbers the segment takes (RFC 9293 3.3.1)."""
        return len(self.payload) + bool(self.flags & Flags.SYN) + bool(self.flags & Flags.FIN)

    @property
    def mss(self) -> int | None:
        return next((o.value for o in self.options if isinstance(o, Mss)), None)

    @property
    def wscale(self) -> int | None:
        return next((o.shift for o in self.options if isinstance(o, WindowScale)), None)

    @property
    def sack_permitted(self) -> bool:
        return any(isinstance(o, SackPermitted) for o in self.options)

    @property
    def sack(self) -> tuple[tuple[int, int], ...]:
        """All SACK blocks, in their order; empty without any."""
        return tuple(b for o in self.options if isinstance(o, Sack) for b in o.blocks)

    @property
    def fast_open(self) -> bytes | None:
        """The Fast Open cookie, b"" where one is asked for, None without the option."""
        return next((o.cookie for o in self.options if isinstance(o, FastOpen)), None)

    @property
    def timestamps(self) -> tuple[int, int] | None:
        """(TSval, TSecr), or None."""
        return next(((o.value, o.echo) for o in self.options if isinstance(o, Timestamps)), None)

    @property
    def ace(self) -> int:
        """AE, CWR and ECE as one number (RFC 9768 3.2.2)."""
        return self.flags >> 6 & 7

    @property
    def accecn(self) -> AccEcn | None:
        return next((o for o in self.options if isinstance(o, AccEcn)), None)
