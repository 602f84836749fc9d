"""IPv4 packets (RFC 791): header with options, checksum, fragments.

A fragment is a packet with `mf` or an `offset`. `parse` checks everything the header says about
itself; bytes after the total length (link padding) are left out. What an ICMP error quotes is cut
short, and is read with `parse_quoted`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from ...l2.codec import Malformed, uint
from ..checksum import checksum

PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17
MIN_HEADER = 20
MAX_PACKET = 65535
MAX_OPTIONS = 40
OPT_END = 0
OPT_NOP = 1
OPT_COPIED = 0x80  # the option is repeated in every fragment
_HEADER = struct.Struct("!BBHHHBBH4s4s")


@dataclass(frozen=True, slots=True)
class IPv4Option:
    """One option: kind (with its copied flag and class) and the bytes after its length."""

    kind: int
    data: bytes = b""

    def build(self) -> bytes:
        if self.kind in (OPT_END, OPT_NOP):
            return bytes([self.kind])
        return bytes([self.kind, len(self.data) + 2]) + self.data


def walk_options(options: bytes) -> Iterator[IPv4Option]:
    """The options up to End of Option List, NOPs left out. Raises Malformed at a wrong length."""
    at = 0
    while at < len(options) and options[at] != OPT_END:
        if options[at] == OPT_NOP:
            at += 1
            continue
        length = options[at + 1] if at + 1 < len(options) else 0
        if length < 2 or at + length > len(options):
            raise Malformed(f"IPv4: option {options[at]} has a wrong length")
        yield IPv4Option(options[at], options[at + 2 : at + length])
        at += length


def build_options(*options: IPv4Option) -> bytes:
    """Options one after the other, padded to the header's words."""
    raw = b"".join(option.build() for option in options)
    return raw + bytes(-len(raw) % 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class IPv4:
    """One packet. `options` are the raw bytes (whole words), `offset` is in bytes."""

    src: IPv4Address
    dst: IPv4Address
    proto: int = PROTO_UDP
    payload: bytes = b""
    ttl: int = 64
    tos: int = 0
    ident: int = 0
    df: bool = False
    mf: bool = False
    offset: int = 0
    options: bytes = b""
    reserved: bool = False  # the flag RFC 791 wants zero

    def __post_init__(self) -> None:
        object.__setattr__(self, "src", IPv4Address(self.src))
        object.__setattr__(self, "dst", IPv4Address(self.dst))
        for name, bits in (("proto", 8), ("ttl", 8), ("tos", 8), ("ident", 16), ("offset", 16)):
            uint(name, getattr(self, name), bits)
        if self.offset % 8:
            raise ValueError("offset is counted in units of 8 bytes")
        if len(self.options) % 4 or len(self.options) > MAX_OPTIONS:
            raise ValueError("options are 0 to 40 bytes in words of 4")
        if self.total_length > MAX_PACKET:
            raise ValueError(f"{self.total_length} bytes are too long for IPv4")

    @property
    def header_length(self) -> int:
        return MIN_HEADER + len(self.options)

    @property
    def total_length(self) -> int:
        return self.header_length + len(self.payload)

    @property
    def is_fragment(self) -> bool:
        return self.mf or self.offset > 0

    @classmethod
    def parse(cls, data: bytes) -> IPv4:
        """Raises Malformed: wrong version, lengths, checksum or options."""
        packet, total = _parse_header(data)
        if len(data) < total:
            raise Malformed(f"IPv4: total length {total} of {len(data)} bytes")
        if checksum(data[: packet.header_length]) != 0:
            raise Malformed("IPv4: header checksum")
        for _ in walk_options(packet.options):
            pass
        return replace(packet, payload=bytes(data[packet.header_length : total]))

    @classmethod
    def parse_quoted(cls, data: bytes) -> tuple[IPv4, int]:
        """A packet as an ICMP error quotes it: (what there is of it, its original total length).
        The checksum is not verified: routers on the way changed the header."""
        packet, total = _parse_header(data)
        return replace(packet, payload=bytes(data[packet.header_length : total])), total

    def build(self) -> bytes:
        flags = self.reserved << 15 | self.df << 14 | self.mf << 13 | self.offset >> 3
        header = bytearray(
            _HEADER.pack(
                4 << 4 | self.header_length >> 2,
                self.tos,
                self.total_length,
                self.ident,
                flags,
                self.ttl,
                self.proto,
                0,
                self.src.packed,
                self.dst.packed,
            )
        )
        header += self.options
        struct.pack_into("!H", header, 10, checksum(bytes(header)))
        return bytes(header) + self.payload

    def fragments(self, mtu: int) -> list[IPv4]:
        """The packet in pieces of at most mtu bytes (RFC 791 3.2); itself if it fits. Options
        without the copied flag stay in the first piece. DF is the caller's to respect."""
        if self.total_length <= mtu:
            return [self]
        if mtu < self.header_length + 8:
            raise ValueError(f"an MTU of {mtu} leaves no room for a fragment")
        kept = build_options(*(o for o in walk_options(self.options) if o.kind & OPT_COPIED))
        pieces: list[IPv4] = []
        done = 0
        while done < len(self.payload):
            options = kept if done else self.options
            room = (mtu - MIN_HEADER - len(options)) & ~7
            piece = self.payload[done : done + room]
            more = self.mf or done + room < len(self.payload)
            at = self.offset + done
            pieces.append(replace(self, payload=piece, options=options, mf=more, offset=at))
            done += room
        return pieces


def _parse_header(data: bytes) -> tuple[IPv4, int]:
    """The header with an empty payload, and the total length it states."""
    if len(data) < MIN_HEADER:
        raise Malformed(f"IPv4: {len(data)} bytes are less than a header")
    first, tos, total, ident, flags, ttl, proto, _, src, dst = _HEADER.unpack_from(data)
    if first >> 4 != 4:
        raise Malformed(f"IPv4: version {first >> 4}")
    header_length = (first & 15) * 4
    if not MIN_HEADER <= header_length <= min(len(data), total):
        raise Malformed(f"IPv4: header length {header_length}, total length {total}")
    return (
        IPv4(
            src=IPv4Address(src),
            dst=IPv4Address(dst),
            proto=proto,
            ttl=ttl,
            tos=tos,
            ident=ident,
            df=bool(flags & 0x4000),
            mf=bool(flags & 0x2000),
            offset=(flags & 0x1FFF) << 3,
            options=bytes(data[MIN_HEADER:header_length]),
            reserved=bool(flags & 0x8000),
        ),
        total,
    )
