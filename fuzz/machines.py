"""Rule-based state machines for ARP, ICMP, UDP, TCP and sockets, against a target of your own.

    class TestMine(machines.TcpMachine.against(lambda: StackTarget(ecn="on")).TestCase):
        settings = settings(max_examples=100)

Every rule plays one `Step`, so that what fails is a script: hypothesis shrinks it, and the machine keeps the
shortest one as `NAME.script` and `NAME.pcap` in `keep` (a folder), where `python -m barewire.fuzz replay`
finds it. What must hold for every target stands in `Machine`; what a protocol promises, in its machine.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from barewire.l2 import ARP_REPLY, ARP_REQUEST, ETH_P_ARP, UNSPECIFIED, Arp, Mac
from barewire.stack.icmp import icmp
from barewire.stack.ip.ipv4 import PROTO_ICMP, IPv4
from barewire.stack.tcp.segment import Flags
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from . import strategies as s
from .conversation import SYN_OPTIONS, Answer, Place, Player, Step
from .peer import Peer
from .scripts import write_capture, write_script
from .targets import StackTarget, Target

STRANGER = Mac("02:00:00:00:00:99")
index = st.integers(0, 2)
sizes = st.sampled_from([0, 1, 100, 536, 1400])


class Machine(RuleBasedStateMachine):
    """Holds for every target: what it sends is well formed and its own, it comes to rest, it lives (it
    answers ARP and ping at the end), and it can be closed."""

    target: ClassVar[Callable[[], Target]] = StackTarget
    keep: ClassVar[Path | None] = None

    @classmethod
    def against(cls, target: Callable[[], Target], keep: Path | None = None) -> type[Machine]:
        """This machine for another target: a class or a function that makes one."""
        return type(cls.__name__, (cls,), {"target": staticmethod(target), "keep": keep})

    def __init__(self) -> None:
        super().__init__()
        self.end = type(self).target()
        self.peer = Peer(self.end)
        self.player = Player(self.end, self.peer, Place(self.peer.address, 2000))
        self.steps: list[Step] = []

    def play(self, op: str, *args: Any) -> Answer:
        """One step; what goes wrong in it is kept as a script."""
        self.steps.append(Step(op, args))
        try:
            return self.player.play(self.steps[-1])
        except Exception:
            self._keep()
            raise

    def check(self, holds: bool, what: str) -> None:
        """A promise of the target's: raises AssertionError, and keeps the script, where it is broken."""
        if not holds:
            self._keep()
            raise AssertionError(what)

    def _keep(self) -> None:
        note("script:\n" + "\n".join(f"  {step}" for step in self.steps))
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            write_script(self.keep / f"{type(self).__name__}.script", self.steps)
            write_capture(self.keep / f"{type(self).__name__}.pcap", self.peer.wire)

    @initialize()
    def introduces_itself(self) -> None:
        self._answers_arp()

    def teardown(self) -> None:
        try:
            self._answers_arp()
            self._answers_ping(b"alive?")
        finally:
            self.player.end()
            self.end.close()

    def _answers_arp(self) -> None:
        question = Arp(ARP_REQUEST, self.peer.mac, self.peer.address, UNSPECIFIED, self.end.address)
        self.peer.put(self.peer.frame(question.build(), ETH_P_ARP))
        wanted = Arp(ARP_REPLY, self.end.mac, self.end.address, self.peer.mac, self.peer.address)
        answers = [frame[14:42] for frame in self.peer.settle() if frame[12:14] == b"\x08\x06"]
        self.check(wanted.build()[:28] in answers, "the target does not answer ARP for its address")

    def _answers_ping(self, payload: bytes, pieces: int = 1) -> None:
        message = icmp.Echo(9, 9, payload)
        ip = IPv4(
            src=self.peer.address, dst=self.end.address, proto=PROTO_ICMP, payload=message.build()
        )
        self.peer.out.clear()
        size = 20 + max(8, -(-len(ip.payload) // pieces // 8) * 8)
        for piece in reversed(ip.fragments(size)) if pieces > 1 else [ip]:
            self.peer.put(self.peer.frame(piece.build()))
        self.peer.settle()
        wanted = icmp.Echo(9, 9, payload, reply=True).build()
        replies = [ip.payload for ip in self.peer.out if ip.proto == PROTO_ICMP]
        self.check(wanted in replies, f"no reply to a ping of {len(payload)} bytes")


class ArpMachine(Machine):
    """Questions, claims and lies of neighbours: the target keeps its address, and never answers for one
    that is not its own (RFC 826, RFC 5227)."""

    @rule(op=st.sampled_from([ARP_REQUEST, ARP_REPLY]), lie=st.booleans(), own=st.booleans())
    def somebody_says(self, op: int, lie: bool, own: bool) -> None:
        target = self.end.address if own else s.PEER
        sender = self.end.address if lie else s.PEER
        self.play("arp", op, bytes(STRANGER if lie else s.PEER_MAC).hex(), str(sender), str(target))

    @rule(data=s.mutated(s.arps.map(Arp.build)))
    def nonsense(self, data: bytes) -> None:
        self.play("frame", self.peer.frame(data, ETH_P_ARP).hex())

    @rule()
    def it_answers(self) -> None:
        self._answers_arp()


class IcmpMachine(Machine):
    """Pings of every size, whole and in fragments, are answered byte by byte; other messages, and errors
    about packets that never were, change nothing."""

    @rule(payload=st.binary(max_size=1400), pieces=st.integers(1, 4))
    def ping(self, payload: bytes, pieces: int) -> None:
        self._answers_ping(payload, pieces if len(payload) >= 64 else 1)

    @rule(message=s.icmp_messages)
    def some_message(self, message: icmp.Message) -> None:
        self.play("frame", self.peer.packet(message.build(), PROTO_ICMP).hex())

    @rule(data=s.mutated(s.frames).map(s.resum))
    def nonsense(self, data: bytes) -> None:
        self.play("frame", data.hex())


class SocketMachine(Machine):
    """Calls in any order, with a peer that is right: no call hangs, none fails in a way that socket programs
    do not know."""

    @rule(backlog=st.integers(0, 3))
    def listen(self, backlog: int) -> None:
        self.play("listen", backlog)

    @rule(which=index)
    def connect(self, which: int) -> None:
        self.play("connect", which)

    @rule(flow=index, options=st.integers(0, len(SYN_OPTIONS) - 1))
    def peer_answers(self, flow: int, options: int) -> None:
        self.play("answer", flow, options)

    @rule(which=index, options=st.integers(0, len(SYN_OPTIONS) - 1))
    def peer_connects(self, which: int, options: int) -> None:
        self.play("syn", which, options)
        self.play("say", which, int(Flags.ACK), 0, 0, 0, 65535)

    @rule(sock=index, size=st.sampled_from([0, 1, 100, 5000, 100_000]))
    def send(self, sock: int, size: int) -> None:
        self.play("send", sock, size, 0)

    @rule(sock=index, size=st.sampled_from([0, 1, 100, 65536]))
    def recv(self, sock: int, size: int) -> None:
        self.play("recv", sock, size, 0)

    @rule(sock=index, how=st.integers(0, 2))
    def shutdown(self, sock: int, how: int) -> None:
        self.play("shutdown", sock, how)

    @rule(
        sock=index, op=st.sampled_from(["accept", "close", "error", "names", "again", "relisten"])
    )
    def call(self, sock: int, op: str) -> None:
        self.play(op, sock)

    @rule(ms=st.sampled_from([1, 60]))
    def time_passes(self, ms: int) -> None:
        self.play("wait", ms)


class UdpMachine(Machine):
    """Datagrams to bound sockets come whole and in order; those that are sent leave so; and hostile frames
    disturb neither."""

    def __init__(self) -> None:
        super().__init__()
        self.play("udp", 0)
        self.waiting: list[int] = []

    @rule(size=sizes)
    def comes(self, size: int) -> None:
        if len(self.waiting) < 16:
            self.play("datagram", 0, 0, size)
            self.waiting.append(size)

    @rule()
    def read(self) -> None:
        answer = self.play("recvfrom", 0, 2000)
        wanted = f"{self.waiting.pop(0)} bytes" if self.waiting else "EAGAIN"
        self.check(answer.result.startswith(wanted), f"{answer.result} where {wanted} should come")

    @rule(size=st.sampled_from([0, 1, 100, 1472]))
    def goes(self, size: int) -> None:
        answer = self.play("sendto", 0, size, 1)
        self.check(answer.result == str(size), f"sendto of {size} bytes said {answer.result}")
        sent = any(f.removesuffix(" df").endswith(f"of {size}") for f in answer.frames)
        self.check(sent, f"{size} bytes did not leave")

    @rule(data=s.hostile_frames.filter(lambda data: data[36:38] != b"\x07\xd0"))
    def hostile(self, data: bytes) -> None:
        self.play("frame", data.hex())


class TcpMachine(SocketMachine):
    """One connection after another with a peer that is wrong in every way that `strategies.peer_steps` knows,
    and programs that call in any order: what a program reads is what the peer's stream holds, what leaves
    is what programs gave."""

    @rule(flow=index, step=s.peer_steps)
    def peer_says(self, flow: int, step: s.PeerStep) -> None:
        edges = [edge for block in step.sack for edge in block]
        options = b"".join(option.build() for option in step.options)
        self.play(
            "step", flow, int(step.flags), step.size, step.seq, step.ack, int(step.hold), step.window,
            (options + bytes(-len(options) % 4)).hex(), *edges,
        )  # fmt: skip

    @rule(data=s.hostile_frames)
    def hostile(self, data: bytes) -> None:
        self.play("frame", data.hex())
