"""Memory for one call: receive buffers that are used again, and views of the caller's own.

A receive buffer cannot belong to a socket: ten thousand sockets would hold ten thousand of them,
and two threads may receive on one. So a call takes one from the pool and puts it back; there are
as many as calls were ever in C at once.

A view is let go of with its call (`with`), whatever a traceback keeps: a memoryview that something still
looks into takes CPython down when the garbage collector meets both in a cycle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from barewire.stack import ffi

KEEP = 256 * 1024  # bytes of a pooled buffer; committed by the kernel only as far as used
POOLED = 64  # buffers kept for later

_CHARS: Any = ffi.typeof("char[]")
_new = ffi.new_allocator(should_clear_after_alloc=False)


class Scratch(NamedTuple):
    """What a receiving call writes to: data, sender's address, and the address as bytes."""

    data: Any  # char[]
    addr: Any  # struct bw_addr *
    raw: Any  # ffi.buffer of addr


pool: list[Scratch] = []


def fresh(size: int = KEEP) -> Scratch:
    """A buffer of its own; MemoryError if there is no room for it."""
    addr = ffi.new("struct bw_addr *")
    try:
        data = _new("char[]", size)
    except OverflowError:
        raise MemoryError from None
    return Scratch(data, addr, ffi.buffer(addr))


def take() -> Scratch:
    """A buffer of KEEP bytes, yours until give()."""
    try:
        return pool.pop()
    except IndexError:
        return fresh()


def give(scratch: Scratch) -> None:
    if len(pool) < POOLED:
        pool.append(scratch)


def readable(data: Any) -> Any:
    """The bytes of a bytes-like object as a C array; len() of it is their number. For `with`."""
    try:
        return ffi.from_buffer(_CHARS, data)
    except TypeError:
        kind = type(data).__name__
        raise TypeError(f"a bytes-like object is required, not '{kind}'") from None


def writable(caller: str, buffer: Any) -> Any:
    """The bytes of a writable buffer as a C array. For `with`."""
    try:
        return ffi.from_buffer(_CHARS, buffer, True)
    except (TypeError, BufferError):
        kind = type(buffer).__name__
        text = f"{caller}() argument 1 must be read-write bytes-like object, not {kind}"
        raise TypeError(text) from None
