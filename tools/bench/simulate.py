"""Transfers between two stacks in virtual time, over the links of links.py: nothing but TCP is measured.

Both ends are barewire on a `pipe` with faults on one side; the clock goes from deadline to
deadline, so that the same seed always gives the same bytes at the same times.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

from ...nic_drivers import pipe_pair, with_faults
from . import links
from .programs import BUFFER
from .transfer import INTERVAL

NEAR, FAR, PORT = "198.18.0.1", "198.18.0.2", 5001
TICK = int(INTERVAL * 1e9)
HANDSHAKE = 60.0  # seconds of virtual time a handshake may take


class Clock:
    """Virtual time in ns."""

    def __init__(self) -> None:
        self.now = 1000 * links.SECOND

    def __call__(self) -> int:
        return self.now


@dataclass
class Flow:
    """A connection from near to far: `begin` is when it was accepted (ns), `record` the bytes that
    arrived in each INTERVAL since, `gap` the longest time without any (seconds)."""

    source: Any
    sink: Any = None
    begin: int = 0
    last: int = 0
    longest: int = 0
    record: list[int] = field(default_factory=list)

    @property
    def gap(self) -> float:
        return self.longest / 1e9

    def accept(self, listener: Any, now: int) -> bool:
        try:
            self.sink, _ = listener.accept()
        except BlockingIOError:
            return False
        self.sink.setblocking(False)
        self.begin = self.last = now
        return True

    def pour(self, data: memoryview) -> bool:
        try:
            return bool(self.source.send(data))
        except BlockingIOError:
            return False

    def drain(self, buffer: bytearray, now: int) -> bool:
        try:
            got = self.sink.recv_into(buffer)
        except BlockingIOError:
            return False
        self.longest, self.last = max(self.longest, now - self.last), now
        place = (now - self.begin) // TICK
        self.record += [0] * (place + 1 - len(self.record))
        self.record[place] += got
        return True

    def rate(self, since: float, until: float) -> float:
        """Bytes a second between two times since its beginning."""
        counted = self.record[round(since / INTERVAL) : round(until / INTERVAL)]
        return sum(counted) / (until - since)


class Path:
    """Two stacks joined by a bad link, and flows over it. A context manager."""

    def __init__(self, scenario: links.Scenario, seed: int, buffer: int = links.BUFFER) -> None:
        from ... import Stack

        self.clock = Clock()
        self._buffer = buffer
        self._data, self._into = memoryview(bytes(BUFFER)), bytearray(BUFFER)
        self._things = contextlib.ExitStack()
        a, b = pipe_pair(ring=4096)
        self.device = with_faults(b, scenario.faults, seed=seed)
        self.near, self.far = (
            self._things.enter_context(
                Stack(
                    device, addresses=[f"{address}/24"], clock=self.clock, seed=f"{seed}/{address}"
                )
            )
            for device, address in ((a, NEAR), (self.device, FAR))
        )
        self._listener = self._socket(self.far, "")
        self._listener.bind((FAR, PORT))
        self._listener.listen(8)
        self.flows: list[Flow] = []

    def _socket(self, stack: Any, congestion: str) -> Any:
        sock = self._things.enter_context(contextlib.closing(stack.socket()))
        if congestion:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        if self._buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.setblocking(False)
        return sock

    def __enter__(self) -> Path:
        return self

    def __exit__(self, *exc: object) -> None:
        self._things.close()

    def open(self, congestion: str) -> Flow:
        """A new flow, accepted. Raises TimeoutError where the link lets no handshake through."""
        flow = Flow(self._socket(self.near, congestion))
        flow.source.connect_ex((FAR, PORT))
        limit = self.clock.now + int(HANDSHAKE * 1e9)
        while not flow.accept(self._listener, self.clock.now):
            if not self.step(limit):
                raise TimeoutError("no handshake came through")
        self._things.callback(flow.sink.close)
        self.flows.append(flow)
        return flow

    def run(self, seconds: float) -> None:
        """Lets so much time pass; every flow's source always has data."""
        end = self.clock.now + int(seconds * 1e9)
        while self.step(end):
            pass
        self.clock.now = end

    def step(self, until: int) -> bool:
        """Rests, then goes to the next deadline, if it is not after `until`."""
        while self._moves():
            pass
        found = [d for d in (s.next_deadline() for s in (self.near, self.far)) if d is not None]
        if not found or min(found) > until:
            return False
        self.clock.now = max(self.clock.now, min(found))
        return True

    def _moves(self) -> bool:
        moved = self.near.poll() | self.far.poll()
        for flow in self.flows:
            moved |= flow.pour(self._data) | flow.drain(self._into, self.clock.now)
        return moved


def goodput(scenario: links.Scenario, congestion: str, seed: int) -> Flow:
    """One transfer for the scenario's time."""
    with Path(scenario, seed) as path:
        flow = path.open(congestion)
        path.run(scenario.seconds)
        return flow


def shared(scenario: links.Scenario, congestion: str, seed: int) -> list[Flow]:
    """Two flows, the second up to a second after the first (by the seed)."""
    with Path(scenario, seed) as path:
        path.open(congestion)
        path.run(0.1 * (seed % 10))
        path.open(congestion)
        path.run(scenario.seconds)
        return path.flows
