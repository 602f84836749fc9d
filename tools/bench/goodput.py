"""Goodput and fairness over bad links: in the simulator, and on the wire beside the kernel's TCP.

Like is held against like: cubic beside cubic, bbr beside bbr, on the same links with the same
seeds. `out`: barewire sends to the kernel. `in`: the kernel sends to barewire, whose receiver
shows. Beside both stand the figures of kernel to kernel. Fairness is that of two flows through one
bottleneck: `beside the kernel` ours and the kernel's, `twice` two of a kind.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import links, simulate
from .report import Result, Samples
from .wire import Flow, Lane, Outcome

TESTS = ("goodput_sim", "goodput_wire", "fairness_sim", "fairness_wire")
CONGESTION = ("cubic", "bbr")
TARGET = 0.9  # of the kernel's median
CONTENDERS = {
    "kernel": [Flow("kernel")],
    "out": [Flow("barewire")],
    "in": [Flow("barewire", inward=True)],
}
PAIRS = (("barewire", "kernel"), ("kernel", "kernel"), ("barewire", "barewire"))
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    seeds: int
    fairness_seeds: int
    lanes: int
    shortened: bool

    def of(self, scenario: links.Scenario) -> links.Scenario:
        return scenario.shortened() if self.shortened else scenario


QUICK, FULL = Size(1, 1, 6, True), Size(10, 5, 4, False)


@dataclass
class Measured:
    """Figures, and sentences about how they came about."""

    results: list[Result]
    notes: list[str]


@dataclass(frozen=True)
class Task:
    """One run on the wire."""

    key: tuple[str, str, str]  # scenario, congestion control, contender
    scenario: links.Scenario
    flows: tuple[Flow, ...]
    seed: int


def jain(shares: list[float]) -> float:
    """Jain's fairness index: 1 if all are equal, 1/n if one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(s * s for s in shares))


def share(rate: float) -> float:
    """Of the link, of so many bytes a second."""
    return rate * 8 / links.RATE


def measure(names: Iterable[str], size: Size, progress: Progress) -> Measured:
    """The tests named, of TESTS. Raises WorkerError."""
    found = Measured([], [])
    for name in names:
        _MEASURES[name](size, progress, found)
    return found


# ---- in the simulator ----------------------------------------------------------------------------


def _goodput_sim(size: Size, progress: Progress, found: Measured) -> None:
    for congestion in CONGESTION:
        for scenario in map(size.of, links.GOODPUT):
            progress(f"goodput in the simulator: {scenario.name}, {congestion}")
            flows = [simulate.goodput(scenario, congestion, s) for s in range(1, size.seeds + 1)]
            shares = [share(flow.rate(0, scenario.seconds)) for flow in flows]
            found.results += _rows(
                scenario, "sim", f"{congestion} sim", {"barewire": shares},
                {"barewire": [flow.gap for flow in flows]},
            )  # fmt: skip


def _fairness_sim(size: Size, progress: Progress, found: Measured) -> None:
    scenario = size.of(links.FAIRNESS)
    for congestion in CONGESTION:
        progress(f"fairness in the simulator: {congestion}")
        runs = [
            [f.rate(links.START_UP, scenario.seconds) for f in flows]
            for flows in (
                simulate.shared(scenario, congestion, seed)
                for seed in range(1, size.fairness_seeds + 1)
            )
        ]
        found.results += _fairness_rows("sim", f"{congestion} twice, sim", {"barewire": runs})


# ---- on the wire ---------------------------------------------------------------------------------


