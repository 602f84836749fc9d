"""ARP packets for IPv4 over Ethernet (RFC 826)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from .codec import Malformed, uint
from .mac import UNSPECIFIED, Mac

ARP_REQUEST = 1
ARP_REPLY = 2
LENGTH = 28
_NO_ADDRESS = IPv4Address(0)
_FIXED = struct.pack("!HHBB", 1, 0x0800, 6, 4)  # Ethernet, IPv4, their address lengths


@dataclass(frozen=True, slots=True)
class Arp:
    """One ARP packet. Words of RFC 5227: sender and target, hardware (mac) and protocol (ip)."""

    op: int = ARP_REQUEST
    sender_mac: Mac = UNSPECIFIED
    sender_ip: IPv4Address = _NO_ADDRESS
    target_mac: Mac = UNSPECIFIED
    target_ip: IPv4Address = _NO_ADDRESS

    def __post_init__(self) -> None:
        uint("op", self.op, 16)
        object.__setattr__(self, "sender_mac", Mac(self.sender_mac))
        object.__setattr__(self, "target_mac", Mac(self.target_mac))
        object.__setattr__(self, "sender_ip", IPv4Address(self.sender_ip))
        object.__setattr__(self, "target_ip", IPv4Address(self.target_ip))

    @property
    def is_probe(self) -> bool:
        """RFC 5227 1.1: a request that gives no sender address."""
        return self.op == ARP_REQUEST and int(self.sender_ip) == 0

    @property
    def is_announcement(self) -> bool:
        """RFC 5227 1.1 and gratuitous ARP of either kind: the sender speaks of itself."""
        return self.sender_ip == self.target_ip and int(self.sender_ip) != 0

    @classmethod
    def parse(cls, data: bytes) -> Arp:
        """Bytes after the packet are link padding and are left out. Raises Malformed."""
        if len(data) < LENGTH:
            raise Malformed(f"ARP: {len(data)} bytes of {LENGTH}")
        if data[:6] != _FIXED:
            raise Malformed("ARP: not IPv4 over Ethernet")
        (op,) = struct.unpack_from("!H", data, 6)
        return cls(
            op,
            Mac(data[8:14]),
            IPv4Address(bytes(data[14:18])),
            Mac(data[18:24]),
            IPv4Address(bytes(data[24:28])),
        )

    def build(self) -> bytes:
        sender = self.sender_mac + self.sender_ip.packed
        target = self.target_mac + self.target_ip.packed
        return _FIXED + struct.pack("!H", self.op) + sender + target
