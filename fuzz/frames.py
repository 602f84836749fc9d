"""Steps that are frames of a peer: right ones and wrong ones."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address

from barewire.l2 import ETH_P_ARP, Arp, Ethernet, Mac
from barewire.l2.codec import Malformed
from barewire.stack.checksum import checksum
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, PROTO_TCP, PROTO_UDP, IPv4
from barewire.stack.tcp.segment import (
    Flags,
    Mss,
    Option,
    SackPermitted,
    Segment,
    Timestamps,
    WindowScale,
    parse_options,
)
from barewire.stack.udp.udp import Udp

from .peer import SEQ, Flow, pattern
from .scene import Scene
from .strategies import PeerStep, resum
from .targets import MS

# SYN options by number; a peer that can everything, one that can nothing, and those in between.
SYN_OPTIONS: tuple[tuple[Option, ...], ...] = (
    (),
    (Mss(1460),),
    (Mss(1400), SackPermitted(), Timestamps(1000), WindowScale(7)),
    (Mss(536), SackPermitted()),
    (Mss(1460), Timestamps(1000)),
    (Mss(48), WindowScale(14)),
    (Mss(9000), SackPermitted(), WindowScale(0)),
)


def _syn_options(number: int) -> tuple[Option, ...]:
    return SYN_OPTIONS[number % len(SYN_OPTIONS)]


class Frames(Scene):
    def on_syn(self, which: int, options: int) -> list[bytes]:
        flow = self._opened(which, _syn_options(options))
        return self.peer.say(flow, PeerStep(Flags.SYN, options=flow.options))

    def on_answer(self, f: int, options: int) -> list[bytes]:
        flow = self._flow(f)
        flow.options = _syn_options(options)
        return self.peer.say(flow, PeerStep(Flags.SYN | Flags.ACK, options=flow.options))

    def on_say(
        self, f: int, flags: int, size: int, seq: int, ack: int, window: int, sack: int = 0
    ) -> list[bytes]:
        """A segment of flow f; seq and ack are added to the right numbers. sack: bytes of a block from 1000
        above the acknowledgment, 0: none."""
        blocks = ((1000, 1000 + sack),) if sack else ()
        step = PeerStep(Flags(flags), size, seq, ack, window=window, sack=blocks)
        return self.peer.say(self._flow(f), step)

    def on_step(
        self, f: int, flags: int, size: int, seq: int, ack: int, hold: int, window: int, options: str,
        *edges: int,
    ) -> list[bytes]:  # fmt: skip
        """A `PeerStep` of flow f: `options` as they stand in a header (hex), edges of SACK blocks in turn."""
        blocks = tuple(zip(edges[::2], edges[1::2], strict=True))
        parsed = parse_options(bytes.fromhex(options))
        step = PeerStep(Flags(flags), size, seq, ack, bool(hold), blocks, window, parsed)
        return self.peer.say(self._flow(f), step)

    def on_urge(self, f: int, flags: int, size: int, seq: int, pointer: int) -> list[bytes]:
        """A segment with URG, whatever the pointer says."""
        step = PeerStep(Flags(flags) | Flags.URG, size, seq, urgent=pointer)
        return self.peer.say(self._flow(f), step)

    def on_stamped(
        self, f: int, flags: int, size: int, seq: int, later: int, echo: int
    ) -> list[bytes]:
        """A segment with a timestamp, `later` than the right one, and an echo so much beside it."""
        flow = self._flow(f)
        value = (1000 + self.target.now() // MS + later) % SEQ
        options = (Timestamps(value, ((flow.stamp or 0) + echo) % SEQ),)
        return self.peer.say(flow, PeerStep(Flags(flags), size, seq, options=options))

    def on_options(self, f: int, flags: int, size: int, options: str) -> list[bytes]:
        """A segment whose options are these bytes (hex), however broken."""
        flow, step = self._flow(f), PeerStep(Flags(flags), size)
        segment = self.peer.segment(flow, step)
        self.peer.said.append(segment)
        flow.snd = (segment.seq + segment.length) % SEQ
        return self._put(self._with_options(flow, segment, bytes.fromhex(options)))

    def on_syn_options(self, which: int, options: str) -> list[bytes]:
        """A SYN whose options are these bytes (hex), however broken."""
        flow = self._opened(which, ())
        return self.on_options(self.flows.index(flow), Flags.SYN, 0, options)

    def on_mutant(
        self, kind: int, size: int, at: int, bits: int, repair: int, less: int
    ) -> list[bytes]:
        """A packet (segment 0, datagram 1, ping 2, SYN 3) with a byte of it changed: `bits` at `at`;
        checksums made right again: IP's 1, all 2; `less` bytes missing at the end, or so much padding, if
        negative."""
        data = bytearray(self._frame_of(kind, size))
        data[14 + at % (len(data) - 14)] ^= bits
        whole = (
            resum(bytes(data)) if repair == 2 else _resum_header(data) if repair else bytes(data)
        )
        sent = whole[: len(whole) - less] if less > 0 else whole + bytes(-less)
        self._note(sent)
        return self._put(sent)

    def on_fragments(self, kind: int, size: int, ident: int, *pieces: int) -> list[bytes]:
        """A packet in pieces, each by offset and length (of 8 bytes) and whether more follow."""
        whole = IPv4.parse(self._frame_of(kind, size)[14:])
        for offset, length, more in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            payload = whole.payload[8 * offset : 8 * (offset + length)]
            piece = replace(
                whole, payload=payload, offset=8 * offset, mf=bool(more), ident=ident, df=False
            )
            self.peer.put(self.peer.frame(piece.build()))
        return self.peer.settle()

    def on_link(self, ethertype: int, data: str) -> list[bytes]:
        """Any payload (hex) of an Ethernet frame."""
        return self._put(self.peer.frame(bytes.fromhex(data), ethertype))

    def on_frame(self, data: str) -> list[bytes]:
        """A frame as it is (hex)."""
        return self._put(bytes.fromhex(data))

    def on_arp(self, op: int, mac: str, sender: str, wanted: str) -> list[bytes]:
        source = Mac(bytes.fromhex(mac))
        arp = Arp(op, source, IPv4Address(sender), self.target.mac, IPv4Address(wanted))
        return self._put(Ethernet(self.target.mac, source, ETH_P_ARP, arp.build()).build())

    def on_icmp(self, f: int, kind: int, code: int, seq: int, mtu: int) -> list[bytes]:
        """An ICMP error about a segment that the target sent `seq` before its next one."""
        flow = self._flow(f)
        head = struct.pack("!HHI", flow.ours, flow.theirs, (flow.rcv - seq) % SEQ)
        return self._error_about(flow.address, PROTO_TCP, head, kind, code, mtu)

    def on_icmp_udp(self, port: int, which: int, kind: int, code: int, mtu: int) -> list[bytes]:
        head = struct.pack("!HHHH", self.place.port + port % 3, self._their_port(which), 40, 0)
        return self._error_about(self.place.address, PROTO_UDP, head, kind, code, mtu)

    def on_datagram(self, port: int, which: int, size: int) -> list[bytes]:
        udp = Udp(self._their_port(which), self.place.port + port % 3, pattern(0, size))
        payload = udp.build(self.place.address, self.target.address)
        return self._put(self.peer.packet(payload, PROTO_UDP, self.place.address))

    def on_echo(self, size: int, options: int) -> list[bytes]:
        """A ping, with IP options (their bytes as a number, 0: none)."""
        ip = IPv4(
            src=self.place.address,
            dst=self.target.address,
            proto=PROTO_ICMP,
            payload=icmp.Echo(7, 1, pattern(0, size)).build(),
            options=b""
            if not options
            else options.to_bytes(-(-options.bit_length() // 32) * 4, "big"),
        )
        return self._put(self.peer.frame(ip.build()))

    def on_protocol(self, proto: int) -> list[bytes]:
        return self._put(self.peer.packet(b"strange!", proto, self.place.address))

    # ---- within ------------------------------------------------------------------------------

    def _opened(self, which: int, options: tuple[Option, ...]) -> Flow:
        """A flow about to begin, perhaps in the place of one that had its names."""
        theirs = self._their_port(which)
        flow = Flow(self.place.port, theirs, self.place.address, options)
        before = self.peer.flows.get((flow.ours, flow.theirs))
        self.peer.flows[flow.ours, flow.theirs] = flow
        if before is None:
            self.flows.append(flow)
        else:
            flow.first, flow.synced, flow.rcv = before.first, before.synced, before.rcv
            self.flows = [flow if known is before else known for known in self.flows]
        return flow

    def _with_options(self, flow: Flow, segment: Segment, raw: bytes) -> bytes:
        raw += bytes(-len(raw) % 4)
        built = replace(segment, options=()).build(flow.address, self.target.address)
        head = bytearray(built[:20])
        head[12] = (20 + len(raw)) // 4 << 4 | head[12] & 0x0F
        return resum(self.peer.packet(bytes(head) + raw + built[20:], PROTO_TCP, flow.address))

    def _note(self, frame: bytes) -> None:
        """What is still a good segment, the peer has said."""
        with suppress(Malformed):
            ip = IPv4.parse(frame[14:])
            if ip.proto == PROTO_TCP and ip.dst == self.target.address:
                self.peer.said.append(Segment.parse(ip.payload, ip.src, ip.dst))

    def _frame_of(self, kind: int, size: int) -> bytes:
        """The next segment of the first flow 0, a datagram 1, a ping 2, a SYN 3."""
        us, them = self.target.address, self.place.address
        if kind == 1:
            udp = Udp(self._their_port(0), self.place.port, pattern(0, size))
            return self.peer.packet(udp.build(them, us), PROTO_UDP, them)
        if kind == 2:
            return self.peer.packet(icmp.Echo(7, 1, pattern(0, size)).build(), PROTO_ICMP, them)
        step = PeerStep(Flags.SYN if kind == 3 else Flags.ACK, size)
        flow = self._opened(2, ()) if kind == 3 else self._flow(0)
        segment = self.peer.segment(flow, step)
        return self.peer.packet(segment.build(them, us), PROTO_TCP, them)


def _resum_header(data: bytearray) -> bytes:
    end = 14 + (data[14] & 15) * 4
    data[24:26] = bytes(2)
    data[24:26] = struct.pack("!H", checksum(bytes(data[14:end])))
    return bytes(data)
