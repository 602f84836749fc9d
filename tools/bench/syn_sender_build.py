"""Builds barewire.tools.bench._syn_sender: the sender of the SYN flood."""

from __future__ import annotations

import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = FFI()
ffi.cdef(_netdev["cdef_part"]("tools/bench/syn_sender.h"))
ffi.set_source(
    "barewire.tools.bench._syn_sender",
    '#include "tools/bench/syn_sender.h"\n',
    sources=["tools/bench/syn_sender.c"],
    include_dirs=["."],
    depends=["tools/bench/syn_sender.h"],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
