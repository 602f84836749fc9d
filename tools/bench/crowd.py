"""What a segment costs the engine where there are many connections: bursts of 64, each for a random one.

The stack is told the time. Frames go straight into the engine, several bursts on end, so that what is
timed is the engine and as little as can be of what Python leaves in the caches.
"""

from __future__ import annotations

import random
import socket
import statistics
import struct
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import Any

from ...nic_drivers import pipe_pair
from ...stack import ffi, lib
from ...stack.checksum import checksum

CROWDS = (32, 1_000, 10_000, 100_000)
BURST = 64
REQUEST = bytes(64)
PORTS = 50_000  # of each peer's address
LISTENER = 7000
SYN, PSH, ACK = 2, 8, 16
TICK = 1_000_000  # ns between two runs
RUN = 12  # bursts on end, of which the first does not count
PIPE = 2  # the interface behind the loopback

_IP = struct.Struct("!BBHHHBBHII")
_TCP = struct.Struct("!HHIIBBHHHIII")  # with NOP, NOP, Timestamps
_SYN_OPTIONS = struct.pack("!II", 0x020405B4, 0x01030307)  # MSS 1460, window scale 7
_HERE = 0xC6120002  # 198.18.0.2
_PEERS = 0xC6120100  # 198.18.1.0, and on


def _who(address: int, port: int) -> int:
    """The number of a peer."""
    return (address - _PEERS) * PORTS + port - 10_000


class Crowd:
    """A stack with `count` accepted connections, and their peers: two numbers each."""

    def __init__(self, things: ExitStack, count: int) -> None:
        from ... import Stack

        self.now = 1_000_000_000
        ours, self.device = pipe_pair(layer=3, ring=1024)
        things.callback(self.device.close)
        self.stack: Any = things.enter_context(
            Stack(
                ours,
                addresses=["198.18.0.2/15"],
                clock=lambda: self.now,
                max_sockets=count + max(64, count // 10),
            )
        )
        self.random = random.Random(count)
        self.seq = [self.random.getrandbits(32) for _ in range(count)]
        self.ack = [0] * count
        self.echo = [0] * count
        self.frames = [ffi.new("struct rx_frame[]", BURST) for _ in range(RUN)]
        self.bytes = ffi.new("uint8_t[][256]", RUN * BURST)
        self.socks: list[Any] = [None] * count
        self._open(count)

    def _open(self, count: int) -> None:
        idle = self.memory()[0]
        with self.stack.socket() as listener:
            listener.setblocking(False)
            listener.bind(("198.18.0.2", LISTENER))
            listener.listen(1024)
            for first in range(0, count, BURST):
                some = list(range(first, min(count, first + BURST)))
                self.sends(some, SYN)
                self._learn()
                self.sends(some, ACK)
                self.stack.poll()
                for _ in some:
                    sock, (host, port) = listener.accept()
                    sock.setblocking(False)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
                    self.socks[_who(int(IPv4Address(host)), port)] = sock
        self.idle = (self.memory()[0] - idle) / count

    def _learn(self) -> None:
        """Reads the SYN,ACKs: their sequence number, and their clock."""
        self.stack.poll()
        while burst := self.device.rx(BURST):
            for frame in burst:
                data = bytes(frame.data)
                to, port, seq = struct.unpack_from("!I", data, 16) + struct.unpack_from(
                    "!HI", data, 22
                )
                who = _who(to, port)
                self.ack[who] = (seq + 1) & 0xFFFFFFFF
                options = data[40 : 20 + (data[32] >> 4) * 4]
                at = options.index(b"\x08\x0a")
                self.echo[who] = struct.unpack_from("!I", options, at + 2)[0]

    def sends(self, who: list[int], flags: int, data: bytes = b"") -> None:
        """One segment of each of these peers, as one burst."""
        self._prepare(0, who, flags, data)
        self._input(0, len(who))

    def _prepare(self, burst: int, who: list[int], flags: int, data: bytes) -> None:
        options = _SYN_OPTIONS if flags & SYN else b""
        header = 32 + len(options)
        total = 20 + header + len(data)
        for i, one in enumerate(who):
            source = _PEERS + one // PORTS
            ip = _IP.pack(0x45, 0, total, 0, 0x4000, 64, 6, 0, source, _HERE)
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
            clock = self.now // 1_000_000
            tcp = _TCP.pack(
                *(10_000 + one % PORTS, LISTENER, self.seq[one], self.ack[one], header << 2, flags),
                *(65_000, 0, 0, 0x0101080A, clock, self.echo[one]),
            )
            self.seq[one] = (self.seq[one] + len(data) + (flags & SYN and 1)) & 0xFFFFFFFF
            room = self.bytes[burst * BURST + i]
            ffi.memmove(room, ip + tcp + options + data, total)
            self.frames[burst][i] = {"data": room, "len": total, "csum": lib.BW_CSUM_VALID}

    def _input(self, burst: int, count: int) -> int:
        return int(lib.host_time_input(self.stack.host, PIPE, self.frames[burst], count))

    def run(self) -> list[float]:
        """ns for a request to a random connection, one figure a burst; they are read afterwards."""
        self.now += TICK
        self.stack.poll()
        everybody = range(len(self.socks))
        bursts = [self.random.choices(everybody, k=BURST) for _ in range(RUN)]
        for i, who in enumerate(bursts):
            self._prepare(i, who, PSH | ACK, REQUEST)
        spent = [self._input(i, BURST) / BURST for i in range(RUN)]
        for one in set().union(*bursts):
            self.socks[one].recv(4096)
        self._forget()
        return spent[1:]

    def _forget(self) -> None:
        self.stack.poll()
        while self.device.rx(BURST):
            pass

    def unread(self) -> float:
        """Bytes of chunks a connection holds when each has a request that nobody reads."""
        before = self.memory()[1]
        for first in range(0, len(self.socks), BURST):
            self.sends(list(range(first, min(first + BURST, len(self.socks)))), PSH | ACK, REQUEST)
            self._forget()
        return (self.memory()[1] - before) / len(self.socks)

    def memory(self) -> tuple[int, int]:
        """(control blocks, chunks) in use, bytes."""
        stats = self.stack.stats()
        return int(stats["memory_control_blocks"]), int(stats["memory_chunks"])

    def close(self) -> None:
        for sock in self.socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            if self.stack.stats()["sockets"] % BURST == 0:
                self._forget()


Note = Callable[[str, str, float, str], None]


def measure(seconds: float, note: Note) -> None:
    """note(metric, unit, value, crowd): the costs, taken in turns so that all have the same machine; their
    ratios to the smallest crowd's; and the memory of a connection in the largest one."""
    with ExitStack() as things:
        crowds = [Crowd(things, count) for count in CROWDS]
        times: dict[int, list[float]] = {count: [] for count in CROWDS}
        turns = max(4, int(seconds * 20))
        for _ in range(turns):
            for count, crowd in zip(CROWDS, crowds, strict=True):
                for _ in range(RUN):
                    times[count] += crowd.run()
        cost = {count: statistics.median(spent) for count, spent in times.items()}
        for count in CROWDS:
            note("cost", "ns", cost[count], f"{count:,}")
            note("ratio", "x", cost[count] / cost[CROWDS[0]], f"{count:,}")
        note("idle", "bytes", crowds[-1].idle, f"{CROWDS[-1]:,}")
        note("unread", "bytes", crowds[-1].unread(), f"{CROWDS[-1]:,}")
        for crowd in crowds:
            crowd.close()
