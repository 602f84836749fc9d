"""One transfer over a bad link: a source that always has data, and a sink that watches the clock.

Like programs.py, one text for the kernel's sockets and barewire's. Both ends stop by their own
clock and reset the connection, so that a run has an end whatever the link does.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .programs import BUFFER, Order, Ready, clock, congestion_of, tcp_socket

INTERVAL = 0.1  # seconds of one entry of the sink's record
GRACE = 0.3  # the source goes on for so long after the sink should have stopped


def _prepare(sock: Any, order: Order) -> None:
    """Buffers as ordered (0: the stack's own), and a reset at close."""
    if order["buffer"]:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, order["buffer"])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, order["buffer"])
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def source(net: Any, order: Order) -> dict[str, Any]:
    """Sends for `seconds`, `wait` seconds after the order: what the socket's algorithm is."""
    time.sleep(order["wait"])
    data = memoryview(bytes(BUFFER))
    with tcp_socket(net, order) as sock:
        _prepare(sock, order)
        sock.settimeout(order["patience"])
        sock.connect((order["host"], order["port"]))
        end = clock() + int((order["seconds"] + GRACE) * 1e9)
        with contextlib.suppress(ConnectionError, TimeoutError):  # the sink has ended, and says so
            while (left := end - clock()) > 0:
                sock.settimeout(left / 1e9)
                sock.send(data)
        return {"congestion": congestion_of(sock)}


def sink(net: Any, order: Order, ready: Ready) -> dict[str, Any]:
    """Reads for `seconds` from the connection's start: `bytes` in each INTERVAL, and the longest
    `gap` in seconds without any."""
    count = round(order["seconds"] / INTERVAL)
    record = [0] * count
    buffer = bytearray(BUFFER)
    with net.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        _prepare(listener, order)
        listener.bind((order["host"], order["port"]))
        listener.listen(1)
        ready()
        listener.settimeout(order["patience"])
        sock, _ = listener.accept()
    with sock:
        _prepare(sock, order)
        start = last = clock()
        end, gap, tick = start + int(order["seconds"] * 1e9), 0, int(INTERVAL * 1e9)
        with contextlib.suppress(TimeoutError):
            while (left := end - clock()) > 0:
                sock.settimeout(left / 1e9)
                got = sock.recv_into(buffer)
                if not got:
                    raise ConnectionError("the source ended early")
                now = clock()
                gap, last = max(gap, now - last), now
                record[min((now - start) // tick, count - 1)] += got
        return {"bytes": record, "gap": max(gap, end - last) / 1e9}


WAITING = {"sink"}
PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {"source": source, "sink": sink}
