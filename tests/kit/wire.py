"""One stack on a wire whose far end is the test: frames go in, and each that comes out is looked at.

Nothing that comes out is passed over: `expects` takes the next frame, whatever it is, and
`expects_nothing` means none. The world runs on as far as a call needs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from barewire.l2 import ARP_REPLY, Arp, Mac
from barewire.nic_drivers import pipe_pair
from barewire.stack import lib

from . import frames
from .checks import Check, anything
from .clock import Time, ns, text
from .packets import Packet
from .sock import Sock
from .world import World

TOLERANCE = 2_000_000  # ns that a deadline may be off: timestamps and some timers tick in ms
LOG = 40  # lines of the log that a failure shows


class Wire:
    """`here` is the stack's address, `there` that of the far end. At layer 2 the far end has `mac`
    and answers ARP for `there` by itself unless `arp` is False."""

    def __init__(
        self,
        world: World,
        layer: int = 3,
        mtu: int = 1500,
        here: str = "198.18.0.1",
        there: str = "198.18.0.2",
        prefix: int = 24,
        arp: bool = True,
        ring: int = 256,
        **options: Any,
    ) -> None:
        self.world = world
        self.clock = world.clock
        self.layer = layer
        self.here, self.there = here, there
        self.answers_arp = arp
        # The stack computes checksums itself, and the far end verifies every one. The wire carries
        # what the stack's MTU would not, so that one packet can say what would take several.
        mine, self._end = pipe_pair(layer=layer, mtu=65535, ring=ring, offload=False)
        self.mac, self.stack_mac = Mac(self._end.mac), Mac(mine.mac)
        try:
            self.stack = world.stack(mine, f"{here}/{prefix}", mtu=mtu, **options)
        except BaseException:
            mine.close()
            self._end.close()
            raise
        self._seen: deque[Packet] = deque()
        self._log: deque[str] = deque(maxlen=LOG)
        self._start = self.clock.now
        self._closed = False
        world.add_mover(self._collect)
        world.add_closer(self.close)
        if layer == 2:  # what the stack says about its new address
            world.rest()
            self._seen.clear()

    def close(self) -> None:
        """Idempotent; the world does it in the end."""
        if not self._closed:
            self._closed = True
            self.world.remove_mover(self._collect)
            self._end.close()

    # ---- sockets of the stack --------------------------------------------------------------------

    def tcp(self) -> Sock:
        return Sock(self.stack, lib.BW_SOCK_TCP)

    def udp(self, port: int | None = None, host: str = "0.0.0.0") -> Sock:
        sock = Sock(self.stack, lib.BW_SOCK_UDP)
        return sock if port is None else sock.bind(host, port)

    # ---- frames in ---------------------------------------------------------------------------------

    def sends(self, packet: bytes, *, broadcast: bool = False) -> None:
        """An IP packet to the stack; at layer 2 in an Ethernet frame of the far end."""
        if self.layer == 2:
            to = Mac(b"\xff" * 6) if broadcast else self.stack_mac
            packet = frames.ethernet(to, self.mac, packet)
        self.sends_frame(packet)

    def sends_burst(self, *packets: bytes) -> None:
        """Several packets that the stack receives at once (64 at most in one burst)."""
        for i, packet in enumerate(packets, 1):
            if self.layer == 2:
                packet = frames.ethernet(self.stack_mac, self.mac, packet)
            self._put(packet)
            if i % 64 == 0:
                self.world.rest()
        self.world.rest()

    def sends_frame(self, frame: bytes) -> None:
        """A frame as it is."""
        self.sends_frames(frame)

    def sends_frames(self, *burst: bytes) -> None:
        """Frames as they are, in one burst."""
        for frame in burst:
            self._put(frame)
        self.world.rest()

    def _put(self, frame: bytes) -> None:
        if not self._end.send(frame, self.clock.now):
            raise AssertionError("the wire is full: the stack does not take what is sent to it")
        self._note("<", frame)

    # ---- frames out --------------------------------------------------------------------------------

    def expects(
        self,
        check: Check | None = None,
        *,
        within: Time = 0,
        after: Time | None = None,
        why: str = "",
    ) -> Packet:
        """The next frame of the stack, at the latest `within` that time; or exactly `after` that
        time (TOLERANCE allowed)."""
        check = check or anything()
        begin = self.clock.now
        limit = ns(within) if after is None else ns(after) + TOLERANCE
        reason = f" ({why})" if why else ""
        packet = self.next(limit)
        if packet is None:
            self._fail(f"expected {check}{reason} within {text(limit)}: nothing came")
        assert packet is not None
        wrong = check(packet)
        if wrong:
            self._fail(f"expected {check}{reason}, but {wrong}:\n    {packet}")
        if after is not None and packet.time - begin < ns(after) - TOLERANCE:
            early = text(packet.time - begin)
            self._fail(f"expected {check}{reason} after {text(ns(after))}: it came after {early}")
        return packet

    def next(self, within: Time = 0) -> Packet | None:
        """The next frame of the stack, or None if none comes in that time."""
        end = self.clock.now + ns(within)
        self.world.rest()
        while not self._seen and self.world.step(end):
            pass
        if not self._seen:
            self.clock.set(end)
            self.world.rest()
        return self._seen.popleft() if self._seen else None

    def expects_nothing(self, for_: Time = 0, why: str = "") -> None:
        """Lets that time pass; the stack sends nothing meanwhile."""
        begin = self.clock.now
        packet = self.next(for_)
        if packet is not None:
            came = text(packet.time - begin)
            self._fail(f"expected nothing{f' ({why})' if why else ''}; after {came} came {packet}")

    def drain(self, for_: Time = 0) -> list[Packet]:
        """What the stack sends in that time, unjudged."""
        self.world.run(for_)
        found = list(self._seen)
        self._seen.clear()
        return found

    # ---- counters ------------------------------------------------------------------------------------

    @contextmanager
    def counts(self, name: str, times: int = 1) -> Iterator[None]:
        """What happens inside raises that counter of the stack by so much."""
        before = self.stack.counters()[name]
        yield
        self.world.rest()
        got = self.stack.counters()[name] - before
        if got != times:
            self._fail(f"{name} counted {got} more, not {times}")

    # ---- inside --------------------------------------------------------------------------------------

    def _collect(self) -> bool:
        moved = False
        while (frame := self._end.recv(self.clock.now)) is not None:
            self._note(">", frame)
            packet = Packet.parse(frame, self.layer, self.clock.now)
            if not (self.answers_arp and self._answer_arp(packet)):
                self._seen.append(packet)
            moved = True
        return moved

    def _answer_arp(self, packet: Packet) -> bool:
        """The far end has a stack of its own as far as ARP goes."""
        question = packet.arp
        if question is None:
            return False
        if question.op == 1 and str(question.target_ip) == self.there and not question.is_probe:
            answer = Arp(
                ARP_REPLY,
                self.mac,
                IPv4Address(self.there),
                question.sender_mac,
                question.sender_ip,
            )
            self._put(frames.arp(question.sender_mac, answer))
        return True

    def _note(self, way: str, frame: bytes) -> None:
        at = text(self.clock.now - self._start)
        try:
            seen = str(Packet._parse(frame, self.layer, self.clock.now))
        except ValueError as error:
            seen = f"{len(frame)} bytes ({error})"
        self._log.append(f"{at:>14} {way} {seen}")

    def _fail(self, message: str) -> None:
        __tracebackhide__ = True
        log = "\n".join(self._log)
        raise AssertionError(f"{message}\n  the wire ('<' to the stack, '>' from it):\n{log}")
