"""A session of tests sees what it made itself, beside other sessions and in the background of a shell."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Belongings
from tests.kit import session

ROOT = str(Path(__file__).parents[1])

NEIGHBOUR = """
import socket, subprocess, sys
from tests.kit import session
assert session.enter_own_namespaces()
subprocess.run(["ip", "tuntap", "add", "theirs", "mode", "tap"], check=True)
subprocess.run(["mount", "--bind", "/proc/self/ns/net", sys.argv[1]], check=True)
assert "theirs" in session.links() and sys.argv[1] in session.named_namespaces()
print("made", flush=True)
sys.stdin.read()
"""

IN_THE_BACKGROUND = """
import signal
from tests.kit import session
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
session.restore_interrupt()
signal.raise_signal(signal.SIGINT)
"""


@pytest.fixture
def mount_point(tmp_path: Path) -> str:
    point = tmp_path / "named"
    point.touch()
    return str(point)


@pytest.mark.netns
def test_links_and_names_that_are_left_are_found(mount_point: str) -> None:
    before = Belongings.now()
    subprocess.run(["ip", "tuntap", "add", "ours0", "mode", "tap"], check=True)
    subprocess.run(["mount", "--bind", "/proc/self/ns/net", mount_point], check=True)
    try:
        found = Belongings.now().added_since(before)
        assert found == {"links": {"ours0"}, "namespaces": {mount_point}}
    finally:
        subprocess.run(["umount", mount_point], check=True)
        subprocess.run(["ip", "link", "del", "ours0"], check=True)


@pytest.mark.netns
def test_those_of_another_session_are_not(mount_point: str) -> None:
    before = session.links() | session.named_namespaces()
    with subprocess.Popen(
        [sys.executable, "-c", NEIGHBOUR, mount_point],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
    ) as neighbour:  # fmt: skip
        assert neighbour.stdout.readline() == b"made\n"
        assert session.links() | session.named_namespaces() == before
        neighbour.stdin.close()
    assert neighbour.returncode == 0


@pytest.mark.netns
def test_the_loopback_of_the_session_is_up() -> None:
    assert session.links() == {"lo"}
    shown = subprocess.run(["ip", "link", "show", "lo"], capture_output=True, text=True, check=True)
    assert ",UP" in shown.stdout


def test_in_the_background_of_a_shell_an_interrupt_is_heard() -> None:
    """`make test &` in a script: the shell has SIGINT ignored in what it starts."""
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    done = subprocess.run(
        [*ignoring, sys.executable, "-c", IN_THE_BACKGROUND], cwd=ROOT, stderr=subprocess.PIPE
    )
    assert done.returncode == -signal.SIGINT, done.stderr.decode()
