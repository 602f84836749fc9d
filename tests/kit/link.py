"""A bulk transfer over a simulated link, in virtual time: what a sender does to a bottleneck."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from barewire.nic_drivers import Faults, pipe_pair, with_faults
from barewire.stack import ffi, lib

from .clock import MS, Time, ns
from .sock import Sock
from .world import World

NAMES = [ffi.string(lib.bw_cc_name(i)).decode() for i in range(lib.bw_cc_count())]
CHUNK = bytes(1 << 16)


class Link:
    """Two stacks of `world`, joined by a link of `rate` bit/s and `rtt` with a drop-tail queue of
    `queue` bytes each way; `faults`: what else it does to data (ACKs are spared). `source` is
    connected to `sink`; from `pour` on it always has data to send, until `dry`."""

    def __init__(
        self,
        world: World,
        congestion: str,
        *,
        rate: float = 10e6,
        rtt: Time = "20ms",
        queue: int = 50_000,
        seed: int = 1,
        faults: dict[str, Any] | None = None,
        **options: int,
    ) -> None:
        self.world, self.rate, self.rtt = world, rate, ns(rtt)
        near, far = pipe_pair(layer=3, mtu=1500, ring=4096)
        way = {"rate": rate, "delay": self.rtt // 2, "backlog": queue}
        near = with_faults(
            near, tx=Faults(**way, **(faults or {})), rx=Faults(**way), seed=seed, held=1 << 16
        )
        self.near = world.stack(near, "198.18.0.1/24")
        self.far = world.stack(far, "198.18.0.2/24")
        listener = Sock(self.far).set(rcvbuf=8 << 20).bind("0.0.0.0", 80).listen()
        self.source = Sock(self.near).set(sndbuf=8 << 20, congestion=NAMES.index(congestion))
        self.source.set(**options).connect("198.18.0.2", 80)
        world.run_until(lambda: listener.readable, "10s")
        self.sink = listener.accept()
        self.received = 0
        self.flowing = False
        world.add_mover(self._move)

    def pour(self) -> None:
        self.flowing = True

    def dry(self) -> None:
        """No new data; waits until all is acknowledged."""
        self.flowing = False
        self.world.run_until(lambda: not self.source.unacked, "1min")

    def _move(self) -> bool:
        moved = len(self.sink.read_all())
        self.received += moved
        while self.flowing:
            try:
                moved += self.source.send(CHUNK)
            except BlockingIOError:
                break
        return moved > 0

    # ---- what is seen ------------------------------------------------------------------------------

    @property
    def bdp(self) -> int:
        """The bandwidth-delay product in bytes of data."""
        return int(self.rate / 8 * self.rtt / 1e9 * 1448 / 1500)

    @property
    def flight(self) -> int:
        """Bytes of data sent and not acknowledged."""
        inside = self.source.inside
        return inside.snd_nxt - inside.snd_una & 0xFFFFFFFF

    @property
    def pacing_rate(self) -> float:
        """As a share of what the link carries of data."""
        return self.source.info.tcpi_pacing_rate * 8 / self.rate * 1500 / 1448

    def goodput(self, for_: Time) -> float:
        """Lets so much time pass; the share of what the link could carry of data that arrived."""
        before = self.received
        self.world.run(for_)
        return (self.received - before) * 8e9 / ns(for_) / self.rate * 1500 / 1448

    def watch(self, for_: Time, see: Callable[[], float], every: int = 5 * MS) -> list[float]:
        """What `see` says, `every` so often."""
        found = []
        for _ in range(ns(for_) // every):
            self.world.run(every)
            found.append(see())
        return found
