"""The socket class: a drop-in for socket.socket whose AF_INET sockets live in a barewire stack.

Here is its life: opening, connecting, closing, and what it says about itself; _transfer.py moves
the bytes. Other address families are the kernel's business: `socket(AF_UNIX)` gives the kernel's own
object. AF_INET6 is refused rather than passed on, for a socket that quietly bypasses the stack would
be worse.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from operator import index
from typing import TYPE_CHECKING, Any
from weakref import ref

from barewire.stack import ffi, lib

from . import _default, _guard, _limits, _options, _registry, _timeout, _waiting
from ._address import argument, unpack
from ._errors import check, errno_of, error
from ._kernel import socket as _std
from ._transfer import DGRAM, EAGAIN, IN, OUT, STREAM, Transfer

if TYPE_CHECKING:
    from ._tcp_info import TcpInfo

NULL = ffi.NULL
SOCK_MAX = 11  # Linux's; types from there on are no types at all


def _kernel_socket(family: int, type: int, proto: int, fileno: Any) -> Any:
    sock = _std.socket(family, type, proto, fileno)
    default = _timeout.getdefaulttimeout()
    if default is not None and sock.gettimeout() is None:
        sock.settimeout(default)
    return sock


def _engine_type(type: int, proto: int) -> int:
    """SOCK_STREAM or SOCK_DGRAM of the arguments of socket(); errors as the kernel's."""
    kind = type & ~(_std.SOCK_NONBLOCK | _std.SOCK_CLOEXEC)
    protocol = {STREAM: _std.IPPROTO_TCP, DGRAM: _std.IPPROTO_UDP}.get(kind)
    if not 0 <= kind < SOCK_MAX:
        raise error(-errno.EINVAL)
    if protocol is None and kind != _std.SOCK_RAW:
        raise error(-errno.ESOCKTNOSUPPORT)
    if protocol is None or proto not in (0, protocol):
        raise error(-errno.EPROTONOSUPPORT)
    return kind


def _nonblocking(timeout: float | None) -> int:
    """O_NONBLOCK for C: set with every timeout, as CPython does; whether calls wait is another question."""
    return 0 if timeout is None else 1 if timeout else int(lib.BW_NEVER_WAITS)


class SocketMeta(type):
    """Lets isinstance(x, socket) hold for the kernel's sockets too, which socket() may return."""

    def __instancecheck__(cls, instance: Any) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is socket and isinstance(instance, _std.socket)

    def __subclasscheck__(cls, subclass: type) -> bool:
        if type.__subclasscheck__(cls, subclass):
            return True
        return cls is socket and issubclass(subclass, _std.socket)


