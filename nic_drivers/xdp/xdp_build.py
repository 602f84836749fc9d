"""Builds barewire.nic_drivers.xdp._xdp: AF_XDP with libxdp and libbpf, and the XDP program in it."""

from __future__ import annotations

import glob
import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
_bpf_array = runpy.run_path("nic_drivers/bpf_object.py")["bpf_array"]
HERE = "nic_drivers/xdp"

ffi = _netdev["extension"](
    "barewire.nic_drivers.xdp._xdp",
    [f"{HERE}/xdp.h"],
    [f"{HERE}/{name}.c" for name in ("rings", "setup", "program", "group", "counters", "running")],
    devices=_netdev["ffi"],
    text=_bpf_array(f"{HERE}/steer.bpf.c", "xdp_steer_object"),
    libraries=["xdp", "bpf"],
    depends=[
        *(f"{HERE}/{name}" for name in ("xdp_device.h", "steer.h", "steer.bpf.c")),
        *glob.glob("nic_drivers/guard/*.h"),
        "nic_drivers/libbpf_quiet.h",
        "nic_drivers/toeplitz.h",
    ],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
