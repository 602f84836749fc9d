"""Builds barewire.nic_drivers.uring._uring: io_uring with liburing."""

from __future__ import annotations

import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
HERE = "nic_drivers/uring"

ffi = FFI()
ffi.include(_netdev["ffi"])
ffi.cdef(_netdev["cdef_part"](f"{HERE}/uring.h"))
ffi.set_source(
    "barewire.nic_drivers.uring._uring",
    "".join(f'#include "{header}"\n' for header in [*_netdev["HEADERS"], f"{HERE}/uring.h"]),
    sources=[f"{HERE}/setup.c", f"{HERE}/receive.c", f"{HERE}/transmit.c"],
    include_dirs=["."],
    libraries=["uring"],
    depends=["nic_drivers/netdev.h", f"{HERE}/uring.h", f"{HERE}/uring_device.h"],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
