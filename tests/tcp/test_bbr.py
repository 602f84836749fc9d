"""BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00) on simulated links."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Any

import pytest

from tests.kit.link import NAMES, Link
from tests.kit.sock import Sock
from tests.kit.world import World

MSS = 1448


def flowing(world: World, **options: Any) -> Link:
    """A transfer that has found its bandwidth."""
    link = Link(world, "bbr", **options)
    link.pour()
    world.run("1s")
    return link


def test_startup_doubles_until_it_finds_the_bandwidth(world: World) -> None:
    """Section 4.3.2: the delivery rate doubles each round trip; three rounds without growth by a
    quarter end it."""
    link = Link(world, "bbr", rate=40e6, queue=200_000)
    link.pour()
    rates = link.watch("400ms", lambda: link.source.info.tcpi_delivery_rate, every=link.rtt)
    early = [rate for rate in rates[:4] if rate]
    assert all(b > 1.5 * a for a, b in pairwise(early)), rates
    assert 0.95 < max(rates) * 8 / link.rate * 1500 / 1448 < 1.05
    assert 0.7 < median(link.watch("1s", lambda: link.pacing_rate)) < 1.1


def test_drain_empties_the_queue_that_startup_made(world: World) -> None:
    """Section 4.3.3."""
    link = Link(world, "bbr", rate=40e6, queue=1_000_000)
    link.pour()
    startup = link.watch("500ms", lambda: link.flight)
    after = link.watch("1s", lambda: link.flight)
    assert max(startup) > 1.9 * link.bdp, "startup's gain fills the pipe twice over"
    assert median(after) < 1.35 * link.bdp
    assert link.source.info.tcpi_retransmits == 0


def test_the_bandwidth_is_probed_in_cycles_of_eight_phases(world: World) -> None:
    """Section 4.3.4.2: 5/4, then 3/4, then six round trips at the estimate."""
    link = flowing(world)
    rates = link.watch("2s", lambda: link.pacing_rate)
    up, down = sum(r > 1.15 for r in rates), sum(r < 0.85 for r in rates)
    assert 0.05 < up / len(rates) < 0.3
    assert 0.03 < down / len(rates) < 0.2
    assert 0.9 < median(rates) < 1.05
    assert link.goodput("2s") > 0.95


def test_connections_begin_their_cycles_in_different_phases() -> None:
    """Section 4.3.4.3; and one seed gives the same transfer twice."""
    seen = []
    for seed in (1, 2, 3, 3):
        with World(seed=seed) as world:
            link = flowing(world)
            seen.append(tuple(link.watch("200ms", lambda link=link: link.pacing_rate)))
    assert len(set(seen)) == 3


def test_the_round_trip_is_probed_every_ten_seconds(world: World) -> None:
    """Section 4.3.5: for 200 ms four segments are in flight, and then as many as before."""
    link = flowing(world, rate=5e6, rtt="40ms")
    flights = link.watch("21s", lambda: link.flight, every=20_000_000)
    small = [i * 0.02 for i, flight in enumerate(flights) if flight <= 4 * MSS]
    probes = [t for i, t in enumerate(small) if i == 0 or t - small[i - 1] > 1]
    assert len(probes) == 2, small
    assert 10 < probes[1] - probes[0] < 11
    assert 0.2 <= sum(t < probes[0] + 1 for t in small) * 0.02 < 0.4
    first = int(probes[0] / 0.02)
    before, after = flights[first - 60 : first - 10], flights[first + 40 : first + 90]
    assert abs(median(before) - median(after)) < 0.2 * median(before)


def test_the_window_is_restored_after_fast_recovery(world: World) -> None:
    """Section 4.2.3.4: packets are conserved for a round trip, then the model rules again."""
    link = flowing(world, faults={"loss": 0.002})
    windows = link.watch("4s", lambda: link.source.inside.cwnd, every=2_000_000)
    assert link.near.counters()["tcp_fast_recoveries"] > 5
    assert min(windows) < 0.8 * median(windows)
    assert sum(w > 0.9 * median(windows) for w in windows) > 0.8 * len(windows)
    assert link.goodput("2s") > 0.95


def test_the_window_is_restored_after_an_outage(world: World) -> None:
    """The time-out begins with one segment; after it the model still knows the path."""
    link = Link(world, "bbr", faults={"outage_at": 2_000_000_000, "outage": 1_000_000_000})
    link.pour()
    world.run("1900ms")
    before = link.source.inside.cwnd
    world.run("1s")
    assert link.source.inside.cwnd <= 2 * MSS
    world.run("1s")
    assert link.source.inside.cwnd > 0.9 * before
    assert link.goodput("1s") > 0.95


def test_a_program_that_sends_little_does_not_lower_the_estimate(world: World) -> None:
    """Section 4.1.1: samples that tell of the program count only if they are higher."""
    link = flowing(world)
    link.dry()
    rates = []
    for _ in range(60):
        link.source.send(bytes(3 * MSS))
        world.run("50ms")
        rates.append(link.pacing_rate)
    assert min(rates) > 0.65, "the phase that drains is at 3/4"
    assert max(rates) < 1.35


def test_after_idling_data_leaves_at_the_estimated_rate(world: World) -> None:
    """Section 4.3.4.4: no burst of the whole window, and no slow start."""
    link = flowing(world, queue=12_000)
    link.dry()
    world.run("5s")
    lost = link.source.info.tcpi_total_retrans
    link.pour()
    assert link.goodput("200ms") > 0.75
    assert link.source.info.tcpi_total_retrans - lost < 8


@pytest.mark.parametrize(("loss", "least"), [(0.01, 0.95), (0.03, 0.92), (0.10, 0.82)])
def test_random_loss_does_not_lower_the_rate(world: World, loss: float, least: float) -> None:
    """Why version 1: later versions take more than 2 % of loss for congestion."""
    link = flowing(world, faults={"loss": loss})
    assert link.goodput("5s") > least
    assert link.near.counters()["tcp_retransmission_timeouts"] <= 2


def test_a_lower_bandwidth_is_believed_after_ten_rounds(world: World) -> None:
    """The filter forgets: a second flow takes its share, and the first one's rate goes down."""
    link = flowing(world)
    alone = median(link.watch("500ms", lambda: link.pacing_rate))
    listener = Sock(link.far).set(rcvbuf=8 << 20).bind("0.0.0.0", 81).listen()
    other = Sock(link.near).set(sndbuf=8 << 20, congestion=NAMES.index("bbr"))
    other.connect("198.18.0.2", 81)
    world.run_until(lambda: listener.readable, "10s")
    sink = listener.accept()

    def move() -> bool:
        moved = len(sink.read_all())
        try:
            moved += other.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        return moved > 0

    world.add_mover(move)
    world.run("5s")
    shared = median(link.watch("2s", lambda: link.pacing_rate))
    assert alone > 0.9
    assert 0.2 < shared < 0.8


def test_a_connection_may_change_to_bbr_and_back(world: World) -> None:
    link = Link(world, "cubic")
    link.pour()
    world.run("500ms")
    unpaced = link.source.info.tcpi_pacing_rate
    link.source.set(congestion=NAMES.index("bbr"))
    assert link.goodput("2s") > 0.9
    assert 0.7 < link.pacing_rate < 1.4
    link.source.set(congestion=NAMES.index("cubic"))
    assert link.source.info.tcpi_pacing_rate == unpaced == 2**64 - 1
    assert link.goodput("2s") > 0.9
