"""Every example runs, and does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib.figure  # noqa: F401 - numpy starts a thread at its first import
import pytest
from barewire.tools.examples import asyncio_echo, order_feed
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


@pytest.mark.parametrize("parser", ["numpy", "struct"])
def test_the_order_feed_arrives_whole(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if parser == "struct":
        monkeypatch.setattr(order_feed, "numpy", None)
    done = order_feed.run(20_000)
    assert done.read == done.sent
    assert (done.sent.orders, done.sent.ids, done.dropped) == (20_000, 20_000 * 20_001 // 2, 0)
    assert done.datagrams == len(list(order_feed.datagrams(20_000)))


def test_both_parsers_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    view = memoryview(b"".join(order_feed.datagrams(1000)))
    arrays, tuples = order_feed.Totals(), order_feed.Totals()
    arrays.add(view)
    monkeypatch.setattr(order_feed, "numpy", None)
    tuples.add(view)
    assert arrays == tuples and tuples.sold and tuples.bought


def test_the_order_feed_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert order_feed.main(["5000"]) == 0
    sent, read, rate, verdict = capsys.readouterr().out.splitlines()
    assert sent.removeprefix("sent: ") == read.removeprefix("read: ")
    assert sent.startswith("sent: 5,000 orders, ids 12,502,500, bought ")
    assert "orders/s" in rate and verdict == "they match"


def test_a_feed_that_is_lost_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(order_feed, "read", lambda queue, totals: None)
    assert order_feed.main(["100"]) == 1
    assert capsys.readouterr().out.endswith("they differ\n")


def test_two_loops_on_two_stacks(capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio_echo.main(["over", "a", "pipe"]) == 0
    assert capsys.readouterr().out.split() == ["over", "a", "pipe"]
