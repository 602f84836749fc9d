"""Every example runs, and does what it says."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure  # noqa: F401 - numpy starts a thread at its first import
import pytest
from barewire.tools.examples import congestion as example


def test_the_example_fills_its_link_with_a_short_queue() -> None:
    """And the same run twice is the same."""
    points = example.run(3.0)
    assert points == example.run(3.0)
    settled = [p for p in points if p[0] > 1]
    assert len(settled) > 50
    path = example.RATE / 8 * 2 * example.DELAY / example.SECOND
    assert all(0.7 * path < window < 2 * path for _, window, _ in settled)
    assert max(rtt for _, _, rtt in settled) < 40
    assert min(rtt for _, _, rtt in settled) > 20.1, "the link was never idle"


def test_the_example_draws_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "window.png"
    example.main([str(picture)])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "answers drawn to" in capsys.readouterr().out
