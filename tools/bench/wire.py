"""Transfers on the wire: the kernel or a barewire stack at one end, the kernel at the other.

A lane is two namespaces joined by a relay (barewire.tools.relay), made anew for every run, so
that each run starts with the same dice:

    near: kernel 198.18.0.1 ────────── link0 ══ the relay, its faults ══ link0 ── far: 198.18.0.2
          barewire 198.18.1.2 ── tap0 ──┘ (the near kernel forwards)

The near kernel's own frames and those it forwards for barewire leave by the same interface and
cross the same link, bottleneck, queue and all; forwarding costs barewire some 20 us of 20 ms. A run
whose relay was late (LATE) or dropped a frame is void and made again, TRIES times at most.

Both stacks: MTU 1500, send and receive buffers of the same size, the congestion control named in
the order and read back, no metrics kept from one connection to the next.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass

from .. import netns
from ..closing import Closing
from ..relay import Relay, RelayStats
from . import links
from .transfer import INTERVAL
from .worker import Worker, WorkerError

KERNEL, FAR = "198.18.0.1", "198.18.0.2"
LATE = 1e-3  # seconds: how late a relay's 99th percentile may be
TRIES = 3
PATIENCE = 20.0  # seconds a handshake on a bad link may take


@dataclass(frozen=True)
class Flow:
    """Who sends to whom: `near` is "kernel" or "barewire", the far end is the kernel. `inward`:
    the data flows from far to near (barewire only). `wait`: it starts so many seconds later."""

    near: str
    inward: bool = False
    wait: float = 0.0


@dataclass
class Outcome:
    """What one flow's sink saw from its start on, and what the relay says of its own timing."""

    record: list[int]  # bytes in each INTERVAL
    gap: float  # the longest time without a byte, seconds
    relay: RelayStats
    void: int = 0  # runs before this one that the relay spoiled

    def rate(self, since: float = 0.0) -> float:
        """Bytes a second from `since` on."""
        counted = self.record[round(since / INTERVAL) :]
        return sum(counted) / (len(counted) * INTERVAL)


class Lane(Closing):
    """Two namespaces and the processes in them; runs happen one after the other. `number` chooses
    which core the near end is on. A context manager."""

    def __init__(self, number: int = 0) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._cores = cores[number % len(cores)], cores[(number + 1) % len(cores)]
        self._ports = itertools.count(5001)
        self.near, self.far = netns.Namespace("near"), netns.Namespace("far")
        self._workers: dict[tuple[str, int], Worker] = {}
        self._subnets = 0
        for namespace in (self.near, self.far):
            namespace.quiet()
            namespace.sysctl("net.ipv4.tcp_no_metrics_save", 1)
            # Half of it holds data, as the kernel reckons; no further autotuning.
            size = 2 * links.BUFFER
            namespace.sysctl("net.ipv4.tcp_rmem", f"4096 {size} {size}")
            namespace.sysctl("net.ipv4.tcp_wmem", f"4096 {size} {size}")
        self.near.sysctl("net.ipv4.ip_forward", 1)

    def stop(self) -> None:
        """Ends the processes; a run that waits for one raises WorkerError."""
        for worker in self._workers.values():
            netns.stop(worker.process)

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def prepare(self, flows: list[Flow]) -> None:
        """Starts the processes these flows need (in the main thread, before the runs)."""
        for number, flow in enumerate(flows):
            same = [f.near for f in flows[:number]].count(flow.near)
            self._worker(flow.near, same)
            self._worker("far", number)

    def _worker(self, kind: str, number: int) -> Worker:
        if (kind, number) not in self._workers:
            self._workers[kind, number] = self._start(kind)
        return self._workers[kind, number]

    def _start(self, kind: str) -> Worker:
        if kind == "far":
            return Worker(self.far, self._cores[1])
        if kind == "kernel":
            return Worker(self.near, self._cores[0])
        self._subnets += 1
        net, name = f"198.18.{self._subnets}", f"tap{self._subnets}"
        netns.tap(self.near, f"{net}.1/24", name=name)
        return Worker(self.near, self._cores[0], f"tap:{name}", f"{net}.2/24", f"{net}.1")

    # ---- runs ------------------------------------------------------------------------------------

    def run(
        self, scenario: links.Scenario, congestion: str, flows: list[Flow], seed: int
    ) -> list[Outcome]:
        """One run with all flows at once: what came of each. Raises WorkerError."""
        for void in range(TRIES):
            outcomes = self._run(scenario, congestion, flows, seed)
            stats = outcomes[0].relay
            for outcome in outcomes:
                outcome.void = void
            if stats.late_p99 <= LATE and stats.dropped == (0, 0):
                return outcomes
        raise WorkerError(
            f"the relay cannot keep its timing on this machine: frames are {stats.late_p99 * 1e3:.1f}"
            f" ms late (99th percentile), {sum(stats.dropped)} were dropped"
        )

    def _run(
        self, scenario: links.Scenario, congestion: str, flows: list[Flow], seed: int
    ) -> list[Outcome]:
        ends, addresses = (self.near, self.far), (f"{KERNEL}/24", f"{FAR}/24")
        if flows[0].inward:  # data meets the same dice in either direction
            ends, addresses = ends[::-1], addresses[::-1]
        with Relay(*ends, scenario.faults, seed=seed, addresses=addresses) as relay:
            for namespace in (self.near, self.far):
                namespace.use_congestion(relay.name, congestion)
            for subnet in range(self._subnets):
                self.far.add_route(f"198.18.{subnet + 1}.0/24", KERNEL)
            pairs = [self._pair(flow, number, flows) for number, flow in enumerate(flows)]
            for flow, (sink, source) in zip(flows, pairs, strict=True):
                order = {
                    "host": sink.address or FAR,
                    "port": next(self._ports),
                    "congestion": congestion,
                    "seconds": scenario.seconds - flow.wait,
                    "wait": flow.wait,
                    "patience": PATIENCE + flow.wait,
                }
                for worker, program in ((sink, "sink"), (source, "source")):
                    buffer = links.BUFFER if worker.address else 0
                    worker.tell(program, buffer=buffer, **order)
            found = [(source.answer(), sink.answer()) for sink, source in pairs]
        for sent, _ in found:
            if sent["congestion"] != congestion:
                raise WorkerError(f"it ran with {sent['congestion']} instead of {congestion}")
        return [Outcome(seen["bytes"], seen["gap"], relay.stats) for _, seen in found]

    def _pair(self, flow: Flow, number: int, flows: list[Flow]) -> tuple[Worker, Worker]:
        """(sink, source)."""
        near = self._worker(flow.near, [f.near for f in flows[:number]].count(flow.near))
        far = self._worker("far", number)
        return (near, far) if flow.inward else (far, near)
