"""Puts barewire's modules in the place of the standard library's, for programs that never heard of it.

It must come before the program's imports: a module that is loaded already keeps the socket module
it took. Of the standard library's, those that barewire's own libraries load are forgotten, so that
the program's import gives it a copy that takes ours; asyncio cannot be loaded twice, and is told
which loop to make (aio/install.py).
"""

from __future__ import annotations

import sys

MODULES = ("socket", "select", "selectors")
LOADED_AGAIN = ("logging.handlers", "ssl")


def patch() -> None:
    """From now on `import socket`, `select` and `selectors` give barewire's, and asyncio its loop."""
    from barewire.nic_drivers import load_drivers
    from barewire.nic_drivers.kernel import pyroute2

    from . import select, selectors, socket

    load_drivers()  # they and their libraries keep the kernel's sockets
    pyroute2()
    replacements = {"socket": socket, "select": select, "selectors": selectors}
    sys.modules.update(replacements)
    for name in LOADED_AGAIN:
        sys.modules.pop(name, None)
    from .aio.install import install

    install()


def unpatch() -> None:
    """From now on the imports give the kernel's modules again, and asyncio its own loop."""
    from . import _kernel
    from .aio.install import uninstall

    for name in MODULES:
        sys.modules[name] = getattr(_kernel, name)
    for name in LOADED_AGAIN:
        sys.modules.pop(name, None)
    uninstall()


def is_patched() -> bool:
    """Whether `import socket` gives barewire's."""
    return getattr(sys.modules.get("socket"), "__name__", "") == "barewire.socket"
