"""Runs a stress program of ours under ThreadSanitizer, compiled from the tree."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGS = ["-std=gnu11", "-O1", "-g", "-I.", "-pthread", "-fsanitize=thread"]


def holds_without_a_race(folder: Path, sources: Sequence[str], argument: str) -> None:
    """The program of these files, by their paths in the tree, says that all is well, and the
    sanitizer says nothing."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.fail("no C compiler: the build needs one too")
    program = folder / "stress"
    subprocess.run([compiler, *FLAGS, *sources, "-o", str(program)], cwd=ROOT, check=True)
    done = subprocess.run(
        [str(program), argument], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
