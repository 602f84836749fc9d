"""Builds barewire.nic_drivers.uring._uring: io_uring with liburing."""

from __future__ import annotations

import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
HERE = "nic_drivers/uring"

ffi = _netdev["extension"](
    "barewire.nic_drivers.uring._uring",
    [f"{HERE}/uring.h"],
    [f"{HERE}/{name}.c" for name in ("setup", "receive", "transmit")],
    devices=_netdev["ffi"],
    libraries=["uring"],
    depends=[f"{HERE}/uring_device.h"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
