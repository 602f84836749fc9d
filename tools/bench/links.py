"""The links of the goodput and fairness tests, for the simulator and for the wire alike.

A link of 20 Mbit/s and 20 ms there and back (half of it each way), with a drop-tail queue of one
bandwidth-delay product each way, and MTU 1500. What it does to frames it does both ways: ACKs are
lost too. A full-sized frame of 1514 bytes carries 1448 of data, so 0.956 of the link is all that goodput can
be, and with random loss so much less as is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...nic_drivers import Faults

MS, SECOND = 1_000_000, 1_000_000_000
RATE = 20e6  # bit/s
DELAY = 10 * MS  # one way
QUEUE = int(RATE / 8 * 2 * DELAY / SECOND)  # bytes: one bandwidth-delay product
BUFFER = 1 << 20  # send and receive buffer of every socket, bytes: twenty such products
CLEAN = Faults(delay=DELAY, rate=RATE, backlog=QUEUE)


@dataclass(frozen=True)
class Scenario:
    """A link, and for how long data flows over it."""

    name: str
    faults: Faults
    seconds: float = 5.0

    def capacity(self, seconds: float) -> float:
        """Bytes the link carries in that time."""
        return self.faults.rate * seconds / 8

    def shortened(self) -> Scenario:
        """The same in about half the time (an outage keeps its length)."""
        return replace(self, seconds=round(self.seconds * 0.6, 1))


GOODPUT = (
    Scenario("1 % lost", replace(CLEAN, loss=0.01)),
    Scenario("3 % lost", replace(CLEAN, loss=0.03)),
    Scenario("10 % lost", replace(CLEAN, loss=0.10)),
    Scenario("5 % late by 10 ms", replace(CLEAN, reorder=0.05, hold=10 * MS)),
    Scenario("2 s outage", replace(CLEAN, outage_at=2 * SECOND, outage=2 * SECOND), 8.0),
)
# The jitter lets seeds differ, and keeps two flows from marching in step.
FAIRNESS = Scenario("shared", replace(CLEAN, jitter=MS // 2), 14.0)
START_UP = 4.0  # seconds of FAIRNESS that are not counted
