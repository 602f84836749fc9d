"""Builds barewire.nic_drivers.xdp._xdp: AF_XDP with libxdp and libbpf, and the XDP program in it."""

from __future__ import annotations

import glob
import runpy

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
_bpf_array = runpy.run_path("nic_drivers/bpf_object.py")["bpf_array"]
HERE = "nic_drivers/xdp"


ffi = FFI()
ffi.include(_netdev["ffi"])
ffi.cdef(_netdev["cdef_part"](f"{HERE}/xdp.h"))
ffi.set_source(
    "barewire.nic_drivers.xdp._xdp",
    "".join(f'#include "{header}"\n' for header in [*_netdev["HEADERS"], f"{HERE}/xdp.h"])
    + _bpf_array(f"{HERE}/steer.bpf.c", "xdp_steer_object"),
    sources=[f"{HERE}/{name}.c" for name in ("rings", "setup", "counters", "running")],
    include_dirs=["."],
    libraries=["xdp", "bpf"],
    depends=[
        "nic_drivers/netdev.h",
        f"{HERE}/xdp.h",
        f"{HERE}/xdp_device.h",
        f"{HERE}/steer.h",
        *glob.glob("nic_drivers/guard/*.h"),
    ],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
