"""Batches of datagrams in real time: over a stack's own loopback, with threads and the selectors."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from typing import Any

import barewire
import barewire.selectors
import numpy
import pytest
from barewire import Batch

from tests.sockets.kit import LOCAL, SHORT, Barewire, background, outcome


def numbered(count: int, size: int = 8) -> Batch:
    batch = Batch(count, size)
    for i in range(count):
        batch[i] = i.to_bytes(size, "little")
    return batch


class TestBatch(Barewire):
    def two(self) -> tuple[Any, Any]:
        one, other = self.datagram(), self.datagram()
        one.connect(other.getsockname())
        return one, other

    def test_more_than_move_under_one_lock(self) -> None:
        one, other = self.two()
        sent, got = numbered(500), Batch(500, 8)
        for _ in range(20):
            assert one.send_batch(sent) == 500
            assert other.recv_batch(got, flags=socket.MSG_WAITALL) == 500
            assert got.data == sent.data

    def test_waiting(self) -> None:
        sock = self.datagram()
        sock.settimeout(SHORT)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.recv_batch(Batch(4, 8))
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv_batch(Batch(4, 8))

    def test_echo_between_threads(self) -> None:
        one, other = self.two()

        def echo() -> None:
            batch, left = Batch(64, 8), 20_000
            while left:
                n = other.recv_batch(batch)
                assert other.send_batch(batch, n) == n
                left -= n

        with background(echo):
            sent, got = numbered(50), Batch(50, 8)
            for _ in range(20_000 // 50):
                one.send_batch(sent)
                assert one.recv_batch(got, flags=socket.MSG_WAITALL) == 50
                assert got.data == sent.data

    def test_a_selector_tells_of_datagrams(self) -> None:
        one, other = self.two()
        other.setblocking(False)
        for module in (selectors, barewire.selectors):
            with module.DefaultSelector() as selector:
                selector.register(other, selectors.EVENT_READ)
                assert not selector.select(0)
                one.send_batch(numbered(5))
                assert selector.select(20)
                assert other.recv_batch(Batch(8, 8)) == 5
                with pytest.raises(BlockingIOError):  # a foreign selector hears of it now
                    other.recv_batch(Batch(8, 8))
                assert not selector.select(0)

    def test_the_socket_is_closed_meanwhile(self) -> None:
        sock = self.datagram()

        def close() -> None:
            time.sleep(SHORT)
            sock.close()

        with background(close):
            assert outcome(lambda: sock.recv_batch(Batch(4, 8))) == (
                OSError, errno.EBADF, f"[Errno {errno.EBADF}] {os.strerror(errno.EBADF)}",
            )  # fmt: skip

    def test_two_threads_share_a_batch(self) -> None:
        """Each its own slots."""
        one, other = self.two()
        batch = Batch(200, 8)
        one.send_batch(numbered(200))
        threads = [
            threading.Thread(
                target=other.recv_batch,
                args=(batch, 100),
                kwargs={"start": start, "flags": socket.MSG_WAITALL},
            )
            for start in (0, 100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        numbers = sorted(int.from_bytes(batch[i], "little") for i in range(200))
        assert numbers == list(range(200))

    def test_arrays_of_numpy(self) -> None:
        one, other = self.two()
        data, lengths = numpy.zeros((16, 32), "u1"), numpy.zeros(16, "u4")
        addresses = numpy.zeros(16, barewire.batch.ADDRESS)
        assert addresses.dtype.itemsize == barewire.batch.ADDRESS_SIZE
        batch = Batch(16, 32, data=data, lengths=lengths, addresses=addresses)
        one.send_batch(numbered(10, 4))
        assert other.recv_batch(batch, flags=socket.MSG_WAITALL, count=10) == 10
        assert lengths.tolist() == [4] * 10 + [0] * 6
        assert data[:10].view("<u4")[:, 0].tolist() == list(range(10))
        assert set(addresses["port"][:10]) == {one.getsockname()[1]}
        assert bytes(addresses["ip"][0][12:]) == socket.inet_aton(LOCAL)
        data[3, :2] = 255
        assert bytes(batch[3]) == b"\xff\xff\0\0"
        with pytest.raises(ValueError, match="C-contiguous"):
            Batch(16, 16, data=data[:, ::2])
