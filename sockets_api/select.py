"""barewire.select: a drop-in for `select`, over barewire sockets and descriptors in one wait.

A barewire socket is given as an object or by its fileno(). select is one function of _waiting and its lists
around it; poll (_poll) and epoll are thin over _poller.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Iterable
from operator import index
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from . import _registry, _waiting
from ._errors import error as _os_error
from ._kernel import select as _std
from ._poll import poll as poll
from ._poller import Numbers as _Numbers
from ._poller import events_asked as _events_asked
from ._timeout import LONGEST
from ._transfer import Transfer as _Transfer

POLLIN, POLLPRI, POLLOUT = _std.POLLIN, _std.POLLPRI, _std.POLLOUT
POLLERR, POLLHUP, POLLNVAL = _std.POLLERR, _std.POLLHUP, _std.POLLNVAL

# ---- select --------------------------------------------------------------------------------------


def select(
    rlist: Iterable[Any], wlist: Iterable[Any], xlist: Iterable[Any],
    timeout: float | None = None, /,
) -> tuple[list[Any], list[Any], list[Any]]:  # fmt: skip
    """The members of each list that are readable, writable, exceptional; all empty: time is over.

    timeout: seconds, None waits without end. Errors: ValueError, TypeError for what cannot be
    waited on, OSError EBADF for a closed descriptor.
    """
    lists = _listed(rlist), _listed(wlist), _listed(xlist)
    seconds = _seconds(timeout)
    n = sum(map(len, lists))
    waiter = _waiting.take(n)
    try:
        found = _gather(*lists, _target, waiter.address)
        stacks = tuple({sock._stack: None for sock in found})
        if not _waiting.wait_for(waiter, n, stacks, seconds):
            return [], [], []
        ready: tuple[list[Any], list[Any], list[Any]] | None = _scatter(*lists, waiter.address)
    finally:
        _waiting.give(waiter)
    if ready is None:
        raise _os_error(-errno.EBADF)
    return ready


_gather, _scatter = _Transfer._gather, _Transfer._scatter


def _listed(objects: Iterable[Any]) -> list[Any]:
    try:
        return list(objects)
    except TypeError:
        raise TypeError("arguments 1-3 must be sequences") from None


def _target(obj: Any) -> Any:
    """The barewire socket behind an argument, without making its fileno; else a descriptor."""
    if isinstance(obj, _Transfer) and obj._sock:
        return obj
    fd = _registry.fileno_of(obj)
    return _registry.find(fd) or fd


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


# ---- epoll ---------------------------------------------------------------------------------------


class epoll:
    """The object of epoll(7), over a poller of C's: level- and edge-triggered, one-shot, exclusive.

    A barewire socket is told by its fileno(). Where the kernel's object leaves a thread in poll() for ever
    when another closes it, this one ends it with the ValueError of a closed object.
    """

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        if index(sizehint) < -1 or sizehint == 0:
            raise ValueError("negative sizehint")
        if index(flags) & ~_std.EPOLL_CLOEXEC:
            raise OSError("invalid flags")
        self._numbers: _Numbers | None = _Numbers()

    @classmethod
    def fromfd(cls, fd: int, /) -> Any:
        """A second object on the descriptor of one; of a descriptor of the kernel's, the kernel's object."""
        numbers = _shown.get(fd)
        if numbers is None:
            return _std.epoll.fromfd(fd)
        other = object.__new__(cls)
        other._numbers = numbers
        return other

    @property
    def closed(self) -> bool:
        return self._numbers is None

    def close(self) -> None:
        numbers, self._numbers = self._numbers, None
        if numbers is not None:
            numbers.poller.close()
            if _shown.get(numbers.shown_as) is numbers:
                del _shown[numbers.shown_as]

    def fileno(self) -> int:
        """A descriptor that is readable while poll() would give something (or nothing, once)."""
        numbers = self._open()
        numbers.shown_as = fd = numbers.poller.fileno()
        _shown[fd] = numbers
        return fd

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """Adds a descriptor; OSError EEXIST if it is there, EBADF, EINVAL, EPERM (a plain file)."""
        number, events = _registry.fileno_of(fd), _events_asked(eventmask)
        self._open().add(number, _registry.find(number), events)

    def modify(self, fd: Any, eventmask: int) -> None:
        """Changes a descriptor's events; OSError ENOENT if it is not there, EBADF, EINVAL."""
        number, events = _registry.fileno_of(fd), _events_asked(eventmask)
        self._open().change(number, _registry.find(number), events)

    def unregister(self, fd: Any) -> None:
        """Removes a descriptor; OSError ENOENT if it is not there, EBADF."""
        number = _registry.fileno_of(fd)
        self._open().remove(number, _registry.find(number))

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """(descriptor, events) of those ready; timeout in seconds, None or negative: without end."""
        numbers = self._numbers
        if numbers is None:
            raise _closed()
        if timeout:
            timeout = _epoll_seconds(timeout)
        if maxevents == -1:
            maxevents = _MAX_EVENTS
        elif index(maxevents) < 1:
            raise ValueError(f"maxevents must be greater than 0, got {maxevents}")
        try:
            return numbers.wait(timeout, maxevents)
        except OSError as problem:
            if self._numbers is None and problem.errno == errno.EBADF:
                raise _closed() from None
            raise

    def _open(self) -> _Numbers:
        if self._numbers is None:
            raise _closed()
        return self._numbers

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


_MAX_EVENTS = 1023  # FD_SETSIZE - 1, as CPython's
_shown: WeakValueDictionary[int, _Numbers] = WeakValueDictionary()  # by the descriptor given out


def _closed() -> ValueError:
    return ValueError("I/O operation on closed epoll object")


def _epoll_seconds(timeout: Any) -> float | None:
    """In whole milliseconds upwards; negative is without end."""
    if not isinstance(timeout, (int, float)) and not hasattr(timeout, "__index__"):
        raise TypeError("timeout must be an integer or None")
    seconds = float(timeout)
    if math.isnan(seconds):
        raise ValueError("Invalid value NaN (not a number)")
    if abs(seconds) > LONGEST:
        raise OverflowError("timestamp out of range for platform time_t")
    if seconds * 1e3 >= 2**31:
        raise OverflowError("timeout is too large")
    return None if seconds < 0 else math.ceil(seconds * 1e3) * 1e-3


# The rest is the standard module's: constants, `error`.
globals().update({name: value for name, value in vars(_std).items() if name not in globals()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
