"""The demo, whole and interrupted: it shows its table, and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from barewire.tools import demo, signals

pytestmark = pytest.mark.netns
LIMIT = 60


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "barewire",
            "demo",
            "--megabytes",
            "4",
            "--rounds",
            "2",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"},
    )


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """The demo ends as a program does: ignoring further signals."""
    before = {number: signal.getsignal(number) for number in signals.ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def left(tmp_path: Path) -> list[str]:
    """Files, and processes that were started with a file of the demo's folder."""
    found = [str(path) for path in tmp_path.iterdir()]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(tmp_path) in command:
            found.append(command.decode())
    return found


def test_the_demo_shows_both_sides(tmp_path):
    with start(tmp_path) as process:
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    for words in ("ping", "UDP", "GET", "PUT", "uploads", "SHA-256"):
        assert words in out
    # A figure of each side in every row: the median, the smallest and the largest.
    assert len(re.findall(r"[\d.,]+ +\([\d.,]+ to [\d.,]+\)", out)) == 14, out
    sides = ["barewire over TAP", "kernel over veth"]
    assert all(side in out for side in sides)
    assert err.splitlines() == [
        *(f"warm-up: {side}" for side in reversed(sides)),
        *(f"round 1 of 2: {side}" for side in sides),
        *(f"round 2 of 2: {side}" for side in reversed(sides)),
    ]
    assert not left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("line", ["barewire over TAP", "kernel over veth"])
def test_interrupted_it_leaves_nothing(tmp_path, number, line):
    with start(tmp_path) as process:
        for said in process.stderr:
            if line in said:
                break
        process.send_signal(number)
        _, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    assert not left(tmp_path)


def test_a_program_that_fails_has_the_last_word(tmp_path, monkeypatch):
    programs = tmp_path / "programs.py"
    programs.write_text("raise OSError('there is nothing to serve')")
    monkeypatch.setattr(demo, "PROGRAMS", str(programs))
    with pytest.raises(demo.DemoError, match="server failed: OSError: there is nothing to serve"):
        with handlers_kept():
            demo.measure(1, 1)


def test_killed_it_leaves_no_process(tmp_path):
    with start(tmp_path) as process:
        for said in process.stderr:
            if "barewire over TAP" in said:
                break
        process.kill()
    patience = time.monotonic() + 10  # a program that just starts notices a little later
    while processes := [words for words in left(tmp_path) if "\0" in words]:
        assert time.monotonic() < patience, processes
        time.sleep(0.02)
