"""Waiting: the Python half. C enlists, drives and sleeps; here signal handlers run.

`lib.wait_begin` and `lib.wait_sleep` return to the interpreter so that handlers run (and may
raise); then the wait goes on with the same deadline (PEP 475). Work for Python is no waiting call's:
the control plane's thread does it.
Deadlines are absolute, in ns of the stack's clock: `deadline(stack, timeout)`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from barewire.stack import ffi, lib

from . import _errors
from ._direct import SIGNAL_TRIPPED

if TYPE_CHECKING:
    from ._stack import Stack

NEVER: int = 2**63 - 1
LOOK = 0  # a deadline that is over: one look
POLLNVAL = 0x020


_poller_wait = lib.poller_wait
_tripped = ffi.cast("int (*)(void)", SIGNAL_TRIPPED)


def _is_main() -> bool:
    """The thread that runs the handlers of signals."""
    return threading.current_thread() is threading.main_thread()


class Waiter:
    """C's waiter and room for its items; used by one wait at a time."""

    __slots__ = ("address", "cdata", "items", "room")

    def __init__(self) -> None:
        cdata = lib.waiter_new(_tripped if _is_main() else ffi.NULL)
        if cdata == ffi.NULL:
            raise OSError(
                errno.EMFILE, "too many open files: a thread that waits needs one descriptor"
            )
        self.cdata = ffi.gc(cdata, lib.waiter_free)
        self.room = 0
        self.reserve(1)

    def reserve(self, n: int) -> None:
        if n > self.room:
            self.items = ffi.new("struct wait_item[]", n)
            self.address = int(ffi.cast("uintptr_t", self.items))
            self.room = n


class _Spare(threading.local):
    """A thread's waiters that are not in use: several only if a signal handler waits in a wait."""

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self.is_main = _is_main()


_spare = _Spare()
_main_waits: list[Any] = []  # C waiters the main thread waits in


def _forget() -> None:
    """In a forked child: the waiters' descriptors are shared with the parent."""
    global _spare
    _spare = _Spare()
    _main_waits.clear()


os.register_at_fork(after_in_child=_forget)


def deadline(stack: Stack | None, timeout: float | None) -> int:
    """When a timeout of seconds is over; None is never. Negative timeouts are over already."""
    if timeout is None:
        return NEVER
    now = time.monotonic_ns() if stack is None else stack.now()
    return min(NEVER, now + max(0, round(timeout * 1e9)))


def wait_one(stack: Stack, handle: Any, events: int, until: int, spin_ns: int = 0) -> int:
    """Waits for one socket; its revents, or 0 when the deadline is over. `spin_ns`: how long it spins
    before it sleeps, for calls that did not spin themselves (accept, connect)."""
    waiter = _spare.waiters.pop() if _spare.waiters else Waiter()
    item = waiter.items[0]
    item.host, item.sock, item.events = stack.host, handle, events
    try:
        answer = _wait(waiter, 1, until, (stack,), spin_ns)
        return int(item.revents) if answer > 0 else 0
    finally:
        _spare.waiters.append(waiter)


def wait_for(waiter: Waiter, n: int, stacks: tuple[Stack, ...], timeout: float | None) -> int:
    """Waits for any of the waiter's n items, which are of these stacks; how many are ready."""
    if timeout == 0:
        answer: int = lib.wait_begin(waiter.cdata, waiter.items, n, LOOK, 0)
        return 0 if answer == -errno.ETIMEDOUT else _errors.check(answer)
    clock = next((s for s in stacks if s.is_virtual), stacks[0] if stacks else None)
    spin = max((s.spin_ns for s in stacks), default=0)
    return _wait(waiter, n, deadline(clock, timeout), stacks, spin)


def take(n: int = 1) -> Waiter:
    """A waiter of this thread's with room for so many items, until give()."""
    waiter = _spare.waiters.pop() if _spare.waiters else Waiter()
    waiter.reserve(n)
    return waiter


def give(waiter: Waiter) -> None:
    _spare.waiters.append(waiter)


def _wait(waiter: Waiter, n: int, until: int, stacks: tuple[Stack, ...], spin_ns: int) -> int:
    """Items ready (> 0), or 0 when the deadline is over; raises OSError."""
    cdata = waiter.cdata
    is_main = _is_main()
    if is_main:
        _main_waits.append(cdata)
    try:
        answer = lib.wait_begin(cdata, waiter.items, n, until, spin_ns)
        while answer <= 0:
            if answer == 0 or answer == -errno.EINTR:  # handlers run here
                if answer and not is_main:
                    _wake_main()
                _refuse_polling_thread(stacks)
                answer = lib.wait_sleep(cdata)
            elif answer == -errno.ETIMEDOUT:
                return 0
            else:
                raise _errors.error(answer)
        return int(answer)
    finally:
        lib.wait_end(cdata)
        if is_main:
            _main_waits.pop()


def wait_on(poller: Any, events: Any, most: int, until: int, spin_ns: int) -> int:
    """Waits on a poller of C's; how many events came, 0: the deadline is over or it was woken, or -errno."""
    spare = _spare
    waiters, is_main = spare.waiters, spare.is_main
    waiter = waiters.pop() if waiters else Waiter()
    cdata = waiter.cdata
    if is_main:
        _main_waits.append(cdata)
    try:
        while True:
            answer: int = _poller_wait(cdata, poller, events, most, until, spin_ns)
            if answer != -errno.EINTR:
                return answer
            if not is_main:
                _wake_main()
    finally:
        if is_main:
            _main_waits.pop()
        waiters.append(waiter)


def _wake_main() -> None:
    """A signal of the process was given to this thread: its handler runs in the main thread."""
    for cdata in _main_waits[-1:]:
        lib.waiter_interrupt(cdata)


def _refuse_polling_thread(stacks: tuple[Stack, ...]) -> None:
    for stack in stacks:
        if stack.is_virtual and stack.polling_thread == threading.get_ident():
            refuse_polling_thread()


def refuse_polling_thread() -> None:
    raise RuntimeError(
        "this call would wait for ever: its stack lives in virtual time and this is the "
        "thread that polls it; use a non-blocking socket, or wait in another thread"
    )
