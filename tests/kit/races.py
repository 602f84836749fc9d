"""Runs a C program of the tests, compiled from the tree, under a sanitizer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=gnu11", "-O1", "-g", "-I.", "-pthread"]


def holds_without_a_race(folder: Path, sources: Sequence[str], argument: str) -> None:
    """The program of these files, by their paths in the tree, says that all is well, and the
    sanitizer says nothing."""
    runs_well(folder, sources, ["-fsanitize=thread"], argument)


def runs_well(folder: Path, sources: Sequence[str], flags: Sequence[str], *arguments: str) -> None:
    """The same with these flags of the compiler."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.fail("no C compiler: the build needs one too")
    program = folder / "program"
    command = [compiler, *FLAGS, *flags, *sources, "-o", str(program)]
    subprocess.run(command, cwd=ROOT, check=True)
    done = subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
