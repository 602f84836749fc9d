"""A stack in somebody else's loop: connections, servers and endpoints in whichever loop is running.

A `Guest` looks like our loop to the transports: it schedules in the loop that runs, and waits for the
stack's sockets by itself. In one of our loops they are in that loop's own poller. In another (asyncio's,
uvloop's) the guest has a poller, whose one descriptor that loop watches: it is readable while a socket is
ready. Nobody waits in such a poller: the stack's background thread drives, and so does each turn of the loop
that collects or sends.
"""

from __future__ import annotations

import weakref
from asyncio import events, streams
from collections import deque
from types import MethodType
from typing import Any

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
    loop = events.get_running_loop()
    reader = streams.StreamReader(limit=limit, loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await opener(stack).create_connection(lambda: protocol, host, port, **options)
    return reader, streams.StreamWriter(transport, protocol, reader, loop)


async def start_server(
    stack: Any, connected: Any, host: Any = None, port: Any = None, *, limit: int = 2**16,
    **options: Any,
) -> Any:  # fmt: skip
    """asyncio.start_server on a stack."""
    loop = events.get_running_loop()

    def factory() -> streams.StreamReaderProtocol:
        reader = streams.StreamReader(limit=limit, loop=loop)
        return streams.StreamReaderProtocol(reader, connected, loop=loop)

    return await opener(stack).create_server(factory, host, port, **options)


def _of_host(name: str) -> Any:
    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return getattr(self._host, name)(*arguments, **options)

    method.__name__ = name
    return method


class Guest(EventLoop):
    """Our loop as transports know it, inside another one. It never runs by itself.

    Another loop holds it until that is closed; its poller goes with the last of its transports.
    """

    def __init__(self, host: Any, stack: Any) -> None:
        self._host, self._stack = host, stack
        self._ready: deque[Any] = deque()
        names = namespace(stack)
        for name in OPENERS:
            setattr(self, name, MethodType(in_namespace(name, names), self))
        if isinstance(host, EventLoop):
            shared: Any = host
            self._selector, self._transports = shared._selector, shared._transports
        else:
            self._selector = selectors.EpollSelector()
            self._transports = weakref.WeakValueDictionary()
            host.add_reader(self._selector.fileno(), self._turn)

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
    del _name

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
        pass  # there is nothing that only close() would release

    def __repr__(self) -> str:
        return f"<{self._stack!r} in {self._host!r}>"
