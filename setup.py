"""The package map: top-level folders become one package, `barewire` (see ARCHITECTURE.md).

pyproject.toml holds the metadata; what stands here is what it cannot say: the C extensions, and a
package list that follows the folders.
"""

import os
import runpy

from setuptools import Extension, find_packages, setup

ROOTS = {
    "barewire": "sockets_api",
    "barewire.stack": "stack",
    "barewire.l2": "l2",
    "barewire.nic_drivers": "nic_drivers",
    "barewire.tools": "tools",
    "barewire.fuzz": "fuzz",
}


def packages() -> list[str]:
    found: list[str] = []
    for name, folder in ROOTS.items():
        if os.path.isfile(os.path.join(folder, "__init__.py")):
            found += [name, *(f"{name}.{sub}" for sub in find_packages(folder))]
    return found


def driver_builds() -> list[str]:
    """The extensions of drivers whose libraries are here; the others are left out, and what
    BAREWIRE_WITHOUT names ("dpdk,xdp")."""
    without = os.environ.get("BAREWIRE_WITHOUT", "").split(",")
    libraries = runpy.run_path("nic_drivers/libraries.py")["LIBRARIES"]
    found = []
    for kind, library in libraries.items():
        if kind in without:
            continue
        lacking = library.lacking()
        if lacking:
            print(f"barewire: no {kind} devices: {lacking} is missing")
        else:
            found.append(f"{library.build}:ffi")
    return found


def direct() -> Extension:
    """The socket calls without a step through Python: CPython's own interface, not cffi's."""
    flags = runpy.run_path("nic_drivers/netdev_build.py")
    return Extension(
        "barewire._direct",
        ["sockets_api/_direct.c", "sockets_api/_select.c", "sockets_api/_tripped.c"],
        include_dirs=["."],
        depends=[
            "sockets_api/_direct.h",
            "sockets_api/_tripped.h",
            "stack/engine.h",
            "stack/drive/drive.h",
            "nic_drivers/netdev.h",
        ],
        extra_compile_args=flags["CFLAGS"],
        extra_link_args=flags["LDFLAGS"],
    )


setup(
    packages=packages(),
    package_dir=ROOTS,
    package_data={
        "barewire": ["py.typed", "*.pyi"],
        "barewire.nic_drivers": ["*.h", "*.pyi"],
        "barewire.stack": ["*.pyi"],
    },
    ext_modules=[direct()],
    cffi_modules=[
        "nic_drivers/netdev_build.py:ffi",
        "stack/engine_build.py:ffi",
        "sockets_api/spsc/spsc_build.py:ffi",
        "tools/relay/pump_build.py:ffi",
        "tools/bench/echo_client_build.py:ffi",
        "tools/bench/syn_sender_build.py:ffi",
        *driver_builds(),
    ],
)
