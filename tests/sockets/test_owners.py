"""What holds a pointer of C's outlives its owner, or refuses: nothing of it ends the process.

tests/sockets/owners.py has the programs; each runs in a process of its own, for a crash is one of the
outcomes that this looks for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from . import owners_of_devices, owners_of_stacks  # noqa: F401 - their programs
from .owners import CASES

ROOT = Path(__file__).parents[2]


@cache
def outcomes() -> tuple[dict[str, str], str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-m", "tests.sockets.owners"],
        cwd=ROOT, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("name", [case.__name__ for case in CASES])
def test_outlives_its_owner_or_refuses(name: str) -> None:
    found, errors = outcomes()
    assert found[name] == "ok", errors
