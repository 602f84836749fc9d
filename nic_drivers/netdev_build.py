"""Builds barewire.nic_drivers._netdev: the device contract and the devices that need no
library."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence

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


def extension(
    module: str,
    headers: Sequence[str],
    sources: Sequence[str],
    *,
    devices: FFI | None = None,
    text: str = "",
    libraries: Sequence[str] = (),
    include_dirs: Sequence[str] = (),
    depends: Sequence[str] = (),
    flags: Sequence[str] = (),
    link_flags: Sequence[str] = (),
) -> FFI:
    """The extension `module` of C `sources`, with what stands between the markers of `headers`.
    `devices` is this file's `ffi`, for one that has to do with devices; `text` is C of its own;
    `flags` are for compiler and linker."""
    made = FFI()
    if devices is not None:
        made.include(devices)
    for header in headers:
        made.cdef(cdef_part(header))
    # an included ffi's types are declared again
    included = [*(HEADERS if devices is not None else ()), *headers]
    made.set_source(
        module,
        "".join(f'#include "{header}"\n' for header in included) + text,
        sources=list(sources),
        include_dirs=[".", *include_dirs],
        libraries=list(libraries),
        depends=[*included, *depends],
        extra_compile_args=[*CFLAGS, *flags],
        extra_link_args=[*link_flags, *LDFLAGS, *flags],
    )
    return made


ffi = extension(
    "barewire.nic_drivers._netdev",
    HEADERS,
    own_files("*.c"),
    depends=glob.glob("nic_drivers/**/*.h", recursive=True),
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