def run_all(tasks: list[Task], lanes: int, progress: Progress) -> dict[Task, list[Outcome]]:
    """Every task, on so many lanes at once. Raises what the first failure raised."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    done: dict[Task, list[Outcome]] = {}
    failures: list[BaseException] = []

    def work(lane: Lane) -> None:
        try:
            while not failures:
                task = waiting.get_nowait()
                done[task] = lane.run(task.scenario, task.key[1], list(task.flows), task.seed)
                progress(f"round {len(done)}/{len(tasks)} on the wire: {', '.join(task.key)}")
        except queue.Empty:
            pass
        except BaseException as failure:  # raised again below
            failures.append(failure)

    with contextlib.ExitStack() as opened:
        made = [opened.enter_context(Lane(number)) for number in range(min(lanes, len(tasks)))]
        for lane in made:
            for flows in dict.fromkeys(task.flows for task in tasks):
                lane.prepare(list(flows))
        threads = [threading.Thread(target=work, args=(lane,)) for lane in made]
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) and not failures:
                for thread in threads:
                    thread.join(0.1)
        finally:  # interrupted or failed: the others end when their processes do
            if any(thread.is_alive() for thread in threads):
                failures.append(InterruptedError())
                for lane in made:
                    lane.stop()
            for thread in threads:
                thread.join()
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()
    return done


def _busy() -> tuple[int, int]:
    """Jiffies the processors were busy, and all."""
    with open("/proc/stat", encoding="ascii") as file:
        times = [int(word) for word in file.readline().split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)


def _run_noted(
    what: str, tasks: list[Task], size: Size, progress: Progress, found: Measured
) -> dict[Task, list[Outcome]]:
    """Runs the tasks, says beforehand how long that takes, and afterwards how sound it was."""
    lanes = min(size.lanes, len(tasks))
    seconds = sum(task.scenario.seconds + 0.5 for task in tasks) / lanes + 2
    progress(f"{what} on the wire: {len(tasks)} runs on {lanes} links, about {seconds:.0f} seconds")
    before = _busy()
    done = run_all(tasks, size.lanes, progress)
    busy, every = (now - then for now, then in zip(_busy(), before, strict=True))
    relays = [outcomes[0].relay for outcomes in done.values()]
    voids = sum(outcomes[0].void for outcomes in done.values())
    found.notes.append(
        f"{what} on the wire: the relay was late by {max(r.late_p99 for r in relays) * 1e3:.2f} ms"
        f" at most (99th percentile of a run), {voids} runs of {len(done) + voids} void for that;"
        f" {lanes} links at once, {len(os.sched_getaffinity(0))} cores {busy / every:.0%} busy"
    )
    return done


def _goodput_wire(size: Size, progress: Progress, found: Measured) -> None:
    tasks = [
        Task((scenario.name, congestion, contender), scenario, tuple(flows), seed)
        for seed in range(1, size.seeds + 1)
        for scenario in map(size.of, links.GOODPUT)
        for congestion in CONGESTION
        for contender, flows in CONTENDERS.items()
    ]
    outcomes: dict[tuple[str, str, str], list[Outcome]] = defaultdict(list)
    for task, [outcome] in _run_noted("goodput", tasks, size, progress, found).items():
        outcomes[task.key].append(outcome)
    behind = []
    for scenario in map(size.of, links.GOODPUT):
        for congestion in CONGESTION:
            for way in ("out", "in"):
                pair = {"barewire": way, "kernel": "kernel"}
                seen = {n: outcomes[scenario.name, congestion, c] for n, c in pair.items()}
                rows = _rows(
                    scenario, "relay", f"{congestion} {way}",
                    {n: [share(o.rate()) for o in found] for n, found in seen.items()},
                    {n: [o.gap for o in found] for n, found in seen.items()},
                )  # fmt: skip
                found.results += rows
                if (rows[0].ratio("barewire", "kernel") or 0) < TARGET:
                    behind.append(f"{scenario.name} {congestion} {way}")
    found.notes.append(
        f"goodput below {TARGET} of the kernel's: {'; '.join(behind) if behind else 'nowhere'}"
    )


def _fairness_wire(size: Size, progress: Progress, found: Measured) -> None:
    scenario = size.of(links.FAIRNESS)
    tasks = [
        Task(
            (scenario.name, congestion, "+".join(pair)),
            scenario,
            (Flow(pair[0]), Flow(pair[1], wait=0.2 * (seed % 5))),
            seed,
        )
        for seed in range(1, size.fairness_seeds + 1)
        for congestion in CONGESTION
        for pair in PAIRS
    ]
    done = _run_noted("fairness", tasks, size, progress, found)
    for congestion in CONGESTION:
        rates: dict[str, list[list[float]]] = defaultdict(list)
        for task, outcomes in done.items():
            if task.key[1] == congestion:
                rates[task.key[2]].append(
                    [
                        outcome.rate(links.START_UP - flow.wait)
                        for outcome, flow in zip(outcomes, task.flows, strict=True)
                    ]
                )
        kernels = rates["kernel+kernel"]
        for pair, words in (
            ("barewire+kernel", "beside the kernel"),
            ("barewire+barewire", "twice"),
        ):
            ours = {"barewire": rates[pair], "kernel": kernels}
            found.results += _fairness_rows("relay", f"{congestion} {words}", ours)
        parts = {"barewire": Samples([one / (one + two) for one, two in rates["barewire+kernel"]])}
        found.results.append(
            Result("fairness", "relay", f"{congestion} beside the kernel", "our part", "", parts)
        )


# ---- as results ----------------------------------------------------------------------------------


def _rows(
    scenario: links.Scenario,
    device: str,
    direction: str,
    shares: dict[str, list[float]],
    gaps: dict[str, list[float]],
) -> list[Result]:
    """The share of the link; after an outage also how long nothing came."""
    test = f"goodput, {scenario.name}"
    rows = [("share", "of link", shares)]
    if scenario.faults.outage:
        rows.append(("silence", "s", gaps))
    return [
        Result(test, device, direction, metric, unit, {n: Samples(v) for n, v in values.items()})
        for metric, unit, values in rows
    ]


def _fairness_rows(
    device: str, direction: str, rates: dict[str, list[list[float]]]
) -> list[Result]:
    """Of the two flows' bytes a second, one list a run, by contender."""
    found = []
    for metric, unit, figure in (
        ("Jain's index", "", jain),
        ("both", "of link", lambda run: share(sum(run))),
    ):
        samples = {name: Samples([figure(run) for run in runs]) for name, runs in rates.items()}
        found.append(Result("fairness", device, direction, metric, unit, samples))
    return found


_MEASURES: dict[str, Callable[[Size, Progress, Measured], None]] = {
    "goodput_sim": _goodput_sim,
    "goodput_wire": _goodput_wire,
    "fairness_sim": _fairness_sim,
    "fairness_wire": _fairness_wire,
}
