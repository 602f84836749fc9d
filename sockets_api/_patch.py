"""Puts barewire's modules and what is in them in the place of the standard library's.

What a module has taken by name is replaced where it lies: in every loaded module, what *is* the standard
library's socket class, create_connection or module becomes barewire's, and so for `select` and `selectors`.
It does not matter when a program patches. barewire's own modules, and the libraries that configure
the kernel for it, keep the kernel's; asyncio is aio/install.py's.
Classes that were derived from the kernel's socket before stay what they are: a warning names them.
"""

from __future__ import annotations

import logging
import sys
from types import ModuleType
from typing import Any

log = logging.getLogger("barewire")

MODULES = ("socket", "select", "selectors")
KEEP = ("barewire", "pyroute2", "asyncio", "_socket", *MODULES)  # packages with the kernel's own


def patch() -> None:
    """From now on `import socket`, `select` and `selectors` give barewire's, `ssl` wraps its sockets,
    asyncio makes its loop, and modules that are loaded have them.

    A second call replaces what was loaded since.
    """
    from barewire.nic_drivers import load_drivers
    from barewire.nic_drivers.kernel import pyroute2

    from .aio.install import install as install_loop
    from .tls.sslsocket import install as install_tls

    load_drivers()  # they and their libraries keep the kernel's sockets
    pyroute2()
    install_tls()
    theirs, ours = _modules()
    sys.modules.update(ours)
    _replace(_pairs(theirs, ours))
    _warn_of_derived(theirs["socket"].socket)
    install_loop()


def unpatch() -> None:
    """From now on the imports give the kernel's modules again, and what patch() replaced is as before.

    Sockets that exist stay what they are.
    """
    from .aio.install import uninstall

    theirs, ours = _modules()
    sys.modules.update(theirs)
    _replace(_pairs(ours, theirs))
    uninstall()


def is_patched() -> bool:
    """Whether `import socket` gives barewire's."""
    return getattr(sys.modules.get("socket"), "__name__", "") == "barewire.socket"


def _modules() -> tuple[dict[str, ModuleType], dict[str, ModuleType]]:
    from . import _kernel, select, selectors, socket

    theirs = {name: getattr(_kernel, name) for name in MODULES}
    return theirs, {"socket": socket, "select": select, "selectors": selectors}


def _pairs(old: dict[str, ModuleType], new: dict[str, ModuleType]) -> dict[int, tuple[Any, Any]]:
    """What is replaced by what, by the identity of the old: the modules and what differs in them."""
    pairs = {id(old[name]): (old[name], new[name]) for name in MODULES}
    for name in MODULES:
        for attribute, value in vars(old[name]).items():
            other = getattr(new[name], attribute, value)
            if not attribute.startswith("_") and callable(value) and other is not value:
                pairs.setdefault(id(value), (value, other))
    return pairs


def _replace(pairs: dict[int, tuple[Any, Any]]) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in KEEP or not isinstance(module, ModuleType):
            continue
        for attribute, value in list(vars(module).items()):
            if id(value) in pairs and not attribute.startswith("__"):
                setattr(module, attribute, pairs[id(value)][1])


def _warn_of_derived(standard: type) -> None:
    subclasses: list[type] = standard.__subclasses__()
    derived = [
        f"{cls.__module__}.{cls.__qualname__}"
        for cls in subclasses
        if cls.__module__.partition(".")[0] not in (*KEEP, "ssl")
    ]
    if derived:
        names = ", ".join(derived)
        log.warning("patch() came after these classes: they stay the kernel's sockets: %s", names)
