"""barewire.selectors: a drop-in for `selectors`, over barewire sockets and descriptors together.

The base class, keys and constants are the standard module's; there is one selector here, under
the names of all of them. A barewire socket registered as an object takes no descriptor before
somebody asks its key for `fd`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from . import _registry, _waiting
from ._kernel import select as _select
from ._kernel import selectors as _std
from ._transfer import Transfer
from ._waiting import Watched

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
    """Waits for all registered objects in one call of _waiting."""

    def __init__(self) -> None:
        self._keys: dict[Any, SelectorKey] = {}  # by barewire socket, or descriptor
        self._map: _Map | None = _Map(self)
        self._watched: list[Watched] | None = None  # made again after each change

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Adds an object; KeyError if it is there, ValueError for what cannot be waited on."""
        if not events or events & ~(EVENT_READ | EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        target = self._lookup(fileobj)
        if target in self._keys:
            raise KeyError(f"{fileobj!r} (FD {self._keys[target].fd}) is already registered")
        if isinstance(target, int):
            key = SelectorKey(fileobj, target, events, data)
        else:
            key = _SocketKey(fileobj, -1, events, data)
        self._keys[target] = key
        self._watched = None
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Removes an object; KeyError if it is not there."""
        try:
            key = self._keys.pop(self._lookup(fileobj))
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        self._watched = None
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Changes events and data of an object; KeyError if it is not there."""
        if not events or events & ~(EVENT_READ | EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        changed = self.get_key(fileobj)._replace(events=events, data=data)
        self._keys[self._lookup(fileobj)] = changed
        self._watched = None
        return changed

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """(key, ready events) of those ready; timeout in seconds, at or below 0: only looks."""
        keys = list(self._keys.values())
        if self._watched is None:
            self._watched = [_watched(target, key) for target, key in self._keys.items()]
        revents = _waiting.wait_many(self._watched, _rounded(timeout))
        ready = []
        for key, bits in zip(keys, revents, strict=True):
            if bits and bits != _select.POLLNVAL:
                events = (EVENT_READ if bits & ~_OUT else 0) | (EVENT_WRITE if bits & ~_IN else 0)
                if events & key.events:
                    ready.append((key, events & key.events))
        return ready

    def close(self) -> None:
        self._keys.clear()
        self._map = self._watched = None

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
            fd = _registry.fileno_of(fileobj)
            return _registry.find(fd) or fd
        except (TypeError, ValueError):
            pass
        for target, key in self._keys.items():
            if key.fileobj is fileobj:
                return target
        raise ValueError(f"Invalid file descriptor or object: {fileobj!r}")


def _watched(target: Any, key: SelectorKey) -> Watched:
    events = _asked(key.events)
    if isinstance(target, int):
        return Watched(None, target, events)
    return _registry.watched_socket(target, events)


def _asked(events: int) -> int:
    return (_IN if events & EVENT_READ else 0) | (_OUT if events & EVENT_WRITE else 0)


def _rounded(timeout: float | None) -> float | None:
    """In whole milliseconds upwards, as the standard selectors do: never early."""
    return None if timeout is None else max(0, math.ceil(timeout * 1e3)) * 1e-3


class SelectSelector(_Selector):
    pass


class PollSelector(_Selector):
    pass


class EpollSelector(_Selector):
    pass


class DefaultSelector(_Selector):
    pass
