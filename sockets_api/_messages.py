"""Scatter, gather and files: the socket methods that are made of the plain ones.

There is no ancillary data here: received lists of it are empty, and sent ones must be.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from barewire.stack import ffi

from ._buffers import writable
from ._errors import error
from ._kernel import socket as _std

BLOCK = 256 * 1024  # bytes of a file that are read at once


def _receive(sock: Any, bufsize: int, flags: int) -> tuple[bytes, int, Any]:
    """(data, MSG_ flags, sender) of one message of at most bufsize bytes."""
    datagram = sock._type == _std.SOCK_DGRAM
    if datagram:
        flags |= _std.MSG_TRUNC  # its whole length says whether it was cut
    data, sender = sock.recvfrom(bufsize, flags)
    said = _std.MSG_TRUNC if datagram and len(data) > bufsize else 0
    if flags & _std.MSG_OOB and data:
        said |= _std.MSG_OOB
    return data[:bufsize], int(said), sender


def recvmsg(
    self: Any, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
) -> tuple[bytes, list[Any], int, Any]:
    """(data, ancillary data: none, MSG_ flags, sender's address)."""
    if bufsize < 0:
        raise ValueError("negative buffer size in recvmsg()")
    if ancbufsize < 0:
        raise ValueError("invalid ancillary data buffer length")
    data, answer, sender = _receive(self, bufsize, flags)
    return data, [], answer, sender


def recvmsg_into(
    self: Any, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
) -> tuple[int, list[Any], int, Any]:
    """As recvmsg, scattered over writable buffers; (bytes, ancillary data, flags, address)."""
    arrays = [writable("recvmsg_into", buffer) for buffer in _listed("recvmsg_into", buffers)]
    views = [memoryview(ffi.buffer(array)) for array in arrays]
    room = sum(len(view) for view in views)
    data, _, answer, sender = recvmsg(self, room, ancbufsize, flags)
    rest = memoryview(data)
    for view in views:
        piece = rest[: len(view)]
        view[: len(piece)] = piece
        rest = rest[len(piece) :]
    return len(data), [], answer, sender


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


def sendfile(self: Any, file: Any, offset: int = 0, count: int | None = None) -> int:
    """Sends a binary file from offset to its end, or count bytes of it; the number of bytes.

    The file's position is afterwards where the sending ended, also after an error.
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
    if offset:
        file.seek(offset)
    total = 0
    try:
        while count is None or total < count:
            block = file.read(BLOCK if count is None else min(BLOCK, count - total))
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
