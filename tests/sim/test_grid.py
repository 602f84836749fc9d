"""Two stacks over bad networks: every byte arrives, both ways, nothing gets stuck, and all memory
comes back. Five hundred combinations, each drawn by its own seed; --slow moves more bytes in each."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from barewire.nic_drivers import Faults
from barewire.stack import ffi, lib

from tests.kit.clock import MS
from tests.kit.programs import Conversation
from tests.kit.world import World, lossy_pair

CASES = 500
BUFFERS = [2048 << i for i in range(14)]  # to 16 MB
ALGORITHMS = [ffi.string(lib.bw_cc_name(i)).decode() for i in range(lib.bw_cc_count())]
OPTIONS = ("timestamps", "sack", "wscale")
ECN = ("off", "passive", "on", "accecn")


@dataclass(frozen=True)
class Case:
    """Chances of each frame, delay one way in ms, rate in bit/s (0: none), buffers in bytes."""

    seed: int
    loss: float
    delay: int
    reorder: float
    duplicate: float
    corrupt: float
    rate: float
    mtu: int
    sndbuf: int
    rcvbuf: int
    congestion: int
    nodelay: bool
    ecn: tuple[str, str]  # of either stack
    mtu_probing: int
    off: tuple[str, ...]  # of OPTIONS

    @classmethod
    def draw(cls, seed: int) -> Case:
        """Every size of buffer and every algorithm comes in turn, the rest by chance."""
        dice = random.Random(seed)
        return cls(
            seed=seed,
            loss=dice.choice((0.0, 0.0, 0.01, 0.05, 0.2)),
            delay=dice.choice((0, 1, 10, 50)),
            reorder=dice.choice((0.0, 0.0, 0.1, 0.3)),
            duplicate=dice.choice((0.0, 0.0, 0.05)),
            corrupt=dice.choice((0.0, 0.0, 0.02)),
            rate=dice.choice((0.0, 0.0, 10e6, 100e6)),
            mtu=dice.choice((576, 1500, 1500, 9000)),
            sndbuf=BUFFERS[seed % len(BUFFERS)],
            rcvbuf=dice.choice(BUFFERS),
            congestion=seed // len(BUFFERS) % len(ALGORITHMS),
            nodelay=dice.random() < 0.3,
            ecn=(dice.choice(ECN), dice.choice(ECN)),
            mtu_probing=dice.choice((0, 1, 2)),
            off=tuple(name for name in OPTIONS if dice.random() < 0.2),
        )

    def __str__(self) -> str:
        parts = [f"{self.seed}-{ALGORITHMS[self.congestion]}-snd{self.sndbuf}-rcv{self.rcvbuf}"]
        parts += [f"loss{self.loss:g}-delay{self.delay}-rate{self.rate / 1e6:g}-mtu{self.mtu}"]
        return "-".join(parts + [f"no_{name}" for name in self.off])

    def size(self, most: int) -> int:
        """Enough to fill the window some times, few enough to be quick."""
        fair = most if self.loss < 0.05 else most // 4
        return max(5000, min(fair, 40 * min(self.sndbuf, self.rcvbuf)))

    @property
    def faults(self) -> Faults:
        shaped = {"rate": self.rate, "backlog": 256_000} if self.rate else {}
        return Faults(
            loss=self.loss,
            delay=self.delay * MS,
            jitter=self.delay * MS // 4,
            reorder=self.reorder,
            hold=max(self.delay, 1) * MS // 2,
            duplicate=self.duplicate,
            corrupt=self.corrupt,
            **shaped,
        )


def test_the_cases_cover_every_buffer_and_algorithm() -> None:
    drawn = [Case.draw(seed) for seed in range(CASES)]
    assert {case.sndbuf for case in drawn} == {case.rcvbuf for case in drawn} == set(BUFFERS)
    assert {ALGORITHMS[case.congestion] for case in drawn} == set(ALGORITHMS)
    assert len(set(map(str, drawn))) == CASES


@pytest.mark.parametrize("case", [Case.draw(i) for i in range(CASES)], ids=str)
def test_grid(request: pytest.FixtureRequest, case: Case) -> None:
    size = case.size(5_000_000 if request.config.getoption("--slow") else 400_000)
    options = {"buffer_bytes": 64 << 20, "mtu_probing": case.mtu_probing}
    with World(case.seed, **options) as world:
        a, b = lossy_pair(case.faults, seed=case.seed, mtu=case.mtu)
        one = world.stack(a, "198.18.0.1/24", ecn=case.ecn[0])
        two = world.stack(b, "198.18.0.2/24", ecn=case.ecn[1], header_prediction=False)
        talk = Conversation(
            world,
            one,
            two,
            "198.18.0.2",
            upload=size,
            download=size // 2,
            sndbuf=case.sndbuf,
            rcvbuf=case.rcvbuf,
            congestion=case.congestion,
            nodelay=int(case.nodelay),
            **{name: int(name not in case.off) for name in OPTIONS},
        )
        talk.runs()
        talk.closes()
        for stack in (one, two):
            stats, counters = stack.stats(), stack.counters()
            assert (stats["memory_chunks"], stats["sockets"], stats["orphans"]) == (0, 0, 0)
            assert counters["tcp_bad_state_transition"] == 0
            assert counters["tcp_announced_window_not_kept"] == 0
