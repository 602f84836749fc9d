"""Every drop has a test that makes it happen: each name of stack/counters.h stands in a `counts(…)`
(which fails unless the counter rises) or beside an assertion of its value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from barewire.stack import ffi, lib

TESTS = Path(__file__).resolve().parents[1]


def names() -> list[str]:
    every = [ffi.string(lib.bw_counter_name(i)).decode() for i in range(lib.bw_counter_count())]
    return [name for name in every if name.startswith("drop_")]


@pytest.mark.tree
def test_every_drop_is_made_to_happen_by_some_test() -> None:
    said = "".join(path.read_text() for path in TESTS.glob("*/test_*.py"))
    missing = [name for name in names() if not re.search(rf'"{name}"', said)]
    assert not missing, f"no test reaches {', '.join(missing)}"
