"""Conversations: frames of a peer and calls of a program, as data, drawn from a seed and played to a target.

A `Step` names an operation and its arguments, all numbers: the same list can be played to any target, kept
in a file, and shrunk. What a target did in answer is an `Answer`: the result of the call, the frames that
it sent in an order of meaning (numbers relative to the first ones), and what every socket says of itself.
"""

from __future__ import annotations

import errno
import inspect
import select
import socket
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from barewire.l2 import ETH_P_ARP, ETH_P_IP, Arp, Ethernet, Mac
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

from .peer import PEER_ISS, SEQ, Flow, Peer, pattern
from .strategies import PeerStep
from .targets import MS, Target

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
FLUSH = 60  # ms after which a delayed ACK has gone
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
LETTERS = "FSRPAUEC"


def _syn_options(number: int) -> tuple[Option, ...]:
    return SYN_OPTIONS[number % len(SYN_OPTIONS)]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of `Player` by name, with its arguments: numbers, and text for bytes and addresses."""

    op: str
    args: tuple[int | str, ...] = ()

    @classmethod
    def checked(cls, op: str, args: Iterable[int | str]) -> Step:
        """Raises ValueError for an operation or arguments that `Player` does not know."""
        operation = getattr(Player, f"on_{op}", None)
        if operation is None:
            names = sorted(name[3:] for name in vars(Player) if name.startswith("on_"))
            raise ValueError(f"no operation {op!r}: there are {', '.join(names)}")
        step = cls(op, tuple(args))
        try:
            inspect.signature(operation).bind(None, *step.args)
        except TypeError as error:
            raise ValueError(f"{op}: {error}") from None
        if not all(isinstance(a, (int, str)) for a in step.args):
            raise ValueError(f"{op}: arguments are numbers and texts")
        return step

    def __str__(self) -> str:
        return f"{self.op}({', '.join(map(str, self.args))})"


@dataclass(slots=True)
class Answer:
    """What a target did in answer to a step: the `result` of a call, its `frames`, what each socket says.

    `acks` are the bare ACKs of what came in order, which each stack sends when it likes (RFC 9293 3.8.6.3).
    """

    result: str = ""
    frames: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        found = [f"call: {self.result}"] if self.result else []
        return found + [f"sends: {f}" for f in self.frames] + [f"has: {s}" for s in self.sockets]

    def beside(self, other: Answer) -> list[str]:
        """Its lines, without those that the other may have said in an ACK of its own time."""
        early = {f"sends: {ack}" for ack in other.acks}
        return [line for line in self.lines() if line not in early]


@dataclass(slots=True)
class Place:
    """Where one conversation happens: names that no other one has, so that nothing is left over from it."""

    address: IPv4Address  # the peer's
    port: int  # of the target's listener; the peer's port is derived from it


class Player:
    """Plays steps to one target; sockets and flows are named by the order of their making."""

    def __init__(self, target: Target, peer: Peer, place: Place) -> None:
        self.target, self.peer, self.place = target, peer, place
        peer.knows_stream = True
        self.sockets: list[Any] = []
        self.kinds: list[str] = []
        self.flows: list[Flow] = []
        self._last_ack: dict[tuple[int, int], int] = {}
        self._is_usual_ack = False  # of the frame described last
        self._sent: dict[int, int] = {}  # bytes that each socket's stream has taken

    def play(self, step: Step) -> Answer:
        answer = Answer()
        operation: Callable[..., Any] = getattr(self, f"on_{step.op}")
        frames: list[bytes] = []
        try:
            found = operation(*step.args)
            if isinstance(found, list):
                frames = found
            elif found is not None:
                answer.result = str(found)
        except OSError as error:
            answer.result = errno.errorcode.get(error.errno or 0, type(error).__name__)
        except (TypeError, ValueError, OverflowError) as error:
            answer.result = type(error).__name__
        frames += self.peer.settle()
        self._learn_flows()
        for frame in frames:
            text = self._describe(frame)
            if text:
                (answer.acks if self._is_usual_ack else answer.frames).append(text)
        answer.sockets = [self._state(i) for i in range(len(self.sockets)) if self.sockets[i]]
        return answer

    def end(self) -> None:
        """Closes the sockets and resets what the peer has open."""
        for sock in self.sockets:
            if sock is not None:
                sock.close()
        self.peer.settle()
        for flow in self.flows:
            for offset in (0, flow.acked - flow.snd):
                self.peer.say(flow, PeerStep(Flags.RST, seq=offset if abs(offset) < 1 << 20 else 0))
        self.peer.flows.clear()

    # ---- calls -------------------------------------------------------------------------------

    def on_listen(self, backlog: int) -> None:
        sock = self._new(TCP, "listener")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(self.target.address), self.place.port))
        sock.listen(backlog)

    def on_connect(self, which: int) -> None:
        sock = self._new(TCP, "stream")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((str(self.target.address), self.place.port + 1 + which % 3))
        sock.connect((str(self.place.address), self._their_port(which)))

    def on_again(self, i: int) -> None:
        self._sock(i).connect((str(self.place.address), self._their_port(0)))

    def on_relisten(self, i: int) -> None:
        self._sock(i).listen(5)

    def on_accept(self, i: int) -> str:
        sock, name = self._sock(i).accept()
        sock.setblocking(False)
        self.sockets.append(sock)
        self.kinds.append("stream")
        return f"from {name}"

    def on_udp(self, port: int) -> None:
        self._new(UDP, "datagram").bind((str(self.target.address), self.place.port + port % 3))

    def on_udp_connect(self, i: int, which: int) -> None:
        self._sock(i).connect((str(self.place.address), self._their_port(which)))

    def on_send(self, i: int, size: int, flags: int) -> int:
        at = self._sent.get(i % max(1, len(self.sockets)), 0)
        taken = int(self._sock(i).send(pattern(at, size), flags))
        self._sent[i % len(self.sockets)] = at + taken
        return taken

    def on_sendto(self, i: int, size: int, which: int) -> int:
        return int(
            self._sock(i).sendto(
                pattern(0, size), (str(self.place.address), self._their_port(which))
            )
        )

    def on_recv(self, i: int, size: int, flags: int) -> str:
        data = self._sock(i).recv(size, flags)
        return f"{len(data)} bytes {zlib.crc32(data):08x}"

    def on_recvfrom(self, i: int, size: int) -> str:
        data, name = self._sock(i).recvfrom(size)
        return f"{len(data)} bytes {zlib.crc32(data):08x} from {name}"

    def on_shutdown(self, i: int, how: int) -> None:
        self._sock(i).shutdown(how)

    def on_close(self, i: int) -> None:
        sock = self._sock(i)
        self.sockets[i % len(self.sockets)] = None
        sock.close()

    def on_error(self, i: int) -> str:
        code = self._sock(i).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode.get(code, str(code))

    def on_names(self, i: int) -> str:
        sock = self._sock(i)
        return f"{sock.getsockname()} {sock.getpeername()}"

    def on_linger(self, i: int, seconds: int) -> None:
        value = struct.pack("ii", seconds >= 0, max(0, seconds))
        self._sock(i).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)

    def on_option(self, i: int, level: int, name: int, value: int) -> str:
        sock = self._sock(i)
        sock.setsockopt(level, name, value)
        return str(sock.getsockopt(level, name))

    # ---- frames ------------------------------------------------------------------------------

    def on_syn(self, which: int, options: int) -> list[bytes]:
        theirs = self._their_port(which)
        flow = Flow(self.place.port, theirs, self.place.address, _syn_options(options))
        before = self.peer.flows.get((flow.ours, flow.theirs))
        self.peer.flows[flow.ours, flow.theirs] = flow
        if before is None:
            self.flows.append(flow)
        else:
            flow.first, flow.synced = before.first, before.synced
            self.flows = [flow if known is before else known for known in self.flows]
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

    def on_wait(self, ms: int) -> list[bytes]:
        return self.peer.advance(ms * MS)

    # ---- within ------------------------------------------------------------------------------

    def _put(self, frame: bytes) -> list[bytes]:
        self.peer.put(frame)
        return self.peer.settle()

    def _error_about(
        self, peer: IPv4Address, proto: int, head: bytes, kind: int, code: int, mtu: int
    ) -> list[bytes]:
        quoted = IPv4(src=self.target.address, dst=peer, proto=proto, payload=head, df=True)
        raw = bytearray(quoted.build())
        struct.pack_into("!H", raw, 2, 1500)  # it was longer than what is quoted
        message = struct.pack("!BBHHH", kind, code, 0, 0, mtu) + bytes(raw)
        summed = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
        return self._put(self.peer.packet(summed, PROTO_ICMP, peer))

    def _new(self, kind: int, name: str) -> Any:
        sock = self.target.socket(kind)
        self.sockets.append(sock)
        self.kinds.append(name)
        return sock

    def _sock(self, i: int) -> Any:
        if not self.sockets or self.sockets[i % len(self.sockets)] is None:
            raise OSError(errno.EBADF, "no such socket")
        return self.sockets[i % len(self.sockets)]

    def _flow(self, f: int) -> Flow:
        if not self.flows:
            raise OSError(errno.ENOENT, "no flow yet")
        return self.flows[f % len(self.flows)]

    def _their_port(self, which: int) -> int:
        return self.place.port + 20_000 + which % 3

    def _learn_flows(self) -> None:
        for flow in self.peer.flows.values():
            if not any(flow is f for f in self.flows):
                self.flows.append(flow)

    # ---- what is seen ------------------------------------------------------------------------

    def _state(self, i: int) -> str:
        sock, kind = self.sockets[i], self.kinds[i]
        poll = self.target.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP)
        events = poll.poll(0)
        words = [f"{i} {kind}", "|".join(_event_names(events[0][1] if events else 0))]
        if kind == "stream":
            words.append(f"state {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]}")
        return " ".join(words)

    def _describe(self, data: bytes) -> str | None:
        self._is_usual_ack = False
        ethernet = Ethernet.parse(data)
        if ethernet.ethertype != ETH_P_IP:
            return None
        ip = IPv4.parse(ethernet.payload)
        if ip.dst != self.place.address:
            return None  # what an earlier conversation left unsaid
        mark = f" tos {ip.tos}" if ip.tos else ""
        if ip.is_fragment:
            return f"fragment at {ip.offset} of {len(ip.payload)}{mark}"
        if ip.proto == PROTO_TCP:
            return self._describe_segment(Segment.parse(ip.payload, ip.src, ip.dst)) + mark
        if ip.proto == PROTO_UDP:
            udp = Udp.parse(ip.payload, ip.src, ip.dst)
            return f"UDP {udp.sport} > {udp.dport} of {len(udp.payload)}{mark}"
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
        key = (s.sport, s.dport)
        new = ack != self._last_ack.get(key)
        self._last_ack[key] = ack
        self._is_usual_ack = flags == Flags.ACK and not s.payload and not s.sack and new
        relative = flow and flow.synced and not (flags & Flags.RST and s.seq == 0)
        seq = (s.seq - first) % SEQ if relative else s.seq
        words = ["".join(c for n, c in enumerate(LETTERS) if flags >> n & 1) or "none"]
        words += [f"seq {seq}", f"ack {ack}", f"of {len(s.payload)}"]
        if s.window == 0 and not flags & Flags.RST:
            words.append("window 0")
        if flags & Flags.SYN:
            words.append(f"mss {s.mss} scale {s.wscale is not None} sack {s.sack_permitted}")
            words.append(f"ts {s.timestamps is not None}")
        words += [f"sack {(a - PEER_ISS) % SEQ}-{(b - PEER_ISS) % SEQ}" for a, b in s.sack]
        return " ".join(words)


def _without_times(options: bytes) -> bytes:
    """IP options, the times in a timestamp option left out: a target's clock is its own."""
    if options[:1] != b"\x44" or len(options) < 4:
        return options
    return options[:4] + bytes(options[1] - 4) + options[options[1] :]


def _event_names(bits: int) -> list[str]:
    names = ("POLLIN", "POLLPRI", "POLLOUT", "POLLERR", "POLLHUP", "POLLRDHUP")
    return [n[4:] for n in names if bits & getattr(select, n)]
