"""Builds barewire.tools.bench._echo_client: the client of the event loops."""

from __future__ import annotations

import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = _netdev["extension"](
    "barewire.tools.bench._echo_client",
    ["tools/bench/echo_client.h"],
    ["tools/bench/echo_client.c"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
