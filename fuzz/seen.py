"""What is seen of a target's frames: words that two targets have in common, numbers relative to the first."""

from __future__ import annotations

from barewire.l2 import ARP_REPLY, ETH_P_ARP, ETH_P_IP, Arp, Ethernet
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp.segment import Flags, Segment
from barewire.stack.udp.udp import Udp

from .peer import PEER_ISS, SEQ, Peer
from .scene import PORTS, Place

LETTERS = "FSRPAUEC"


class Witness:
    def __init__(self, peer: Peer, place: Place) -> None:
        self.peer, self.place = peer, place
        self.is_usual_ack = False  # of the frame described last
        self.is_repeated_ack = False
        self.last_ack: dict[int, int] = {}  # by the peer's port

    def describe(self, data: bytes) -> str | None:
        self.is_usual_ack = self.is_repeated_ack = False
        ethernet = Ethernet.parse(data)
        if ethernet.ethertype == ETH_P_ARP:
            return _describe_arp(Arp.parse(ethernet.payload))
        if ethernet.ethertype != ETH_P_IP:
            return f"ethertype {ethernet.ethertype}"
        ip = IPv4.parse(ethernet.payload)
        if ip.dst != self.place.address:
            return None  # what an earlier conversation left unsaid
        mark = f" tos {ip.tos}" if ip.tos else ""
        mark += f" ttl {ip.ttl}" if ip.ttl != 64 else ""
        mark += " df" if ip.df and ip.proto != PROTO_TCP else ""
        mark += " no df" if not ip.df and ip.proto == PROTO_TCP else ""
        if ip.is_fragment:
            return f"fragment at {ip.offset} of {len(ip.payload)}{mark}"
        if ip.proto == PROTO_TCP:
            return self._describe_segment(Segment.parse(ip.payload, ip.src, ip.dst)) + mark
        if ip.proto == PROTO_UDP:
            udp = Udp.parse(ip.payload, ip.src, ip.dst)
            sport = udp.sport if 0 <= udp.sport - self.place.port < PORTS else "any"
            return f"UDP {sport} > {udp.dport} of {len(udp.payload)}{mark}"
        if ip.proto == PROTO_ICMP:
            kind, code = ip.payload[0], ip.payload[1]
            options = _without_times(ip.options).hex()
            return f"ICMP {kind}/{code} of {len(ip.payload)} options {options}{mark}"
        return f"protocol {ip.proto} of {len(ip.payload)}{mark}"

    def _describe_segment(self, s: Segment) -> str:
        flow = self.peer.flows.get((s.sport, s.dport))
        flags = Flags(s.flags & ~Flags.PSH)
        first = flow.first if flow else 0
        ack = (s.ack - PEER_ISS) % SEQ if flags & Flags.ACK else 0
        bare = flags == Flags.ACK and not s.payload and not s.sack
        self.is_repeated_ack = bare and ack == self.last_ack.get(s.dport)
        self.is_usual_ack = bare and not self.is_repeated_ack
        self.last_ack[s.dport] = ack
        relative = flow and flow.synced and not (flags & Flags.RST and s.seq == 0)
        seq = (s.seq - first) % SEQ if relative else s.seq if flow else "any"
        words = ["".join(c for n, c in enumerate(LETTERS) if flags >> n & 1) or "none"]
        words += [f"seq {seq}", f"ack {ack}", f"of {len(s.payload)}"]
        if flags & Flags.URG:
            words.append(f"urgent {s.urgent}")
        if s.window == 0 and not flags & Flags.RST:
            words.append("window 0")
        if flags & Flags.SYN:
            words.append(f"mss {s.mss} scale {s.wscale is not None} sack {s.sack_permitted}")
            words.append(f"ts {s.timestamps is not None}")
        words += [f"sack {(a - PEER_ISS) % SEQ}-{(b - PEER_ISS) % SEQ}" for a, b in s.sack]
        return " ".join(words)


def _describe_arp(arp: Arp) -> str | None:
    """Answers; when a target asks is its own matter."""
    if arp.op != ARP_REPLY:
        return None
    return f"ARP reply to {arp.target_ip} {arp.target_mac}: {arp.sender_ip}"


def _without_times(options: bytes) -> bytes:
    """IP options, the times in a timestamp option left out: a target's clock is its own."""
    if options[:1] != b"\x44" or len(options) < 4:
        return options
    return options[:4] + bytes(options[1] - 4) + options[options[1] :]
