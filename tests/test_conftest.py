"""The promises of conftest.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CARELESS = """
import barewire
from barewire.nic_drivers import CallbackDevice

kept = []

def test_that_fails():
    kept.extend([CallbackDevice(), barewire.Stack(CallbackDevice())])
    assert False

def test_after_it():
    device, stack = kept
    assert "closed" in repr(device) and stack.closed
"""


def test_what_a_failed_test_leaves_open_is_closed_before_the_next(tmp_path: Path) -> None:
    file = tmp_path / "test_careless.py"
    file.write_text(CARELESS)
    words = ["-p", "tests.conftest", "-c", "pyproject.toml", "--rootdir", ".", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], capture_output=True, text=True, check=False
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
