"""A SYN flood in wall time over an interface, beside an established flow and honest clients.

Who is attacked, barewire or the kernel's sockets, has one core; the clients (a bulk sender, programs
that connect, and the sender of SYNs, through AF_PACKET) share the other. Each round has three intervals:
without a flood; with one to the stack; and with one that goes to a veth pair that nobody listens on and
takes the sender as much processor time, so that the bulk sender has as little as under the flood. What
the flow lacks in the second beside the third is what the flood takes from it.
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
from .report import Result, in_turns
from .worker import WorkerError

DEVICES = {
    "packet": "packet:wire0",
    "tap": f"tap:wire0?host={PEER + PREFIX}",
    "tap_guard": f"tap:wire0?host={PEER + PREFIX}&syn_guard=20000",
    # the sender's checksums are unfinished: it is on the same machine
    "xdp": "xdp:wire0?rx_checksum=pseudo",
    "xdp_guard": "xdp:wire0?rx_checksum=pseudo&syn_guard=20000",
}
TESTS = {f"flood_{device}": device for device in DEVICES}
# at most so many rounds, at least so many seconds: a client that is passed over waits one
ROUNDS, SECONDS = 5, 1.5
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
    """The processes of one contender, and one interval of them."""

    def __init__(self, device: str, where: netns.Namespace, ours: netns.Namespace) -> None:
        cores = sorted(os.sched_getaffinity(0))
        here, there = cores[0], cores[-1]
        tap = device.startswith("tap")
        if not tap:
            own = OURS + PREFIX if device == "kernel" else UNUSED
            netns.veth(where, ours, PEER + PREFIX, own, names=("wire0", "wire0"))
        netns.veth(where, where, *SINK, names=("sink0", "sink1"))
        if device == "kernel":
            ours.sysctl("net.ipv4.tcp_syncookies", "1")
            ours.add_route("default", PEER)
            self.server = Part(ours, "kernel", here, "wire0", OURS)
        else:
            home = where if tap else ours
            self.server = Part(home, "server", here, DEVICES[device], OURS + PREFIX, PEER)
        self.bulk = Part(where, "bulk", there, OURS)
        self.honest = Part(where, "honest", there, OURS)
        self.attack = Part(where, "attack", there, stack_mac(where), OURS)

    def interval(
        self, seconds: float, interface: str = "", rate: int = 0, share: float = 0
    ) -> dict[str, Any]:
        """What happened in so many seconds, with SYNs to that interface. Ends with the flood: an
        honest client that still waits is waited for, but the flow's time is over."""
        before = self.server.ask()
        self.honest.tell(seconds=seconds)
        sent: dict[str, Any] = {}
        if interface:
            sent = self.attack.ask(seconds=seconds, interface=interface, rate=rate, share=share)
            after = self.server.ask()
            clients = self.honest.answer()
        else:
            clients = self.honest.answer()
            after = self.server.ask()
        took = after["when"] - before["when"]
        rates = {
            name: (after[name] - before[name]) / took
            for name in ("bytes", "cookies", "frames", "cpu")
        }
        return {"sent": sent, "clients": clients, "rates": rates, "after": after}

    def round(self, seconds: float) -> dict[str, float]:
        quiet = self.interval(seconds)
        flooded = self.interval(seconds, "wire0", rate=RATE)
        beside = self.interval(seconds, "sink0", share=flooded["sent"]["share"])
        return figures(quiet, beside, flooded)


def figures(
    quiet: dict[str, Any], beside: dict[str, Any], flooded: dict[str, Any]
) -> dict[str, float]:
    """{metric: value} of one round. A stack that read nothing in an interval lost all of it."""
    goodput = [i["rates"]["bytes"] * 8 / 1e9 for i in (quiet, beside, flooded)]
    clients = flooded["clients"]
    found = {
        "goodput quiet": goodput[0],
        "goodput beside": goodput[1],
        "goodput flooded": goodput[2],
        "goodput lost": 100 * (1 - goodput[2] / goodput[1]) if goodput[1] else 100.0,
        "SYNs sent": flooded["sent"]["rate"],
        "SYNs received": max(flooded["rates"]["frames"] - beside["rates"]["frames"], 0.0),
        "cookies sent": flooded["rates"]["cookies"],
        "honest connects": clients["connects"],
        "honest failed": clients["failed"],
        "honest p50": clients["p50"] * 1e3,
        "honest max": clients["max"] * 1e3,
        "processor": 100 * flooded["rates"]["cpu"],
    }
    if "sockets" in flooded["after"]:
        found["sockets held"] = flooded["after"]["sockets"]
    return found


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """Every figure on each device, one sample a round, beside the kernel's."""
    rounds, seconds = min(rounds, ROUNDS), max(seconds, SECONDS)
    return [one for name in names for one in measure_on(name, rounds, seconds, progress)]


def measure_on(
    name: str,
    rounds: int,
    seconds: float,
    progress: Callable[[str], None],
    contenders: tuple[str, ...] = ("barewire", "kernel"),
) -> list[Result]:
    """The contenders take turns, each in a scene of its own that lasts one round."""
    device = TESTS[name]

    def one_round(title: str, which: str) -> dict[str, float]:
        progress(f"{which}: flood {device}, {title}")
        with netns.Namespace("flood") as where, netns.Namespace("flooded") as ours:
            return Scene(device if title == "barewire" else title, where, ours).round(seconds)

    samples = in_turns(contenders, rounds, one_round)
    return [Result(name, device, "in", m, unit, samples.get(m, {})) for m, unit in UNITS.items()]
