"""The driver under ThreadSanitizer: stress.c, compiled with the engine from the tree."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ["tests/drive/stress.c", "stack/engine.c"]
FLAGS = ["-std=gnu11", "-O1", "-g", "-I.", "-pthread", "-fsanitize=thread"]


@pytest.mark.tree
def test_no_data_race(tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path / "stress"
    drive = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("stack/drive/*.c"))
    command = [compiler, *FLAGS, *SOURCES, *drive, "-o", str(program)]
    subprocess.run(command, cwd=ROOT, check=True)
    done = subprocess.run(
        [str(program), "30"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
