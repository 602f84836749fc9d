"""The drivers that need a library, and what each needs to be built.

setup.py reads this file by itself and leaves out what cannot be built; a driver that was left out
tells why through `missing`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """What a driver's extension is built with: names for pkg-config, tools, and the packages that
    bring them (Debian's names)."""

    build: str
    modules: tuple[str, ...]
    tools: tuple[str, ...]
    packages: tuple[str, ...]

    def lacking(self) -> str:
        """The first thing that is not on this machine, or "" if the driver can be built."""
        import shutil
        import subprocess

        for tool in ("pkg-config", *self.tools):
            if shutil.which(tool) is None:
                return tool
        for module in self.modules:
            if subprocess.run(["pkg-config", "--exists", module]).returncode:
                return module
        return ""


LIBRARIES = {
    "dpdk": Library(
        "nic_drivers/dpdk/dpdk_build.py",
        ("libdpdk",),
        (),
        ("libdpdk-dev", "pkg-config"),
    ),
    "guard": Library(
        "nic_drivers/guard/guard_build.py",
        ("libbpf",),
        ("clang",),
        ("libbpf-dev", "clang", "pkg-config"),
    ),
    "uring": Library(
        "nic_drivers/uring/uring_build.py",
        ("liburing >= 2.3",),
        (),
        ("liburing-dev", "pkg-config"),
    ),
    "xdp": Library(
        "nic_drivers/xdp/xdp_build.py",
        ("libxdp", "libbpf"),
        ("clang",),
        ("libxdp-dev", "libbpf-dev", "clang", "pkg-config"),
    ),
}


def missing(kind: str, error: ImportError) -> str:
    """Why a driver's extension cannot be loaded, and what to do, in one sentence."""
    library = LIBRARIES[kind]
    if (error.path or "").endswith(".so"):  # it is there, and what it is linked to is not
        packages = " ".join(name for name in library.packages if name.endswith("-dev"))
        return f"a library of its own does not load ({error}): install {packages}"
    packages = " ".join(library.packages)
    if _from_a_wheel():
        return (
            f"the wheel has no {kind}: install {packages}, and build barewire's source distribution"
        )
    return f"barewire was built without it: install {packages}, and build barewire again"


def _from_a_wheel() -> bool:
    """Whether what is installed is a wheel made for other machines (tools/setup/wheel.py)."""
    from importlib import metadata

    try:
        tags = metadata.distribution("barewire").read_text("WHEEL")
    except metadata.PackageNotFoundError:
        return False
    return "manylinux" in (tags or "")
