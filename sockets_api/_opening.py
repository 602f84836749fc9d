"""What a stack opens: sockets, event loops, and connections and servers in two ways.

With a protocol factory `create_connection` and `create_server` are those of an asyncio loop, as are
`open_connection`, `start_server` and `create_datagram_endpoint`: coroutines, in whichever loop runs
(asyncio's, uvloop's, ours). With an address they are the `socket` module's, and block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from . import _kernel

if TYPE_CHECKING:
    from asyncio import Server, StreamReader, StreamWriter
    from collections.abc import Callable, Coroutine

    from .aio import EventLoop
    from .socket import socket as Socket


class Opening:
    """The part of a Stack that opens."""

    __slots__ = ()

    def _check(self) -> None:
        raise NotImplementedError

    def socket(self, family: int = 2, type: int = 1, proto: int = 0) -> Socket:
        """A socket of this stack: a drop-in for `socket.socket(family, type, proto)`."""
        self._check()
        from .socket import socket

        return socket(family, type, proto, stack=self)

    # ---- asyncio -----------------------------------------------------------------------------

    def new_event_loop(self) -> EventLoop:
        """An asyncio loop whose connections, servers and endpoints live here; it fits
        asyncio.Runner(loop_factory=stack.new_event_loop)."""
        self._check()
        from .aio import EventLoop

        return EventLoop(stack=self)

    async def open_connection(
        self, host: Any = None, port: Any = None, **options: Any
    ) -> tuple[StreamReader, StreamWriter]:
        """As asyncio.open_connection, on this stack, in the running loop."""
        from .aio import foreign

        return await foreign.open_connection(self, host, port, **options)

    async def start_server(
        self, client_connected_cb: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Server:
        """As asyncio.start_server, on this stack, in the running loop."""
        from .aio import foreign

        server: Server = await foreign.start_server(
            self, client_connected_cb, host, port, **options
        )
        return server

    async def create_datagram_endpoint(
        self, protocol_factory: Callable[[], Any], *arguments: Any, **options: Any
    ) -> tuple[Any, Any]:
        """As loop.create_datagram_endpoint, on this stack, in the running loop."""
        made: tuple[Any, Any] = await self._in_loop(
            "create_datagram_endpoint", protocol_factory, *arguments, **options
        )
        return made

    async def _in_loop(self, name: str, *arguments: Any, **options: Any) -> Any:
        from .aio import foreign

        return await getattr(foreign.opener(self), name)(*arguments, **options)

    # ---- either ------------------------------------------------------------------------------

    @overload
    def create_connection(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> Socket: ...
    @overload
    def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> Coroutine[Any, Any, tuple[Any, Any]]: ...
    def create_connection(self, *arguments: Any, **options: Any) -> Any:
        """As `socket.create_connection`, on this stack; timeout None waits for ever. With a protocol factory:
        as loop.create_connection, in the running loop."""
        if _has_factory(arguments, options):
            return self._in_loop("create_connection", *arguments, **options)
        return self._connect(*arguments, **options)

    @overload
    def create_server(
        self, address: tuple[str, int], *, backlog: int | None = None, reuse_port: bool = False
    ) -> Socket: ...
    @overload
    def create_server(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> Coroutine[Any, Any, Server]: ...
    def create_server(self, *arguments: Any, **options: Any) -> Any:
        """As `socket.create_server`, on this stack. With a protocol factory: as loop.create_server, in the
        running loop."""
        if _has_factory(arguments, options):
            return self._in_loop("create_server", *arguments, **options)
        return self._serve(*arguments, **options)

    def _connect(
        self,
        address: tuple[str, int],
        timeout: float | None = None,
        source_address: tuple[str, int] | None = None,
    ) -> Socket:
        sock = self.socket()
        try:
            sock.settimeout(timeout)
            if source_address:
                sock.bind(source_address)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _serve(
        self, address: tuple[str, int], *, backlog: int | None = None, reuse_port: bool = False
    ) -> Socket:
        kernel = _kernel.socket
        sock = self.socket()
        try:
            sock.setsockopt(kernel.SOL_SOCKET, kernel.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(kernel.SOL_SOCKET, kernel.SO_REUSEPORT, 1)
            sock.bind(address)
            sock.listen() if backlog is None else sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
        return sock


def _has_factory(arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    return "protocol_factory" in options or callable(next(iter(arguments), None))
