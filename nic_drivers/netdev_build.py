"""Builds barewire.nic_drivers._netdev: the device contract and the devices that need no
library."""

from __future__ import annotations

import glob
import os
import re

from cffi import FFI

# -O3: checksums and copies are vectorised; no -march, a wheel runs on any machine of its kind.
CFLAGS = [
    "-std=gnu11",
    "-O3",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-fvisibility=hidden",
]
LDFLAGS: list[str] = []
if os.environ.get("BAREWIRE_SANITIZE"):  # make sanitize
    CFLAGS += [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
        "-O1",
    ]
    LDFLAGS += ["-fsanitize=address,undefined"]
if os.environ.get("BAREWIRE_WERROR"):  # make lint
    CFLAGS += ["-Werror"]


def cdef_part(header: str) -> str:
    """The text between the markers of a C header: the one definition both languages read."""
    with open(header, encoding="utf-8") as file:
        parts = re.findall(r"/\* cdef:begin \*/\n(.*?)/\* cdef:end \*/", file.read(), re.DOTALL)
    if not parts:
        raise ValueError(f"{header} has no part between cdef markers")
    return "\n".join(parts)


def own_files(pattern: str) -> list[str]:
    """Files in the folders of the drivers that need no library: those have a build of their own."""
    found = sorted(glob.glob(f"nic_drivers/*/{pattern}"))
    return [path for path in found if not glob.glob(f"{os.path.dirname(path)}/*_build.py")]


HEADERS = ["nic_drivers/netdev.h", "nic_drivers/tally.h", *own_files("*.h")]

ffi = FFI()
for header in HEADERS:
    ffi.cdef(cdef_part(header))
ffi.set_source(
    "barewire.nic_drivers._netdev",
    "".join(f'#include "{header}"\n' for header in HEADERS),
    sources=own_files("*.c"),
    include_dirs=["."],
    depends=glob.glob("nic_drivers/**/*.h", recursive=True),
    extra_compile_args=CFLAGS,
    extra_link_args=LDFLAGS,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
