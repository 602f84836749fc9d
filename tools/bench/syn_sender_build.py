"""Builds barewire.tools.bench._syn_sender: the sender of the SYN flood."""

from __future__ import annotations

import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = _netdev["extension"](
    "barewire.tools.bench._syn_sender",
    ["tools/bench/syn_sender.h"],
    ["tools/bench/syn_sender.c"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
