"""Builds barewire.nic_drivers.guard._guard: the SYN guard's program, and loading it with libbpf."""

from __future__ import annotations

import runpy

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
_bpf_array = runpy.run_path("nic_drivers/bpf_object.py")["bpf_array"]
HERE = "nic_drivers/guard"

ffi = _netdev["extension"](
    "barewire.nic_drivers.guard._guard",
    [f"{HERE}/load.h"],
    [f"{HERE}/load.c"],
    text=_bpf_array(f"{HERE}/tun.bpf.c", "guard_object"),
    libraries=["bpf"],
    depends=[
        *(f"{HERE}/{name}" for name in ("guard.h", "guard.bpf.h", "guard_setup.h", "tun.bpf.c")),
        "nic_drivers/libbpf_quiet.h",
    ],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
