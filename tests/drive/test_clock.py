"""The clock between two readings of the kernel's: right to a microsecond, and never backwards."""

from __future__ import annotations

from pathlib import Path

from tests.kit.races import runs_well


def test_the_clock_follows_the_kernels(tmp_path: Path) -> None:
    runs_well(tmp_path, ["tests/drive/clock.c"], ["-fsanitize=undefined"])
