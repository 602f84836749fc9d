"""Timers for the control plane: which key is due when. Holds no clock; times are ns."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MS = 1_000_000
SECOND = 1_000_000_000


class Deadlines(Generic[K]):
    """At most one deadline a key. Setting and cancelling are O(log n), amortised: a replaced entry
    stays in the heap until it surfaces or the heap is twice what is live."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, K]] = []
        self._live: dict[K, tuple[int, int]] = {}
        self._order = 0  # equal deadlines fire in the order they were set

    def __len__(self) -> int:
        return len(self._live)

    def set(self, key: K, when: int) -> None:
        self._order += 1
        self._live[key] = (when, self._order)
        heapq.heappush(self._heap, (when, self._order, key))
        if len(self._heap) > 2 * len(self._live) + 64:
            self._heap = [(w, o, k) for k, (w, o) in self._live.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: K) -> None:
        self._live.pop(key, None)

    def next(self) -> int | None:
        """The earliest deadline, or None."""
        while self._heap:
            when, order, key = self._heap[0]
            if self._live.get(key) == (when, order):
                return when
            heapq.heappop(self._heap)
        return None

    def due(self, now: int, most: int = sys.maxsize) -> list[K]:
        """Removes and returns the keys whose deadline is not after now, earliest first, at most so
        many."""
        keys: list[K] = []
        while len(keys) < most and (when := self.next()) is not None and when <= now:
            key = heapq.heappop(self._heap)[2]
            del self._live[key]
            keys.append(key)
        return keys
