"""Datagrams of a loop: read and sent in batches, and otherwise asyncio's transport.

What a readable socket has is taken in one call and told one by one; what had to be kept, because the send
queue was full, is sent in one call. The class has the name of asyncio's, which its log lines show.
"""

from __future__ import annotations

import threading
from asyncio import selector_events
from collections import deque
from typing import Any

from ..batch import SIZE_MAX, Batch

SLOTS = 64  # datagrams a call
_Transport: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]


class _Room(threading.local):
    """The slots of a thread's loop: used by one call at a time, and empty between two."""

    def __init__(self) -> None:
        self.batch = Batch(SLOTS, SIZE_MAX)


_room = _Room()


class _SelectorDatagramTransport(_Transport):  # type: ignore[misc]
    """The transport of a socket of a stack's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._received: deque[tuple[bytes, Any]] = deque()  # taken, and not told yet
        super().__init__(*arguments, **options)

    def _read_ready(self) -> None:
        if self._conn_lost:
            return
        received = self._received
        try:
            if not received:
                batch = _room.batch
                for i in range(self._sock.recv_batch(batch)):
                    received.append((bytes(batch[i]), batch.address(i)))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._protocol.error_received(exc)
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal read error on datagram transport")
            return
        self._tell()

    def _tell(self) -> None:
        """What was taken, until the transport closes. What a protocol raises is for its own datagram."""
        received = self._received
        try:
            while received and not self._closing:
                self._protocol.datagram_received(*received.popleft())
        finally:
            if received and not self._closing:
                self._loop.call_soon(self._tell)

    def _sendto_ready(self) -> None:
        ready = self._fill(_room.batch) if len(self._buffer) > 1 else 0
        if ready < 2:
            super()._sendto_ready()  # one, or what it has the error for
            return
        try:
            sent = self._sock.send_batch(_room.batch, ready)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._forget(1)
            self._protocol.error_received(exc)
            return
        self._forget(sent)
        if self._buffer:
            self._maybe_resume_protocol()
        else:
            super()._sendto_ready()  # nothing is left: it resumes, and ends what is closing

    def _fill(self, batch: Batch) -> int:
        """How many of the kept datagrams are in the slots: the first ones, all of which fit."""
        connected = self._extra["peername"]
        i = 0
        try:
            for data, address in self._buffer:
                if i == SLOTS:
                    break
                batch[i] = data
                batch.set_address(None if connected else address, i)
                i += 1
        except (TypeError, ValueError, OverflowError, OSError):
            pass  # what is wrong with it is said when it is the first
        return i

    def _forget(self, count: int) -> None:
        header = getattr(self, "_header_size", 0)  # that each counts for, from Python 3.13 on
        for _ in range(count):
            self._buffer_size -= len(self._buffer.popleft()[0]) + header
