"""barewire.select: a drop-in for `select`, over barewire sockets and descriptors in one wait.

A barewire socket is given as an object or by its fileno(). Everything here is one function of
_waiting and the bookkeeping around it: select's lists, poll's and epoll's tables.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import _registry, _waiting
from ._errors import error as _os_error
from ._kernel import select as _std
from ._transfer import Transfer as _Transfer
from ._waiting import Watched as _Watched

POLLIN, POLLPRI, POLLOUT = _std.POLLIN, _std.POLLPRI, _std.POLLOUT
POLLERR, POLLHUP, POLLNVAL = _std.POLLERR, _std.POLLHUP, _std.POLLNVAL
EPOLLONESHOT = _std.EPOLLONESHOT

# What makes a descriptor readable, writable and exceptional for select(2), in poll(2)'s words.
_READABLE = POLLIN | POLLHUP | POLLERR
_WRITABLE = POLLOUT | POLLERR


# ---- select --------------------------------------------------------------------------------------


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any],
    timeout: float | None = None, /,
) -> tuple[list[Any], list[Any], list[Any]]:  # fmt: skip
    """The members of each list that are readable, writable, exceptional; all empty: time is over.

    timeout: seconds, None waits without end. Errors: ValueError, TypeError for what cannot be
    waited on, OSError EBADF for a closed descriptor.
    """
    asked = (
        _members(rlist, POLLIN, _READABLE),
        _members(wlist, POLLOUT, _WRITABLE),
        _members(xlist, POLLPRI, POLLPRI),
    )
    events: dict[Any, int] = {}
    for members in asked:
        for _, target, event, _ in members:
            events[target] = events.get(target, 0) | event
    revents = _wait(events, _seconds(timeout))
    if any(bits & POLLNVAL for bits in revents.values()):
        raise _os_error(-errno.EBADF)
    ready = [[obj for obj, target, _, bits in m if revents[target] & bits] for m in asked]
    return ready[0], ready[1], ready[2]


def _members(objects: Iterable[Any], event: int, bits: int) -> list[tuple[Any, Any, int, int]]:
    """(object, socket or descriptor, event to ask for, bits that make it ready) of each."""
    try:
        listed = list(objects)
    except TypeError:
        raise TypeError("arguments 1-3 must be sequences") from None
    return [(obj, _target(obj), event, bits) for obj in listed]


def _target(obj: Any) -> Any:
    """The barewire socket behind an argument, without making its fileno; else a descriptor."""
    if isinstance(obj, _Transfer) and obj._sock:
        return obj
    fd = _registry.fileno_of(obj)
    return _registry.find(fd) or fd


def _wait(events: dict[Any, int], timeout: float | None) -> dict[Any, int]:
    """Waits for sockets and descriptors; revents of each."""
    items = [
        _Watched(None, target, bits)
        if isinstance(target, int)
        else _registry.watched_socket(target, bits)
        for target, bits in events.items()
    ]
    return dict(zip(events, _waiting.wait_many(items, timeout), strict=True))


def _seconds(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if not isinstance(timeout, (int, float)) and not hasattr(timeout, "__float__"):
        raise TypeError("timeout must be a float or None")
    seconds = float(timeout)
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if seconds < 0:
        raise ValueError("timeout must be non-negative")
    return seconds


# ---- poll ----------------------------------------------------------------------------------------


class poll:
    """The object of poll(2): a table of descriptors and the events asked for."""

    def __init__(self) -> None:
        self._events: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT, /) -> None:
        """Adds a descriptor (or object with fileno()); again: changes its events."""
        self._events[_registry.fileno_of(fd)] = _mask(eventmask)

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Changes a descriptor's events; OSError ENOENT if it was not registered."""
        number = _registry.fileno_of(fd)
        if number not in self._events:
            raise _os_error(-errno.ENOENT)
        self._events[number] = _mask(eventmask)

    def unregister(self, fd: Any, /) -> None:
        """Removes a descriptor; KeyError if it was not registered."""
        del self._events[_registry.fileno_of(fd)]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """(descriptor, revents) of those ready; timeout in ms, None or negative: without end."""
        if timeout is not None and not isinstance(timeout, (int, float)):
            raise TypeError("timeout must be an integer or None")
        seconds = None if timeout is None or timeout < 0 else math.ceil(timeout) / 1000
        return _ready(self._events, seconds)


def _mask(eventmask: Any) -> int:
    mask = int(eventmask.__index__())
    if not 0 <= mask <= 0xFFFF:
        raise OverflowError("event mask does not fit in 16 bits")
    return mask


def _ready(events: dict[int, int], timeout: float | None) -> list[tuple[int, int]]:
    items = [_registry.watched(fd, bits) for fd, bits in events.items()]
    revents = _waiting.wait_many(items, timeout)
    return [(fd, bits) for fd, bits in zip(events, revents, strict=True) if bits]


# ---- epoll ---------------------------------------------------------------------------------------


class epoll:
    """The object of epoll(7), made of the same wait: level-triggered, with EPOLLONESHOT.

    EPOLLET is taken and ignored: a program that reads until EAGAIN sees the same, told more often.
    It has no descriptor of its own, so it cannot be waited on itself.
    """

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        if sizehint < -1 or sizehint == 0:
            raise ValueError("sizehint must be positive or -1")
        if flags & ~_std.EPOLL_CLOEXEC:
            raise _os_error(-errno.EINVAL)
        self._events: dict[int, int] = {}
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._events.clear()

    def fileno(self) -> int:
        """OSError EOPNOTSUPP: there is no descriptor behind it."""
        self._open()
        raise OSError(errno.EOPNOTSUPP, "barewire's epoll has no descriptor: wait with poll()")

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """Adds a descriptor; OSError EEXIST if it is there."""
        number = self._number(fd)
        if number in self._events:
            raise _os_error(-errno.EEXIST)
        self._events[number] = int(eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """Changes a descriptor's events; OSError ENOENT if it is not there."""
        number = self._number(fd)
        if number not in self._events:
            raise _os_error(-errno.ENOENT)
        self._events[number] = int(eventmask)

    def unregister(self, fd: Any) -> None:
        """Removes a descriptor; OSError ENOENT if it is not there."""
        if self._events.pop(self._number(fd), None) is None:
            raise _os_error(-errno.ENOENT)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """(descriptor, events) of those ready; timeout in seconds, None or negative: without end."""
        self._open()
        if maxevents == 0 or maxevents < -1:
            raise ValueError(f"maxevents must be greater than 0, got {maxevents}")
        asked = {fd: bits & 0xFFFF for fd, bits in self._events.items() if bits & 0xFFFF}
        found = _ready(asked, None if timeout is None or timeout < 0 else float(timeout))
        for fd, bits in found:
            if bits & POLLNVAL:
                self._events.pop(fd, None)  # closed: epoll forgets it by itself
            elif self._events.get(fd, 0) & EPOLLONESHOT:
                self._events[fd] = 0
        alive = [(fd, bits) for fd, bits in found if not bits & POLLNVAL]
        return alive if maxevents == -1 else alive[:maxevents]

    def _open(self) -> None:
        if self._closed:
            raise ValueError("I/O operation on closed epoll object")

    def _number(self, fd: Any) -> int:
        self._open()
        return _registry.fileno_of(fd)

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


# The rest is the standard module's: constants, `error`.
globals().update({name: value for name, value in vars(_std).items() if name not in globals()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
