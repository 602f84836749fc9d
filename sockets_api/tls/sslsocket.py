"""`ssl.SSLSocket` over a barewire socket: the running Python's own class, with another socket under it.

SSLSocket asks two things of what is below: a socket class by super(), and `_sslobj`, which encrypts. Its
methods are taken as they are, their super() being barewire's socket, and its `_sslobj` is a Channel. So each
method, error and text is the one of the Python that runs. `install()` makes SSLContext.wrap_socket() do this
for barewire sockets, in the process's one `ssl`; the kernel's are wrapped as before.
"""

from __future__ import annotations

import errno
import functools
import ssl
from types import CellType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from .._inet import socket as BarewireSocket
from .._kernel import socket as _std
from .channel import Channel

Standard: Any = ssl.SSLSocket
_standard_create = Standard._create.__func__
_made: WeakKeyDictionary[type, type] = WeakKeyDictionary()


def install() -> None:
    """From now on contexts wrap barewire sockets too. Idempotent."""
    Standard._create = classmethod(_create)


def _create(cls: Any, sock: Any, *arguments: Any, **options: Any) -> Any:
    """SSLSocket._create, for a socket of either kind."""
    if isinstance(sock, BarewireSocket) and not isinstance(sock, _std.socket):
        return over_barewire(cls)._create(sock, *arguments, **options)
    return _standard_create(cls, sock, *arguments, **options)


def over_barewire(standard: type) -> Any:
    """The class with a barewire socket in the place of the kernel's: ssl.SSLSocket's, or a derived one's."""
    if standard is Standard:
        return SSLSocket
    if not issubclass(standard, Standard):
        return standard
    made = _made.get(standard)
    if made is None:
        bases = tuple(over_barewire(base) for base in standard.__bases__)
        made = _made[standard] = _class(standard, bases, {})
    return made


def _class(standard: type, bases: tuple[type, ...], own: dict[str, Any]) -> type:
    """The methods of a class over other bases: what super() means in them is a cell of their closure."""
    cell = CellType()
    space = {
        name: _moved(value, cell)
        for name, value in vars(standard).items()
        if name not in ("__dict__", "__weakref__")
    }
    # As a mock of unittest's: it is an object of the standard class to whoever asks isinstance().
    space["__class__"] = property(lambda self: standard)
    made = type(bases[0])(standard.__name__, bases, {**space, **own})
    cell.cell_contents = made
    return made


def _moved(value: Any, cell: CellType) -> Any:
    if isinstance(value, FunctionType):
        closure = tuple(
            cell if name == "__class__" else old
            for name, old in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        )
        moved = FunctionType(
            value.__code__, value.__globals__, value.__name__, value.__defaults__, closure
        )
        moved.__kwdefaults__ = value.__kwdefaults__
        return functools.update_wrapper(moved, value, updated=("__dict__",))
    if isinstance(value, (classmethod, staticmethod)):
        return type(value)(_moved(value.__func__, cell))
    if isinstance(value, property):
        get, put, delete = (_moved(part, cell) for part in (value.fget, value.fset, value.fdel))
        return property(get, put, delete, value.__doc__)
    return value


class _Below(BarewireSocket):
    """What SSLSocket finds below itself, and what it does otherwise than over the kernel's socket."""

    _connected: bool
    _context: Any
    _session: Any
    _sslobj: Channel | None
    server_side: bool
    server_hostname: str | None
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

    _sendfile_use_send = _std.socket._sendfile_use_send  # type: ignore[attr-defined]
    _check_sendfile_params = _std.socket._check_sendfile_params  # type: ignore[attr-defined]


def _made_of(
    cls: Any, sock: Any, server_side: bool = False, do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True, server_hostname: str | bytes | None = None,
    context: Any = None, session: Any = None,
) -> Any:  # fmt: skip
    """SSLSocket._create over a barewire socket, whose connection and number move into the new object."""
    if sock.type != _std.SOCK_STREAM:
        raise NotImplementedError("only stream sockets are supported")
    if server_side and server_hostname:
        raise ValueError("server_hostname can only be specified in client mode")
    if server_side and session is not None:
        raise ValueError("session can only be specified in client mode")
    if context.check_hostname and not server_hostname:
        raise ValueError("check_hostname requires server_hostname")
    self = object.__new__(cls)
    self._empty()
    self._sslobj, self._context, self._session = None, context, session
    timeout = sock.gettimeout()
    self._move(sock)
    self.settimeout(timeout)
    self.server_side = server_side
    self.server_hostname = context._encode_hostname(server_hostname)
    self.do_handshake_on_connect = do_handshake_on_connect
    self.suppress_ragged_eofs = suppress_ragged_eofs
    self._connected = False
    try:
        self._connected = _is_connected(self)
        if self._connected:
            _begin(self)
            if do_handshake_on_connect:
                if timeout == 0:
                    raise ValueError(
                        "do_handshake_on_connect should not be specified for non-blocking sockets"
                    )
                self.do_handshake()
    except (OSError, ValueError):
        self.close()
        raise
    return self


def _is_connected(self: Any) -> bool:
    """Whether it has a peer; SSLError if that is gone and left bytes, which TLS did not protect."""
    try:
        self.getpeername()
        return True
    except OSError as problem:
        if problem.errno != errno.ENOTCONN:
            raise
    try:
        left = BarewireSocket.recv(self, 1, _std.MSG_DONTWAIT | _std.MSG_PEEK)
    except OSError as problem:
        if problem.errno not in (errno.ENOTCONN, errno.EINVAL, errno.EAGAIN):
            raise
        return False
    if left:
        reason = "Closed before TLS handshake with data in recv buffer."
        refused = ssl.SSLError(errno.ENOTCONN, reason)
        refused.reason, refused.library = reason, None  # type: ignore[assignment]
        raise refused
    return False


def _begin(self: Any, server_side: bool | None = None) -> None:
    side = self.server_side if server_side is None else server_side
    self._sslobj = Channel(self, self._context, side, self.server_hostname, self._session)


def _real_connect(self: Any, addr: Any, connect_ex: bool) -> Any:
    if self.server_side:
        raise ValueError("can't connect in server-side mode")
    if self._connected or self._sslobj is not None:
        raise ValueError("attempt to connect already-connected SSLSocket!")
    _begin(self, server_side=False)
    try:
        failed = BarewireSocket.connect_ex(self, addr) if connect_ex else None
        if not connect_ex:
            BarewireSocket.connect(self, addr)
        if not failed:
            self._connected = True
            if self.do_handshake_on_connect:
                self.do_handshake()
        return failed
    except (OSError, ValueError):
        self._sslobj = None
        raise


SSLSocket: Any = _class(
    Standard,
    (_Below,),
    {
        "_create": classmethod(_made_of),
        "_real_connect": _real_connect,
    },
)
