"""One script of segments and calls, played to both: the kernel behind a TAP in real time, a stack over the
pipe in virtual time. A claim that barewire does as Linux does holds when both give the same answer."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest
from barewire import TcpInfo
from barewire.fuzz.peer import Flow, Peer
from barewire.fuzz.strategies import PEER, PeerStep
from barewire.fuzz.targets import MS, SECOND, KernelTarget, StackTarget
from barewire.l2 import Ethernet
from barewire.stack.ip.ipv4 import IPv4
from barewire.stack.tcp.segment import Mss, SackPermitted, Segment

MSS = 1000
TCP = socket.IPPROTO_TCP
OFFER = (Mss(MSS), SackPermitted())


class Side:
    """A target and its peer. Segments are counted from 0, as the peer's `at` does it.

    sysctls: the kernel's, below net.ipv4. options: of the stack.
    """

    def __init__(self, name: str, sysctls: dict[str, int] | None = None, **options: Any) -> None:
        self.kernel = name == "kernel"
        self.target: Any = (
            KernelTarget(congestion="reno") if self.kernel else StackTarget(**options)
        )
        if self.kernel:  # a target does without tail loss probes
            for setting, value in {"tcp_early_retrans": 3, **(sysctls or {})}.items():
                self.target._namespace.sysctl(f"net.ipv4.{setting}", value)
        self.peer = Peer(self.target)
        self.made: list[Any] = []

    def close(self) -> None:
        for sock in self.made:
            sock.close()
        self.target.close()

    def keep(self, sock: Any) -> Any:
        self.made.append(sock)
        sock.setblocking(False)
        return sock

    def socket(self) -> Any:
        sock = self.keep(self.target.socket(socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(TCP, socket.TCP_CONGESTION, b"reno")
        return sock

    def calls(self, sock: Any, port: int = 6000) -> None:
        with pytest.raises(BlockingIOError):
            sock.connect((str(PEER), port))
        self.peer.settle()

    def connected(
        self, rtt: int = 0, options: tuple[Any, ...] = OFFER, port: int = 6000
    ) -> tuple[Any, Flow]:
        """The target has connected; its SYN took `rtt` ms there and back."""
        sock = self.socket()
        self.calls(sock, port)
        if rtt:
            self.peer.advance(rtt * MS)
        flow = next(f for f in self.peer.flows.values() if f.theirs == port)
        self.peer.answer(flow, options)
        flow.options = options
        return sock, flow

    def listening(self, port: int, **options: int) -> Any:
        sock = self.socket()
        for name, value in options.items():
            sock.setsockopt(TCP, int(name.removeprefix("o")), value)
        sock.bind((str(self.target.address), port))
        sock.listen(5)
        return sock

    def accepted(self, port: int = 80) -> tuple[Any, Flow]:
        listener = self.listening(port)
        flow = self.peer.open(port, 5000, OFFER)
        return self.keep(listener.accept()[0]), flow

    def sends(self, sock: Any, segments: int) -> None:
        assert sock.send(bytes(segments * MSS)) == segments * MSS
        self.peer.settle()

    def acks(self, flow: Flow, segment: int, *sacked: tuple[int, int]) -> list[bytes]:
        """An ACK of all up to that segment, with SACK blocks of others."""
        ack = (flow.first + 1 + segment * MSS - flow.rcv) % (1 << 32)
        blocks = tuple(((a - segment) * MSS, (b - segment) * MSS) for a, b in sacked)
        return self.peer.say(flow, PeerStep(ack=ack, sack=blocks))

    def ends(self, sock: Any, within: float) -> float:
        """When the connection has ended with ETIMEDOUT, in seconds from now."""
        begin = self.target.now()
        while (spent := self.target.now() - begin) < within * SECOND:
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                assert error == errno.ETIMEDOUT
                return float(spent / SECOND)
            self.peer.advance(5 * MS)
        pytest.fail("it does not end")


def info(sock: Any) -> TcpInfo:
    return TcpInfo.from_bytes(sock.getsockopt(TCP, socket.TCP_INFO, 512))


def segments(frames: list[bytes]) -> list[Segment]:
    found = [IPv4.parse(Ethernet.parse(f).payload) for f in frames if f[12:14] == b"\x08\x00"]
    return [Segment.parse(ip.payload, ip.src, ip.dst) for ip in found if ip.proto == 6]
