"""Builds barewire.nic_drivers.dpdk._dpdk: EAL and ethdev; EAL loads the drivers itself."""

from __future__ import annotations

import runpy
import subprocess

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
HERE = "nic_drivers/dpdk"


def pkg_config(flag: str, prefix: str) -> list[str]:
    """The words pkg-config gives for DPDK that begin with `prefix`, without it."""
    words = subprocess.run(
        ["pkg-config", flag, "libdpdk"], capture_output=True, text=True, check=True
    ).stdout.split()
    return [word.removeprefix(prefix) for word in words if word.startswith(prefix)]


ffi = FFI()
ffi.include(_netdev["ffi"])
ffi.cdef(_netdev["cdef_part"](f"{HERE}/dpdk.h"))
ffi.set_source(
    "barewire.nic_drivers.dpdk._dpdk",
    "".join(f'#include "{header}"\n' for header in [*_netdev["HEADERS"], f"{HERE}/dpdk.h"]),
    sources=[f"{HERE}/{name}.c" for name in ("eal", "port", "burst", "device")],
    include_dirs=[".", *pkg_config("--cflags-only-I", "-I")],
    libraries=pkg_config("--libs-only-l", "-l"),
    depends=["nic_drivers/netdev.h", f"{HERE}/dpdk.h", f"{HERE}/dpdk_device.h"],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=["-Wl,--as-needed", *_netdev["LDFLAGS"]],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
