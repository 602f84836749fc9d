"""The far end of a target's link, made of codecs: it answers ARP, speaks TCP as badly as it is told to, and
looks at every frame that the target sends: each must be a packet that its codec takes, checksums included.

The peer's TCP data is a pattern of its stream position, so that retransmissions and overlaps agree and
what a socket reads can be checked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from barewire.l2 import ARP_REPLY, ARP_REQUEST, ETH_P_ARP, ETH_P_IP, Arp, Ethernet, Mac
from barewire.l2.codec import Malformed
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp.segment import Flags, Option, Sack, Segment, Timestamps
from barewire.stack.udp.udp import Udp

from .strategies import PEER, PEER_MAC, PeerStep
from .targets import MS, Target

SEQ = 1 << 32
PEER_ISS = 0x5A5A_0000
MAX_ROUNDS = 10_000
KEPT = 64  # of the target's packets, and 16 of each flow's segments
CAPTURED = 4096  # frames


def pattern(at: int, length: int) -> bytes:
    """The peer's stream from position `at` on."""
    return bytes((i * 31 + (i >> 8) * 7) & 0xFF for i in range(at, at + length))


@dataclass
class Flow:
    """A TCP connection as the peer sees it; `snd` and `rcv` are its next sequence numbers."""

    ours: int  # the target's port
    theirs: int  # the peer's port
    address: IPv4Address = PEER  # the peer's
    options: tuple[Option, ...] = ()  # of the peer's SYN
    snd: int = PEER_ISS
    rcv: int = 0
    acked: int = 0  # what the peer last acknowledged
    first: int = 0  # the target's first sequence number
    stamp: int | None = None  # the target's timestamp, once both sides use them
    synced: bool = False  # the target's SYN was seen
    said: deque[Segment] = field(default_factory=lambda: deque(maxlen=16))  # newest last


