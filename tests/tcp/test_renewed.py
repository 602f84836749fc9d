"""A socket that connects again begins with nothing of the connection before, in no field."""

from __future__ import annotations

from pathlib import Path

from tests.kit.races import runs_well


def test_the_whole_control_block_is_that_of_a_new_socket(tmp_path: Path) -> None:
    runs_well(tmp_path, ["tests/tcp/renewed.c"], ["-O0"])
