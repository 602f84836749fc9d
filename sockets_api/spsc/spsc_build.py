"""Builds barewire.spsc._spsc: the queue between two threads."""

from __future__ import annotations

import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = _netdev["extension"](
    "barewire.spsc._spsc", ["sockets_api/spsc/spsc.h"], ["sockets_api/spsc/spsc.c"]
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
