"""Builds barewire.tools.relay._pump: the relay's loop, on devices of the driver extension."""

from __future__ import annotations

import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = _netdev["extension"](
    "barewire.tools.relay._pump",
    ["tools/relay/pump.h"],
    ["tools/relay/pump.c"],
    devices=_netdev["ffi"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
