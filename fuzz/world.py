"""One stack in virtual time on one end of a pipe, and a peer made of codecs on the other.

The peer answers ARP, speaks TCP as badly as it is told to, and looks at every frame the stack
sends: each must be a packet its codec takes, checksums included. TCP data of the peer is a pattern
of its stream position, so that retransmissions and overlaps agree, and what a socket reads can be
checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from barewire import Stack
from barewire.l2 import (
    ARP_REPLY,
    ARP_REQUEST,
    ETH_P_ARP,
    ETH_P_IP,
    Arp,
    Ethernet,
)
from barewire.nic_drivers import pipe_pair
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp.segment import Flags, Option, Sack, Segment, Timestamps
from barewire.stack.udp.udp import Udp

from .strategies import OUR_MAC, PEER, PEER_MAC, US, PeerStep, frame, packet

MS = 1_000_000
SECOND = 1_000_000_000
SEQ = 1 << 32
PEER_ISS = 0x5A5A_0000
MAX_POLLS = 10_000
# Each frame that came in moves one of these, or a drop.
ACCOUNTS = ("arp_replies_sent", "icmp_echo_replies_sent", "icmp_errors_applied")
RECEIVED = ("udp_datagrams_received", "tcp_segments_received")


def pattern(at: int, length: int) -> bytes:
    """The peer's stream from position `at` on."""
    return bytes((i * 31 + (i >> 8) * 7) & 0xFF for i in range(at, at + length))


@dataclass
class Flow:
    """A TCP connection as the peer sees it; `snd` and `rcv` are its next sequence numbers."""

    ours: int  # the stack's port
    theirs: int  # the peer's port
    options: tuple[Option, ...] = ()  # of the peer's SYN
    snd: int = PEER_ISS
    rcv: int = 0
    acked: int = 0  # what the peer last acknowledged
    stamp: int | None = None  # the stack's last timestamp, once both sides use them
    synced: bool = False  # the stack's SYN was seen
    said: list[Segment] = field(default_factory=list)  # the stack's segments, newest last


