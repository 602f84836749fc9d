"""The object of poll(2), over a poller of C's.

poll(2) knows numbers, a poller knows sockets and open files. Barewire's sockets are interests that last, so
a call costs the same for one and for ten thousand; C says when one was closed. What a number of the kernel's
names, or one of several of a socket, is looked up in each call.
"""

from __future__ import annotations

import contextlib
import errno
import math
import time
from typing import Any

from . import _registry
from ._errors import FOREIGN, error
from ._kernel import select as _std
from ._poller import POLLNVAL, Numbers

_IN, _PRI, _OUT = _std.POLLIN, _std.POLLPRI, _std.POLLOUT
_OF_FILES = _IN | _OUT | _std.POLLRDNORM | _std.POLLWRNORM  # a plain file is always ready


class poll:
    """A table of descriptors and the events asked for."""

    def __init__(self) -> None:
        self._table: dict[int, tuple[int, int]] = {}  # events, place
        self._placed = 0
        self._begin()

    def _begin(self) -> None:
        self._numbers: Numbers | None = None  # made when it is needed
        self._files: set[int] = set()  # of the kernel's, in the poller
        self._unsure = set(self._table)  # what they name is looked up in the next call
        self._seen = _registry.Named.shared_closed
        self._replaced = False  # a number of the kernel's names another file than before

    def register(self, fd: Any, eventmask: int = _IN | _PRI | _OUT, /) -> None:
        """Adds a descriptor (or object with fileno()); again: changes its events."""
        number, events = _registry.fileno_of(fd), _mask(eventmask)
        known = self._table.get(number)
        if known is None:
            self._placed += 1
        self._table[number] = events, known[1] if known else self._placed
        self._unsure.add(number)

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Changes a descriptor's events; OSError ENOENT if it was not registered."""
        number = _registry.fileno_of(fd)
        if number not in self._table:
            raise error(-errno.ENOENT)
        self.register(number, eventmask)

    def unregister(self, fd: Any, /) -> None:
        """Removes a descriptor; KeyError if it was not registered."""
        number = _registry.fileno_of(fd)
        del self._table[number]
        self._unsure.discard(number)
        if self._numbers is None:
            return
        self._numbers.forget(number)
        if number in self._files:
            self._files.discard(number)
            with contextlib.suppress(OSError):  # it was closed since
                self._numbers.poller.remove_fd(number)

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """(descriptor, revents) of those ready; timeout in ms, None or negative: without end."""
        if timeout is not None and not isinstance(timeout, (int, float)):
            raise TypeError("timeout must be an integer or None")
        seconds = None if timeout is None or timeout < 0 else math.ceil(timeout) / 1000
        end = time.monotonic() + seconds if seconds else None
        while True:
            told = self._look_up()
            found = self._open().poller.wait(0 if told else seconds, len(self._table) or 1)
            closed = [fd for fd, bits in found if bits == POLLNVAL]
            self._unsure.update(fd for fd in closed if fd in self._table)
            if told or not closed:
                break
            if end is not None:
                seconds = max(0.0, end - time.monotonic())
        told = {
            **{fd: bits for fd, bits in found if bits != POLLNVAL and fd in self._table},
            **told,
        }
        return sorted(told.items(), key=lambda one: self._table[one[0]][1])

    def _open(self) -> Numbers:
        if self._numbers is None:
            self._numbers = Numbers()
        return self._numbers

    def _look_up(self) -> dict[int, int]:
        """What is known of numbers without a wait: plain files, and what is closed."""
        if self._seen != _registry.Named.shared_closed:
            self._seen = _registry.Named.shared_closed
            self._unsure.update(self._table)
        told = {}
        for fd in tuple(self._unsure):
            bits = self._add(fd, self._table[fd][0])
            if bits:
                told[fd] = bits
        if self._replaced:  # the poller may go on telling of a file that has other numbers too
            self._begin()
            return self._look_up()
        return told

    def _add(self, fd: int, events: int) -> int:
        """Into the poller, with these events; what is true at once, and not for the poller to say."""
        named, numbers = _registry.named(fd), self._open()
        try:
            try:
                numbers.change(fd, named, events)
            except OSError as problem:
                if problem.errno != errno.ENOENT:
                    raise
                self._replaced |= fd in self._files
                numbers.add(fd, named, events)
        except OSError as problem:
            if problem.errno == errno.EPERM:
                return events & _OF_FILES
            if problem.errno != errno.EBADF or problem.strerror == FOREIGN:
                raise
            self._replaced |= fd in self._files
            return POLLNVAL
        if named is None:
            self._files.add(fd)
        elif not named.is_shared:
            self._unsure.discard(fd)
        return 0


def _mask(eventmask: Any) -> int:
    mask = int(eventmask.__index__())
    if not 0 <= mask <= 0xFFFF:
        raise OverflowError("event mask does not fit in 16 bits")
    return mask
