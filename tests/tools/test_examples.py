"""Every example runs, and does what it says."""

from __future__ import annotations

import subprocess
import sys
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


def test_two_processes_talk_through_a_stream_of_frames() -> None:
    command = [sys.executable, "-P", "-m", "barewire.tools.examples.tunnel"]
    with subprocess.Popen([*command, "listen", "127.0.0.1:0"], stdout=subprocess.PIPE) as answers:
        assert answers.stdout is not None
        where = answers.stdout.readline().split()[-1].decode()
        asks = subprocess.run([*command, "connect", where], capture_output=True, timeout=20)
        assert asks.stdout == b"HELLO THROUGH THE TUNNEL\n", asks.stderr
        assert answers.communicate(timeout=20)[0] == b"answered 198.18.0.2\n"
    assert answers.returncode == asks.returncode == 0


def test_a_tunnel_that_nobody_listens_to(capfd: pytest.CaptureFixture[str]) -> None:
    """One sentence from the command line, no traceback."""
    device = "callback:barewire.tools.examples.tunnel:connect?argument=127.0.0.1:1"
    command = [sys.executable, "-P", "-m", "barewire", "run", "--device", device, __file__]
    assert subprocess.run(command, timeout=20).returncode != 0
    said = capfd.readouterr().err
    assert "refused" in said and "Traceback" not in said
