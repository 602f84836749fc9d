"""A network that duplicates: its copies are no evidence that retransmissions were in vain."""

from __future__ import annotations

from tests.kit.link import Link
from tests.kit.world import World


def run(loss: float, duplicate: float) -> tuple[float, int, int]:
    """Goodput as a share of the link, fast recoveries, and how many of them were undone."""
    with World(1, buffer_bytes=64 << 20, exit_linger=0.0) as world:
        faults = {"loss": loss, "duplicate": duplicate}
        link = Link(world, "cubic", rate=50e6, queue=100_000, faults=faults)
        link.pour()
        world.run("1s")
        share, counters = link.goodput("6s"), link.near.counters()
    undone = counters["tcp_spurious_recoveries_undone"]
    return share, counters["tcp_fast_recoveries"], undone


def test_duplication_does_not_switch_congestion_control_off() -> None:
    """1 % lost, 5 % twice (RFC 3708): the rate is what it is without the copies."""
    plain, recoveries, undone = run(0.01, 0.0)
    assert recoveries > 20 and undone == 0
    share, recoveries, undone = run(0.01, 0.05)
    assert recoveries > 20 and undone <= 1
    assert 0.75 * plain < share < 1.33 * plain
