"""Two stacks over bad networks: every byte arrives, both ways, nothing gets stuck, and all memory
comes back. Each case is decided by its name; the long form (--slow) has some 500 of them."""

from __future__ import annotations

import itertools
import random
import zlib
from dataclasses import dataclass

import pytest
from barewire.nic_drivers import Faults

from tests.kit.clock import MS
from tests.kit.programs import Conversation
from tests.kit.world import World, lossy_pair

SHORT = 60


@dataclass(frozen=True)
class Case:
    """Chances of each frame, delay one way in ms, buffers in bytes."""

    loss: float
    delay: int
    reorder: float
    duplicate: float
    corrupt: float
    buffer: int

    def __str__(self) -> str:
        parts = [f"loss{self.loss:g}", f"delay{self.delay}", f"reorder{self.reorder:g}"]
        parts += [f"dup{self.duplicate:g}", f"corrupt{self.corrupt:g}", f"buf{self.buffer}"]
        return "-".join(parts)

    @property
    def seed(self) -> int:
        return zlib.crc32(str(self).encode())

    @property
    def size(self) -> int:
        """Enough to fill the window a few times, few enough to be quick."""
        fair = 5_000_000 if self.loss < 0.05 else 1_000_000
        return min(fair, 200 * self.buffer)


GRID = [
    Case(*values)
    for values in itertools.product(
        (0.0, 0.01, 0.05, 0.2),
        (0, 1, 50),
        (0.0, 0.1, 0.3),
        (0.0, 0.05),
        (0.0, 0.02),
        (2048, 16_384, 1 << 20, 16 << 20),
    )
]
CHOSEN = set(random.Random(1).sample(GRID, SHORT))


def cases() -> list[object]:
    marks = {True: (), False: (pytest.mark.slow,)}
    return [pytest.param(c, id=str(c), marks=marks[c in CHOSEN]) for c in GRID]


@pytest.mark.parametrize("case", cases())
def test_grid(case: Case) -> None:
    faults = Faults(
        loss=case.loss,
        delay=case.delay * MS,
        jitter=case.delay * MS // 4,
        reorder=case.reorder,
        hold=max(case.delay, 1) * MS // 2,
        duplicate=case.duplicate,
        corrupt=case.corrupt,
    )
    options = {"header_prediction": bool(case.seed & 1), "buffer_bytes": 64 << 20}
    with World(case.seed, **options) as world:
        a, b = lossy_pair(faults, seed=case.seed)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        talk = Conversation(
            world,
            one,
            two,
            "198.18.0.2",
            upload=case.size,
            download=case.size // 2,
            sndbuf=case.buffer,
            rcvbuf=case.buffer,
            congestion=case.seed >> 1 & 1,
        )
        talk.runs()
        talk.closes()
        for stack in (one, two):
            stats, counters = stack.stats(), stack.counters()
            assert (stats["memory_chunks"], stats["sockets"]) == (0, 0)
            assert counters["tcp_bad_state_transition"] == 0
            assert counters["tcp_announced_window_not_kept"] == 0
