"""Scatter, gather and files: the socket methods that are made of the plain ones.

There is no ancillary data here: received lists of it are empty, and sent ones must be.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from typing import Any

from barewire.stack import ffi

from ._buffers import writable
from ._errors import error
from ._kernel import socket as _std

BLOCK = 256 * 1024  # bytes of a file that are read at once


def _receive(sock: Any, bufsize: int, flags: int) -> tuple[bytes, int, int, Any]:
    """(data, the length that recvmsg(2) says, MSG_ flags, sender) of one message of at most bufsize
    bytes. With MSG_TRUNC the length is a datagram's own, or of what a stream threw away."""
    datagram = sock._type == _std.SOCK_DGRAM
    asked = (
        flags | _std.MSG_TRUNC if datagram else flags
    )  # its whole length says whether it was cut
    data, sender = sock.recvfrom(bufsize, asked)
    size = len(data)
    said = _std.MSG_TRUNC if datagram and size > bufsize else 0
    if flags & _std.MSG_OOB and data:
        said |= _std.MSG_OOB
    told = size if flags & _std.MSG_TRUNC else min(size, bufsize)
    return data[:bufsize], told, int(said), sender


def recvmsg(
    self: Any, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
) -> tuple[bytes, list[Any], int, Any]:
    """(data, ancillary data: none, MSG_ flags, sender's address)."""
    if bufsize < 0:
        raise ValueError("negative buffer size in recvmsg()")
    if ancbufsize < 0:
        raise ValueError("invalid ancillary data buffer length")
    data, _, answer, sender = _receive(self, bufsize, flags)
    return data, [], answer, sender


def recvmsg_into(
    self: Any, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
) -> tuple[int, list[Any], int, Any]:
    """As recvmsg, scattered over writable buffers; (bytes, ancillary data, flags, address). With
    MSG_TRUNC bytes may be more than were written: a datagram's length, or what a stream threw away."""
    if ancbufsize < 0:
        raise ValueError("invalid ancillary data buffer length")
    with contextlib.ExitStack() as held:
        arrays = [
            held.enter_context(writable("recvmsg_into", buffer))
            for buffer in _listed("recvmsg_into", buffers)
        ]
        room = sum(len(array) for array in arrays)
        data, told, answer, sender = _receive(self, room, flags)
        rest = memoryview(data)[: self._written(told, room, flags)]
        for array in arrays:
            piece = rest[: len(array)]
            ffi.memmove(array, piece, len(piece))
            rest = rest[len(piece) :]
    return told, [], answer, sender


def sendmsg(
    self: Any, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0,
    address: Any = None, /,
) -> int:  # fmt: skip
    """Sends the buffers as one message; the number of bytes. Ancillary data: OSError EINVAL."""
    if list(ancdata):
        raise error(-errno.EINVAL)
    data = b"".join(memoryview(buffer) for buffer in _listed("sendmsg", buffers))
    sent = self.send(data, flags) if address is None else self.sendto(data, flags, address)
    return int(sent)


def _listed(caller: str, buffers: Iterable[Any]) -> list[Any]:
    if not hasattr(buffers, "__iter__"):
        raise TypeError(f"{caller}() argument 1 must be an iterable")
    return list(buffers)


def _blocks_at(file: Any, offset: int) -> Callable[[int], bytes] | None:
    """Reads a regular file from offset on, wherever its position is, as os.sendfile() does; None: it
    is no such file."""
    try:
        fd = file.fileno()
        size = os.fstat(fd).st_size
    except (AttributeError, OSError):  # io.UnsupportedOperation is one
        return None
    place = [offset]

    def read(n: int) -> bytes:
        block = os.pread(fd, n, place[0]) if size else b""  # no size: empty, as for os.sendfile()
        place[0] += len(block)
        return block

    return read


def _blocks_from(file: Any, offset: int) -> Callable[[int], bytes]:
    """Reads what is no regular file: from its position, unless there is an offset."""
    if offset:
        file.seek(offset)
    read: Callable[[int], bytes] = file.read
    return read


def sendfile(self: Any, file: Any, offset: int = 0, count: int | None = None) -> int:
    """Sends a binary file from offset to its end, or count bytes of it; the number of bytes.

    What is no regular file begins at its position if offset is 0. The position is afterwards at
    offset and as many bytes as were sent, also after an error: all as CPython's.
    """
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if self._type != _std.SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    if count is not None and not isinstance(count, int):
        raise TypeError(f"count must be a positive integer (got {count!r})")
    if count is not None and count <= 0:
        raise ValueError(f"count must be a positive integer (got {count!r})")
    if self._timeout == 0:
        raise ValueError("non-blocking sockets are not supported")
    read = _blocks_at(file, offset) or _blocks_from(file, offset)
    total = 0
    try:
        while count is None or total < count:
            block = read(BLOCK if count is None else min(BLOCK, count - total))
            if not block:
                break
            rest = memoryview(block)
            while rest:
                sent = self.send(rest)
                total += sent
                rest = rest[sent:]
    finally:
        if total and hasattr(file, "seek"):
            file.seek(offset + total)
    return total
