"""Ethernet II frames (RFC 894) with 802.1Q and 802.1ad tags.

IEEE 802.3 frames (a length where the EtherType would be) are not spoken and are Malformed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .codec import Malformed, uint
from .mac import BROADCAST, UNSPECIFIED, Mac

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8
ETH_P_IPV6 = 0x86DD
HEADER_LEN = 14
MIN_ETHERTYPE = 0x0600
MAX_TAGS = 2  # QinQ; a third tag is left in the payload


@dataclass(frozen=True, slots=True)
class Tag:
    """A VLAN tag. `vid` 0 is priority only, 4095 is reserved (IEEE 802.1Q 9.6)."""

    vid: int
    pcp: int = 0  # priority, 0..7
    dei: bool = False  # may be dropped first
    tpid: int = ETH_P_8021Q

    def __post_init__(self) -> None:
        uint("vid", self.vid, 12)
        uint("pcp", self.pcp, 3)
        if self.tpid not in (ETH_P_8021Q, ETH_P_8021AD):
            raise ValueError(f"tpid must be 0x8100 or 0x88a8, not {self.tpid:#06x}")

    def build(self) -> bytes:
        return struct.pack("!HH", self.tpid, self.pcp << 13 | self.dei << 12 | self.vid)


@dataclass(frozen=True, slots=True)
class Ethernet:
    """One frame without its frame check sequence. `ethertype` is that of the payload."""

    dst: Mac = BROADCAST
    src: Mac = UNSPECIFIED
    ethertype: int = ETH_P_IP
    payload: bytes = b""
    tags: tuple[Tag, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "dst", Mac(self.dst))
        object.__setattr__(self, "src", Mac(self.src))
        uint("ethertype", self.ethertype, 16)
        if self.ethertype < MIN_ETHERTYPE:
            raise ValueError(f"ethertype {self.ethertype:#06x} is an 802.3 length")
        if len(self.tags) > MAX_TAGS:
            raise ValueError(f"at most {MAX_TAGS} VLAN tags")
        if len(self.tags) < MAX_TAGS and self.ethertype in (ETH_P_8021Q, ETH_P_8021AD):
            raise ValueError("write a VLAN tag as one of tags")

    @classmethod
    def parse(cls, data: bytes) -> Ethernet:
        """Raises Malformed: shorter than its headers, or an 802.3 length field."""
        if len(data) < HEADER_LEN:
            raise Malformed(f"Ethernet: {len(data)} bytes are less than a header")
        tags: list[Tag] = []
        at = 12
        (ethertype,) = struct.unpack_from("!H", data, at)
        while ethertype in (ETH_P_8021Q, ETH_P_8021AD) and len(tags) < MAX_TAGS:
            if len(data) < at + 6:
                raise Malformed("Ethernet: cut inside a VLAN tag")
            tci, following = struct.unpack_from("!HH", data, at + 2)
            tags.append(Tag(tci & 0xFFF, tci >> 13, bool(tci & 0x1000), ethertype))
            ethertype = following
            at += 4
        if ethertype < MIN_ETHERTYPE:
            raise Malformed(f"Ethernet: 802.3 length {ethertype} instead of an EtherType")
        return cls(Mac(data[:6]), Mac(data[6:12]), ethertype, bytes(data[at + 2 :]), tuple(tags))

    def build(self) -> bytes:
        """The frame, not padded to Ethernet's 60 bytes (virtual links do not need it)."""
        tags = b"".join(tag.build() for tag in self.tags)
        return self.dst + self.src + tags + struct.pack("!H", self.ethertype) + self.payload
