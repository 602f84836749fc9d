"""Builds barewire.nic_drivers.dpdk._dpdk: EAL and ethdev; EAL loads the drivers itself."""

from __future__ import annotations

import runpy
import subprocess

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
HERE = "nic_drivers/dpdk"


def pkg_config(flag: str, prefix: str) -> list[str]:
    """The words pkg-config gives for DPDK that begin with `prefix`, without it."""
    words = subprocess.run(
        ["pkg-config", flag, "libdpdk"], capture_output=True, text=True, check=True
    ).stdout.split()
    return [word.removeprefix(prefix) for word in words if word.startswith(prefix)]


ffi = _netdev["extension"](
    "barewire.nic_drivers.dpdk._dpdk",
    [f"{HERE}/dpdk.h"],
    [f"{HERE}/{name}.c" for name in ("eal", "port", "burst", "device")],
    devices=_netdev["ffi"],
    libraries=pkg_config("--libs-only-l", "-l"),
    include_dirs=pkg_config("--cflags-only-I", "-I"),
    depends=[f"{HERE}/dpdk_device.h"],
    link_flags=["-Wl,--as-needed"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
