"""The queue between two threads: its order, its bounds, and what it counts."""

from __future__ import annotations

import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from barewire import Batch
from barewire.spsc import Queue

RECORD = struct.Struct("<QQQB")
PATIENCE = 20.0


def records(*numbers: int) -> bytes:
    return b"".join(RECORD.pack(n, n + 1, n + 2, n & 1) for n in numbers)


def numbers(data: Any) -> list[int]:
    return [record[0] for record in RECORD.iter_unpack(data)]


@pytest.fixture
def queue() -> Queue:
    return Queue(RECORD.size, 8)


# ---- in and out ----------------------------------------------------------------------------------


def test_in_order(queue: Queue) -> None:
    assert queue.push(records(1, 2, 3)) == 3
    assert queue.push(bytearray(records(4))) == 1
    assert len(queue) == 4
    buffer = bytearray(3 * RECORD.size)
    assert queue.pop_into(buffer) == 3
    assert numbers(buffer) == [1, 2, 3]
    assert queue.pop_into(buffer) == 1
    assert numbers(buffer[: RECORD.size]) == [4]
    assert queue.pop_into(buffer) == 0
    assert (queue.pushed, queue.dropped, len(queue)) == (4, 0, 0)


def test_over_the_end_of_the_ring(queue: Queue) -> None:
    buffer, seen = bytearray(8 * RECORD.size), []
    for first in range(0, 60, 5):
        assert queue.push(records(*range(first, first + 5))) == 5
        n = queue.pop_into(buffer)
        seen += numbers(buffer[: n * RECORD.size])
    assert seen == list(range(60))


def test_read_where_they_lie(queue: Queue) -> None:
    queue.push(records(0, 1, 2, 3, 4))
    first = queue.peek()
    assert numbers(first) == [0, 1, 2, 3, 4] and first.readonly
    queue.release(3)
    assert numbers(queue.peek()) == [3, 4]
    queue.push(records(5, 6, 7, 8, 9))
    assert numbers(queue.peek()) == [3, 4], "what has been seen"
    queue.release(2)
    assert numbers(queue.peek()) == [5, 6, 7], "up to the ring's end"
    queue.release(3)
    assert numbers(queue.peek()) == [8, 9]
    queue.release(2)
    assert len(queue.peek()) == 0


def test_a_full_queue_drops_the_new_ones_and_counts(queue: Queue) -> None:
    assert queue.push(records(*range(6))) == 6
    assert queue.push(records(*range(6, 12))) == 2
    assert (queue.dropped, len(queue)) == (4, 8)
    assert queue.push(records(99)) == 0
    assert queue.dropped == 5
    assert numbers(queue.peek()) == list(range(8))
    queue.release(1)
    assert queue.push(records(12)) == 1


def test_records_out_of_datagrams(queue: Queue) -> None:
    batch = Batch(6, 60)
    for i, data in enumerate([records(1, 2), b"", records(3), records(4)[:-1], records(5)]):
        batch[i] = data
    batch[5] = records(6)
    batch.lengths[5] = 75  # cut: three there were
    assert queue.push_batch(batch) == 4
    assert numbers(queue.peek()) == [1, 2, 3, 5]
    assert queue.malformed == 2
    assert queue.push_batch(batch, 2, start=1) == 1
    assert queue.push_batch(batch, 0) == 0


def test_datagrams_find_the_queue_full(queue: Queue) -> None:
    batch = Batch(5, 50)
    for i in range(5):
        batch[i] = records(2 * i, 2 * i + 1)
    assert queue.push_batch(batch) == 8
    assert (queue.dropped, queue.malformed) == (2, 0)
    assert numbers(queue.peek()) == list(range(8))


@pytest.mark.parametrize("size", [1, 8, 25, 65_535])
def test_sizes_of_records(size: int) -> None:
    queue = Queue(size, 3)
    data = bytes(range(256)) * 1024
    assert queue.capacity == 4
    assert queue.push(data[: 3 * size]) == 3
    assert queue.peek() == data[: 3 * size]


# ---- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "capacity"), [(0, 8), (-1, 8), (65_536, 8), (25, 0), (8, 1 << 40)]
)
def test_no_such_queue(size: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="a queue has records"):
        Queue(size, capacity)


def test_parts_of_records(queue: Queue) -> None:
    for call in (queue.push, queue.pop_into):
        with pytest.raises(ValueError, match="26 bytes are no whole number of records of 25"):
            call(bytearray(26))


def test_no_buffers(queue: Queue) -> None:
    with pytest.raises(TypeError):
        queue.push("text")
    with pytest.raises((TypeError, BufferError)):
        queue.pop_into(bytes(25))
    with pytest.raises(ValueError, match="of a batch of 4"):
        queue.push_batch(Batch(4, 25), 5)


def test_more_is_not_released_than_was_seen(queue: Queue) -> None:
    queue.push(records(1, 2))
    with pytest.raises(ValueError, match="there are not 1 records"):
        queue.release(1)
    queue.peek()
    with pytest.raises(ValueError, match="there are not 3 records"):
        queue.release(3)
    queue.release(2)
    with pytest.raises(OverflowError):
        queue.release(-1)


def test_a_view_outlives_the_queue() -> None:
    queue = Queue(25, 8)
    queue.push(records(1, 2))
    view = queue.peek()
    del queue
    assert numbers(view) == [1, 2]


# ---- waiting -------------------------------------------------------------------------------------


def test_waiting_for_what_is_there(queue: Queue) -> None:
    queue.push(records(1, 2))
    assert queue.wait() == 2
    queue.close()
    assert queue.closed and queue.wait() == 2, "closed, and not yet read"
    queue.release(2)
    assert queue.wait() == 0


def test_the_time_is_over(queue: Queue) -> None:
    assert queue.wait(0) == 0
    assert queue.wait(0.01) == 0


@contextmanager
def reader(queue: Queue) -> Iterator[list[int]]:
    """A thread that reads until the queue is closed."""
    seen: list[int] = []

    def run() -> None:
        while queue.wait():
            view = queue.peek()
            seen.extend(numbers(view))
            queue.release(len(view) // RECORD.size)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        queue.close()
        thread.join(PATIENCE)
    assert not thread.is_alive()


def test_two_threads() -> None:
    """In order and complete, but for what was dropped and counted."""
    queue, total = Queue(RECORD.size, 256), 200_000
    data = records(*range(1000))
    with reader(queue) as seen:
        for _ in range(total // 1000):
            at = 0
            while at < len(data):
                at += RECORD.size * queue.push(data[at : at + 100 * RECORD.size])
    assert len(seen) == total == queue.pushed
    assert seen == list(range(1000)) * (total // 1000)


def test_a_sleeping_reader_is_woken(queue: Queue) -> None:
    with reader(queue) as seen:
        for n in range(200):
            queue.push(records(n))
            while len(queue):
                time.sleep(0)
    assert seen == list(range(200))


def test_one_thread_a_side(queue: Queue) -> None:
    """Of two readers at the same time one is refused."""
    refused: list[str] = []

    def read(call: Any) -> None:
        try:
            call()
        except RuntimeError as problem:
            refused.append(str(problem))

    thread = threading.Thread(target=read, args=(queue.wait,))
    thread.start()
    while not refused:
        read(queue.peek)
    queue.close()
    thread.join(PATIENCE)
    assert refused[0] == "another thread reads at the same time: one may"


def test_a_signal_is_handled_in_a_wait(queue: Queue) -> None:
    def handler(number: int, frame: object) -> None:
        queue.push(records(7))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert queue.wait(PATIENCE) == 1
    finally:
        signal.signal(signal.SIGALRM, before)
