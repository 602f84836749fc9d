"""The bounded table of neighbours, and which entry makes room for another. Constant time a choice,
amortised.

Entries stand in four queues, oldest first, and give way in this order:

    1. failed ones
    2. those that only strangers caused (their requests, answers to them), until the program sends
       through one: C knows (`wanted`, `confirmed`)
    3. the program's own that nothing was sent through for some seconds
    4. the program's own that have not answered yet; only for another of its own, and those of a connected
       socket only for another connected socket's

What is in use is never among them: then the table is full.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from .deadlines import SECOND
from .mac import Mac
from .port import Address, LinkPort

IN_USE = 5 * SECOND  # since the last transmit
FULL_TIME = 1 * SECOND  # no third look after one that found all of them in use

Key = tuple[int, Address]


class Sender(IntEnum):
    """For whom an entry is there; more counts more."""

    STRANGER = 0  # they asked for us, or are answered
    DATAGRAM = 1  # the program sent to it; perhaps it answered a stranger
    CONNECTED = 2  # a connected socket of the program's, or a ping


class State(Enum):
    INCOMPLETE = "INCOMPLETE"
    REACHABLE = "REACHABLE"
    STALE = "STALE"
    DELAY = "DELAY"
    PROBE = "PROBE"
    FAILED = "FAILED"


@dataclass(slots=True)
class Neighbour:
    """One entry. Times are ns: `confirmed` the last proof of reachability, `updated` the last
    change of `mac`, `since` the entry into the state."""

    ifindex: int
    ip: Address
    state: State
    since: int
    sender: Sender = Sender.STRANGER
    mac: Mac | None = None
    confirmed: int | None = None
    updated: int = 0
    probes: int = 0
    pending: deque[bytes] = field(default_factory=deque)

    @property
    def key(self) -> Key:
        return self.ifindex, self.ip

    @property
    def published(self) -> bool:
        return self.mac is not None and self.state not in (State.INCOMPLETE, State.FAILED)


class _Queue(IntEnum):
    FAILED = 0
    STRANGERS = 1
    OURS = 2
    ASKED = 3
    ASKED_CONNECTED = 4


def _queue_of(entry: Neighbour) -> _Queue:
    if entry.state is State.FAILED:
        return _Queue.FAILED
    if entry.sender is Sender.STRANGER:
        return _Queue.STRANGERS
    if entry.state is not State.INCOMPLETE:
        return _Queue.OURS
    return _Queue.ASKED_CONNECTED if entry.sender is Sender.CONNECTED else _Queue.ASKED


class NeighbourTable:
    """At most `size` entries. `port` tells what C did with one."""

    def __init__(self, port: LinkPort, size: int) -> None:
        self.size = size
        self._port = port
        self._entries: dict[Key, tuple[Neighbour, _Queue]] = {}
        self._queues = [OrderedDict[Key, Neighbour]() for _ in _Queue]
        self._full_until = -1

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Neighbour | None:
        found = self._entries.get(key)
        return found[0] if found else None

    def entries(self) -> list[Neighbour]:
        return [entry for entry, _ in self._entries.values()]

    def place(self, entry: Neighbour) -> None:
        """A new entry, or one whose state or owner has changed: it is the youngest of its queue."""
        found = self._entries.get(entry.key)
        if found:
            del self._queues[found[1]][entry.key]
        queue = _queue_of(entry)
        self._entries[entry.key] = entry, queue
        self._queues[queue][entry.key] = entry

    def remove(self, entry: Neighbour) -> None:
        _, queue = self._entries.pop(entry.key)
        del self._queues[queue][entry.key]

    def spare(self, now: int, sender: Sender) -> Neighbour | None:
        """The entry that makes room for a new one; None: all are in use."""
        failed = _first(self._queues[_Queue.FAILED])
        return failed or self._strangers() or self._unused(now) or self._asked(sender)

    def _strangers(self) -> Neighbour | None:
        """The oldest that is one. Each entry turns out to be the program's once at most."""
        while (entry := _first(self._queues[_Queue.STRANGERS])) is not None:
            info = self._port.neigh_get(*entry.key) if entry.published else None
            if info is None or (info.wanted is None and info.confirmed is None):
                return entry
            entry.sender = Sender.DATAGRAM
            self.place(entry)
        return None

    def _unused(self, now: int) -> Neighbour | None:
        queue = self._queues[_Queue.OURS]
        if now < self._full_until:
            return None
        for _ in range(len(queue)):
            key, entry = next(iter(queue.items()))
            info = self._port.neigh_get(*key)
            times = (info.used, info.confirmed) if info else ()
            if not any(when is not None and now - when < IN_USE for when in times):
                return entry
            queue.move_to_end(key)
        self._full_until = now + FULL_TIME
        return None

    def _asked(self, sender: Sender) -> Neighbour | None:
        if sender is Sender.STRANGER:
            return None
        entry = _first(self._queues[_Queue.ASKED])
        if entry is None and sender is Sender.CONNECTED:
            entry = _first(self._queues[_Queue.ASKED_CONNECTED])
        return entry


def _first(queue: OrderedDict[Key, Neighbour]) -> Neighbour | None:
    return next(iter(queue.values()), None)
