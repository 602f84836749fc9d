"""Who runs the control plane: one lock a stack, and one daemon thread for what nobody else takes.

A waiting call drains C's work between its C calls. What comes while nobody waits, and the control
plane's own timers, are this thread's. In virtual time there is no thread: `poll()` drains.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from ._engine import ffi, lib
from .congestion import CongestionControl
from .control import ControlPlane
from .port import from_ip16
from .punt import Punt, PuntClass

log = logging.getLogger("barewire.control")

MAX_PACKET = 65_536
MAX_INBOX = 64  # what is taken from C at a time: the rest waits there, bounded and counted


class ControlWorker:
    """Drives one ControlPlane. It holds nothing that keeps a forgotten stack alive, so that its thread does
    not; a stack may even be collected by that thread, in the middle of a drain (`detach`)."""

    def __init__(self, host: Any, plane: ControlPlane) -> None:
        self.plane = plane
        self._host = host
        self._work_fd = int(lib.host_work_fd(host))
        self._congestion = CongestionControl(host)
        self._lock = threading.RLock()
        self._draining = False  # also told to a signal handler that drains inside a drain
        self._inbox: deque[tuple[Punt, bytes]] = deque()
        self._punt = ffi.new("struct bw_punt *")
        self._data = ffi.new("uint8_t[]", MAX_PACKET)
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._asleep_until: float = -1.0  # the thread's deadline in ns while it sleeps

    def _now(self) -> int:
        return int(lib.host_now(self._host))

    def detach(self) -> None:
        """The host is about to be freed: everything from now on is answered as if closed."""
        self._host = ffi.NULL
        self._congestion.detach()

    @contextlib.contextmanager
    def locked(self) -> Iterator[ControlPlane]:
        """The control plane, nobody else in it; the thread learns of a new deadline afterwards."""
        with self._lock:
            yield self.plane
        self._tell_deadline()

    def drain(self) -> bool:
        """Runs what C handed up and the timers that are due; whether there was anything."""
        with self._lock:
            worked = self._collect()
            if not self._draining:
                self._draining = True
                try:
                    worked |= self._work_off()
                finally:
                    self._draining = False
        self._tell_deadline()
        return worked

    def next_deadline(self) -> int | None:
        with self._lock:
            return self.plane.next_deadline()

    # ---- the parts of a drain ----------------------------------------------------------------

    def _collect(self) -> bool:
        found = False
        while (
            len(self._inbox) < MAX_INBOX
            and lib.host_punt_pop(self._host, self._punt, self._data, MAX_PACKET) == 1
        ):
            p = self._punt
            nexthop = None
            if p.cls in (PuntClass.RESOLVE, PuntClass.RESOLVE_ANSWER):
                nexthop = from_ip16(bytes(ffi.buffer(p.nexthop)))
            punt = Punt(
                p.cls,
                p.ifindex,
                p.arg,
                bool(p.l2_broadcast),
                bytes(ffi.buffer(p.src_mac)),
                nexthop,
                p.when,
            )
            self._inbox.append((punt, bytes(ffi.buffer(self._data, p.len))))
            found = True
        return found

    def _hear_of_interfaces(self) -> bool:
        """Devices that have vanished: their neighbours and addresses go. And what is to be said of
        those that bring unfinished checksums."""
        gone = int(lib.host_take_gone(self._host))
        unfinished = int(lib.host_take_unfinished(self._host))
        for index in range((gone | unfinished).bit_length()):
            if gone >> index & 1:
                self.plane.interface_down(index)
            if unfinished >> index & 1:
                self.plane.checksums_unfinished(index)
        return bool(gone or unfinished)

    def _work_off(self) -> bool:
        worked = self._hear_of_interfaces()
        while True:
            while self._inbox:
                punt, data = self._inbox.popleft()
                try:
                    self.plane.on_punt(self._now(), punt, data)
                except Exception:  # a mistake of ours must not end the thread, or a waiting call
                    log.exception("control plane failed on %r", punt)
                worked = True
            now = self._now()
            deadline = self.plane.next_deadline()
            if deadline is not None and deadline <= now:
                self.plane.on_timer(now)
                worked = True
            worked |= self._congestion.drain()
            if not self._collect():
                return worked

    def _tell_deadline(self) -> None:
        if self._asleep_until < 0 or threading.current_thread() is self._thread:
            return
        deadline = self.next_deadline()
        if deadline is not None and deadline < self._asleep_until:
            lib.host_tell_work(self._host)

    # ---- the thread ----------------------------------------------------------------------------

    def start(self, name: str) -> None:
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it, unless it is this one. Idempotent."""
        thread, self._thread = self._thread, None
        self._stopping = True
        if thread is not None:
            lib.host_tell_work(self._host)
            if thread is not threading.current_thread():
                thread.join()

    def _run(self) -> None:
        fd = os.dup(self._work_fd)  # stays readable, once told, where the host goes meanwhile
        try:
            self._run_with(fd)
        finally:
            os.close(fd)

    def _run_with(self, fd: int) -> None:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not self._stopping:
            self.drain()
            deadline = self.next_deadline()
            self._asleep_until = float("inf") if deadline is None else deadline
            # Told of a deadline from here on; what came just before is looked at once more.
            again = self.next_deadline()
            if again == deadline:
                left = None if deadline is None else max(0, deadline - self._now())
                poll.poll(None if left is None else -(-left // 1_000_000))
            self._asleep_until = -1.0
