"""Gives barewire's loop to programs that know nothing of it: what asyncio and uvloop make is ours.

The names are replaced where asyncio's own functions look them up, so that `asyncio.run`, `Runner`,
`new_event_loop` and every policy give ours, also to libraries that were loaded before. pyroute2, which
barewire configures the kernel with, keeps the standard loop.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import logging
import sys
import types
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from .loop import EventLoop

log = logging.getLogger("barewire")

_POLICY: Any = asyncio.unix_events._UnixDefaultEventLoopPolicy
_STANDARD: Any = _POLICY._loop_factory
_NAMES = ("SelectorEventLoop", "EventLoop")  # the second from Python 3.13 on
_MODULES = ("base_events", "selector_events", "sslproto", "streams", "trsock", "unix_events")


def install() -> None:
    """From now on what makes a loop makes one on the default stack. Idempotent."""
    _POLICY._loop_factory = EventLoop
    _rename(_STANDARD, EventLoop)
    _share_modules()
    _leave_pyroute2()
    if _uvloop not in sys.meta_path:
        sys.meta_path.insert(0, _uvloop)
    if "uvloop" in sys.modules:
        _take(sys.modules["uvloop"])


def uninstall() -> None:
    """asyncio and uvloop make their own loops again."""
    _POLICY._loop_factory = _STANDARD
    _rename(EventLoop, _STANDARD)
    _share_modules()
    if _uvloop in sys.meta_path:
        sys.meta_path.remove(_uvloop)
    while _taken:
        _set_makers(*_taken.popitem()[1])


def _rename(old: Any, new: Any) -> None:
    for module in (asyncio, asyncio.unix_events):
        for name in _NAMES:
            if getattr(module, name, None) is old:
                setattr(module, name, new)


def _share_modules() -> None:
    """asyncio's own code has the `socket` and `ssl` that the program gets: a loop of the program's own,
    derived from asyncio's, opens the stack's sockets, and a context is known by its class."""
    for name in ("socket", "ssl"):
        shared = import_module(name)
        for place in _MODULES:
            module = sys.modules.get(f"asyncio.{place}")
            if hasattr(module, name):
                setattr(module, name, shared)


def _leave_pyroute2() -> None:
    core: Any = sys.modules.get("pyroute2.netlink.core")
    if core is not None and getattr(core, "asyncio", None) is asyncio:
        core.asyncio = types.ModuleType("asyncio")
        core.asyncio.__dict__.update(vars(asyncio), new_event_loop=_STANDARD)


# ---- uvloop --------------------------------------------------------------------------------------


class _Finder:
    """Finds uvloop as it would be found, and takes it over when it is loaded."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "uvloop" else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._real.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        self._real.exec_module(module)
        _take(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


_uvloop: Any = _Finder()


_taken: dict[str, tuple[Any, Any, Any]] = {}  # uvloop, its Loop and its new_event_loop


def _take(module: Any) -> None:
    """uvloop's install(), policy and run() make their loops by these names."""
    if module.Loop is not EventLoop:
        _taken["uvloop"] = module, module.Loop, module.new_event_loop
        _set_makers(module, EventLoop, _instead_of_uvloop)


def _set_makers(module: Any, loop: Any, make: Any) -> None:
    module.Loop, module.new_event_loop = loop, make
    run = getattr(module, "run", None)
    if run is not None:
        run.__kwdefaults__["loop_factory"] = make


_told = False


def _instead_of_uvloop() -> EventLoop:
    global _told
    if not _told:
        _told = True
        log.warning("uvloop's loops are the kernel's: the program gets barewire's instead")
    return EventLoop()
