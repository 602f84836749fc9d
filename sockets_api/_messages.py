"""Messages and files: sendmsg, recvmsg and recvmsg_into with their control messages, and sendfile.

sendmsg and recvmsg begin in `_direct.c`. A datagram's go to C as one struct bw_msg, which reads and writes
control messages (cmsg(3)); a stream has none to receive.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from operator import index
from struct import Struct
from typing import Any

from barewire.stack import ffi, lib

from ._address import argument, unpack
from ._buffers import fresh, writable
from ._kernel import select as _poll
from ._kernel import socket as _std

_CMSG = Struct("@Nii")  # struct cmsghdr: cmsg_len, cmsg_level, cmsg_type
_INT = range(-(2**31), 2**31)
_LARGEST = 2**31 - 1  # bytes of control messages
_ROOM = 4096  # and more than a datagram comes with
_STAMP = Struct("@qq")  # struct timeval or timespec, in a message of SOL_SOCKET of these types
_STAMP_UNIT = {29: 1000, 35: 1}  # SO_TIMESTAMP, SO_TIMESTAMPNS; ns of the second number
_sendmsg = lib.host_sendmsg
_NOT_ASKED = -lib.BW_NOT_ASKED  # no answer of C
BLOCK = 256 * 1024  # bytes of a file that are read at once


def _stream(sock: Any, answer: int, size: int, flags: int) -> tuple[bytes, int, int]:
    """(data, the length that recvmsg(2) says, MSG_ flags) of at most size bytes. With MSG_TRUNC the length
    is of what was thrown away."""
    data = fresh(max(size, 1)).data
    told = sock._receive(answer, data, size, flags)
    said = _std.MSG_OOB if flags & _std.MSG_OOB and told else 0
    return bytes(ffi.buffer(data, sock._written(told, size, flags))), told, int(said)


def _datagram(
    sock: Any, answer: int, pieces: list[Any], room: int, flags: int
) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
    """One datagram into C arrays, with at most `room` bytes of control messages; (its length, them, MSG_
    flags, sender)."""
    room = min(room, _ROOM)
    message, control = ffi.new("struct bw_msg *"), ffi.new("uint8_t[]", room)
    iov = ffi.new("struct bw_iovec[]", [(piece, len(piece)) for piece in pieces])
    message.iov, message.pieces = iov, len(pieces)
    message.control, message.control_len = control, room
    told = sock._receive(answer, None, 0, flags, message=message)
    sender = unpack(ffi.buffer(ffi.addressof(message, "name"))[:]) if message.named else None
    records = _records(bytes(ffi.buffer(control, message.control_used)))
    if not sock._stack.is_virtual:
        records = [_by_wall_clock(*record) for record in records]
    return told, records, message.told, sender


def _records(control: bytes) -> list[tuple[int, int, bytes]]:
    """The control messages of what C wrote; the last may be cut."""
    found, at = [], 0
    while at + _CMSG.size <= len(control):
        size, level, kind = _CMSG.unpack_from(control, at)
        found.append((level, kind, control[at + _CMSG.size : at + size]))
        at += -(-size // 8) * 8
    return found


def _by_wall_clock(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """A control message that tells when a datagram came, in the time of CLOCK_REALTIME (socket(7)) instead of
    the stack's; any other as it is."""
    unit = _STAMP_UNIT.get(kind) if level == _std.SOL_SOCKET and len(data) == _STAMP.size else None
    if unit is None:
        return level, kind, data
    seconds, parts = _STAMP.unpack(data)
    seconds, ns = divmod(seconds * 10**9 + parts * unit + _wall_clock_ahead(), 10**9)
    return level, kind, _STAMP.pack(seconds, ns // unit)


def _wall_clock_ahead() -> int:
    """ns from CLOCK_MONOTONIC to CLOCK_REALTIME, to some microseconds."""
    ahead = 0
    for _ in range(16):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        ahead = wall - before
        if after - before < 10_000:  # nothing else ran meanwhile
            break
    return ahead


def _control(ancdata: Iterable[Any]) -> bytes:
    """Control messages as sendmsg(2) takes them."""
    if not hasattr(ancdata, "__iter__"):
        raise TypeError("sendmsg() argument 2 must be an iterable")
    whole = b""
    for item in ancdata:
        if not isinstance(item, (tuple, list)) or len(item) != 3:
            raise TypeError("[sendmsg() ancillary data items] argument must be 3-item sequence")
        level, kind, data = index(item[0]), index(item[1]), bytes(memoryview(item[2]))
        if level not in _INT or kind not in _INT:
            raise OverflowError("Python int too large to convert to C int")
        record = _CMSG.pack(_CMSG.size + len(data), level, kind) + data
        whole += record.ljust(-(-len(record) // 8) * 8, b"\0")
    return whole


def _check_room(ancbufsize: int) -> None:
    if not 0 <= ancbufsize <= _LARGEST:
        raise ValueError("invalid ancillary data buffer length")


def recvmsg(
    self: Any, answer: int, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
    """Goes on after C answered so (_transfer.py): (data, control messages, MSG_ flags, sender)."""
    if bufsize < 0:
        raise ValueError("negative buffer size in recvmsg()")
    _check_room(ancbufsize)
    if self._type == _std.SOCK_STREAM:
        data, told, said = _stream(self, answer, bufsize, flags)
        return data.ljust(min(told, bufsize), b"\0"), [], said, None
    buffer = fresh(max(bufsize, 1)).data
    piece = ffi.buffer(buffer, bufsize)
    told, records, said, sender = _datagram(
        self, answer, [ffi.from_buffer(piece)], ancbufsize, flags
    )
    return bytes(piece[: min(told, bufsize)]), records, said, sender


def recvmsg_into(
    self: Any, buffers: Iterable[Any], ancbufsize: int = 0, flags: int = 0, /
) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
    """As recvmsg, scattered over writable buffers; (bytes, control messages, flags, address). With
    MSG_TRUNC bytes may be more than were written: a datagram's length, or what a stream threw away."""
    _check_room(ancbufsize)
    with contextlib.ExitStack() as held:
        arrays = [
            held.enter_context(writable("recvmsg_into", buffer))
            for buffer in _listed("recvmsg_into", buffers)
        ]
        if self._type == _std.SOCK_DGRAM:
            return _datagram(self, _NOT_ASKED, arrays, ancbufsize, flags)
        data, told, said = _stream(self, _NOT_ASKED, sum(map(len, arrays)), flags)
        rest = memoryview(data)
        for array in arrays:
            piece = rest[: len(array)]
            ffi.memmove(array, piece, len(piece))
            rest = rest[len(piece) :]
    return told, [], said, None


def sendmsg(
    self: Any, answer: int, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0,
    address: Any = None, /,
) -> int:  # fmt: skip
    """Goes on after C answered so: the buffers as one message; the number of bytes."""
    data = b"".join(memoryview(buffer) for buffer in _listed("sendmsg", buffers))
    control = _control(ancdata)
    if control:
        return _send_with(self, data, control, flags, address)
    sent = self._send(answer, data, flags) if address is None else self.sendto(data, flags, address)
    return int(sent)


def _send_with(sock: Any, data: bytes, control: bytes, flags: int, address: Any) -> int:
    message, until = ffi.new("struct bw_msg *"), None
    raw, records = ffi.from_buffer(data), ffi.from_buffer("uint8_t[]", control)
    iov = ffi.new("struct bw_iovec *", (raw, len(data)))
    message.iov, message.pieces, message.flags = iov, 1, sock._send_flags(flags)
    message.control, message.control_len = records, len(control)
    if address is not None:
        message.name, message.named = argument("sendmsg", address)[0], 1
    while True:
        answer = int(_sendmsg(sock._host, sock._sock, message, sock._spin))
        if sock._type == _std.SOCK_STREAM:
            return int(sock._send(answer, data, flags))
        if answer >= 0:
            return answer
        until = sock._wait(answer, _poll.POLLOUT, until, flags)


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
