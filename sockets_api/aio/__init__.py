"""barewire.aio: asyncio on a stack.

`EventLoop` is the loop; `new_event_loop` and `run` make one on the default stack, or on another. What
`barewire run` gives to programs that know nothing of it stands in install.py.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Coroutine
from typing import Any, TypeVar

from .loop import EventLoop

__all__ = ["EventLoop", "new_event_loop", "run"]

T = TypeVar("T")


def new_event_loop(stack: Any = None) -> EventLoop:
    """A loop whose connections, servers and endpoints live in a stack (None: the default one)."""
    return EventLoop(stack=stack)


def run(main: Coroutine[Any, Any, T], *, stack: Any = None, debug: bool | None = None) -> T:
    """asyncio.run() with a loop on a stack (None: the default one). RuntimeError where a loop runs."""
    if events._get_running_loop() is not None:
        raise RuntimeError("barewire.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=lambda: EventLoop(stack=stack)) as runner:
        return runner.run(main)
