"""Batches: many datagrams in one call, out of and into memory that the caller owns.

    batch = barewire.Batch(64, 2048)
    n = sock.recv_batch(batch)          # waits for the first, takes what is there
    sock.send_batch(batch, n)           # and sends them back

docs/batch.md tells the whole of it. The calls are recvmmsg(2)'s and sendmmsg(2)'s, but that nothing
is made per datagram: the bytes, lengths and addresses lie in three arrays that numpy sees as its own.
"""

from __future__ import annotations

import array
import errno
import socket as _std
import sys
from operator import index
from struct import Struct
from typing import Any

from barewire.stack import ffi, lib

from . import _address
from ._errors import error

ADDRESS = [("ip", "u1", 16), ("zone", "=u4"), ("port", "=u2"), ("pad", "=u2")]
"""An entry of `Batch.addresses`, as numpy.dtype() takes it: 24 bytes. `ip` is the IPv6 address, or the
IPv4 address mapped into one (::ffff:198.18.0.1); `zone` the interface index of a link-local address,
else 0; `port` in the machine's byte order. All zero: no address."""

ADDRESS_SIZE = 24
COUNT_MAX = 1 << 20  # slots of a batch
SIZE_MAX = 65535  # bytes of a slot

_FIELDS = Struct("=16sIHH")
_MAPPED = bytes(10) + b"\xff\xff"


def pack_address(address: Any) -> bytes:
    """The 24 bytes of ("198.18.0.1", port), ("2001:db8::1", port) or (host, port, flow, zone);
    None: of no address. The flow label is not kept. Errors as of a socket's sendto()."""
    if address is None:
        return bytes(ADDRESS_SIZE)
    if isinstance(address, tuple) and len(address) in (2, 4) and ":" in str(address[0]):
        host, port, zone = address[0], index(address[1]), address[3] if len(address) == 4 else 0
        if not 0 <= port <= 65535:
            raise OverflowError("pack_address(): port must be 0-65535.")
        return _FIELDS.pack(_std.inet_pton(_std.AF_INET6, host), zone, port, 0)
    return bytes(ffi.buffer(_address.argument("pack_address", address)))


def unpack_address(raw: Any) -> Any:
    """The address of 24 bytes: (host, port), for IPv6 (host, port, 0, zone); None: no address."""
    ip, zone, port, _ = _FIELDS.unpack(raw)
    if ip[:12] == _MAPPED:
        return _std.inet_ntoa(ip[12:]), port
    if not any(ip):
        return None
    return _std.inet_ntop(_std.AF_INET6, ip), port, 0, zone


class Batch:
    """`count` slots for datagrams of up to `size` bytes each, with their lengths and addresses.

    The three arrays are the caller's, if given: any C-contiguous buffers (bytearray, memoryview,
    array.array, mmap, numpy arrays). `data` has count x size bytes, `lengths` count unsigned 32-bit
    integers, `addresses` count entries of ADDRESS (24 bytes). What is not given is made here. The batch
    keeps them: a bytearray cannot be resized meanwhile. Read-only ones will do for sending.

    TypeError: no buffer of that kind; ValueError: not contiguous, or of another size.
    """

    __slots__ = (
        "_addresses", "_bytes", "_c", "_data", "_lengths",
        "addresses", "count", "data", "lengths", "size", "writable",
    )  # fmt: skip

    data: Any  # as given, or a memoryview of shape (count, size)
    lengths: Any  # as given, or a memoryview of format 'I'
    addresses: Any  # as given, or a memoryview of shape (count, 24)
    count: int
    size: int
    writable: bool  # all three are: the batch can receive

    def __init__(
        self, count: int, size: int, *, data: Any = None, lengths: Any = None, addresses: Any = None
    ) -> None:
        if hasattr(self, "_c"):
            raise TypeError("a batch is made once: a call may be in its memory")
        count, size = index(count), index(size)
        if not 0 < count <= COUNT_MAX or not 0 < size <= SIZE_MAX:
            raise ValueError(f"a batch has 1 to {COUNT_MAX} slots of 1 to {SIZE_MAX} bytes")
        if data is None:
            data = memoryview(bytearray(count * size)).cast("B", (count, size))
        if lengths is None:
            lengths = memoryview(array.array("I", bytes(4 * count)))
        if addresses is None:
            addresses = memoryview(bytearray(count * ADDRESS_SIZE)).cast("B", (count, ADDRESS_SIZE))
        self.count, self.size = count, size
        self.data, self.lengths, self.addresses = data, lengths, addresses
        self._data, data_writable = _memory("data", data, count * size)
        self._lengths, lengths_writable = _memory("lengths", lengths, count * 4)
        if memoryview(lengths).format not in _UNSIGNED:
            raise TypeError("lengths must be unsigned 32-bit integers")
        self._addresses, addresses_writable = _memory("addresses", addresses, count * ADDRESS_SIZE)
        self.writable = data_writable and lengths_writable and addresses_writable
        self._c = ffi.new("struct bw_batch *")
        self._c.data = ffi.cast("uint8_t *", self._data)
        self._c.lengths = ffi.cast("uint32_t *", self._lengths)
        self._c.addrs = ffi.cast("struct bw_addr *", self._addresses)
        self._c.size, self._c.count = size, count
        view = memoryview(ffi.buffer(self._data))
        self._bytes = view if data_writable else view.toreadonly()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> memoryview:
        """The bytes of datagram i, where they lie; of one that was cut, what its slot holds."""
        i = self._slot(i)
        start = i * self.size
        return self._bytes[start : start + min(self._c.lengths[i], self.size)]

    def __setitem__(self, i: int, datagram: Any) -> None:
        """Copies a bytes-like datagram into slot i and notes its length. ValueError: too long."""
        i = self._slot(i)
        datagram = memoryview(datagram).cast("B")
        if len(datagram) > self.size:
            raise ValueError(f"{len(datagram)} bytes do not fit a slot of {self.size}")
        start = i * self.size
        self._bytes[start : start + len(datagram)] = datagram
        self._c.lengths[i] = len(datagram)

    def truncated(self, i: int) -> bool:
        """Whether datagram i was longer than its slot and lost the rest; `lengths[i]` says how long."""
        return bool(self._c.lengths[self._slot(i)] > self.size)

    def address(self, i: int) -> Any:
        """Who sent datagram i, or where it goes: (host, port); None: the socket's peer."""
        return unpack_address(bytes(ffi.buffer(self._c.addrs + self._slot(i), ADDRESS_SIZE)))

    def set_address(self, address: Any, i: int | None = None) -> None:
        """Where datagram i goes, without i all of them: (host, port); None: to the socket's peer."""
        raw = pack_address(address)
        if i is None:
            ffi.buffer(self._c.addrs, self.count * ADDRESS_SIZE)[:] = raw * self.count
        else:
            ffi.buffer(self._c.addrs + self._slot(i), ADDRESS_SIZE)[:] = raw

    def _slot(self, i: int) -> int:
        i = index(i)
        if not -self.count <= i < self.count:
            raise IndexError(f"the batch has {self.count} slots")
        return i % self.count

    def _range(self, count: int | None, start: int) -> tuple[int, int]:
        """(first, last) slot of a call; ValueError: they are not all there."""
        first = index(start)
        last = self.count if count is None else first + index(count)
        if not 0 <= first <= last <= self.count:
            raise ValueError(f"slots {first} to {last} of a batch of {self.count}")
        return first, last

    def __repr__(self) -> str:
        return f"<barewire.Batch of {self.count} x {self.size} bytes>"


