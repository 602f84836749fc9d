"""barewire.ssl: the standard library's `ssl`, whose contexts wrap barewire sockets as they wrap the kernel's.

There is one `ssl` in a process. Importing this module, `barewire.patch()` and `barewire run` each make its
SSLContext.wrap_socket() take sockets of both kinds; everything here is the standard module's own.
"""

from __future__ import annotations

import ssl as _std
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import socket as _socket
from .tls.sslsocket import install

install()
globals().update({name: value for name, value in vars(_std).items() if not name.startswith("_")})

_standard: Any = _std.get_server_certificate
get_server_certificate = FunctionType(  # the same, over the default stack
    _standard.__code__,
    {**vars(_std), "create_connection": _socket.create_connection},
    _standard.__name__,
    _standard.__defaults__,
)
get_server_certificate.__doc__ = _standard.__doc__

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
