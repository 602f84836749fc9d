"""A queue between two threads: one writes records of a fixed size, one reads them, neither waits for
the other or for a lock.

    queue = barewire.spsc.Queue(25, 1 << 16)

    def ingest():                           # one thread
        while n := sock.recv_batch(batch):
            queue.push_batch(batch, n)      # 25-byte records, several in a datagram
        queue.close()

    def read():                             # another
        while queue.wait():
            orders = numpy.frombuffer(queue.peek(), ORDER)    # where they lie
            ...
            queue.release(len(orders))

Records move in C, without the GIL and without an object for each. The queue is bounded: what finds no
room is dropped and counted, for who takes a feed in cannot wait.
"""

from __future__ import annotations

import errno
import time
from operator import index
from typing import TYPE_CHECKING, Any

from ._spsc import ffi, lib

if TYPE_CHECKING:
    from ..batch import Batch

SIZE_MAX = 65535  # bytes of a record: one datagram's
BYTES_MAX = 1 << 32  # of the ring
SLICE = 50_000_000  # ns of one sleep: then signal handlers run


class Queue:
    """Room for `capacity` records (rounded up to a power of two) of `size` bytes each.

    At any time one thread may write (push, push_batch) and one may read (wait, peek, release, pop_into):
    a second one gets RuntimeError. `close` and the counters are for any thread. ValueError: size or
    capacity are not positive, or too large.
    """

    __slots__ = ("_at", "_q", "_ring", "_view", "capacity", "size")

    size: int
    capacity: int

    def __init__(self, size: int, capacity: int) -> None:
        if hasattr(self, "_q"):
            raise TypeError("a queue is made once: another thread may be in it")
        self.size, capacity = index(size), index(capacity)
        if not 0 < self.size <= SIZE_MAX or not 0 < capacity <= BYTES_MAX // self.size:
            raise ValueError(f"a queue has records of 1 to {SIZE_MAX} bytes, {BYTES_MAX} in all")
        self.capacity = 1 << (capacity - 1).bit_length()
        ring = bytearray(self.capacity * self.size)
        self._ring = ffi.from_buffer("uint8_t[]", ring, True)
        self._view = memoryview(ring).toreadonly()
        self._q = ffi.gc(lib.spsc_new(self._ring, self.size, self.capacity), lib.spsc_free)
        if not self._q:
            raise MemoryError
        self._at = ffi.new("uint64_t *")

    # ---- the writer ------------------------------------------------------------------------------

    def push(self, records: Any) -> int:
        """Appends the records in a bytes-like object; how many found room. The others are dropped and
        counted. ValueError: not a whole number of records."""
        data = ffi.from_buffer("uint8_t[]", records)
        n, rest = divmod(len(data), self.size)
        if rest:
            raise ValueError(f"{len(data)} bytes are no whole number of records of {self.size}")
        return _answer(lib.spsc_push(self._q, data, n), "writes")

    def push_batch(self, batch: Batch, count: int | None = None, *, start: int = 0) -> int:
        """Appends the records in `count` datagrams of a batch, any number in each, from slot `start` on;
        how many found room. A datagram that is no whole number of records, or was cut, is left out and
        counted as malformed. ValueError: slots that the batch does not have."""
        first, last = batch._range(count, start)
        data, lengths = ffi.cast("uint8_t *", batch._data), ffi.cast("uint32_t *", batch._lengths)
        n = lib.spsc_push_batch(self._q, data, batch.size, lengths, first, last)
        return _answer(n, "writes")

    def close(self) -> None:
        """Nothing more will come: the reader's wait ends when it has read what is there."""
        lib.spsc_close(self._q)

    # ---- the reader ------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> int:
        """Sleeps until there are records, and says how many. 0: the queue is closed and empty, or the
        timeout (in seconds) is over."""
        end = None if timeout is None else time.monotonic_ns() + round(timeout * 1e9)
        while True:
            left = SLICE if end is None else min(SLICE, end - time.monotonic_ns())
            n = lib.spsc_wait(self._q, max(left, 0))
            if n != -errno.EINTR and _answer(n, "reads"):
                return int(n)
            if self.closed or left <= 0:
                return len(self)

    def peek(self) -> memoryview:
        """The oldest records where they lie, read-only, up to the ring's end: empty if there are none.
        They stay until `release`."""
        n = _answer(lib.spsc_peek(self._q, self._at), "reads")
        start = self._at[0] * self.size
        return self._view[start : start + n * self.size]

    def release(self, n: int) -> None:
        """Gives up the oldest n records: their places are written to again. ValueError: there are not so
        many that `wait` or `peek` has seen."""
        rc = lib.spsc_release(self._q, n)
        if rc == -errno.EINVAL:
            raise ValueError(f"there are not {n} records to release")
        _answer(rc, "reads")

    def pop_into(self, buffer: Any) -> int:
        """Moves the oldest records into a writable buffer; how many. ValueError: not a whole number of
        records fits."""
        data = ffi.from_buffer("uint8_t[]", buffer, True)
        n, rest = divmod(len(data), self.size)
        if rest:
            raise ValueError(f"{len(data)} bytes are no whole number of records of {self.size}")
        return _answer(lib.spsc_pop(self._q, data, n), "reads")

    # ---- seeing ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Records that wait."""
        popped = int(lib.spsc_count(self._q, lib.SPSC_POPPED))
        return max(0, self.pushed - popped)

    @property
    def pushed(self) -> int:
        """Records that found room so far."""
        return int(lib.spsc_count(self._q, lib.SPSC_PUSHED))

    @property
    def dropped(self) -> int:
        """Records that did not."""
        return int(lib.spsc_count(self._q, lib.SPSC_DROPPED))

    @property
    def malformed(self) -> int:
        """Datagrams that push_batch left out."""
        return int(lib.spsc_count(self._q, lib.SPSC_MALFORMED))

    @property
    def closed(self) -> bool:
        return bool(lib.spsc_closed(self._q))

    def __repr__(self) -> str:
        return f"<barewire.spsc.Queue of {len(self)} of {self.capacity} x {self.size} bytes>"


def _answer(n: int, what: str) -> int:
    if n < 0:
        raise RuntimeError(f"another thread {what} at the same time: one may")
    return int(n)
