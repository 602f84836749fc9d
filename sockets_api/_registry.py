"""Which descriptor numbers are ours.

A barewire socket lives in a stack, not in the kernel's table of files; the number its fileno()
gives stands for it. Here is the way back from the number to the socket, for select and friends,
and the keeper of sockets that were detach()ed and live on under their number alone.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from ._waiting import Watched

by_fileno: WeakValueDictionary[int, Any] = WeakValueDictionary()
detached: dict[int, Any] = {}


def watched(fd: int, events: int) -> Watched:
    """What to wait on for a descriptor number: the socket it stands for, or the descriptor."""
    sock = by_fileno.get(fd)
    return Watched(None, fd, events) if sock is None else watched_socket(sock, events)


def watched_socket(sock: Any, events: int) -> Watched:
    return Watched(sock._stack, sock._sock, events)


def fileno_of(fileobj: Any) -> int:
    """The number of a descriptor, or of an object with fileno(); errors as select's."""
    if isinstance(fileobj, int):
        fd = fileobj
    else:
        try:
            method = fileobj.fileno
        except AttributeError:
            raise TypeError("argument must be an int, or have a fileno() method.") from None
        fd = method()
        if not isinstance(fd, int):
            raise TypeError("fileno() returned a non-integer")
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return fd
