"""A stack in somebody else's loop: connections, servers and endpoints in whichever loop is running.

A `Guest` looks like our loop to the transports: it schedules in the loop that runs, and waits for the
stack's sockets by itself. In one of our loops they are in that loop's own poller. In another (asyncio's,
uvloop's) the guest has a poller, whose one descriptor that loop watches: it is readable while a socket is
ready. Nobody waits in such a poller: the stack's background thread drives, and so does each turn of the loop
that collects or sends.
"""

from __future__ import annotations

import weakref
from asyncio import constants, events, streams
from collections import deque
from types import MethodType
from typing import Any
from weakref import WeakMethod

from .. import selectors
from .loop import OPENERS, EventLoop, in_namespace, namespace

_guests: weakref.WeakValueDictionary[tuple[int, int], Guest] = weakref.WeakValueDictionary()


def opener(stack: Any) -> Any:
    """What opens connections on a stack in the running loop. RuntimeError: none runs; OSError EBADF: the
    stack is closed."""
    loop: Any = events.get_running_loop()
    stack._check()
    if isinstance(loop, EventLoop) and loop._stack is stack:
        return loop
    key = id(loop), id(stack)  # a guest holds both
    guest = _guests.get(key)
    if guest is None:
        guest = _guests[key] = Guest(loop, stack)
    return guest


async def open_connection(
    stack: Any, host: Any = None, port: Any = None, *, limit: int = 2**16, **options: Any
) -> tuple[streams.StreamReader, streams.StreamWriter]:
    """asyncio.open_connection on a stack."""
    loop = opener(stack)  # the streams' too: their start_tls() asks it
    reader = streams.StreamReader(limit=limit, loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **options)
    return reader, streams.StreamWriter(transport, protocol, reader, loop)


async def start_server(
    stack: Any, connected: Any, host: Any = None, port: Any = None, *, limit: int = 2**16,
    **options: Any,
) -> Any:  # fmt: skip
    """asyncio.start_server on a stack."""
    loop = opener(stack)

    def factory() -> streams.StreamReaderProtocol:
        reader = streams.StreamReader(limit=limit, loop=loop)
        return streams.StreamReaderProtocol(reader, connected, loop=loop)

    return await loop.create_server(factory, host, port, **options)


def _of_host(name: str) -> Any:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(self._host, name)(*arguments, **options)

    method.__name__ = name
    return method


def _of_stack(name: str) -> Any:
    def method(self: Any) -> Any:
        return MethodType(in_namespace(name, self._names), self)

    return property(method)


class _Watched(selectors.EpollSelector):
    """A poller whose descriptor a loop watches while there is a socket in it: it is held by that, and so is
    what it tells."""

    def __init__(self, host: Any, turn: Any) -> None:
        super().__init__()
        self._host, self._turn = host, WeakMethod(turn)

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        key = super().register(fileobj, events, data)
        if len(self.get_map()) == 1:
            self._host.add_reader(self.fileno(), self._turn())
        return key

    def unregister(self, fileobj: Any) -> Any:
        key = super().unregister(fileobj)
        if not self.get_map() and not self._host.is_closed():
            self._host.remove_reader(self.fileno())
        return key


class Guest(EventLoop):
    """Our loop as transports know it, inside another one. It never runs by itself.

    It goes, and its poller, with the last of its transports and servers; while one of them waits, another
    loop holds it, until that is closed.
    """

    def __init__(self, host: Any, stack: Any) -> None:
        self._host, self._stack = host, stack
        self._ready: deque[Any] = deque()
        self._names = namespace(stack)
        self._unix_server_sockets: dict[Any, Any] = {}  # the base's from Python 3.13 on; none here
        if isinstance(host, EventLoop):
            shared: Any = host
            self._selector, self._transports = shared._selector, shared._transports
        else:
            self._selector = _Watched(host, self._turn)
            self._transports = weakref.WeakValueDictionary()

    for _name in (
        "call_at",
        "call_exception_handler",
        "call_later",
        "call_soon",
        "call_soon_threadsafe",
        "create_future",
        "create_task",
        "default_exception_handler",
        "get_debug",
        "is_closed",
        "is_running",
        "run_in_executor",
        "time",
    ):
        locals()[_name] = _of_host(_name)
    for _name in OPENERS:
        locals()[_name] = _of_stack(_name)
    del _name

    def _make_socket_transport(self, *arguments: Any, **options: Any) -> Any:
        transport = super()._make_socket_transport(*arguments, **options)
        if isinstance(self._selector, _Watched):  # what is in it, the other loop cannot wait for
            transport._sendfile_compatible = constants._SendfileMode.FALLBACK
        return transport

    def _turn(self) -> None:
        """The descriptor is readable: one batch, told as a turn of a loop of ours would tell it."""
        base: Any = super()
        base._process_events(self._selector.select(0))
        ready = self._ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _check_closed(self) -> None:
        if self._host.is_closed():
            raise RuntimeError("Event loop is closed")

    @property
    def _debug(self) -> bool:
        return bool(self._host.get_debug())

    def close(self) -> None:
        raise RuntimeError(f"{self!r} is closed with its loop")

    def __del__(self) -> None:
        if isinstance(self._selector, _Watched):
            self._selector.close()

    def __repr__(self) -> str:
        return f"<{self._stack!r} in {self._host!r}>"
