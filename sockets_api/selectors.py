"""barewire.selectors: a drop-in for `selectors`, over barewire sockets and descriptors together.

The base class, keys and constants are the standard module's; there is one selector here, over a poller
of C's, under the names of all of them. A barewire socket registered as an object takes no descriptor
before somebody asks its key for `fd`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

from . import _registry
from ._kernel import select as _select
from ._kernel import selectors as _std
from ._poller import BATCH, POLLNVAL, Poller
from ._transfer import Transfer

EVENT_READ, EVENT_WRITE = _std.EVENT_READ, _std.EVENT_WRITE
BaseSelector = _std.BaseSelector
SelectorKey = _std.SelectorKey

__all__ = [
    "EVENT_READ",
    "EVENT_WRITE",
    "BaseSelector",
    "DefaultSelector",
    "EpollSelector",
    "PollSelector",
    "SelectSelector",
    "SelectorKey",
]

_IN, _OUT = _select.POLLIN, _select.POLLOUT


class _SocketKey(_std.SelectorKey):
    """The key of a barewire socket, whose descriptor is made when somebody asks for it."""

    __slots__ = ()

    @property
    def fd(self) -> int:
        return int(self.fileobj.fileno())  # type: ignore[union-attr]  # an object, no number


class _Map(Mapping[Any, SelectorKey]):
    """File objects and descriptor numbers to keys."""

    def __init__(self, selector: _Selector) -> None:
        self._selector = selector

    def __len__(self) -> int:
        return len(self._selector._keys)

    def __getitem__(self, fileobj: Any) -> SelectorKey:
        try:
            return self._selector._keys[self._selector._lookup(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def __iter__(self) -> Iterator[Any]:
        return iter([key.fd for key in self._selector._keys.values()])


class _Selector(BaseSelector):
    """Registered objects are interests of one poller; their cookie finds the key again."""

    def __init__(self) -> None:
        self._poller = Poller()
        self._keys: dict[Any, SelectorKey] = {}  # by barewire socket, or descriptor
        self._told: dict[
            int, SelectorKey
        ] = {}  # by cookie: a descriptor, or a number above all of them
        self._interests: dict[Any, tuple[int, int]] = {}  # of barewire sockets: interest, cookie
        self._cookie = _COOKIES
        self._map: _Map | None = _Map(self)

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Adds an object; KeyError if it is there, ValueError for what cannot be waited on, OSError as
        epoll_ctl(2)'s."""
        target = self._lookup(_checked(events, fileobj))
        if target in self._keys:
            raise KeyError(f"{fileobj!r} (FD {self._keys[target].fd}) is already registered")
        if isinstance(target, int):
            key = SelectorKey(fileobj, target, events, data)
            self._add_fd(target, key)
        else:
            key = _SocketKey(fileobj, -1, events, data)
            cookie = self._cookie
            self._interests[target] = self._poller.add(target, _asked(events), cookie), cookie
            self._cookie += 1
            self._told[cookie] = key
        self._keys[target] = key
        return key

    def _add_fd(self, fd: int, key: SelectorKey) -> None:
        self._poller.add_fd(fd, _asked(key.events))
        self._told[fd] = key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Removes an object; KeyError if it is not there."""
        target = self._lookup(fileobj)
        try:
            key = self._keys.pop(target)
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        if isinstance(target, int):
            self._remove_fd(target)
        else:
            interest, cookie = self._interests.pop(target)
            self._poller.remove(interest)
            self._told.pop(cookie, None)
        return key

    def _remove_fd(self, fd: int) -> None:
        if self._told.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # it was closed since
                self._poller.remove_fd(fd)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Changes events and data of an object; KeyError if it is not there."""
        _checked(events, fileobj)
        key = self.get_key(fileobj)
        target = self._lookup(fileobj)
        if events != key.events:
            try:
                self._change(target, events)
            except BaseException:
                self.unregister(fileobj)
                raise
        changed = key._replace(events=events, data=data)
        cookie = target if isinstance(target, int) else self._interests[target][1]
        self._keys[target] = changed
        if cookie in self._told:
            self._told[cookie] = changed
        return changed

    def _change(self, target: Any, events: int) -> None:
        if not isinstance(target, int):
            self._poller.change(self._interests[target][0], _asked(events))
        elif target in self._told:
            self._poller.change_fd(target, _asked(events))

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """(key, ready events) of those ready; timeout in seconds, at or below 0: only looks."""
        if (
            timeout is not None
        ):  # in whole milliseconds upwards, as the standard selectors: never early
            timeout = math.ceil(timeout * 1e3) * 1e-3 if timeout > 0 else 0
        told, ready = self._told, []
        end = time.monotonic() + timeout if timeout else None
        while True:
            closed = []
            for cookie, bits in self._wait(timeout, max(len(told), BATCH)):
                key = told.get(cookie)
                if key is None or bits == POLLNVAL:
                    closed.append(cookie)
                    continue
                events = (EVENT_READ if bits & ~_OUT else 0) | (EVENT_WRITE if bits & ~_IN else 0)
                if events := events & key.events:
                    ready.append((key, events))
            if closed:
                ready += self._lost(set(closed))
            if ready or not closed:
                return ready
            if end is not None:  # what was closed ends no wait
                timeout = max(0.0, end - time.monotonic())

    def _lost(self, cookies: set[int]) -> list[tuple[SelectorKey, int]]:
        """Of sockets that are gone, those that the program has open: their stack was closed, and each call on
        them says so."""
        return [
            (key := self._told[cookie], key.events)
            for sock, (_, cookie) in self._interests.items()
            if cookie in cookies and sock._sock and sock._stack.closed
        ]

    def _wait(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        try:
            return self._poller.wait(timeout, most)
        except OSError:
            if self._map is None:
                raise ValueError("I/O operation on closed selector") from None
            raise

    def close(self) -> None:
        self._poller.close()
        for table in (self._keys, self._told, self._interests):
            table.clear()
        self._map = None

    def get_key(self, fileobj: Any) -> SelectorKey:
        """The key of an object; KeyError if it is not there, RuntimeError once closed."""
        if self._map is None:
            raise RuntimeError("Selector is closed")
        return self._map[fileobj]

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return self._map  # type: ignore[return-value]  # None once closed, as the standard one's

    def _lookup(self, fileobj: Any) -> Any:
        """The barewire socket or the descriptor behind an object or number, also of one that was
        closed while registered."""
        if isinstance(fileobj, Transfer) and (fileobj._sock or fileobj in self._keys):
            return fileobj
        try:
            fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
            if fd >= 0:
                return _registry.find(fd) or fd
        except (AttributeError, TypeError, ValueError):
            pass
        for target, key in self._keys.items():
            if key.fileobj is fileobj:
                return target
        raise ValueError(f"Invalid file descriptor or object: {fileobj!r}")


_COOKIES = 1 << 32  # the first that no descriptor has


def _checked(events: int, fileobj: Any) -> Any:
    if not events or events & ~(EVENT_READ | EVENT_WRITE):
        raise ValueError(f"Invalid events: {events!r}")
    return fileobj


def _asked(events: int) -> int:
    return (_IN if events & EVENT_READ else 0) | (_OUT if events & EVENT_WRITE else 0)


class _PollSelector(_Selector):
    """As select(2) and poll(2): a plain file, which epoll refuses, is always ready."""

    def __init__(self) -> None:
        super().__init__()
        self._always: dict[int, SelectorKey] = {}

    def _add_fd(self, fd: int, key: SelectorKey) -> None:
        try:
            super()._add_fd(fd, key)
        except PermissionError:
            self._always[fd] = key

    def _remove_fd(self, fd: int) -> None:
        if not self._always.pop(fd, None):
            super()._remove_fd(fd)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        key = super().modify(fileobj, events, data)
        target = self._lookup(fileobj)
        if target in self._always:
            self._always[target] = key
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if not self._always:
            return super().select(timeout)
        return [*super().select(0), *((key, key.events) for key in self._always.values())]

    def close(self) -> None:
        super().close()
        self._always.clear()


class SelectSelector(_PollSelector):
    pass


class PollSelector(_PollSelector):
    pass


class EpollSelector(_Selector):
    def fileno(self) -> int:
        """A descriptor that is readable while select() would give something (or nothing, once)."""
        return self._poller.fileno()


DefaultSelector = EpollSelector
