"""The queue under ThreadSanitizer: stress.c, compiled with it from the tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["tests/spsc/stress.c", "sockets_api/spsc/spsc.c"]
FLAGS = ["-std=gnu11", "-O1", "-g", "-I.", "-pthread", "-fsanitize=thread"]


@pytest.mark.tree
def test_no_data_race(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path / "stress"
    subprocess.run([compiler, *FLAGS, *SOURCES, "-o", str(program)], cwd=ROOT, check=True)
    done = subprocess.run(
        [str(program), "5000000"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
