"""A long fat path: one flow with default settings fills 10 Gbit/s over 20 ms."""

from __future__ import annotations

import pytest
from barewire.nic_drivers import Faults, pipe_pair, with_faults

from tests.kit.clock import MS
from tests.kit.programs import Bulk
from tests.kit.world import World

RATE = 10e9  # bit/s
ONE_WAY = 10 * MS
QUEUE = 12_500_000  # bytes: half of what the path holds


@pytest.mark.parametrize("mtu", [65_535, pytest.param(1500, marks=pytest.mark.slow)])
def test_one_flow_fills_ten_gigabits_with_default_settings(mtu: int) -> None:
    """25 MB are on their way at a time: the receive window and the send queue come from 256 KiB to
    there by themselves. Half a second is slow start, which overshoots, and its repair."""
    with World(1) as world:
        a, b = pipe_pair(layer=3, mtu=mtu, ring=1024)
        faults = Faults(delay=ONE_WAY, rate=RATE, backlog=QUEUE)
        a = with_faults(a, faults, seed=1, held=4096 if mtu > 1500 else 40_000)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        flow = Bulk(world, one, two, "198.18.0.2")
        world.run("500ms")
        begin = flow.received
        world.run("500ms")
        share = (flow.received - begin) * 8 / (RATE * 0.5)
        assert 0.9 <= share <= 1.001, f"{share:.3f} of the link"
        assert flow.sender.inside.sndbuf > 25_000_000
        assert flow.reader is not None and flow.reader.inside.rcvbuf > 25_000_000
