"""The queue under ThreadSanitizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.races import holds_without_a_race


@pytest.mark.tree
def test_no_data_race(tmp_path: Path) -> None:
    sources = ["tests/spsc/stress.c", "sockets_api/spsc/spsc.c"]
    holds_without_a_race(tmp_path, sources, "5000000")
