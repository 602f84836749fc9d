"""What the steps of a conversation act on: a target, its peer, and the sockets and flows between the two,
named by the order of their making."""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from barewire.stack.checksum import checksum
from barewire.stack.ip.ipv4 import PROTO_ICMP, IPv4

from .peer import Flow, Peer
from .targets import Target

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PORTS = 5  # of the target, a place


@dataclass(slots=True)
class Place:
    """Where one conversation happens: names that no other one has, so that nothing is left over from it."""

    address: IPv4Address  # the peer's
    port: int  # of the target's listener; the peer's port is derived from it


class Scene:
    def __init__(self, target: Target, peer: Peer, place: Place) -> None:
        self.target, self.peer, self.place = target, peer, place
        peer.knows_stream = True
        self.sockets: list[Any] = []
        self.kinds: list[str] = []
        self.flows: list[Flow] = []
        self._sent: dict[int, int] = {}  # bytes that each socket's stream has taken

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
