"""A poller of C's for Python: what epoll objects and selectors are made of.

Sockets have an interest in it each, told by the number that add() gave; descriptors of the kernel are told by
their number. Each event is the cookie given with the interest, and poll(2)'s bits. It holds the stacks of its
sockets; those of a closed socket until the program hears of it.
"""

from __future__ import annotations

import errno
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from barewire.stack import ffi, lib

from . import _waiting
from ._errors import check, error

if TYPE_CHECKING:
    from ._stack import Stack

MOST = 1 << 20  # sockets of one poller
BATCH: int = lib.POLLER_BATCH
POLLNVAL = _waiting.POLLNVAL
_ADD, _CHANGE, _REMOVE = 1, 3, 2  # epoll_ctl(2)'s EPOLL_CTL_*
_EVENT = struct.Struct("=QI4x")  # struct poller_event
_look, _events_in, _event_in = lib.poller_look, _EVENT.iter_unpack, _EVENT.unpack_from


class _Room:
    """Where C lays a batch of events; used by one call at a time."""

    __slots__ = ("bytes", "cdata")

    def __init__(self) -> None:
        self.cdata = ffi.new("struct poller_event[]", BATCH)
        self.bytes = memoryview(ffi.buffer(self.cdata))


class Poller:
    """Any number of sockets of any stacks, and descriptors; calls may come from any thread.

    most: sockets at most; one more is OSError ENOSPC.
    """

    __slots__ = ("_cdata", "_rooms", "_spin", "_stacks", "_users", "_virtual")

    def __init__(self, most: int = MOST) -> None:
        cdata = lib.poller_new(most)
        if cdata == ffi.NULL:
            raise error(-ffi.errno)
        self._cdata = ffi.gc(cdata, lib.poller_free)
        self._rooms: list[_Room] = []
        self._stacks: dict[int, Stack] = {}  # by interest
        self._users: dict[Stack, int] = {}
        self._virtual: list[Stack] = []
        self._spin = 0

    def close(self) -> None:
        lib.poller_close(self._cdata)
        self._stacks.clear()
        self._users.clear()
        self._count()

    # ---- sockets -----------------------------------------------------------------------------

    def add(self, sock: Any, events: int, cookie: int) -> int:
        """The number of a new interest; OSError EBADF, EINVAL, ENOSPC."""
        stack = sock._stack
        interest: int = check(lib.poller_add(self._cdata, stack.host, sock._sock, events, cookie))
        self._stacks[interest] = stack
        users = self._users[stack] = self._users.get(stack, 0) + 1
        if users == 1:
            self._count()
        return interest

    def change(self, interest: int, events: int) -> None:
        """OSError ENOENT (also when its socket was closed), EINVAL."""
        check(lib.poller_modify(self._cdata, interest, events))

    def remove(self, interest: int) -> None:
        """Nothing if it is gone."""
        lib.poller_remove(self._cdata, interest)
        stack = self._stacks.pop(interest, None)
        if stack is None:
            return
        self._users[stack] -= 1
        if not self._users[stack]:
            del self._users[stack]
            self._count()

    def has(self, interest: int) -> bool:
        """Whether the interest's socket is open."""
        return bool(lib.poller_has(self._cdata, interest) == 1)

    def _count(self) -> None:
        stacks = list(self._users)
        self._spin = max((stack.spin_ns for stack in stacks), default=0)
        self._virtual = [stack for stack in stacks if stack.is_virtual]

    # ---- descriptors: errors are epoll_ctl(2)'s -----------------------------------------------

    def add_fd(self, fd: int, events: int) -> None:
        check(lib.poller_control(self._cdata, _ADD, fd, events, fd))

    def change_fd(self, fd: int, events: int) -> None:
        check(lib.poller_control(self._cdata, _CHANGE, fd, events, fd))

    def remove_fd(self, fd: int) -> None:
        check(lib.poller_control(self._cdata, _REMOVE, fd, 0, 0))

    # ---- waiting -----------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that is readable while events may be there."""
        return check(lib.poller_fileno(self._cdata))

    def wake(self) -> None:
        """A thread that waits in it, or the next to do so, comes back with nothing."""
        lib.poller_wake(self._cdata)

    def stats(self) -> dict[str, int]:
        """Events told, sockets refused at the bound, interests and length of the ready list now."""
        out = ffi.new("struct poller_stats *")
        check(lib.poller_get_stats(self._cdata, out))
        return {name: int(getattr(out, name)) for name, _ in ffi.typeof(out[0]).fields}

    def wait(self, timeout: float | None, most: int = BATCH) -> list[tuple[int, int]]:
        """(cookie, bits) of at most so many; seconds, 0 only looks, None waits without end."""
        rooms = self._rooms
        room = rooms.pop() if rooms else _Room()
        try:
            if timeout is None and not self._virtual:
                n = _waiting.wait_on(self._cdata, room.cdata, most, _waiting.NEVER, self._spin)
            elif timeout == 0:
                n = _look(self._cdata, room.cdata, most)
            else:
                n = self._wait(room.cdata, most, timeout)
            if n == 1:
                return [_event_in(room.bytes)]
            if n < 0:
                raise error(n)
            found = list(_events_in(room.bytes[: n * _EVENT.size]))
            return found if n < BATCH or n >= most else self._more(room, found, most)
        finally:
            rooms.append(room)

    def _more(self, room: _Room, found: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
        """Batches until all was told: what is level-triggered comes again, and is told once."""
        told = dict(found)
        while len(told) < most:
            before = len(told)
            n = check(_look(self._cdata, room.cdata, min(most - before, BATCH)))
            told.update(_events_in(room.bytes[: n * _EVENT.size]))
            if n < BATCH or len(told) == before:
                break
        return list(told.items())

    def _wait(self, events: Any, most: int, timeout: float | None) -> int:
        virtual = self._virtual
        for stack in virtual:
            if stack.polling_thread == threading.get_ident():
                n: int = _look(self._cdata, events, most)
                if not n:
                    _waiting.refuse_polling_thread()
                return n
        clock = virtual[0] if virtual else None
        until = _waiting.deadline(clock, timeout)
        return _waiting.wait_on(self._cdata, events, most, until, self._spin)


def events_asked(eventmask: Any) -> int:
    """An event mask of epoll's, as CPython reads it: the lower 32 bits of an integer."""
    try:
        return int(eventmask.__index__()) & 0xFFFFFFFF
    except AttributeError:
        kind = type(eventmask).__name__
        raise TypeError(f"{kind!r} object cannot be interpreted as an integer") from None


class Numbers:
    """The interests of an epoll object: by number, which may stand for one of our sockets or be the kernel's.

    The kernel forgets a descriptor that is closed, and so is a socket forgotten here.
    """

    __slots__ = ("__weakref__", "_interests", "poller", "shown_as")

    def __init__(self) -> None:
        self.poller = Poller()
        self.shown_as = -1  # its own descriptor, once it was given out
        self._interests: dict[int, tuple[int, Any]] = {}  # of our sockets: interest, handle

    def _interest(self, fd: int, sock: Any) -> int | None:
        """The interest in this very socket under this number; what the number stood for before goes."""
        known = self._interests.get(fd)
        if known is None:
            return None
        interest, handle = known
        if sock is not None and handle == sock._sock and self.poller.has(interest):
            return interest
        self.forget(fd)
        return None

    def forget(self, fd: int) -> None:
        known = self._interests.pop(fd, None)
        if known is not None:
            self.poller.remove(known[0])

    def add(self, fd: int, sock: Any, events: int) -> None:
        """OSError EEXIST, and what epoll_ctl(2) says."""
        if self._interest(fd, sock) is not None:
            raise error(-errno.EEXIST)
        if sock is None:
            self.poller.add_fd(fd, events)
        else:
            self._interests[fd] = self.poller.add(sock, events, fd), sock._sock

    def change(self, fd: int, sock: Any, events: int) -> None:
        """OSError ENOENT, and what epoll_ctl(2) says."""
        interest = self._interest(fd, sock)
        if interest is not None:
            self.poller.change(interest, events)
        elif sock is None:
            self.poller.change_fd(fd, events)
        else:
            raise error(-errno.ENOENT)

    def remove(self, fd: int, sock: Any) -> None:
        """OSError ENOENT, and what epoll_ctl(2) says."""
        if self._interest(fd, sock) is not None:
            self.forget(fd)
        elif sock is None:
            self.poller.remove_fd(fd)
        else:
            raise error(-errno.ENOENT)

    def wait(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        """What is ready. Sockets that were closed end no wait: they are forgotten."""
        end = time.monotonic() + timeout if timeout else None
        while True:
            found = self.poller.wait(timeout, most)
            closed = [fd for fd, bits in found if bits == POLLNVAL]
            for fd in closed:
                if not self.poller.has(self._interests.get(fd, (0,))[0]):
                    self.forget(fd)
            ready = [(fd, bits) for fd, bits in found if bits != POLLNVAL] if closed else found
            if ready or not closed:
                return ready
            if end is not None:
                timeout = max(0.0, end - time.monotonic())