class Peer:
    """`flows` are the TCP connections that the peer knows, by the target's port and the peer's; `out` the
    target's last IP packets; `wire` the last frames of both with their time, for a capture.

    Raises AssertionError for a frame of the target that is no good packet and, with `knows_stream`, for
    bytes of a TCP stream that are not the `pattern`: what the programs of a `Player` send.
    """

    def __init__(self, target: Target, address: IPv4Address = PEER, mac: Mac = PEER_MAC) -> None:
        self.target = target
        self.address, self.mac = address, mac
        self.answers_arp = True
        self.knows_stream = False
        self.flows: dict[tuple[int, int], Flow] = {}
        self.out: deque[IPv4] = deque(maxlen=KEPT)
        self.wire: deque[tuple[int, bytes]] = deque(maxlen=CAPTURED)
        self.said: list[Segment] = []  # by the peer, since whoever reads it emptied it

    # ---- time and frames ---------------------------------------------------------------------

    def settle(self) -> list[bytes]:
        """Runs target and peer to rest at the present time; the target's frames."""
        frames: list[bytes] = []
        for _ in range(MAX_ROUNDS):
            heard = self.target.take()
            if not heard:
                return frames
            frames += heard
            for frame in heard:
                self._hear(frame)
        raise AssertionError("the target does not come to rest")

    def advance(self, ns: int) -> list[bytes]:
        """Time passes, and the target's frames are heard on the way."""
        frames: list[bytes] = []
        for _ in self.target.advance(ns):
            frames += self.settle()
        return frames

    def put(self, frame: bytes) -> bool:
        """One frame to the target as it is. False: no link carries such a frame."""
        self.wire.append((self.target.now(), frame))
        return self.target.put(frame)

    def packet(self, payload: bytes, proto: int, source: IPv4Address | None = None) -> bytes:
        """A frame to the target with an IPv4 packet from the peer."""
        ip = IPv4(src=source or self.address, dst=self.target.address, proto=proto, payload=payload)
        return self.frame(ip.build())

    def frame(self, payload: bytes, ethertype: int = ETH_P_IP) -> bytes:
        return Ethernet(self.target.mac, self.mac, ethertype, payload).build()

    def _hear(self, data: bytes) -> None:
        self.wire.append((self.target.now(), data))
        try:
            self._understand(Ethernet.parse(data))
        except Malformed as error:
            raise AssertionError(
                f"the target sent a malformed frame: {error}: {data.hex()}"
            ) from None

    def _understand(self, ethernet: Ethernet) -> None:
        if ethernet.src != self.target.mac:
            raise AssertionError(f"the target sends as {ethernet.src}, not as {self.target.mac}")
        if ethernet.ethertype == ETH_P_ARP:
            self._hear_arp(Arp.parse(ethernet.payload))
        elif ethernet.ethertype == ETH_P_IP:
            self._hear_packet(IPv4.parse(ethernet.payload))

    def _hear_arp(self, arp: Arp) -> None:
        if arp.op == ARP_REQUEST and arp.target_ip == self.address and self.answers_arp:
            reply = Arp(ARP_REPLY, self.mac, self.address, self.target.mac, arp.sender_ip)
            self.put(self.frame(reply.build(), ETH_P_ARP))

    def _hear_packet(self, ip: IPv4) -> None:
        self.out.append(ip)
        if ip.src != self.target.address:
            raise AssertionError(f"{ip.src} is not an address of the target")
        if ip.is_fragment:
            return
        if ip.proto == PROTO_ICMP:
            icmp.parse(ip.payload)
        elif ip.proto == PROTO_UDP:
            Udp.parse(ip.payload, ip.src, ip.dst)
        elif ip.proto == PROTO_TCP:
            self._hear_segment(ip.dst, Segment.parse(ip.payload, ip.src, ip.dst))

    # ---- the peer's TCP ----------------------------------------------------------------------

    def _hear_segment(self, address: IPv4Address, segment: Segment) -> None:
        flow = self.flows.get((segment.sport, segment.dport))
        if flow is None and segment.flags & Flags.SYN and not segment.flags & Flags.ACK:
            flow = Flow(segment.sport, segment.dport, address)
            self.flows[segment.sport, segment.dport] = flow
        if flow is None or segment.flags & Flags.RST:
            return
        flow.said.append(segment)
        if segment.timestamps and any(isinstance(o, Timestamps) for o in flow.options):
            fresh = (flow.acked - segment.seq) % SEQ < SEQ // 2  # RFC 7323 4.3 (2)
            if fresh or segment.flags & Flags.SYN:
                flow.stamp = segment.timestamps[0]
        if segment.flags & Flags.SYN:
            flow.first = segment.seq
            flow.rcv, flow.synced = (segment.seq + segment.length) % SEQ, True
            return
        at = (segment.seq - flow.first - 1) % SEQ
        if self.knows_stream and segment.payload != pattern(at, len(segment.payload)):
            raise AssertionError(f"the bytes at {at} of port {flow.ours} are not what was sent")
        if segment.seq == flow.rcv:
            flow.rcv = (segment.seq + segment.length) % SEQ

    def open(
        self,
        ours: int,
        theirs: int,
        options: tuple[Option, ...] = (),
        address: IPv4Address | None = None,
    ) -> Flow:
        """The peer connects (SYN, and its ACK once the target has answered)."""
        flow = Flow(ours, theirs, address or self.address, options)
        self.flows[ours, theirs] = flow
        self.say(flow, PeerStep(Flags.SYN, options=options))
        if flow.synced:
            self.say(flow, PeerStep(Flags.ACK))
        return flow

    def answer(self, flow: Flow, options: tuple[Option, ...] = ()) -> None:
        """The peer answers the target's SYN with SYN, ACK."""
        if flow.synced and flow.snd == PEER_ISS:
            flow.options = options
            self.say(flow, PeerStep(Flags.SYN | Flags.ACK, options=options))

    def say(self, flow: Flow, step: PeerStep) -> list[bytes]:
        """One segment, as wrong as `step` says. A right one moves the peer's stream on. Returns what the
        target answers."""
        segment = self.segment(flow, step)
        self.said.append(segment)
        if step.seq == 0:
            flow.snd = (segment.seq + segment.length) % SEQ
        if step.ack == 0 and step.flags & Flags.ACK:
            flow.acked = segment.ack
        self.deliver(
            self.packet(segment.build(flow.address, self.target.address), PROTO_TCP, flow.address)
        )
        return self.settle()

    def deliver(self, frame: bytes) -> None:
        """How `say` sends; for those who check more."""
        self.put(frame)

    def segment(self, flow: Flow, step: PeerStep) -> Segment:
        seq = (flow.snd + step.seq) % SEQ
        syn = bool(step.flags & Flags.SYN)
        # the stream position of its first byte; what lies before the stream is nobody's
        first = (seq + syn - PEER_ISS - 1 + SEQ // 2) % SEQ - SEQ // 2
        data = pattern(first, step.size) if abs(first) < 1 << 24 else b""
        ack = flow.acked if step.hold else (flow.rcv + step.ack) % SEQ
        return Segment(
            flow.theirs,
            flow.ours,
            seq,
            ack if step.flags & Flags.ACK else 0,
            step.flags,
            step.window,
            step.options or self._usual_options(flow, step, ack),
            data,
            step.urgent,
        )

    def _usual_options(self, flow: Flow, step: PeerStep, ack: int) -> tuple[Option, ...]:
        """What belongs on a segment: a timestamp where they are used, and SACK blocks."""
        found: list[Option] = []
        if flow.stamp is not None:
            found.append(Timestamps((1000 + self.target.now() // MS) % SEQ, flow.stamp))
        if step.sack:
            blocks = tuple(((ack + a) % SEQ, (ack + b) % SEQ) for a, b in step.sack)
            found.append(Sack(blocks))
        return tuple(found)
