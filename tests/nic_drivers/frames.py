"""Frames with known contents, and the sums in them."""

from __future__ import annotations

import socket
import struct

OURS, AWAY = "198.18.0.2", "203.0.113.9"
L2_HEADER = 14
UDP, TCP = 17, 6
CHECKSUM = {UDP: 6, TCP: 16}  # its offset in the header
HEADER = {UDP: 8, TCP: 20}


def ones(data: bytes) -> int:
    """The sum of RFC 1071, not yet inverted."""
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(data: bytes) -> int:
    """RFC 1071: zero for data with a right checksum in it."""
    return ~ones(data) & 0xFFFF


def packet(source: str, target: str, protocol: int, content: bytes, number: int) -> bytes:
    """An IPv4 packet that is not to be fragmented."""
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    sizes = struct.pack(
        "!BBHHHBBH", 0x45, 0, 20 + len(content), number + 1, 0x4000, 64, protocol, 0
    )
    head = sizes + ends
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + content


def datagram(source: str, target: str, number: int, size: int, *, source_port: int = 5000) -> bytes:
    """A packet of so many bytes with a UDP datagram, without a checksum."""
    payload = number.to_bytes(4, "big") + bytes((number + i) & 0xFF for i in range(size))
    udp = struct.pack("!HHHH", source_port, 7000, size - 20, 0) + payload
    return packet(source, target, UDP, udp[: size - 20], number)


def unfinished(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    """A packet with a datagram or segment whose checksum is the pseudo header's sum alone."""
    length = len(payload) + HEADER[protocol]
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    pseudo = ones(ends + struct.pack("!HH", protocol, length))
    if protocol == TCP:
        head = struct.pack("!HHIIBBHHH", 5000, 7000, 1, 1, 5 << 4, 0x10, 65535, pseudo, 0)
    else:
        head = struct.pack("!HHHH", 5000, 7000, length, pseudo)
    return packet(source, target, protocol, head + payload, 0)


def transport_sum(ip: bytes) -> int:
    """The checksum over a packet's TCP or UDP part and pseudo header: zero if it is right."""
    pseudo = ip[12:20] + struct.pack("!HH", ip[9], len(ip) - 20)
    return checksum(pseudo + ip[20:])


def pseudo_sum(ip: bytes) -> int:
    """The sum of the pseudo header alone: what an unfinished checksum field holds."""
    return ones(ip[12:20] + struct.pack("!HH", ip[9], len(ip) - 20))


def finished(frame: bytes, start: int, offset: int) -> bytes:
    """The frame with the unfinished checksum at start + offset made whole, as an interface does."""
    total = checksum(frame[start:]) or 0xFFFF
    at = start + offset
    return frame[:at] + total.to_bytes(2, "big") + frame[at + 2 :]


def payloads(packets: list[bytes]) -> bytes:
    """What the datagrams or segments in these packets carry, in their order."""
    return b"".join(ip[20 + HEADER[ip[9]] :] for ip in packets)
