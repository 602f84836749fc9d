"""What a program under `barewire run` does that does not work yet: it is told so in one sentence, once.

asyncio and uvloop keep to the kernel's sockets, a forked child has no stack, TLS has no socket of ours to
wrap. Each of these goes from here when it works.
"""

from __future__ import annotations

import functools
import os
import socket as _std
import sys
from collections.abc import Callable
from typing import Any

ASYNCIO = (
    "asyncio's connections and servers are the kernel's, not the stack's: it cannot be moved yet"
)
UVLOOP = "uvloop's connections and servers are the kernel's, not the stack's: it cannot be moved"
FORK = (
    "this program forks, and a child has none of the stack's sockets: run it in one process, with threads"
    " (a server of several processes: without its workers)"
)
TLS = "TLS cannot be had over the stack's sockets yet"
_CALLS = ("create_connection", "create_server", "create_datagram_endpoint")
_told: set[str] = set()
_watching = False


def tell(sentence: str) -> None:
    """On stderr, the first time; nothing where no program is run."""
    if _watching and sentence not in _told:
        _told.add(sentence)
        print(f"barewire run: {sentence}", file=sys.stderr, flush=True)


def watch() -> None:
    """From here on the program is watched."""
    global _watching
    _watching = True
    sys.meta_path.insert(0, _Imports())
    os.register_at_fork(before=lambda: tell(FORK))
    if "asyncio.base_events" in sys.modules:
        _watch_asyncio(sys.modules["asyncio.base_events"])


class _Imports:
    """Finds nothing: sees what is imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "uvloop":
            tell(UVLOOP)
        elif name.startswith("asyncio.") and "asyncio.base_events" in sys.modules:
            _watch_asyncio(sys.modules["asyncio.base_events"])


def _watch_asyncio(module: Any) -> None:
    loop = getattr(module, "BaseEventLoop", None)
    for name in _CALLS if loop is not None else ():
        call = getattr(loop, name)
        if not hasattr(call, "__wrapped__"):
            setattr(loop, name, _telling(call))


def _telling(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def told(*args: Any, **options: Any) -> Any:
        sock = options.get("sock")
        if sock is None or sock.family in (_std.AF_INET, _std.AF_INET6):
            tell(ASYNCIO)
        return await call(*args, **options)

    return told