class World:
    """`flows` are the TCP connections the peer knows, `out` the stack's last IP packets."""

    def __init__(self, **options: object) -> None:
        self.now = 0
        ours, self.peer = pipe_pair(offload=False, macs=(OUR_MAC, PEER_MAC))
        options = {"seed": 1, "buffer_bytes": 8 << 20, "max_sockets": 64} | options
        self.stack = Stack(ours, addresses=[f"{US}/24"], clock=lambda: self.now, **options)
        self.answers_arp = True
        self.flows: dict[tuple[int, int], Flow] = {}
        self.out: list[IPv4] = []
        self.settle()

    # ---- time and frames ---------------------------------------------------------------------

    def settle(self) -> None:
        """Runs the stack and the peer to rest at the present time."""
        for _ in range(MAX_POLLS):
            moved = self.stack.poll()
            if not self._listen() and not moved:
                break
        else:
            raise AssertionError("the stack does not come to rest")
        deadline = self.stack.next_deadline()
        assert deadline is None or deadline > self.now, "at rest, and yet there is work now"

    def advance(self, ns: int) -> None:
        """Time passes, each deadline on the way at its time."""
        end = self.now + ns
        for _ in range(MAX_POLLS):
            deadline = self.stack.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = deadline
            self.settle()
        else:
            raise AssertionError(f"more than {MAX_POLLS} deadlines in {ns / SECOND:g} s")
        self.now = end
        self.settle()

    def send(self, data: bytes) -> None:
        """One frame to the stack, which must account for it; one that no device sends (empty, too
        long) does not get there."""
        before = self.stack.counters()
        if self._put(data):
            self.stack.poll()
            after = self.stack.counters()
            assert after["rx_frames"] > before["rx_frames"]
            assert any(after[n] > before.get(n, 0) for n in after if _accounts(n)), (
                f"nothing counts the frame {data.hex()}"
            )
        self.settle()

    def _listen(self) -> bool:
        """Takes the stack's frames and answers its questions; whether there were any."""
        heard = False
        while (data := self.peer.recv()) is not None:
            heard = True
            ethernet = Ethernet.parse(data)
            assert ethernet.src == OUR_MAC
            if ethernet.ethertype == ETH_P_ARP:
                self._hear_arp(Arp.parse(ethernet.payload))
            else:
                assert ethernet.ethertype == ETH_P_IP
                self._hear_packet(IPv4.parse(ethernet.payload))
        return heard

    def _hear_arp(self, arp: Arp) -> None:
        if arp.op == ARP_REQUEST and arp.target_ip == PEER and self.answers_arp:
            reply = Arp(ARP_REPLY, PEER_MAC, PEER, OUR_MAC, arp.sender_ip)
            self._put(frame(reply.build(), ETH_P_ARP))

    def _hear_packet(self, ip: IPv4) -> None:
        self.out = [*self.out[-63:], ip]
        assert ip.src == US, f"{ip.src} is not an address of the stack"
        if ip.is_fragment:
            return
        if ip.proto == PROTO_ICMP:
            icmp.parse(ip.payload)
        elif ip.proto == PROTO_UDP:
            Udp.parse(ip.payload, ip.src, ip.dst)
        elif ip.proto == PROTO_TCP:
            self._hear_segment(Segment.parse(ip.payload, ip.src, ip.dst))

    def _put(self, data: bytes) -> bool:
        sent = self.peer.stats["tx_frames"]
        self.peer.send(data)
        return self.peer.stats["tx_frames"] > sent

    # ---- the peer's TCP ----------------------------------------------------------------------

    def _hear_segment(self, segment: Segment) -> None:
        flow = self.flows.get((segment.sport, segment.dport))
        if flow is None and segment.flags & Flags.SYN and not segment.flags & Flags.ACK:
            flow = self.flows[segment.sport, segment.dport] = Flow(segment.sport, segment.dport)
        if flow is None or segment.flags & Flags.RST:
            return
        flow.said = [*flow.said[-15:], segment]
        if segment.timestamps and any(isinstance(o, Timestamps) for o in flow.options):
            flow.stamp = segment.timestamps[0]
        if segment.flags & Flags.SYN:
            flow.rcv, flow.synced = (segment.seq + segment.length) % SEQ, True
        elif segment.seq == flow.rcv:
            flow.rcv = (segment.seq + segment.length) % SEQ

    def open(self, ours: int, theirs: int, options: tuple[Option, ...] = ()) -> Flow:
        """The peer connects (SYN, and its ACK once the stack answered)."""
        flow = self.flows[ours, theirs] = Flow(ours, theirs, options)
        self.say(flow, PeerStep(Flags.SYN, options=options))
        if flow.synced:
            self.say(flow, PeerStep(Flags.ACK))
        return flow

    def answer(self, flow: Flow, options: tuple[Option, ...] = ()) -> None:
        """The peer answers a connect of the stack with SYN, ACK."""
        if flow.synced and flow.snd == PEER_ISS:
            flow.options = options
            self.say(flow, PeerStep(Flags.SYN | Flags.ACK, options=options))

    def say(self, flow: Flow, step: PeerStep) -> None:
        """One segment, as wrong as `step` says. A right one moves the peer's stream on."""
        seq = (flow.snd + step.seq) % SEQ
        syn = bool(step.flags & Flags.SYN)
        first = (seq + syn - PEER_ISS - 1) % SEQ  # stream position of its first byte
        data = pattern(first, step.size) if first < 1 << 24 else b""
        ack = flow.acked if step.hold else (flow.rcv + step.ack) % SEQ
        segment = Segment(
            flow.theirs,
            flow.ours,
            seq,
            ack if step.flags & Flags.ACK else 0,
            step.flags,
            step.window,
            step.options or self._usual_options(flow, step, ack),
            data,
        )
        if step.seq == 0:
            flow.snd = (seq + segment.length) % SEQ
        if step.ack == 0 and step.flags & Flags.ACK:
            flow.acked = ack
        self.send(frame(packet(segment.build(PEER, US), PROTO_TCP)))

    def _usual_options(self, flow: Flow, step: PeerStep, ack: int) -> tuple[Option, ...]:
        """What belongs on a segment: a timestamp where they are used, and SACK blocks."""
        found: list[Option] = []
        if flow.stamp is not None:
            found.append(Timestamps((1000 + self.now // MS) % SEQ, flow.stamp))
        if step.sack:
            blocks = tuple(((ack + a) % SEQ, (ack + b) % SEQ) for a, b in step.sack)
            found.append(Sack(blocks))
        return tuple(found)

    # ---- the end -----------------------------------------------------------------------------

    def close(self) -> None:
        """Closes the stack and sees that nothing is left of it."""
        self.stack.close(0)
        left = self.stack.stats()
        assert left["sockets"] == 0, left
        assert left["memory_chunks"] == 0, left
        self.peer.close()


def _accounts(name: str) -> bool:
    return name.startswith(("drop_", "punts_")) or name in ACCOUNTS + RECEIVED
