"""Builds barewire.nic_drivers.xdp._xdp: AF_XDP with libxdp and libbpf, and the XDP program in it."""

from __future__ import annotations

import os
import runpy
import subprocess
import tempfile

from cffi import FFI

_netdev = runpy.run_path("nic_drivers/netdev_build.py")
HERE = "nic_drivers/xdp"


def steer_object() -> str:
    """The compiled XDP program as a C array (xdp_device.h): the wheel carries it in the extension."""
    machine = subprocess.run(
        ["gcc", "-print-multiarch"], capture_output=True, text=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "steer.o")
        include = f"/usr/include/{machine.stdout.strip()}"
        flags = ["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-I", include]
        subprocess.run(["clang", *flags, "-c", f"{HERE}/steer.bpf.c", "-o", path], check=True)
        with open(path, "rb") as file:
            data = file.read()
    lines = [", ".join(map(str, data[i : i + 24])) for i in range(0, len(data), 24)]
    array = "const unsigned char xdp_steer_object[] = {\n" + ",\n".join(lines) + "};\n"
    return array + f"const unsigned long xdp_steer_object_len = {len(data)};\n"


ffi = FFI()
ffi.include(_netdev["ffi"])
ffi.cdef(_netdev["cdef_part"](f"{HERE}/xdp.h"))
ffi.set_source(
    "barewire.nic_drivers.xdp._xdp",
    "".join(f'#include "{header}"\n' for header in [*_netdev["HEADERS"], f"{HERE}/xdp.h"])
    + steer_object(),
    sources=[f"{HERE}/{name}.c" for name in ("rings", "setup", "counters", "running")],
    include_dirs=["."],
    libraries=["xdp", "bpf"],
    depends=["nic_drivers/netdev.h", f"{HERE}/xdp.h", f"{HERE}/xdp_device.h", f"{HERE}/steer.h"],
    extra_compile_args=_netdev["CFLAGS"],
    extra_link_args=_netdev["LDFLAGS"],
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
