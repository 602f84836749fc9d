"""A SYN flood in wall time over an interface, beside an established flow and honest clients.

barewire has one core; the kernel's programs (a bulk sender, clients that connect, and the sender of
SYNs, through AF_PACKET) share the other. Each round has three intervals of equal length: without a
flood; with one that goes to a veth pair that nobody listens on, so that it costs the kernel's core
much the same and the stack nothing; and with one that goes to the stack. What the flow loses from
the second to the third is what the flood takes from it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from .. import netns
from .compare import OURS, PEER, PREFIX
from .report import Result, Samples
from .worker import WorkerError

TESTS = {"flood_packet": "packet", "flood_tap": "tap"}  # test: device
ROUNDS, SECONDS = (
    3,
    1.5,
)  # at most so many, at least so long: a client that is passed over waits 1 s
RATE = 500_000  # SYNs a second that are asked for
UNUSED = "192.0.2.9/32"  # the kernel's, on the interface that is the stack's
SINK = ("192.0.2.1/24", "192.0.2.2/24")
UNITS = {
    "goodput quiet": "Gbit/s",
    "goodput beside": "Gbit/s",
    "goodput flooded": "Gbit/s",
    "goodput lost": "%",
    "SYNs sent": "1/s",
    "SYNs received": "1/s",
    "cookies sent": "1/s",
    "honest connects": "",
    "honest failed": "",
    "honest p50": "ms",
    "honest max": "ms",
    "processor": "%",
    "sockets held": "",
}


class Part:
    """One process of the benchmark."""

    def __init__(self, where: netns.Namespace, role: str, core: int, *arguments: str) -> None:
        command = [sys.executable, "-P", "-m", "barewire.tools.bench.flood_process"]
        self.role = role
        self.process: subprocess.Popen[str] = where.popen(
            [*command, role, str(core), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.answer()

    def tell(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the flood's {self.role} ended with code {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise WorkerError(found["error"])
        return found

    def ask(self, **order: Any) -> dict[str, Any]:
        self.tell(**order)
        return self.answer()


def stack_mac(where: netns.Namespace) -> str:
    """The address the kernel has learned for the stack, by its first connection."""

    def look() -> str:
        from pyroute2 import IPRoute

        with IPRoute() as ip:
            for entry in ip.get_neighbours(dst=OURS):
                found = str(entry.get_attr("NDA_LLADDR"))
                return found.replace(":", "")
        raise WorkerError("the kernel knows no neighbour")

    return where.call(look)


class Scene:
    """The processes, and one interval of them."""

    def __init__(self, device: str, where: netns.Namespace, ours: netns.Namespace) -> None:
        cores = sorted(os.sched_getaffinity(0))
        here, there = cores[0], cores[-1]
        if device == "tap":
            netns.tap(where, PEER + PREFIX, name="wire0")
            name, home = "tap:wire0", where
        else:
            netns.veth(where, ours, PEER + PREFIX, UNUSED, names=("wire0", "wire0"))
            name, home = "packet:wire0", ours
        netns.veth(where, where, *SINK, names=("sink0", "sink1"))
        self.server = Part(home, "server", here, name, OURS + PREFIX, PEER, "1")
        self.bulk = Part(where, "bulk", there, OURS)
        self.honest = Part(where, "honest", there, OURS)
        self.attack = Part(where, "attack", there, stack_mac(where), OURS, str(RATE))

    def interval(self, seconds: float, interface: str = "") -> dict[str, Any]:
        """What happened in so many seconds, with SYNs to that interface."""
        before = self.server.ask()
        self.honest.tell(seconds=seconds)
        sent = self.attack.ask(seconds=seconds, interface=interface) if interface else {}
        clients = self.honest.answer()
        after = self.server.ask()
        took = after["when"] - before["when"]
        rates = {
            name: (after[name] - before[name]) / took
            for name in ("bytes", "tcp_syn_cookies_sent", "rx_frames", "cpu")
        }
        return {"sent": sent, "clients": clients, "rates": rates, "stats": after["stats"]}


def figures(
    quiet: dict[str, Any], beside: dict[str, Any], flooded: dict[str, Any]
) -> dict[str, float]:
    """{metric: value} of one round. A stack that read nothing in an interval lost all of it."""
    goodput = [i["rates"]["bytes"] * 8 / 1e9 for i in (quiet, beside, flooded)]
    clients = flooded["clients"]
    sent = flooded["sent"]
    return {
        "goodput quiet": goodput[0],
        "goodput beside": goodput[1],
        "goodput flooded": goodput[2],
        "goodput lost": 100 * (1 - goodput[2] / goodput[1]) if goodput[1] else 100.0,
        "SYNs sent": sent["sent"] / sent["took"],
        "SYNs received": max(flooded["rates"]["rx_frames"] - beside["rates"]["rx_frames"], 0.0),
        "cookies sent": flooded["rates"]["tcp_syn_cookies_sent"],
        "honest connects": clients["connects"],
        "honest failed": clients["failed"],
        "honest p50": clients["p50"] * 1e3,
        "honest max": clients["max"] * 1e3,
        "processor": 100 * flooded["rates"]["cpu"],
        "sockets held": flooded["stats"]["sockets"],
    }


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """Every figure on each device, one sample a round."""
    results = []
    for name in names:
        results += measure_on(name, min(rounds, ROUNDS), max(seconds, SECONDS), progress)
    return results


def measure_on(
    name: str, rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    device = TESTS[name]
    samples = {metric: Samples() for metric in UNITS}
    with netns.Namespace("flood") as where, netns.Namespace("flooded") as ours:
        scene = Scene(device, where, ours)
        for number in range(rounds):
            found = []
            for interface in ("", "sink0", "wire0"):
                progress(f"round {number + 1}/{rounds}: flood {device}, {interface or 'quiet'}")
                found.append(scene.interval(seconds, interface))
            for metric, value in figures(*found).items():
                samples[metric].add(value)
    return [
        Result(name, device, "in", metric, unit, {"barewire": samples[metric]})
        for metric, unit in UNITS.items()
    ]
