"""Builds barewire.stack._engine: the engine as one translation unit, and the driver beside it."""

from __future__ import annotations

import glob
import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")

ffi = FFI()
ffi.include(_netdev["ffi"])
ffi.cdef(_netdev["cdef_part"]("stack/trace.h"))
ffi.cdef(_netdev["cdef_part"]("stack/engine.h"))
ffi.cdef(_netdev["cdef_part"]("stack/drive/drive.h"))
ffi.set_source(
    "barewire.stack._engine",
    # an included ffi's types are declared again, the devices' too
    "".join(f'#include "{header}"\n' for header in [*_netdev["HEADERS"], "stack/drive/drive.h"]),
    sources=["stack/engine.c", *sorted(glob.glob("stack/drive/*.c"))],
    include_dirs=["."],
    depends=[
        *glob.glob("stack/**/*.[ch]", recursive=True),
        *glob.glob("l2/*.h"),
        *glob.glob("nic_drivers/*.h"),
    ],
    extra_compile_args=[*_netdev["CFLAGS"], "-pthread"],
    extra_link_args=[*_netdev["LDFLAGS"], "-pthread"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
