"""Frames as tests build them, on the codecs, and the ways to break them.

The builders give IP packets (bytes). What is wrong with a packet is said by name afterwards:
`truncated(packet, 30)`, `wrong_sum(packet)`, `with_byte(packet, 8, 0)`, `patched(packet, ttl=0)`.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

from barewire.l2 import ETH_P_ARP, ETH_P_IP, Arp, Ethernet, Mac
from barewire.stack.checksum import checksum, pseudo_header
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp import (
    Flags,
    Mss,
    Nop,
    Option,
    Sack,
    SackPermitted,
    Segment,
    Timestamps,
    WindowScale,
)
from barewire.stack.udp.udp import Udp

LETTERS = {
    "F": Flags.FIN,
    "S": Flags.SYN,
    "R": Flags.RST,
    "P": Flags.PSH,
    "A": Flags.ACK,
    "U": Flags.URG,
    "E": Flags.ECE,
    "C": Flags.CWR,
    "e": Flags.AE,
}


def flags_of(letters: str) -> Flags:
    """ "SA" is SYN and ACK; "" is none."""
    found = Flags(0)
    for letter in letters:
        found |= LETTERS[letter]
    return found


def letters_of(flags: int) -> str:
    return "".join(letter for letter, flag in LETTERS.items() if flags & flag)


_TEXT = b"".join(struct.pack(">I", i * 2654435761 & 0xFFFFFFFF) for i in range(65_521))


def pattern(n: int, at: int = 0) -> bytes:
    """Bytes [at, at + n) of an endless text in which every place looks different (it repeats after
    262,084 bytes, which is no multiple of anything)."""
    first = at % len(_TEXT)
    copies = (first + n + len(_TEXT) - 1) // len(_TEXT)
    return (_TEXT * copies)[first : first + n] if copies > 1 else _TEXT[first : first + n]


# ---- builders ------------------------------------------------------------------------------------


def ip(src: str, dst: str, proto: int, payload: bytes, **fields: object) -> bytes:
    return IPv4(
        src=IPv4Address(src),
        dst=IPv4Address(dst),
        proto=proto,
        payload=payload,
        **fields,  # type: ignore[arg-type]
    ).build()


def udp(src: str, dst: str, sport: int, dport: int, data: bytes = b"", **fields: object) -> bytes:
    summed = bool(fields.pop("summed", True))
    datagram = Udp(sport, dport, data, summed).build(IPv4Address(src), IPv4Address(dst))
    return ip(src, dst, PROTO_UDP, datagram, **fields)


def tcp_options(
    mss: int | None = None,
    wscale: int | None = None,
    sack_ok: bool = False,
    ts: tuple[int, int] | None = None,
    sack: tuple[tuple[int, int], ...] = (),
) -> tuple[Option, ...]:
    """In the order and with the padding that stacks use."""
    found: list[Option] = []
    if mss is not None:
        found.append(Mss(mss))
    if sack_ok:
        found += [Nop(), Nop(), SackPermitted()]
    if wscale is not None:
        found += [Nop(), WindowScale(wscale)]
    if ts is not None:
        found += [Nop(), Nop(), Timestamps(ts[0] & 0xFFFFFFFF, ts[1] & 0xFFFFFFFF)]
    if sack:
        found += [Nop(), Nop(), Sack(sack)]
    return tuple(found)


def tcp(src: str, dst: str, segment: Segment, **fields: object) -> bytes:
    return ip(src, dst, PROTO_TCP, segment.build(IPv4Address(src), IPv4Address(dst)), **fields)


def icmp_message(src: str, dst: str, message: icmp.Message, **fields: object) -> bytes:
    return ip(src, dst, PROTO_ICMP, message.build(), **fields)


def echo(src: str, dst: str, ident: int = 1, seq: int = 1, data: bytes = b"ping") -> bytes:
    return icmp_message(src, dst, icmp.Echo(ident, seq, data))


def unreachable(
    src: str, dst: str, code: int, about: bytes, mtu: int = 0, quote: int = 28
) -> bytes:
    """`about`: a packet that dst sent; `quote` bytes of it come back."""
    return icmp_message(src, dst, icmp.Unreachable(code, about[:quote], mtu))


def ethernet(
    dst: Mac | bytes, src: Mac | bytes, payload: bytes, ethertype: int = ETH_P_IP
) -> bytes:
    return Ethernet(Mac(dst), Mac(src), ethertype, payload).build()


def arp(dst: Mac | bytes, packet: Arp) -> bytes:
    return ethernet(dst, packet.sender_mac, packet.build(), ETH_P_ARP)


# ---- ways to break them --------------------------------------------------------------------------


def truncated(packet: bytes, to: int) -> bytes:
    return packet[:to]


def with_byte(packet: bytes, at: int, value: int) -> bytes:
    """One byte changed and no checksum mended."""
    return packet[:at] + bytes([value]) + packet[at + 1 :]


def wrong_sum(packet: bytes) -> bytes:
    """An IP packet whose transport checksum is wrong; the IP header is right."""
    field = (packet[0] & 15) * 4 + {PROTO_ICMP: 2, PROTO_TCP: 16, PROTO_UDP: 6}[packet[9]]
    return with_byte(packet, field, packet[field] ^ 0x55)


def unfinished(packet: bytes) -> bytes:
    """An IP packet whose sender leaves its TCP or UDP checksum to a card: the field holds the pseudo
    header's sum, not complemented."""
    header = (packet[0] & 15) * 4
    field = header + {PROTO_TCP: 16, PROTO_UDP: 6}[packet[9]]
    src, dst = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    whole = checksum(b"", pseudo_header(src, dst, packet[9], len(packet) - header))
    return packet[:field] + struct.pack("!H", whole ^ 0xFFFF) + packet[field + 2 :]


def wrong_header_sum(packet: bytes) -> bytes:
    return with_byte(packet, 10, packet[10] ^ 0x55)


def mended(packet: bytes) -> bytes:
    """The packet with right checksums of the IP header and its TCP, UDP or ICMP."""
    data = bytearray(packet)
    hlen = (data[0] & 15) * 4
    data[10:12] = b"\0\0"
    data[10:12] = struct.pack("!H", checksum(bytes(data[:hlen])))
    proto = data[9]
    field = hlen + {PROTO_ICMP: 2, PROTO_TCP: 16, PROTO_UDP: 6}.get(proto, len(data))
    if field + 2 <= len(data):
        data[field : field + 2] = b"\0\0"
        src, dst = IPv4Address(bytes(data[12:16])), IPv4Address(bytes(data[16:20]))
        start = 0 if proto == PROTO_ICMP else pseudo_header(src, dst, proto, len(data) - hlen)
        value = checksum(bytes(data[hlen:]), start)
        data[field : field + 2] = struct.pack("!H", value)
    return bytes(data)


def ending(packet: bytes, to: int) -> bytes:
    """To IP it ends after `to` bytes, with right checksums; what follows is the link's padding."""
    return mended(packet[:2] + struct.pack("!H", to) + packet[4:to]) + packet[to:]


def patched(packet: bytes, at: int, value: int) -> bytes:
    """One byte changed and the checksums right all the same: only the value is wrong."""
    return mended(with_byte(packet, at, value))
