"""The demo, whole and interrupted: it shows its table, and leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.netns
LIMIT = 60


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "barewire", "demo", "--megabytes", "4", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "100"},
    )


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
    with start(tmp_path) as demo:
        out, err = demo.communicate(timeout=LIMIT)
    assert demo.returncode == 0, err
    for words in (
        "barewire over TAP",
        "kernel over veth",
        "ping",
        "UDP",
        "GET",
        "PUT",
        "uploads",
        "SHA-256",
    ):
        assert words in out
    assert not left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
@pytest.mark.parametrize("line", ["barewire over TAP", "kernel over veth"])
def test_interrupted_it_leaves_nothing(tmp_path, number, line):
    with start(tmp_path) as demo:
        for said in demo.stderr:
            if line in said:
                break
        demo.send_signal(number)
        _, err = demo.communicate(timeout=LIMIT)
    assert demo.returncode == 128 + number, err
    assert "Traceback" not in err
    assert not left(tmp_path)


def test_killed_it_leaves_no_process(tmp_path):
    with start(tmp_path) as demo:
        for said in demo.stderr:
            if "barewire over TAP" in said:
                break
        demo.kill()
    patience = time.monotonic() + 10  # a program that just starts notices a little later
    while processes := [words for words in left(tmp_path) if "\0" in words]:
        assert time.monotonic() < patience, processes
        time.sleep(0.02)
