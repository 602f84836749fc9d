"""Builds barewire.nic_drivers.guard._guard: the SYN guard's program, and loading it with libbpf."""

from __future__ import annotations

import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
_bpf_array = runpy.run_path("nic_drivers/bpf_object.py")["bpf_array"]
HERE = "nic_drivers/guard"

ffi = FFI()
ffi.cdef(_netdev["cdef_part"](f"{HERE}/load.h"))
ffi.set_source(
    "barewire.nic_drivers.guard._guard",
    f'#include "{HERE}/load.h"\n' + _bpf_array(f"{HERE}/tun.bpf.c", "guard_object"),
    sources=[f"{HERE}/load.c"],
    include_dirs=["."],
    libraries=["bpf"],
    depends=[f"{HERE}/{name}" for name in ("guard.h", "guard.bpf.h", "guard_setup.h", "load.h")],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