class socket(Transfer, metaclass=SocketMeta):
    """A TCP or UDP socket over IPv4 in a stack; other families: the kernel's socket.

    `stack` says in which stack (default: barewire._default.default_stack()). The other arguments and
    all methods are those of socket.socket in the standard library, and so are their errors.
    """

    __slots__ = ("__weakref__", "_closed", "_io_refs", "_lost")

    _closed: bool  # by the user; makefile() objects may still hold it
    _io_refs: int
    _lost: bool  # its number was closed, by another

    def __new__(
        cls, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None, *,
        stack: Any = None,
    ) -> Any:  # fmt: skip
        if fileno is None:
            ours = family in (-1, _std.AF_INET)
        else:
            ours = isinstance(fileno, int) and _registry.copied(fileno) is not None
        if not ours and cls is socket and (family != _std.AF_INET6 or fileno is not None):
            return _kernel_socket(family, type, proto, fileno)
        if not ours:
            raise error(-errno.EAFNOSUPPORT)
        self = object.__new__(cls)
        self._empty()
        return self

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: Any = None, *,
        stack: Any = None,
    ) -> None:  # fmt: skip
        if fileno is not None:
            self._take(fileno)
            return
        type, proto = STREAM if type == -1 else index(type), 0 if proto == -1 else index(proto)
        kind = _engine_type(type, proto)
        stack = stack or _default.default_stack()
        self._live(stack, stack.open_handle(kind), kind, proto)
        if type & _std.SOCK_NONBLOCK:
            self.settimeout(0.0)

    def _empty(self) -> None:
        self._host = self._sock = NULL
        self._closed, self._io_refs, self._fileno, self._shared = False, 0, -1, False
        self._lost = False

    def _live(self, stack: Any, handle: Any, kind: int, proto: int) -> None:
        self._stack, self._host = stack, stack.host
        self._sock, self._type, self._proto = handle, kind, proto
        self._timeout = _timeout.getdefaulttimeout()
        self._spin = 0 if self._timeout == 0 else stack.spin_ns
        if self._timeout is not None:
            lib.host_set_nonblocking(self._host, handle, _nonblocking(self._timeout))
        self._retie()

    def _take(self, fd: int) -> None:
        """What the number stands for is this object's too from now on."""
        named = _registry.named(fd)
        if named is None:
            raise error(-errno.EBADF)
        if named.objects():
            named.share()
        self._fileno, self._shared = fd, named.is_shared
        named.users.append(ref(self))
        self._live(named._stack, named._sock, named._type, named._proto)

    def _move(self, sock: socket) -> None:
        """What that object was is this one from now on, under the same number."""
        if sock._fileno >= 0 or not sock._sock:
            self._take(sock.detach())
            return
        self._live(sock._stack, sock._sock, sock._type, sock._proto)
        self._shared = sock._shared
        sock._let_go()

    # ---- opening and closing -----------------------------------------------------------------

    def bind(self, address: Any, /) -> None:
        """Gives the socket its local address; port 0: a free one."""
        where = argument("bind", address)
        _limits.check_port(self._stack.limits, where.port)
        check(lib.host_bind(self._host, self._sock, where))

    def listen(self, backlog: int = min(_std.SOMAXCONN, 128), /) -> None:
        """Accepts connections; backlog: how many may wait for accept()."""
        check(lib.host_listen(self._host, self._sock, max(index(backlog), 0)))

    def accept(self) -> tuple[socket, Any]:
        """(a new socket for the next connection, its peer's address); the new socket blocks."""
        handle = ffi.new("struct bw_sock **")
        peer = ffi.new("struct bw_addr *")
        until = None
        while (answer := lib.host_accept(self._host, self._sock, handle, peer)) < 0:
            until = self._wait(answer, IN, until)
        return adopt(self._stack, handle[0], self._type, self._proto), unpack(ffi.buffer(peer)[:])

    def connect(self, address: Any, /) -> None:
        """Connects to the address; UDP: only remembers it."""
        answer = self._connect(argument("connect", address))
        if answer == EAGAIN and self._timeout:
            raise TimeoutError("timed out")
        check(answer)

    def connect_ex(self, address: Any, /) -> int:
        """As connect, but returns the errno (0: connected; EAGAIN: the timeout is over)."""
        answer = self._connect(argument("connect_ex", address))
        if answer == -lib.BW_FOREIGN:
            raise error(answer)
        return errno_of(answer)

    def _connect(self, addr: Any) -> int:
        answer: int = lib.host_connect(self._host, self._sock, addr)
        pending = answer == -errno.EINPROGRESS and self._blocks()
        if not pending and not (answer == -errno.EALREADY and self._timeout is None):
            return answer
        until = _waiting.deadline(self._stack, self._limit(OUT))
        if not _waiting.wait_one(self._stack, self._sock, OUT, until):
            return EAGAIN if self._timeout else answer  # by SO_SNDTIMEO: it goes on by itself
        if (
            self._timeout is None
        ):  # as connect(2) waited: it tells of the end itself, once, and begins none
            return int(lib.host_connect(self._host, self._sock, NULL))
        failed: int = check(lib.host_take_error(self._host, self._sock))
        return -failed

    def shutdown(self, how: int, /) -> None:
        """Ends one direction or both: SHUT_RD, SHUT_WR, SHUT_RDWR."""
        check(lib.host_shutdown(self._host, self._sock, how))

    def close(self) -> None:
        """Lets go of the socket, once its makefile() objects are closed as well.

        What was sent is still delivered; the stack goes on with that by itself. With SO_LINGER it
        waits for that so many seconds at most (but not in the thread that polls a stack in virtual
        time, which would wait for itself).
        """
        self._closed = True
        if self._io_refs <= 0:
            try:
                if self._sock and self._type == STREAM:
                    self._linger()
            finally:
                self._real_close()

    def _linger(self) -> None:
        stack, seconds = self._stack, ffi.new("int64_t *")
        if lib.host_getopt(self._host, self._sock, lib.BW_OPT_LINGER, seconds):
            return
        if seconds[0] in (0, _options.LINGER_OFF):
            return
        if stack.is_virtual and stack.polling_thread == threading.get_ident():
            return
        if lib.host_queued_bytes(self._host, self._sock, 0):
            return  # unread data: closing resets
        if lib.host_shutdown(self._host, self._sock, _std.SHUT_WR) == 0:
            endless = seconds[0] == _options.LINGER_ENDLESS
            until = _waiting.deadline(stack, None if endless else seconds[0])
            _waiting.wait_one(stack, self._sock, lib.BW_DRAINED, until)

    def _real_close(
        self, _close: Any = lib.host_sock_close, _forget: Any = _registry.forget
    ) -> None:
        # Uses no globals: it may run while the interpreter ends.
        if self._lost:
            self._lost, self._fileno = False, -1
            raise OSError(self._EBADF, "Bad file descriptor")
        host, handle = self._host, self._sock
        self._host = self._sock = self._NULL  # the stack may go before this object does
        self._tie()
        if self._fileno >= 0:
            _forget(self._fileno, handle)
            self._fileno = -1
        if handle:
            _close(host, handle)

    _NULL, _EBADF = NULL, errno.EBADF

    def _lose(self) -> None:
        """The number was closed, by another object or by number: close() will say so."""
        self._host = self._sock = self._NULL
        self._tie()
        self._lost = True

    def _decref_socketios(self) -> None:
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._sock:
            try:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            finally:  # a filter may make an error of the warning
                self._real_close()

    def detach(self) -> int:
        """Gives up the object, not the connection; the number under which it lives on.

        socket(fileno=number) takes it over, barewire.socket.close(number) closes it. -1 if closed.
        """
        fd = self.fileno()
        self._let_go()
        return fd

    def _let_go(self) -> None:
        self._host = self._sock = NULL
        self._tie()
        self._closed, self._fileno = True, -1

    def dup(self) -> socket:
        """Another object of the same open description, with a number of its own: the socket is closed with
        the last of them. O_NONBLOCK is theirs together, the timeout each object's."""
        fd = _registry.duplicate(self)
        self._share()
        named = _registry.named(self._fileno)
        if named is not None:
            named.share()
        made = self.__class__(self.family, self.type, self.proto, fileno=fd)
        made.settimeout(self.gettimeout())
        return made

    # ---- what it is --------------------------------------------------------------------------

    def fileno(self) -> int:
        """A descriptor that foreign select, poll and epoll can wait on; -1 if closed.

        It shows readiness only. Foreign code that reads or writes it resets the connection (ECONNABORTED),
        and a log line of `barewire` says so.
        """
        if self._fileno < 0 and self._sock:
            self._fileno = check(lib.host_sock_fileno(self._host, self._sock))
            _registry.remember(self._fileno, self)
        return self._fileno

    def getsockname(self) -> Any:
        """The local address."""
        addr = ffi.new("struct bw_addr *")
        check(lib.host_sockname(self._host, self._sock, addr))
        return unpack(ffi.buffer(addr)[:])

    def getpeername(self) -> Any:
        """The peer's address; OSError ENOTCONN without one."""
        addr = ffi.new("struct bw_addr *")
        check(lib.host_peername(self._host, self._sock, addr))
        return unpack(ffi.buffer(addr)[:])

    def getsockopt(self, level: int, optname: int, buflen: int = 0, /) -> Any:
        """An option as int, or as its first buflen bytes."""
        return _options.getsockopt(self, level, optname, buflen)

    def setsockopt(
        self, level: int, optname: int, value: Any, optlen: int | None = None, /
    ) -> None:
        """Sets an option from an int or from bytes."""
        _options.setsockopt(self, level, optname, value, optlen)

    def tcp_info(self) -> TcpInfo:
        """What TCP_INFO says (tcp(7)), as an object. UDP: OSError EOPNOTSUPP."""
        from ._tcp_info import TcpInfo  # few programs need it, and it is slow to make

        return TcpInfo.from_bytes(_options.tcp_info(self))

    def settrace(self, on: bool, /) -> None:
        """Records what this connection does from here on (`Stack.trace()` gives the records), or a
        listener's future connections do; or no more. UDP: OSError ENOPROTOOPT."""
        check(lib.host_setopt(self._host, self._sock, lib.BW_OPT_TRACE, bool(on)))

    def settimeout(self, value: float | None, /) -> None:
        """Seconds a call may block; None: without end, 0: not at all."""
        seconds = _timeout.seconds_of(value)
        self._timeout = seconds
        check(
            lib.host_set_nonblocking(self._host, self._sock, _nonblocking(seconds))
        )  # EBADF once closed
        self._spin = 0 if seconds == 0 else self._stack.spin_ns
        self._retie()

    def gettimeout(self) -> float | None:
        return self._timeout

    def setblocking(self, flag: bool, /) -> None:
        """True: calls block without end; False: not at all."""
        self.settimeout(None if _timeout.is_blocking(flag) else 0.0)

    def getblocking(self) -> bool:
        return self._timeout != 0

    def get_inheritable(self) -> bool:
        return os.get_inheritable(self.fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Of the descriptor only: the connection stays with the process that made the stack."""
        os.set_inheritable(self.fileno(), inheritable)

    def makefile(
        self, mode: str = "r", buffering: int | None = None, *, encoding: str | None = None,
        errors: str | None = None, newline: str | None = None,
    ) -> Any:  # fmt: skip
        """A file object over the socket; the arguments are open()'s, mode of 'r', 'w', 'b'."""
        make: Any = _std.socket.makefile  # asks for nothing but recv_into, send and _io_refs
        return make(self, mode, buffering, encoding=encoding, errors=errors, newline=newline)

    @property
    def family(self) -> Any:
        return _std.AF_INET

    @property
    def type(self) -> Any:
        return _std.SocketKind(self._type)

    @property
    def proto(self) -> int:
        return self._proto

    @property
    def timeout(self) -> float | None:
        return self._timeout

    def __enter__(self) -> socket:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not self._closed:
            self.close()

    def __repr__(self) -> str:
        name = f"{self.__class__.__module__}.{self.__class__.__qualname__}"
        state = " [closed]" if self._closed else ""
        text = f"<{name}{state} fd={self._fileno}, family={self.family}, type={self.type}, "
        text += f"proto={self._proto}"
        for label, method in (("laddr", self.getsockname), ("raddr", self.getpeername)):
            try:
                text += f", {label}={method()}"
            except OSError:
                pass
        return text + ">"

    def __getstate__(self) -> Any:
        _guard.tell(_guard.OTHER_PROCESS)
        raise TypeError(f"cannot pickle {self.__class__.__name__!r} object")


socket.__module__ = "barewire.socket"


def adopt(stack: Any, handle: Any, kind: int, proto: int = 0) -> socket:
    """The Python object for a handle that C gave out."""
    sock: socket = object.__new__(socket)
    sock._empty()
    sock._live(stack, handle, kind, proto)
    return sock
