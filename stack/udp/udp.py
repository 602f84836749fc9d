"""UDP datagrams (RFC 768). The checksum needs the IP addresses, so parse and build take them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from ...l2.codec import Malformed, uint
from ..checksum import checksum, pseudo_header
from ..ip.ipv4 import PROTO_UDP

HEADER_LEN = 8
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Udp:
    """One datagram. `summed` is False for one sent without a checksum (IPv4 only)."""

    sport: int
    dport: int
    payload: bytes = b""
    summed: bool = True

    def __post_init__(self) -> None:
        uint("sport", self.sport, 16)
        uint("dport", self.dport, 16)
        uint("length", HEADER_LEN + len(self.payload), 16)

    @classmethod
    def parse(cls, data: bytes, src: Address, dst: Address) -> Udp:
        """Bytes after the length are left out. Raises Malformed: length or checksum."""
        if len(data) < HEADER_LEN:
            raise Malformed(f"UDP: {len(data)} bytes are less than a header")
        sport, dport, length, stored = struct.unpack_from("!HHHH", data)
        if not HEADER_LEN <= length <= len(data):
            raise Malformed(f"UDP: length {length} of {len(data)} bytes")
        if stored == 0 and src.version != 4:
            raise Malformed("UDP: no checksum (RFC 8200 8.1 wants one)")
        if stored and checksum(data[:length], pseudo_header(src, dst, PROTO_UDP, length)) != 0:
            raise Malformed("UDP: checksum")
        return cls(sport, dport, bytes(data[HEADER_LEN:length]), stored != 0)

    def build(self, src: Address, dst: Address) -> bytes:
        length = HEADER_LEN + len(self.payload)
        data = struct.pack("!HHHH", self.sport, self.dport, length, 0) + self.payload
        if not self.summed:
            return data
        # A sum of zero is sent as ones: zero means "none".
        value = checksum(data, pseudo_header(src, dst, PROTO_UDP, length)) or 0xFFFF
        return data[:6] + struct.pack("!H", value) + self.payload
