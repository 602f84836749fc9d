"""A frame as a test sees it: parsed as far as it goes, with the time it was seen, in one line."""

from __future__ import annotations

from dataclasses import dataclass

from barewire.l2 import ETH_P_ARP, ETH_P_IP, Arp, Ethernet, Malformed
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp import Segment
from barewire.stack.udp.udp import Udp

from .frames import letters_of


@dataclass(frozen=True)
class Packet:
    """`raw` is the whole frame, `l3` its IP packet. Fragments stop at `ip`. A frame that a stack
    sent and that does not parse is a mistake of the stack: parsing raises."""

    raw: bytes
    time: int
    eth: Ethernet | None = None
    arp: Arp | None = None
    ip: IPv4 | None = None
    tcp: Segment | None = None
    udp: Udp | None = None
    icmp: icmp.Message | None = None
    l3: bytes = b""

    @classmethod
    def parse(cls, raw: bytes, layer: int, time: int) -> Packet:
        try:
            return cls._parse(raw, layer, time)
        except Malformed as error:
            raise AssertionError(
                f"the stack sent a malformed frame: {error}: {raw.hex()}"
            ) from None

    @classmethod
    def _parse(cls, raw: bytes, layer: int, time: int) -> Packet:
        eth = None
        l3 = raw
        if layer == 2:
            eth = Ethernet.parse(raw)
            l3 = eth.payload
            if eth.ethertype == ETH_P_ARP:
                return cls(raw, time, eth, Arp.parse(l3))
            if eth.ethertype != ETH_P_IP:
                return cls(raw, time, eth)
        packet = IPv4.parse(l3)
        found: dict[str, Segment | Udp | icmp.Message] = {}
        if not packet.is_fragment:
            if packet.proto == PROTO_TCP:
                found["tcp"] = Segment.parse(packet.payload, packet.src, packet.dst)
            elif packet.proto == PROTO_UDP:
                found["udp"] = Udp.parse(packet.payload, packet.src, packet.dst)
            elif packet.proto == PROTO_ICMP:
                found["icmp"] = icmp.parse(packet.payload)
        return cls(raw, time, eth, None, packet, l3=l3, **found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        if self.arp is not None:
            op = {1: "request", 2: "reply"}.get(self.arp.op, self.arp.op)
            return f"ARP {op} {self.arp.sender_ip} asks for {self.arp.target_ip}"
        if self.ip is None:
            return f"frame of {len(self.raw)} bytes"
        way = f"{self.ip.src} > {self.ip.dst}"
        if self.tcp is not None:
            return f"{way} {describe_tcp(self.tcp)}"
        if self.udp is not None:
            return f"{way} UDP {self.udp.sport} > {self.udp.dport} len {len(self.udp.payload)}"
        if self.icmp is not None:
            return f"{way} ICMP {self.icmp!r:.120}"
        part = f" fragment at {self.ip.offset}, more {self.ip.mf}" if self.ip.is_fragment else ""
        return f"{way} protocol {self.ip.proto} len {len(self.ip.payload)}{part}"


def describe_tcp(s: Segment, iss: int = 0, irs: int = 0) -> str:
    """`iss`, `irs`: first sequence numbers of sender and receiver, for relative ones."""
    flags = letters_of(s.flags) or "none"
    seq, ack = s.seq - iss & 0xFFFFFFFF, s.ack - irs & 0xFFFFFFFF
    words = [f"[{flags}] seq {seq}"]
    if s.payload:
        words.append(f"to {seq + len(s.payload)} (len {len(s.payload)})")
    if "A" in flags:
        words.append(f"ack {ack}")
    words.append(f"wnd {s.window}")
    for name, value in (("mss", s.mss), ("wscale", s.wscale), ("ts", s.timestamps)):
        if value is not None:
            words.append(f"{name} {value}")
    if s.sack_permitted:
        words.append("sack_ok")
    if s.sack:
        edges = [(a - irs & 0xFFFFFFFF, b - irs & 0xFFFFFFFF) for a, b in s.sack]
        words.append(f"sack {edges}")
    return " ".join(words)
