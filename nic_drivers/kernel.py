"""The kernel's own modules: drivers are loaded late, and `select` and `socket` may be others by then."""

from __future__ import annotations

import select
import selectors
import socket
import sys
from importlib import import_module
from typing import Any

__all__ = ["pyroute2", "select", "socket"]

_OURS = {"select": select, "selectors": selectors, "socket": socket}


def pyroute2() -> Any:
    """The library, loaded at its first use: it takes longer than all the rest. It keeps the kernel's modules,
    and so does asyncio, which it brings."""
    if "pyroute2" in sys.modules:
        return sys.modules["pyroute2"]
    swapped = {name: sys.modules[name] for name in _OURS if name in sys.modules}
    sys.modules.update(_OURS)
    try:
        return import_module("pyroute2")
    finally:
        sys.modules.update(swapped)
