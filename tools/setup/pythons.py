"""Prints the interpreters of this machine that barewire can be built for, one of each version, a path a line.

They are looked for on PATH and, where there is a pyenv, among its versions. Each has to run, to be 3.11 or
later, and to have C headers and venv.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 11)
QUESTION = """
import json, os, sys, sysconfig, ensurepip, venv
os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))
has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
print(json.dumps([*sys.version_info[:2], has_gil and sys.implementation.name == "cpython", sys.executable]))
"""


def candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield from sorted(Path(folder).glob("python3.[0-9]*"))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob("versions/*/bin/python3"))


def answer(python: Path) -> tuple[tuple[int, int], str] | None:
    """Its version and path, if it serves. pyenv's shims run, and fail, for versions not chosen."""
    if python.name.endswith("-config"):
        return None
    try:
        done = subprocess.run([python, "-c", QUESTION], capture_output=True, text=True, timeout=60)
        major, minor, serves, path = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return ((major, minor), path) if serves and (major, minor) >= OLDEST else None


def main() -> None:
    found: dict[tuple[int, int], str] = {}
    for python in candidates():
        if one := answer(python):
            found.setdefault(*one)
    print("\n".join(path for _, path in sorted(found.items())))


if __name__ == "__main__":
    main()
