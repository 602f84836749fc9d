"""Which descriptor numbers are ours.

A barewire socket lives in a stack, not in the kernel's table of files; the number its fileno()
gives stands for it, until the program closes the number. Here is the way back from the number to the
socket, for select and friends, and the keeper of sockets that were detach()ed and live on under their
number alone.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from barewire.stack import lib

from ._waiting import Watched

_by_fileno: WeakValueDictionary[int, Any] = WeakValueDictionary()
_detached: dict[int, Any] = {}


def remember(fd: int, sock: Any) -> None:
    """The number is this socket's."""
    _by_fileno[fd] = sock


def find(fd: int) -> Any:
    """The socket that a number stands for; None: it stands for none, or was closed and is used again."""
    sock = _by_fileno.get(fd)
    if sock is None or lib.host_sock_has_fileno(sock._host, sock._sock, fd):
        return sock
    forget(fd, sock)
    return None


def keep(fd: int, sock: Any) -> None:
    """The socket lives on under its number alone."""
    _detached[fd] = sock


def kept(fd: int) -> Any:
    """The socket that lives on under this number; None: there is none. The one whose number the program has
    closed ends with it."""
    sock = _detached.get(fd)
    if sock is None or lib.host_sock_has_fileno(sock._host, sock._sock, fd):
        return sock
    del _detached[fd]
    sock._real_close()
    return None


def release(fd: int) -> Any:
    """As kept(), and the number is the caller's."""
    sock = kept(fd)
    _detached.pop(fd, None)
    return sock


def forget(fd: int, sock: Any, _by_fileno: Any = _by_fileno) -> None:
    """Unless the number has become another socket's."""
    if _by_fileno.get(fd) is sock:
        del _by_fileno[fd]


def watched(fd: int, events: int) -> Watched:
    """What to wait on for a descriptor number: the socket it stands for, or the descriptor."""
    sock = find(fd)
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
