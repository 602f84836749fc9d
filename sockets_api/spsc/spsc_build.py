"""Builds barewire.spsc._spsc: the queue between two threads."""

from __future__ import annotations

import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = FFI()
ffi.cdef(_netdev["cdef_part"]("sockets_api/spsc/spsc.h"))
ffi.set_source(
    "barewire.spsc._spsc",
    '#include "sockets_api/spsc/spsc.h"\n',
    sources=["sockets_api/spsc/spsc.c"],
    include_dirs=["."],
    depends=["sockets_api/spsc/spsc.h"],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
