"""The event loop: the standard selector loop over a poller, with its sockets in a stack.

What opens sockets in it is the standard library's own code, in a namespace of ours: there the name `socket`
is a view of barewire.socket whose sockets live in the stack of the running loop. The standard loops, beside
ours in the same process, keep theirs.
"""

from __future__ import annotations

import asyncio
import functools
import os
from asyncio import base_events, events, exceptions
from types import FunctionType
from typing import Any

from .. import selectors, socket
from .._kernel import socket as _std
from .._transfer import Transfer
from .datagram import _SelectorDatagramTransport
from .stream import _SelectorSocketTransport

OPENERS = (
    "_connect_sock",
    "_getaddrinfo_debug",
    "create_datagram_endpoint",
    "create_server",
    "getaddrinfo",
    "getnameinfo",
)


class Sockets:
    """The module as the loop's code sees it: what a test puts in the place of asyncio's counts here too.
    Its sockets are of the stack, or of the running loop's."""

    def __init__(self, stack: Any = None) -> None:
        self._stack = stack

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module(), name)

    def socket(self, *arguments: Any, **options: Any) -> Any:
        module = self._module()
        if module is not socket:
            return module.socket(*arguments, **options)
        loop: Any = None if self._stack else events.get_running_loop()
        return socket.socket(*arguments, **options, stack=self._stack or loop._stack)

    def _module(self) -> Any:
        theirs: Any = base_events.socket  # type: ignore[attr-defined]
        return socket if theirs is _std else theirs


def namespace(stack: Any = None) -> dict[str, Any]:
    """Where the loop's code finds such a module."""
    return {**vars(base_events), "socket": Sockets(stack)}


_RUNNING = namespace()


def in_namespace(name: str, names: dict[str, Any]) -> Any:
    """A method of the base loop that looks its globals up there."""
    original: Any = vars(base_events.BaseEventLoop)[name]
    made = FunctionType(original.__code__, names, name, original.__defaults__)
    made.__kwdefaults__ = original.__kwdefaults__
    made.__doc__, made.__qualname__ = original.__doc__, f"EventLoop.{name}"
    return made


class EventLoop(asyncio.SelectorEventLoop):
    """A loop whose INET sockets live in `stack` (None: the default one); all else is as asyncio's.

    Another selector than barewire's has nothing to wait on here, and is closed.
    """

    def __init__(self, selector: Any = None, *, stack: Any = None) -> None:
        if selector is not None and not isinstance(selector, selectors._Selector):
            selector.close()
            selector = None
        self._stack = stack
        super().__init__(selector or selectors.DefaultSelector())

    for _name in OPENERS:
        locals()[_name] = in_namespace(_name, _RUNNING)
    del _name

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> Any:
        make: Any = super()._make_socket_transport  # type: ignore[misc]
        if isinstance(sock, Transfer):
            make = functools.partial(_SelectorSocketTransport, self)
        return make(sock, protocol, waiter, extra=extra, server=server)

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        base: Any = super()
        if not isinstance(sock, Transfer):
            return base._make_datagram_transport(sock, protocol, address, waiter, extra)
        return _SelectorDatagramTransport(self, sock, protocol, address, waiter, extra)

    async def sock_accept(self, sock: Any) -> Any:
        """As asyncio's; one that is cancelled when the connection is there already closes it."""
        base: Any = self
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        accepted = self.create_future()
        base._sock_accept(accepted, sock)
        try:
            return await accepted
        except exceptions.CancelledError:
            if accepted.done() and not accepted.cancelled() and not accepted.exception():
                accepted.result()[0].close()
            raise

    def _accept_connection(self, protocol_factory: Any, sock: Any, *arguments: Any) -> None:
        """As asyncio's; what waits in serve_forever() hears that the stack was closed."""
        base: Any = super()
        try:
            base._accept_connection(protocol_factory, sock, *arguments)
        except OSError as exc:
            server = arguments[1] if len(arguments) > 1 else None
            forever = getattr(server, "_serving_forever_fut", None)
            if forever is None or forever.done():
                raise
            forever.set_exception(exc)

    def _sock_accept(self, fut: Any, sock: Any) -> None:
        if not fut.done():  # it may be cancelled in the turn in which the listener is ready
            base: Any = super()
            base._sock_accept(fut, sock)

    async def _sock_sendfile_native(
        self, sock: Any, file: Any, offset: int, count: int | None
    ) -> int:
        """As with sendfile(2), which writes to descriptors: of regular files alone. Here they are read."""
        base: Any = super()
        if not isinstance(sock, Transfer):
            return int(await base._sock_sendfile_native(sock, file, offset, count))
        try:
            size = os.fstat(file.fileno()).st_size
        except (AttributeError, OSError):  # io.UnsupportedOperation is one
            raise exceptions.SendfileNotAvailableError("not a regular file") from None
        if not (count or size):
            return 0
        return int(await base._sock_sendfile_fallback(sock, file, offset, count))
