"""ICMP messages (RFC 792; fragmentation needed with its MTU: RFC 1191 section 4).

`parse` gives one of the classes below; a type without a class of its own is an `Other`. `quoted` is
the head of the packet that an error is about, exactly as it came; `reserved` holds the bits that
today's RFCs leave unused (RFC 4884 uses some), so that what was parsed can be built again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from ...l2.codec import Malformed, uint
from ..checksum import checksum

ECHO_REPLY = 0
UNREACHABLE = 3
REDIRECT = 5
ECHO_REQUEST = 8
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12

UNREACH_NET = 0
UNREACH_HOST = 1
UNREACH_PROTOCOL = 2
UNREACH_PORT = 3
UNREACH_FRAG_NEEDED = 4
UNREACH_SOURCE_ROUTE = 5
EXCEEDED_TTL = 0
EXCEEDED_REASSEMBLY = 1

HEADER_LEN = 8


def _build(kind: int, code: int, rest: int, data: bytes) -> bytes:
    message = struct.pack("!BBHI", kind, code, 0, rest) + data
    return message[:2] + struct.pack("!H", checksum(message)) + message[4:]


@dataclass(frozen=True, slots=True)
class Echo:
    """Echo request, or reply. `ident` and `seq` are matched by the sender."""

    ident: int = 0
    seq: int = 0
    data: bytes = b""
    reply: bool = False
    code: int = 0

    def __post_init__(self) -> None:
        uint("ident", self.ident, 16)
        uint("seq", self.seq, 16)
        uint("code", self.code, 8)

    def build(self) -> bytes:
        kind = ECHO_REPLY if self.reply else ECHO_REQUEST
        return _build(kind, self.code, self.ident << 16 | self.seq, self.data)


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Destination unreachable; `mtu` (bytes) is the next hop's if code is UNREACH_FRAG_NEEDED, and
    0 from a router older than RFC 1191."""

    code: int
    quoted: bytes = b""
    mtu: int = 0
    reserved: int = 0  # 16 bits

    def __post_init__(self) -> None:
        uint("code", self.code, 8)
        uint("mtu", self.mtu, 16)
        uint("reserved", self.reserved, 16)

    def build(self) -> bytes:
        return _build(UNREACHABLE, self.code, self.reserved << 16 | self.mtu, self.quoted)


@dataclass(frozen=True, slots=True)
class TimeExceeded:
    """In transit (EXCEEDED_TTL) or while fragments were waited for (EXCEEDED_REASSEMBLY)."""

    code: int = EXCEEDED_TTL
    quoted: bytes = b""
    reserved: int = 0  # 32 bits

    def __post_init__(self) -> None:
        uint("code", self.code, 8)
        uint("reserved", self.reserved, 32)

    def build(self) -> bytes:
        return _build(TIME_EXCEEDED, self.code, self.reserved, self.quoted)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Use `gateway` for the quoted packet's destination."""

    gateway: IPv4Address
    quoted: bytes = b""
    code: int = 1  # for the host

    def __post_init__(self) -> None:
        object.__setattr__(self, "gateway", IPv4Address(self.gateway))
        uint("code", self.code, 8)

    def build(self) -> bytes:
        return _build(REDIRECT, self.code, int(self.gateway), self.quoted)


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """`pointer`: the byte of the quoted packet that is wrong (code 0)."""

    pointer: int = 0
    quoted: bytes = b""
    code: int = 0
    reserved: int = 0  # 24 bits

    def __post_init__(self) -> None:
        uint("pointer", self.pointer, 8)
        uint("code", self.code, 8)
        uint("reserved", self.reserved, 24)

    def build(self) -> bytes:
        rest = self.pointer << 24 | self.reserved
        return _build(PARAMETER_PROBLEM, self.code, rest, self.quoted)


@dataclass(frozen=True, slots=True)
class Other:
    """Any other type; `rest` is the second word of the header."""

    type: int
    code: int = 0
    rest: int = 0  # 32 bits
    data: bytes = b""

    def __post_init__(self) -> None:
        uint("type", self.type, 8)
        uint("code", self.code, 8)
        uint("rest", self.rest, 32)
        if self.type in _TYPES:
            raise ValueError(f"ICMP type {self.type} has a class of its own")

    def build(self) -> bytes:
        return _build(self.type, self.code, self.rest, self.data)


ErrorMessage = Unreachable | TimeExceeded | Redirect | ParameterProblem
Message = Echo | ErrorMessage | Other
_TYPES = (ECHO_REPLY, UNREACHABLE, REDIRECT, ECHO_REQUEST, TIME_EXCEEDED, PARAMETER_PROBLEM)
# Source quench and redirect too: an error is never answered with an error (RFC 1122 3.2.2).
ERROR_TYPES = (UNREACHABLE, 4, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM)


def parse(data: bytes) -> Message:
    """Raises Malformed: shorter than 8 bytes, or a wrong checksum."""
    if len(data) < HEADER_LEN:
        raise Malformed(f"ICMP: {len(data)} bytes are less than a header")
    if checksum(data) != 0:
        raise Malformed("ICMP: checksum")
    kind, code, _, rest = struct.unpack_from("!BBHI", data)
    body = bytes(data[HEADER_LEN:])
    if kind in (ECHO_REQUEST, ECHO_REPLY):
        return Echo(rest >> 16, rest & 0xFFFF, body, kind == ECHO_REPLY, code)
    if kind == UNREACHABLE:
        return Unreachable(code, body, rest & 0xFFFF, rest >> 16)
    if kind == TIME_EXCEEDED:
        return TimeExceeded(code, body, rest)
    if kind == REDIRECT:
        return Redirect(IPv4Address(rest), body, code)
    if kind == PARAMETER_PROBLEM:
        return ParameterProblem(rest >> 24, body, code, rest & 0xFFFFFF)
    return Other(kind, code, rest, body)
