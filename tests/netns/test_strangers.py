"""Packets that strangers may send make no call wait: the benchmark's set-up, in a short form.

The bounds are generous, for a machine that is busy; a control plane that captures waiting calls makes
them wait for as long as the flood lasts.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from barewire.tools import netns
from barewire.tools.bench import stranger_frames, strangers

pytestmark = pytest.mark.netns

RATE = 60_000
SECONDS = 1.0
BOUND = 1000.0  # ms
KINDS = ["arp", "ping", "fragment"]


def check(kinds: Iterable[str]) -> None:
    with netns.Namespace("flood") as where, netns.Namespace("flooded") as ours:
        scene = strangers.Scene("barewire", where, ours)
        for kind in kinds:
            scene.come(kind)
            found = scene.patience(SECONDS, RATE)
            assert found["sent"] > 5_000, kind
            assert found["late"] < BOUND, kind
            assert found["longest"] < BOUND, kind
            assert 0 < found["configured"] < BOUND, kind


def test_a_flood_delays_no_timeout_no_old_connection_and_no_configuration() -> None:
    check(KINDS)


@pytest.mark.slow
def test_no_kind_of_flood_does() -> None:
    check(set(stranger_frames.KINDS) - set(KINDS))


@pytest.mark.parametrize(
    "contenders",
    [("barewire",), pytest.param(("barewire", "kernel"), marks=pytest.mark.slow)],
    ids=len,
)
def test_the_benchmark_gives_each_figure(contenders: tuple[str, ...]) -> None:
    results = strangers.measure_at("strangers_udp", 30_000, 1, 0.3, print, contenders)
    found = {r.metric: {name: s.median for name, s in r.samples.items()} for r in results}
    assert set(found) == set(strangers.UNITS)
    assert list(found["route added"]) == ["barewire"]
    for contender in contenders:
        assert found["sent"][contender] > 1000
        assert found["rate beside"][contender] > 0
        assert found["rate flooded"][contender] > 0
        assert 0 < found["echo longest, quiet"][contender] < 10_000
