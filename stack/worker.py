"""Who runs the control plane: one daemon thread a stack, and nobody else.

Work that C hands up, the control plane's own timers and what the program configures are *pieces*,
which that thread runs one after the other. Signal handlers run in the main thread: what they raise
(KeyboardInterrupt) never ends a piece half-way. A call that waits for a socket runs no piece and
waits for none, however much work strangers cause. The thread itself takes turns of bounded length,
and rests after a long one: half of the interpreter is left to the program.

In virtual time there is no thread: `poll()` runs all pieces to rest, and configuring calls run theirs.
Signals are blocked meanwhile, so a handler runs between two turns; and a piece that is ended all the same
(another thread may be given a signal) is begun again by the next `poll()`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ..l2.deadlines import MS, SECOND
from ._engine import ffi, lib
from .congestion import CongestionControl
from .control import RESOLVERS, ControlPlane
from .port import from_ip16
from .punt import Punt, PuntClass

log = logging.getLogger("barewire.control")

MAX_PACKET = 65_536
TURN_PUNTS = 16  # punts, and reports of congestion control, that one turn takes from C
TURN_REPORTS = 16
SHIFT = 1 * MS  # ns of turns in a row until the thread rests as long as they took, ...
LONGEST_REST = 10 * MS  # ... but not longer
COMPLAIN_EVERY = 10 * SECOND  # a failure is always counted, and logged so often
TIMERS_PAUSE = 1 * SECOND  # after timers that failed: they may be due for ever
NEVER: int = 2**63 - 1
NO_PUNT = 0xFF  # a class that C does not have

_WHAT: dict[int, str] = {cls: f"a punt of class {cls.name}" for cls in PuntClass}

T = TypeVar("T")
Work = Callable[[ControlPlane], Any]


class ControlWorker:
    """Runs one ControlPlane. It holds nothing that keeps a forgotten stack alive, so that its thread does
    not; a stack may even be collected by that thread, in the middle of a piece (`detach`)."""

    def __init__(self, host: Any, plane: ControlPlane) -> None:
        self.plane = plane
        self._host = host
        self._work_fd = int(lib.host_work_fd(host))
        self._congestion = CongestionControl(host)
        self._lock = threading.RLock()  # held by whoever runs pieces: without a thread, any caller
        self._draining = False  # also told to a signal handler that polls inside a poll
        self._calls: deque[tuple[Work, Future[Any]]] = deque()
        # What C gave and no piece has finished yet lies here, where no interrupt loses it.
        self._punt = ffi.new("struct bw_punt *", {"cls": NO_PUNT})
        self._data = ffi.new("uint8_t[]", MAX_PACKET)
        self._signals = ffi.new("struct held_signals *")
        self._foreign = ffi.new("struct host_foreign_use *")
        self._timers_from = 0  # ns: no timer runs before
        self._failures = 0
        self._complained: dict[str, int] = {}  # ns of the last time, by what failed
        self._thread: threading.Thread | None = None
        self._stopping = self._ended = False

    def _now(self) -> int:
        """The stack's clock, in ns."""
        return int(lib.host_now(self._host))

    def detach(self) -> None:
        """The host is about to be freed: everything from now on is answered as if closed."""
        self._host = ffi.NULL
        self._congestion.detach()

    def call(self, work: Callable[[ControlPlane], T]) -> T:
        """Runs `work(plane)` between two pieces; gives its result, or raises its exception.

        A caller that is interrupted leaves all of it undone, or has it done to its end.
        """
        if self._thread is None or threading.current_thread() is self._thread:
            with self._lock:
                return self._uninterrupted(partial(work, self.plane))
        answer: Future[T] = Future()
        try:
            self._calls.append((work, answer))
            lib.host_tell_work(self._host)
            if self._ended:
                self._answer_calls()
            return answer.result()
        except BaseException:
            answer.cancel()
            raise
        finally:
            del answer  # or its exception would hold the frame that holds it

    def drain(self) -> bool:
        """Runs the pieces that there are, in virtual time until none is left; whether there were any."""
        if self._thread is not None:
            return self.call(lambda plane: self._turn())
        with self._lock:
            if self._draining:
                return False
            self._draining = True
            try:
                worked = False
                while self._uninterrupted(self._turn):
                    worked = True
                return worked
            finally:
                self._draining = False

    def _uninterrupted(self, piece: Callable[[], T]) -> T:
        """Runs it where signal handlers may run too, which then wait for its end."""
        if self._signals.held:
            return piece()  # within one
        try:
            lib.signals_hold(self._signals)
            return piece()
        finally:
            lib.signals_release(self._signals)

    def next_deadline(self) -> int | None:
        """When the control plane's next timer is due, in ns."""
        return self.call(self._deadline)

    @property
    def counters(self) -> dict[str, int]:
        failures = self._failures + self._congestion.failures
        return self.plane.counters | {"control_failures": failures}

    # ---- the pieces --------------------------------------------------------------------------

    def _turn(self) -> bool:
        """A bounded number of pieces of each kind; whether there were any."""
        worked = self._hear_of_interfaces()
        worked |= self._hear_of_foreign_use()
        worked |= self._run_timers()
        worked |= self._run("congestion control", self._congestion.drain, TURN_REPORTS)
        for _ in range(TURN_PUNTS):
            if not self._take():
                return worked
            worked = True
            self._run_punt()
        return True

    def _answer_calls(self) -> bool:
        found = False
        with self._lock:
            while self._calls:
                work, answer = self._calls.popleft()
                found = True
                if not answer.set_running_or_notify_cancel():
                    continue
                try:
                    answer.set_result(work(self.plane))
                except BaseException as exc:  # the caller's, whatever it is
                    answer.set_exception(exc)
        return found

    def _hear_of_interfaces(self) -> bool:
        """Devices that have vanished: their neighbours and addresses go. And what is to be said of
        those that bring unfinished checksums."""
        gone = int(lib.host_take_gone(self._host))
        unfinished = int(lib.host_take_unfinished(self._host))
        for index in range((gone | unfinished).bit_length()):
            if gone >> index & 1:
                self._run("the loss of an interface", self.plane.interface_down, index)
            if unfinished >> index & 1:
                self._run("a warning", self.plane.checksums_unfinished, index)
        return bool(gone or unfinished)

    def _hear_of_foreign_use(self) -> bool:
        """Connections that were reset because foreign code used their numbers."""
        found = False
        use = self._foreign
        while lib.host_take_foreign_use(self._host, use):
            found = True
            what = (
                f"{use.bytes} bytes were written into" if use.bytes else "something was read from"
            )
            where = tuple(
                f"{from_ip16(bytes(ffi.buffer(end.ip)))}:{end.port}"
                for end in (use.local, use.remote)
            )
            number = f"descriptor {use.number}" if use.number >= 0 else "a descriptor"
            log.error(
                "%s %s, which only shows what the socket %s to %s is ready for: it was reset",
                what, number, *where,
            )  # fmt: skip
        return found

    def _deadline(self, plane: ControlPlane) -> int | None:
        deadline = plane.next_deadline()
        return None if deadline is None else max(deadline, self._timers_from)

    def _run_timers(self) -> bool:
        now = self._now()
        deadline = self._deadline(self.plane)
        if deadline is None or deadline > now:
            return False
        before = self._failures
        self._run("a timer", self.plane.on_timer, now)
        if self._failures > before:
            self._timers_from = now + TIMERS_PAUSE
        return True

    def _take(self) -> bool:
        """A punt is at hand: an unfinished one, or the next."""
        if self._punt.cls != NO_PUNT:
            return True
        return int(lib.host_punt_pop(self._host, self._punt, self._data, MAX_PACKET)) == 1

    def _run_punt(self) -> None:
        p = self._punt
        nexthop = None
        if p.cls in RESOLVERS:
            nexthop = from_ip16(bytes(ffi.buffer(p.nexthop)))
        mac = bytes(ffi.buffer(p.src_mac))
        punt = Punt(p.cls, p.ifindex, p.arg, bool(p.l2_broadcast), mac, nexthop, p.when)
        data = bytes(ffi.buffer(self._data, p.len))
        self._run(_WHAT[p.cls], self.plane.on_punt, self._now(), punt, data)
        p.cls = NO_PUNT

    def _run(self, what: str, piece: Callable[..., object], *arguments: Any) -> bool:
        """Whether the piece gave something true. A mistake in it, or in what it calls of the program's,
        ends neither the thread nor a poll."""
        try:
            return bool(piece(*arguments))
        except (Exception, SystemExit):
            self._failed(what)
            return False

    def _failed(self, what: str) -> None:
        """Counts the exception that is being handled, and logs it if the same has not failed lately."""
        self._failures += 1
        now = self._now()
        if now - self._complained.get(what, -COMPLAIN_EVERY) >= COMPLAIN_EVERY:
            self._complained[what] = now
            log.exception("control plane failed on %s (%d failures)", what, self._failures)

    # ---- the thread --------------------------------------------------------------------------

    def start(self, name: str) -> None:
        fd = os.dup(self._work_fd)  # stays readable, once told, where the host goes meanwhile
        self._thread = threading.Thread(target=self._run_thread, args=[fd], name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and waits for it, unless it is this one. Idempotent."""
        self._stopping = True
        if self._thread is not None:
            lib.host_tell_work(self._host)
            if self._thread is not threading.current_thread():
                self._thread.join()

    def _run_thread(self, fd: int) -> None:
        try:
            self._run_with(fd)
        finally:
            os.close(fd)

    def _run_with(self, fd: int) -> None:
        while not self._stopping:
            try:
                self._work(fd)
            except BaseException:  # outside of a piece, or an interrupt that somebody made up
                self._failed("its thread")
                time.sleep(LONGEST_REST / SECOND)
        with self._lock:
            self._ended = True
            self._answer_calls()

    def _work(self, fd: int) -> None:
        """Turns until nothing is left and then a sleep, or for a shift and then a rest."""
        began = time.monotonic_ns()
        with self._lock:
            # The calls are looked at again after a turn: it may have taken back what wakes this thread.
            while self._answer_calls() or self._turn() or self._calls:
                took = time.monotonic_ns() - began
                if took >= SHIFT:
                    break
            else:
                took = 0
                deadline = self._deadline(self.plane)
        if took:
            time.sleep(min(took, LONGEST_REST) / SECOND)
            return
        self._sleep(fd, NEVER if deadline is None else max(0, deadline - self._now()))

    def _sleep(self, fd: int, ns: int) -> None:
        watch = lib.host_watch_fd(self._host)
        lib.host_await_work(fd, watch, ns)  # in C: what `select` is by now, nobody knows
