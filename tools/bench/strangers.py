"""What strangers can send per packet, in wall time, beside established flows: class by class.

The set-up is that of flood.py: who is attacked has one core, his clients and the strangers share the
other. Each round has four intervals. Without a flood and with one: how late a `recv` with a time-out
returns, how long a word on an old connection waits for its echo, and a program (of barewire's) for a route
to be added and removed. Then with a bulk flow: with the flood to the stack, and with one *beside*, to a
pair of interfaces that nobody listens on, which takes the sender as much processor time. What the flow
keeps is its rate in the one by that in the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from .. import netns
from .compare import OURS, PEER
from .flood import SINK, UNUSED, Part, stack_mac
from .report import Result, in_turns
from .stranger_frames import KINDS

TESTS = {f"strangers_{kind}": kind for kind in KINDS}
RATES = (30_000, 100_000)  # frames a second
ROUNDS, SECONDS = 3, 1.5  # at most so many rounds, at least so many seconds an interval
PREFIX = "/16"  # room for invented neighbours
DEVICE = "packet:wire0"
RING = 512  # packet's own, in frames; at high rates one that holds 20 ms of the flood
UNITS = {
    "sent": "1/s",
    "time-out late, quiet": "ms",
    "time-out late": "ms",
    "echo longest, quiet": "ms",
    "echo longest": "ms",
    "route added": "ms",
    "rate beside": "Gbit/s",
    "rate flooded": "Gbit/s",
    "rate kept": "",
}


class Scene:
    """The processes of one contender."""

    def __init__(
        self, contender: str, where: netns.Namespace, ours: netns.Namespace, ring: int = RING
    ) -> None:
        cores = sorted(os.sched_getaffinity(0))
        here, there = cores[0], cores[-1]
        own = OURS + PREFIX if contender == "kernel" else UNUSED
        netns.veth(where, ours, PEER + PREFIX, own, names=("wire0", "wire0"))
        netns.veth(where, where, *SINK, names=("sink0", "sink1"))
        if contender == "kernel":
            ours.add_route("default", PEER)
            self.server = Part(ours, "kernel", here, "wire0", OURS)
        else:
            self.server = Part(ours, "server", here, f"{DEVICE}?ring={ring}", OURS + PREFIX, PEER)
        self.bulk = Part(where, "bulk", there, OURS)
        self.bulk.ask(pause=True)
        self.steady = Part(where, "steady", there, OURS)
        self._start = partial(Part, where, "strangers", there, stack_mac(where), OURS)

    def come(self, kind: str) -> None:
        """From now on the strangers send frames of that kind."""
        self.strangers = self._start(kind)

    def patience(self, seconds: float, rate: int) -> dict[str, float]:
        """The longest waits in an interval, in ms, with so many frames a second (0: no flood)."""
        self.server.ask()
        self.steady.tell(seconds=seconds)
        if rate:
            self.strangers.tell(seconds=seconds, interface="wire0", rate=rate, share=0)
        server = self.server.ask(configure=seconds)
        sent = self.strangers.answer()["rate"] if rate else 0.0
        longest = {
            "late": max(server["late"], self.server.ask()["late"]),
            "longest": self.steady.answer()["longest"],
            "configured": server.get("configured", 0.0),
        }
        return {name: 1e3 * took for name, took in longest.items()} | {"sent": sent}

    def bulk_rate(self, interface: str, seconds: float, **pace: Any) -> tuple[float, float]:
        """(Gbit/s of the bulk flow, share of the processor that the strangers took) during a flood."""
        before = self.server.ask()
        share = self._flood(interface, seconds, **pace)["share"]
        after = self.server.ask()
        took = after["when"] - before["when"]
        return (after["bytes"] - before["bytes"]) * 8 / 1e9 / took, share

    def _flood(
        self, interface: str, seconds: float, rate: int = 0, share: float = 0
    ) -> dict[str, Any]:
        return self.strangers.ask(seconds=seconds, interface=interface, rate=rate, share=share)

    def round(self, seconds: float, rate: int) -> dict[str, float]:
        quiet = self.patience(seconds, 0)
        flooded = self.patience(seconds, rate)
        self.bulk.ask()
        self.bulk_rate("sink0", 0.2, rate=rate)  # the flow finds its window
        under, share = self.bulk_rate("wire0", seconds, rate=rate)
        beside, _ = self.bulk_rate("sink0", seconds, share=max(share, 0.001))
        self.bulk.ask(pause=True)
        found = {
            "sent": flooded["sent"],
            "time-out late, quiet": quiet["late"],
            "time-out late": flooded["late"],
            "echo longest, quiet": quiet["longest"],
            "echo longest": flooded["longest"],
            "rate beside": beside,
            "rate flooded": under,
            "rate kept": under / beside if beside else 0.0,
        }
        if flooded["configured"]:
            found["route added"] = flooded["configured"]
        return found


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """Every figure of each class at each rate, one sample a round, beside the kernel's."""
    length = min(rounds, ROUNDS), max(seconds, SECONDS)
    turns = product(names, RATES)
    return [one for name, rate in turns for one in measure_at(name, rate, *length, progress)]


def measure_at(
    name: str,
    rate: int,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
    contenders: tuple[str, ...] = ("barewire", "kernel"),
) -> list[Result]:
    """The contenders take turns, each in a scene of its own that lasts one round."""
    kind, ring = TESTS[name], max(RING, rate // 50)

    def one_round(title: str, which: str) -> dict[str, float]:
        progress(f"{which}: {KINDS[kind]}, {rate:,} a second, {title}")
        with netns.Namespace("flood") as where, netns.Namespace("flooded") as ours:
            scene = Scene(title, where, ours, ring)
            scene.come(kind)
            return scene.round(seconds, rate)

    device, samples = f"packet, {rate // 1000}k/s", in_turns(contenders, rounds, one_round)
    return [Result(name, device, "in", m, unit, samples.get(m, {})) for m, unit in UNITS.items()]
