"""The event loop: the standard selector loop over a poller, with its sockets in a stack.

What opens sockets in it is the standard library's own code, in a namespace of ours: there the name `socket`
is a view of barewire.socket whose sockets live in the stack of the running loop. The standard loops, beside
ours in the same process, keep theirs.
"""

from __future__ import annotations

import asyncio
from asyncio import base_events, events, exceptions
from types import FunctionType
from typing import Any

from .. import selectors, socket
from .._transfer import Transfer

_OPENERS = (
    "_connect_sock",
    "_getaddrinfo_debug",
    "create_datagram_endpoint",
    "create_server",
    "getaddrinfo",
    "getnameinfo",
)


class _Sockets:
    """The module as the loop's code sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    @staticmethod
    def socket(family: int = -1, type: int = -1, proto: int = -1) -> Any:
        return socket.socket(family, type, proto, stack=events.get_running_loop()._stack)  # type: ignore[attr-defined]


_NAMESPACE = {**vars(base_events), "socket": _Sockets()}


def _on_stack(name: str) -> Any:
    """A method of the base loop in that namespace."""
    original: Any = vars(base_events.BaseEventLoop)[name]
    made = FunctionType(original.__code__, _NAMESPACE, name, original.__defaults__)
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

    for _name in _OPENERS:
        locals()[_name] = _on_stack(_name)
    del _name

    async def _sock_sendfile_native(
        self, sock: Any, file: Any, offset: int, count: int | None
    ) -> int:
        """sendfile(2) writes to descriptors: what it reads goes through send() instead."""
        if isinstance(sock, Transfer):
            raise exceptions.SendfileNotAvailableError("a barewire socket has no sendfile(2)")
        sent: int = await super()._sock_sendfile_native(sock, file, offset, count)  # type: ignore[misc]
        return sent
