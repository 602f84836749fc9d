"""Builds barewire.stack._engine: the engine as one translation unit, and the driver beside it."""

from __future__ import annotations

import glob
import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = _netdev["extension"](
    "barewire.stack._engine",
    ["stack/trace.h", "stack/engine.h", "stack/drive/drive.h"],
    ["stack/engine.c", *sorted(glob.glob("stack/drive/*.c"))],
    devices=_netdev["ffi"],
    depends=[
        *glob.glob("stack/**/*.[ch]", recursive=True),
        *glob.glob("l2/*.h"),
        *glob.glob("nic_drivers/*.h"),
    ],
    flags=["-pthread"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
