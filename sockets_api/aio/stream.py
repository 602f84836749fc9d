"""Streams of a loop: asyncio's transport, which asks a stack's socket for as much as lately came.

A receive of up to 16 KiB is one call into C without a step through Python; only a flow that fills it is
asked for in larger pieces. The class has the name of asyncio's, which its log lines show.
"""

from __future__ import annotations

from asyncio import selector_events
from typing import Any

LEAST, MOST = 16 * 1024, 256 * 1024  # bytes a call: `_direct.c`'s ROOM, asyncio's max_size
_Transport: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]


class _SelectorSocketTransport(_Transport):  # type: ignore[misc]
    """The transport of a socket of a stack's."""

    max_size = LEAST

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio's, and "tcp_info": what TCP_INFO says now, as socket.tcp_info() gives it."""
        if name == "tcp_info" and self._sock is not None:
            return self._sock.tcp_info()
        return super().get_extra_info(name, default)

    def _read_ready__data_received(self) -> None:
        if self._conn_lost:
            return
        try:
            data = self._sock.recv(self.max_size)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")
            return
        if not data:
            self._read_ready__on_eof()
            return
        if len(data) == self.max_size:
            self.max_size = min(MOST, self.max_size * 4)
        elif self.max_size > LEAST and len(data) <= LEAST:
            self.max_size = LEAST
        try:
            self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")
