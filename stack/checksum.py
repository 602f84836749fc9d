"""The Internet checksum (RFC 1071), for codecs and control packets; C has its own for data."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address


def checksum(data: bytes, start: int = 0) -> int:
    """The complement of the one's-complement sum of data's 16-bit words (an odd last byte is
    padded with zero), plus `start`. 0..0xffff; over data that holds its own checksum, 0."""
    if len(data) % 2:
        data += b"\0"
    # A number is congruent to the sum of its 16-bit digits modulo 0xffff.
    total = int.from_bytes(data, "big") + start
    if total == 0:
        return 0xFFFF
    return (0xFFFF - total % 0xFFFF) % 0xFFFF


def pseudo_header(
    src: IPv4Address | IPv6Address, dst: IPv4Address | IPv6Address, proto: int, length: int
) -> int:
    """Sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1), to be given as `start`."""
    if src.version != dst.version:
        raise ValueError("source and destination are of different IP versions")
    return int.from_bytes(src.packed + dst.packed + struct.pack("!II", length, proto), "big")
