"""Builds barewire.tools.relay._pump: the relay's loop, on devices of the driver extension."""

from __future__ import annotations

import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = FFI()
ffi.include(_netdev["ffi"])
ffi.cdef(_netdev["cdef_part"]("tools/relay/pump.h"))
ffi.set_source(
    "barewire.tools.relay._pump",
    # an included ffi's types are declared again
    "".join(f'#include "{header}"\n' for header in [*_netdev["HEADERS"], "tools/relay/pump.h"]),
    sources=["tools/relay/pump.c"],
    include_dirs=["."],
    depends=["tools/relay/pump.h", "nic_drivers/netdev.h"],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
