"""barewire.socket: a drop-in for the standard library's `socket` module.

IPv4 sockets live in a barewire stack; names are resolved without asking the kernel's network; every
constant, exception and helper that has nothing to do with a network is the standard module's own.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from . import _default, _registry
from ._inet import socket
from ._kernel import socket as _std
from ._resolve import (
    getaddrinfo,
    getfqdn,
    gethostbyaddr,
    gethostbyname,
    gethostbyname_ex,
    getnameinfo,
)
from ._timeout import getdefaulttimeout, setdefaulttimeout

__all__ = [  # what is ours; the rest of the standard module's names follow at the end
    "SocketType",
    "close",
    "create_connection",
    "create_server",
    "dup",
    "fromfd",
    "getaddrinfo",
    "getdefaulttimeout",
    "getfqdn",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "getnameinfo",
    "has_dualstack_ipv6",
    "has_ipv6",
    "if_indextoname",
    "if_nameindex",
    "if_nametoindex",
    "setdefaulttimeout",
    "socket",
    "socketpair",
]

has_ipv6 = False
SocketType = socket

_GLOBAL_DEFAULT_TIMEOUT: Any = _std._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]


def has_dualstack_ipv6() -> bool:
    """False: a socket here speaks one family."""
    return False


# ---- opening -------------------------------------------------------------------------------------


def create_connection(
    address: tuple[Any, Any],
    timeout: Any = _GLOBAL_DEFAULT_TIMEOUT,
    source_address: tuple[Any, int] | None = None,
    *,
    all_errors: bool = False,
) -> socket:
    """A TCP socket connected to the first address of (host, port) that answers.

    timeout: seconds for each attempt, and of the socket after it. Errors: the last attempt's, or
    with all_errors an ExceptionGroup of all.
    """
    host, port = address
    errors: list[OSError] = []
    for family, kind, proto, _, where in getaddrinfo(host, port, 0, _std.SOCK_STREAM):
        sock = None
        try:
            sock = socket(family, kind, proto)
            if timeout is not _GLOBAL_DEFAULT_TIMEOUT:
                sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(where)
            return sock
        except OSError as problem:
            errors.append(problem)
            if sock is not None:
                sock.close()
    try:
        if not errors:
            raise OSError("getaddrinfo returns an empty list")
        if all_errors:
            raise ExceptionGroup("create_connection failed", errors)
        raise errors[-1]
    finally:
        errors.clear()  # the list and its tracebacks hold each other


def create_server(
    address: tuple[Any, ...],
    *,
    family: int = _std.AF_INET,
    backlog: int | None = None,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> socket:
    """A TCP socket bound to the address, listening, with SO_REUSEADDR set."""
    if dualstack_ipv6:
        raise ValueError("dualstack_ipv6 not supported on this platform")
    sock = socket(family, _std.SOCK_STREAM)
    try:
        sock.setsockopt(_std.SOL_SOCKET, _std.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(_std.SOL_SOCKET, _std.SO_REUSEPORT, 1)
        try:
            sock.bind(address)
        except OSError as problem:
            said = f"{problem.strerror} (while attempting to bind on address {address!r})"
            raise OSError(problem.errno, said) from None
        if backlog is None:
            sock.listen()
        else:
            sock.listen(backlog)
        return sock
    except BaseException:
        sock.close()
        raise


def socketpair(
    family: int | None = None, type: int = _std.SOCK_STREAM, proto: int = 0
) -> tuple[Any, Any]:
    """Two sockets joined to each other: the kernel's AF_UNIX, or with AF_INET a connection over the
    stack's loopback."""
    if family != _std.AF_INET:
        return _std.socketpair(family, type, proto)
    if type != _std.SOCK_STREAM or proto not in (0, _std.IPPROTO_TCP):
        raise OSError(errno.EOPNOTSUPP, "an AF_INET pair is SOCK_STREAM")
    with socket(family, type, proto) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        one = socket(family, type, proto)
        try:
            one.connect(listener.getsockname())
            while True:
                other, peer = listener.accept()
                if peer == one.getsockname():
                    return one, other
                other.close()  # somebody else was faster
        except BaseException:
            one.close()
            raise


# ---- descriptor numbers --------------------------------------------------------------------------


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> Any:
    """A socket of a duplicate of a descriptor, the kernel's or one of barewire's."""
    return socket(family, type, proto, dup(fd))


def dup(fd: int) -> int:
    """A duplicate of a socket's descriptor, the kernel's or one of barewire's."""
    named = _registry.copied(fd)
    if named is None:
        return int(_std.dup(fd))
    named.share()
    return _registry.duplicate(named)


def close(fd: int) -> None:
    """Closes a socket by number: one of the kernel's, or a barewire socket."""
    if not _registry.close(fd):
        _std.close(fd)


# ---- interfaces of the default stack -------------------------------------------------------------


def if_nameindex() -> list[tuple[int, str]]:
    """(index, name) of the default stack's interfaces."""
    return [(i.index, i.name) for i in _default.default_stack().interfaces]


def if_nametoindex(name: str) -> int:
    """The index of an interface of the default stack; OSError if there is none of that name."""
    for index, known in if_nameindex():
        if known == name:
            return index
    raise OSError("no interface with this name")


def if_indextoname(index: int) -> str:
    """The name of an interface of the default stack; OSError ENXIO if there is none there."""
    for known, name in if_nameindex():
        if known == index:
            return name
    raise OSError(errno.ENXIO, "No such device or address")


# The rest is the standard module's, private names too: its users reach for some of them.
__all__ += [name for name in _std.__all__ if name not in __all__]
globals().update({name: value for name, value in vars(_std).items() if name not in globals()})

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
