"""What ECN is for: a bottleneck that marks keeps short queues full links and loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from barewire.nic_drivers import Faults, pipe_pair, with_faults

from tests.kit.clock import MS, SECOND
from tests.kit.programs import Conversation
from tests.kit.sock import Sock
from tests.kit.world import World, lossy_pair

RATE = 50_000_000  # bit/s
DELAY = 5 * MS  # one way
OFF, ON, ACCURATE = 0, 1, 3
CUBIC, RENO, DCTCP = 0, 1, 3
WARM, SPAN = 2, 4  # seconds


@dataclass
class Outcome:
    share: float  # of the link, in payload bytes
    queue: float  # bytes, mean of the round-trip times' surplus
    lost: int
    marked: int
    retransmits: int


def transfer(congestion: int, ecn: int, faults: Faults) -> Outcome:
    """One flow that never ends, sender first; measured after the start is over."""
    with World(7, buffer_bytes=64 << 20) as world:
        a, b = pipe_pair(layer=3, ring=4096)
        device = with_faults(a, tx=faults, rx=Faults(delay=DELAY), seed=7)
        one, two = world.stack(device, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        options = {"congestion": congestion, "ecn": ecn, "sndbuf": 4 << 20, "rcvbuf": 4 << 20}
        listener = Sock(two).set(**options).bind("0.0.0.0", 80).listen()
        client = Sock(one).set(**options).connect("198.18.0.2", 80)
        world.run_until(lambda: listener.readable)
        server = listener.accept()
        got, rtts = 0, []

        def moves() -> bool:
            nonlocal got
            moved = len(server.read_all())
            got += moved
            try:
                return bool(client.send(bytes(1 << 18)) or moved)
            except BlockingIOError:
                return bool(moved)

        world.add_mover(moves)
        world.run(WARM * SECOND)
        begin = got
        for _ in range(SPAN * 50):
            world.run(20 * MS)
            rtts.append(client.inside.srtt)
        world.remove_mover(moves)
        return Outcome(
            share=(got - begin) * 8 / SPAN / RATE,
            queue=(sum(rtts) / len(rtts) - 2 * DELAY) * RATE / 8 / SECOND,
            lost=device.counters["fault.tx.queue_full"],
            marked=device.counters["fault.tx.marked"],
            retransmits=client.inside.retransmits,
        )


@pytest.mark.parametrize("ecn", [ON, ACCURATE])
def test_dctcp_keeps_a_short_queue_at_full_rate(ecn: int) -> None:
    """RFC 8257 section 4.1 (K above a seventh of the bandwidth-delay product of 62 KB): the queue
    stays about K, the link is full, nothing is lost."""
    k = 15_000
    found = transfer(DCTCP, ecn, Faults(rate=RATE, delay=DELAY, backlog=1 << 20, mark_above=k))
    assert found.share > 0.93
    assert found.queue < 1.5 * k
    assert (found.lost, found.retransmits) == (0, 0)
    assert found.marked > 100


@pytest.mark.parametrize("ecn", [ON, ACCURATE])
@pytest.mark.parametrize("congestion", [CUBIC, RENO])
def test_with_ecn_nothing_is_lost(congestion: int, ecn: int) -> None:
    bottleneck = Faults(rate=RATE, delay=DELAY, backlog=200_000, mark_above=60_000)
    found = transfer(congestion, ecn, bottleneck)
    assert (found.lost, found.retransmits) == (0, 0)
    assert found.marked > 0
    assert found.share > 0.9
    assert found.queue < 100_000


def test_without_ecn_the_same_bottleneck_loses() -> None:
    bottleneck = Faults(rate=RATE, delay=DELAY, backlog=200_000, mark_above=60_000)
    found = transfer(CUBIC, OFF, bottleneck)
    assert found.lost > 0 and found.marked == 0


@pytest.mark.parametrize("ecn", ["on", "accecn"])
@pytest.mark.parametrize("congestion", [CUBIC, RENO, DCTCP])
def test_both_ways_at_once_through_a_network_that_marks(congestion: int, ecn: str) -> None:
    """Data carries the feedback of the other direction; nothing contradicts itself, nothing is lost."""
    with World(5, buffer_bytes=64 << 20, ecn=ecn) as world:
        a, b = lossy_pair(Faults(delay=2 * MS, jitter=MS, mark=0.05), seed=5)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        sizes = {"upload": 2_000_000, "download": 1_000_000}
        talk = Conversation(world, one, two, "198.18.0.2", congestion=congestion, **sizes)
        talk.runs()
        talk.closes()
        for stack in (one, two):
            counters = stack.counters()
            assert counters["tcp_ecn_marks_received"] > 10 < counters["tcp_ecn_reductions"]
            assert counters["tcp_ecn_mangled_on_path"] == 0
            assert counters["tcp_segments_retransmitted"] == 0
