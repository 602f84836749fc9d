"""Which descriptor numbers are ours.

A barewire socket lives in a stack, not in the kernel's table of files; the number its fileno()
gives stands for a handle of C's, until the program closes the number. Here is the way back from the number,
for select and friends, for two objects on one number, and for sockets that were detach()ed and live on
under their number alone.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar
from weakref import ref

from barewire.stack import ffi, lib

from ._errors import check, error
from ._transfer import Transfer


class Named(Transfer):
    """What a number stands for: a handle, and the objects that use it. `is_shared`: its open description
    has other handles, or had. It stands in their place where there is none."""

    __slots__ = ("is_shared", "users")
    shared_closed: ClassVar[int] = (
        0  # numbers that were closed and whose open description may live on
    )

    def __init__(self, stack: Any, handle: Any, type: int, proto: int) -> None:
        self._stack, self._host, self._sock = stack, stack.host, handle
        self._type, self._proto = type, proto
        self._timeout, self._spin, self._shared = None, 0, True
        self.users: list[ref[Any]] = []
        self.is_shared = False
        self._retie()

    def objects(self) -> list[Any]:
        """Those that use it now."""
        found = [sock for user in self.users if (sock := user()) is not None]
        return [sock for sock in found if sock._sock == self._sock]

    def share(self) -> None:
        """Its objects no longer know by themselves whether calls block."""
        self.is_shared = True
        for sock in self.objects():
            sock._share()

    def close(self) -> None:
        """The number is closed: all its objects have lost their socket."""
        for sock in self.objects():
            sock._lose()
        lib.host_sock_close(self._host, self._sock)
        self._host = self._sock = ffi.NULL
        self._tie()


_by_number: dict[int, Named] = {}


def remember(fd: int, sock: Any) -> None:
    """The number is this socket's."""
    named = Named(sock._stack, sock._sock, sock._type, sock._proto)
    named.users.append(ref(sock))
    named.is_shared = sock._shared
    _enter(fd, named)


def _enter(fd: int, named: Named) -> None:
    before = _by_number.get(fd)
    if before is not None:
        _remove(fd, before)
    _by_number[fd] = named
    if before is not None:
        _end(before)


def _end(named: Named) -> None:
    """The program has closed its number: what lived under that alone ends with it."""
    if not named.objects():
        named.close()


def named(fd: int) -> Named | None:
    """What a number stands for; None: for nothing of ours, or it was closed and is used again."""
    found = _by_number.get(fd)
    if found is None or lib.host_sock_has_fileno(found._host, found._sock, fd):
        return found
    if _drop(fd, found):
        _end(found)
    return None


def _drop(fd: int, found: Named) -> bool:
    """The number stands for nothing more; False: another thread was first."""
    if _by_number.get(fd) is not found:
        return False
    _remove(fd, found)
    return True


def _remove(fd: int, found: Named, _by_number: dict[int, Named] = _by_number) -> None:
    type(found).shared_closed += found.is_shared
    del _by_number[fd]


def find(fd: int) -> Any:
    """The socket that a number stands for, an object of it if there is one; or None."""
    found = named(fd)
    return None if found is None else next(iter(found.objects()), found)


def copied(fd: int) -> Named | None:
    """As named(), and for a number that the program made of one of ours by dup(2) it is a handle more."""
    found = named(fd)
    if found is not None or not _by_number or not lib.may_be_number(fd):
        return found
    handle = ffi.new("struct bw_sock **")
    for one in list(_by_number.values()):
        if lib.host_sock_dup(one._host, one._sock, fd, handle) == 0:
            one.share()
            return _duplicated(fd, one, handle[0])
    return None


def duplicate(sock: Any) -> int:
    """A number more for the open description of a socket, or of what a number stands for."""
    handle = ffi.new("struct bw_sock **")
    check(lib.host_sock_dup(sock._host, sock._sock, -1, handle))
    fd = int(lib.host_sock_fileno(sock._host, handle[0]))
    if fd < 0:
        lib.host_sock_close(sock._host, handle[0])
        raise error(fd)
    _duplicated(fd, sock, handle[0])
    return fd


def _duplicated(fd: int, sock: Any, handle: Any) -> Named:
    made = Named(sock._stack, handle, sock._type, sock._proto)
    made.is_shared = True
    _enter(fd, made)
    return made


def forget(fd: int, handle: Any, _by_number: Any = _by_number, _remove: Any = _remove) -> None:
    """Unless the number has become another's."""
    found = _by_number.get(fd)
    if found is not None and found._sock == handle:
        _remove(fd, found)
        for sock in found.objects():
            sock._lose()


def close(fd: int) -> bool:
    """Closes what the number stands for; False: nothing of ours. EBADF: another thread is closing it."""
    found = named(fd)
    if found is None:
        return False
    if not _drop(fd, found):
        raise error(-errno.EBADF)
    found.close()
    return True


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
