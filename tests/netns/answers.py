"""One scripted peer, two stacks: the kernel behind a TUN interface of a namespace, and barewire on a wire
in virtual time. What the kernel answers is the expectation.

A test module writes its tests once, as methods of a subclass of Answers, and names it twice: beside
KernelAnswers and beside BarewireAnswers. Sockets do not block; `told()` is what the stack has sent.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import barewire.select
import pytest
from barewire.stack.tcp import Flags
from barewire.tools import netns

from tests.kit.clock import SECOND
from tests.kit.frames import letters_of
from tests.kit.kept import Kept
from tests.kit.packets import Packet
from tests.kit.peer import TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World

HERE, THERE = "198.18.0.1", "198.18.0.2"  # the stack, the scripted peer
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000
QUIET = 0.03  # seconds without a packet of the kernel's: it has said what it has to say
AGAIN = 0.5  # seconds after which a packet that has no answer is sent again
PATIENCE = 5.0  # seconds until a packet that a test asks for is missed
NAMES = """? ESTABLISHED SYN_SENT SYN_RCVD FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED CLOSE_WAIT LAST_ACK
LISTEN CLOSING"""
STATES = dict(enumerate(NAMES.split()))


class Side(Protocol):
    """A stack at `here`, and what the far end, `there`, puts on the wire and sees of it."""

    here: str
    there: str
    clock: Any

    def sends(self, packet: bytes) -> None: ...
    def seen(self, least: int = 0) -> list[Packet]: ...
    def tcp(self) -> Any: ...
    def close(self) -> None: ...


class KernelSide:
    here, there = HERE, THERE

    def __init__(self, ns: netns.Namespace) -> None:
        self._ns = ns
        self._last = b""
        self.clock = self
        with ns.entered():
            self._fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        ns.call(netns._configure, "tun0", f"{HERE}/24", 1500)

    @property
    def now(self) -> int:
        return time.monotonic_ns()

    def sends(self, packet: bytes) -> None:
        self._last = packet
        os.write(self._fd, packet)

    def seen(self, least: int = 0) -> list[Packet]:
        """What the kernel has sent: waits for so many packets, and then until there are no more. A busy
        machine's kernel loses a packet now and then: what has no answer is sent again."""
        found: list[Packet] = []
        end = self.now + PATIENCE * SECOND
        while True:
            missing = len(found) < least
            if not select.select([self._fd], [], [], AGAIN if missing else QUIET)[0]:
                if not missing or self.now > end:
                    return found
                if not found and self._last:
                    os.write(self._fd, self._last)
                continue
            packet = os.read(self._fd, 65536)
            if packet[0] >> 4 == 4:
                found.append(Packet.parse(packet, 3, self.now))

    def tcp(self) -> Any:
        sock = self._ns.socket()
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        os.close(self._fd)


class BarewireSide:
    def __init__(self, world: World) -> None:
        self._wire = Wire(world)
        self.here, self.there, self.clock = self._wire.here, self._wire.there, world.clock
        self.sends = self._wire.sends

    def seen(self, least: int = 0) -> list[Packet]:
        return self._wire.drain()

    def tcp(self) -> Any:
        sock = self._wire.stack.socket()
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        pass  # the world does it


class Conversation:
    """A connection, or what is to become one: the stack's socket, and the peer."""

    def __init__(self, side: Side, peer: TcpPeer, sock: Any = None) -> None:
        self.side, self.peer, self.sock = side, peer, sock

    def told(self, least: int = 0) -> list[str]:
        """What the stack has sent to the peer, at least so many segments: flags, and relative numbers."""
        return [text for text, _ in self.segments(least)]

    def segments(self, least: int = 0) -> list[tuple[str, Packet]]:
        found = []
        for packet in self.side.seen(least):
            segment = packet.tcp
            if segment is None or segment.dport != self.peer.port:
                continue
            self.peer.learns(segment)
            text = f"{letters_of(segment.flags & ~Flags.PSH)} {self._number(segment.seq)}"
            if segment.flags & Flags.ACK:
                text += f" ack {segment.ack - self.peer.iss & 0xFFFFFFFF}"
            if segment.payload:
                text += f" len {len(segment.payload)}"
            found.append((text, packet))
        return found

    def _number(self, seq: int) -> int:
        return (seq - self.peer.irs + 0x8000_0000 & 0xFFFFFFFF) - 0x8000_0000

    @property
    def state(self) -> str:
        return STATES[self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]

    @property
    def error(self) -> str:
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.errorcode[number] if number else ""


def says(call: Callable[[], Any]) -> Any:
    """What a call gives, or the name of its errno."""
    try:
        return call()
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]


class Answers(Kept):
    side: Side

    @pytest.fixture(autouse=True)
    def _numbers_its_peers(self) -> None:
        self._ports = iter(range(20_000, 30_000))

    def peer(self, **options: Any) -> TcpPeer:
        return TcpPeer(self.side, next(self._ports), **options)  # type: ignore[arg-type]

    def listener(self) -> Any:
        sock = self.keep(self.side.tcp())
        sock.bind((HERE, 0))
        sock.listen(8)
        return sock

    def knocks(self, listener: Any, **syn: Any) -> Conversation:
        """A SYN to the listener, answered."""
        found = Conversation(self.side, self.peer(stack_port=listener.getsockname()[1]))
        found.peer.sends("S", seq=0, **{"mss": 1460, **syn})
        assert found.told(1) == ["SA 0 ack 1"]
        return found

    def accepted(self, **syn: Any) -> Conversation:
        """A connection that the peer has opened."""
        listener = self.listener()
        found = self.knocks(listener, **syn)
        found.peer.sends("A")
        found.told()
        found.sock = self.keep(listener.accept()[0])
        found.sock.setblocking(False)
        return found

    def connecting(self) -> Conversation:
        """A connection that the stack opens; the SYN has been seen."""
        peer, sock = self.peer(), self.keep(self.side.tcp())
        found = Conversation(self.side, peer, sock)
        assert sock.connect_ex((THERE, peer.port)) == errno.EINPROGRESS
        ((_, self.syn),) = found.segments(1)
        return found

    def connected(self) -> Conversation:
        found = self.connecting()
        found.peer.sends("SA", seq=0, ack=1, mss=1460)
        assert found.told(1) == ["A 1 ack 1"]
        return found

    def poll(self, sock: Any) -> int:
        raise NotImplementedError


class KernelAnswers(Answers):
    @pytest.fixture(autouse=True)
    def _side(self, ns: netns.Namespace) -> Iterator[None]:
        ns.quiet()
        ns.sysctl("net.ipv4.tcp_ecn", 0)
        self.side = KernelSide(ns)
        self.side.seen()
        yield
        self.side.close()

    def poll(self, sock: Any) -> int:
        poll = select.poll()
        poll.register(sock, 0x2007)
        return dict(poll.poll(0)).get(sock.fileno(), 0)


class BarewireAnswers(Answers):
    @pytest.fixture(autouse=True)
    def _side(self) -> Iterator[None]:
        with World(buffer_bytes=64 << 20) as world:
            self.side = BarewireSide(world)
            yield

    def poll(self, sock: Any) -> int:
        poll = barewire.select.poll()
        poll.register(sock, 0x2007)
        return dict(poll.poll(0)).get(sock.fileno(), 0)