_UNSIGNED = ("I", "@I", "=I", "<I" if sys.byteorder == "little" else ">I")  # of struct's formats


def _memory(what: str, buffer: Any, size: int) -> tuple[Any, bool]:
    """(the buffer's bytes for C, whether they can be written)."""
    try:
        try:
            memory, writable = ffi.from_buffer("char[]", buffer, True), True
        except (TypeError, BufferError, ValueError):
            memory, writable = ffi.from_buffer("char[]", buffer), False
    except TypeError:
        raise TypeError(f"{what} must be a buffer, not '{type(buffer).__name__}'") from None
    except (BufferError, ValueError):
        raise ValueError(f"{what} must be C-contiguous") from None
    if len(memory) != size:
        raise ValueError(f"{what} has {len(memory)} bytes, not {size}")
    return memory, writable


# ---- the calls: methods of the socket class (_transfer.py) ---------------------------------------

_IN, _OUT = lib.BW_IN, lib.BW_OUT
_recv_batch, _send_batch = lib.host_recv_batch, lib.host_send_batch
OVER = -1  # what a socket's _wait() says to a call whose part is its result
_FLAGS = _std.MSG_DONTWAIT | _std.MSG_WAITALL


def recv_batch(
    self: Any, batch: Batch, count: int | None = None, *, start: int = 0, flags: int = 0
) -> int:
    """Receives up to `count` datagrams (None: all that fit) into the slots from `start` on; how many.

    Waits for the first as recv does and takes what is there; with MSG_WAITALL until they are all
    there, or the timeout is over, or an error comes. `batch.lengths[i]` is a datagram's whole length,
    also where the slot was too small (truncation); `batch.addresses[i]` says who sent it.

    0: the socket is shut down for reading, or no slot was asked for. Errors are recv's; one that comes
    after the first datagram is left for the next call. Streams: OSError EOPNOTSUPP; a read-only batch:
    TypeError; slots that the batch does not have: ValueError.
    """
    if not batch.writable:
        raise TypeError("recv_batch() needs a batch of writable buffers")
    first, last = batch._range(count, start)
    whole = flags & _std.MSG_WAITALL if flags else 0
    return _move(self, _recv_batch, _IN, batch._c, first, last, flags, whole)


def send_batch(
    self: Any, batch: Batch, count: int | None = None, *, start: int = 0, flags: int = 0
) -> int:
    """Sends `count` datagrams (None: all) of the slots from `start` on; how many were sent.

    Each goes to its address, or to the socket's peer where that is all zero (Batch.set_address).
    A blocking socket sends all of them; with a timeout, or without waiting, as many as there is room
    for, at least one. An error ends the call; it is raised where nothing was sent before it, else by
    the call that begins with the datagram concerned. Errors are sendto's; EMSGSIZE also for a length
    beyond the slot. Streams: OSError EOPNOTSUPP; slots that the batch does not have: ValueError.
    """
    first, last = batch._range(count, start)
    whole = self._timeout is None and not flags & _std.MSG_DONTWAIT
    return _move(self, _send_batch, _OUT, batch._c, first, last, flags, whole)


def _move(
    self: Any, call: Any, events: int, c: Any, first: int, last: int, flags: int, whole: Any
) -> int:
    """Calls C until some datagrams have moved, or (whole) all of them have."""
    if flags & ~_FLAGS:
        raise error(-errno.EOPNOTSUPP)
    at, until = first, None
    while True:
        answer = call(self._host, self._sock, c, at, last, at > first, self._spin)
        if answer >= 0:
            at += answer
            if at == last or not whole or not answer:
                return int(at - first)
            continue
        until = self._wait(answer, events, until, flags, at > first)
        if until == OVER:
            return int(at - first)
