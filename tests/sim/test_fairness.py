"""Two CUBIC flows through one bottleneck: Jain's index of what each got."""

from __future__ import annotations

import random

import pytest
from barewire.nic_drivers import Faults

from tests.kit.clock import MS
from tests.kit.programs import Bulk
from tests.kit.world import World, lossy_pair

RATE = 20e6  # bit/s
QUEUE = 75_000  # bytes: one and a half of what the path holds


def jain(shares: list[int]) -> float:
    """(sum x)^2 / (n * sum x^2): 1 is fair, 1/n is one who has everything."""
    return float(sum(shares) ** 2 / (len(shares) * sum(x * x for x in shares)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_cubic_flows_share_a_bottleneck(seed: int) -> None:
    """The second begins up to five seconds after the first, which has filled the queue by then; what
    counts is the half minute that follows fifteen seconds later."""
    dice = random.Random(seed)
    with World(seed) as world:
        a, b = lossy_pair(Faults(delay=10 * MS, jitter=MS, rate=RATE, backlog=QUEUE), seed=seed)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        flows = [Bulk(world, one, two, "198.18.0.2", 80)]
        world.run(dice.randrange(500, 5000) * MS)
        flows.append(Bulk(world, one, two, "198.18.0.2", 81))
        world.run("15s")
        before = [f.received for f in flows]
        world.run("30s")
        shares = [f.received - n for f, n in zip(flows, before, strict=True)]
        assert jain(shares) > 0.95, shares
        assert sum(shares) * 8 / (RATE * 30) > 0.9, "and the link is full"
