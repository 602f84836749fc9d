"""barewire: a userspace TCP/IP stack for Python, and a drop-in `socket` module on top of it.

    with barewire.Stack("tap:tap0", addresses=["198.18.0.2/24"]) as stack:
        s = stack.socket()
        s.connect(("198.18.0.1", 80))

`barewire.socket`, `barewire.select` and `barewire.selectors` are drop-ins for the modules of those
names; `barewire.default_stack()` is where their sockets live. `barewire.run(main())` runs a coroutine as
asyncio.run does, its connections on that stack (`barewire.aio`). `barewire.trace` records and draws
what connections did. They are loaded at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import aio, batch, select, selectors, socket, spsc, trace
    from ._config import Config
    from ._default import default_stack, set_default_stack
    from ._patch import patch, unpatch
    from ._stack import Stack
    from ._tcp_info import TcpInfo
    from .aio import new_event_loop, run
    from .batch import Batch

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "Config",
    "Stack",
    "TcpInfo",
    "__version__",
    "aio",
    "batch",
    "default_stack",
    "new_event_loop",
    "patch",
    "run",
    "select",
    "selectors",
    "set_default_stack",
    "socket",
    "spsc",
    "trace",
    "unpatch",
]

_WHERE = {
    "Batch": "batch",
    "Config": "_config",
    "Stack": "_stack",
    "TcpInfo": "_tcp_info",
    "default_stack": "_default",
    "new_event_loop": "aio",
    "set_default_stack": "_default",
    "patch": "_patch",
    "run": "aio",
    "unpatch": "_patch",
}


def __getattr__(name: str) -> Any:
    if name in ("aio", "batch", "select", "selectors", "socket", "spsc", "trace"):
        return import_module(f".{name}", __name__)
    if name in _WHERE:
        value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
