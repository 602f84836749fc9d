"""The driver under ThreadSanitizer, with the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.races import ROOT, holds_without_a_race


@pytest.mark.tree
def test_no_data_race(tmp_path: Path) -> None:
    drive = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("stack/drive/*.c"))
    sources = ["tests/drive/stress.c", "tests/drive/stress_poller.c", "stack/engine.c", *drive]
    holds_without_a_race(tmp_path, sources, "30")
