"""What was measured, as numbers for a program (JSON) and as a table for a person."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass
class Samples:
    """One figure's values, one a round."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The smallest and the largest."""
        return min(self.values), max(self.values)

    def steady(self, most: float) -> bool:
        """Whether the values lie no farther apart than `most` of their median."""
        low, high = self.spread
        return high - low <= most * self.median


def in_turns(
    contenders: Iterable[str], rounds: int, one_round: Callable[[str, str], dict[str, float]]
) -> dict[str, dict[str, Samples]]:
    """Samples by metric and contender: these take turns, and `one_round(title, "round 1/9")` gives what
    one of them reached."""
    samples: dict[str, dict[str, Samples]] = {}
    for number in range(rounds):
        for title in contenders:
            for metric, value in one_round(title, f"round {number + 1}/{rounds}").items():
                samples.setdefault(metric, {}).setdefault(title, Samples()).add(value)
    return samples


@dataclass
class Result:
    """One metric of one test; samples by contender: barewire, kernel, and each with `_spin`.

    steady: where the reference spreads by more than that part of its median, a ratio to it is void.
    beside: what barewire is compared with where that is no `kernel`.
    """

    test: str
    device: str
    direction: str
    metric: str
    unit: str
    samples: dict[str, Samples]
    steady: float | None = None
    beside: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        medians = {name: round(s.median, 3) for name, s in self.samples.items()}
        row: dict[str, Any] = {
            "test": self.test,
            "device": self.device,
            "direction": self.direction,
            "metric": self.metric,
            "unit": self.unit,
            "barewire": medians.pop("barewire", None),
            "kernel": medians.pop("kernel", None),
            "ratio": self.ratio("barewire", "kernel"),
            **medians,
        }
        if self.beside:
            row["ratios"] = {name: self.ratio("barewire", name) for name in self.beside}
        elif medians:
            row["ratio_spin"] = self.ratio("barewire_spin", "kernel_spin")
            row["ratio_to_spin"] = self.ratio("barewire", "kernel_spin")
        row["void"] = [name for name in ("kernel", "kernel_spin") if self.is_void(name)]
        row["spread"] = {name: [round(v, 3) for v in s.spread] for name, s in self.samples.items()}
        return row

    def ratio(self, ours: str, theirs: str) -> float | None:
        """barewire's median by the kernel's: for rates more is better, for times less. None: void."""
        if ours not in self.samples or theirs not in self.samples or self.is_void(theirs):
            return None
        below = self.samples[theirs].median
        return round(self.samples[ours].median / below, 2) if below else None

    def is_void(self, theirs: str) -> bool:
        """Whether the reference was too restless to compare with."""
        reference = self.samples.get(theirs)
        return bool(reference and self.steady is not None and not reference.steady(self.steady))


def machine(congestion: str) -> dict[str, Any]:
    """Where it was measured. `default_congestion` is the machine's, not what the tests used."""
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/sys/net/ipv4/tcp_congestion_control", encoding="ascii") as file:
        default = file.read().strip()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "congestion": congestion,
        "default_congestion": default,
    }


def write_json(
    path: str, where: dict[str, Any], results: Iterable[Result], notes: Iterable[str] = ()
) -> None:
    document = {
        "machine": where,
        "results": [result.as_json() for result in results],
        "notes": list(notes),
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def number(value: float) -> str:
    """Three or more digits that mean something: 14,210 / 7.43 / 0.62."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def cell(samples: Samples | None) -> str:
    """Median, then the smallest and the largest."""
    if samples is None:
        return ""
    if len(samples.values) == 1:
        return number(samples.median)
    low, high = samples.spread
    return f"{number(samples.median)}  ({number(low)} to {number(high)})"


def print_table(
    console: Console, where: dict[str, Any], results: list[Result], notes: Iterable[str] = ()
) -> None:
    from rich import box
    from rich.table import Table

    console.print(
        f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}, "
        f"Python {where['python']}; TCP congestion control, where none is named: {where['congestion']}"
    )
    title = "median (smallest to largest) of the rounds"
    if any(result.steady is not None for result in results):
        title += "; void: the kernel's own figures spread by more than a fifth"
    table = Table(box=box.SIMPLE, title=title)
    for name in ("test", "metric", "barewire", "kernel", "ratio", "by spin"):
        table.add_column(
            name, justify="left" if name in ("test", "metric") else "right", no_wrap=True
        )
    for row in table_rows(r for r in results if not r.beside):
        table.add_row(*row)
    if table.rows:
        console.print(table)
    if several := [r for r in results if r.beside]:
        console.print(table_of_several(several))
    for note in notes:
        console.print(note)


def table_of_several(results: list[Result]) -> Table:
    """barewire beside several others: their medians, and barewire's by each of them."""
    from rich import box
    from rich.table import Table

    names = list(dict.fromkeys(name for result in results for name in result.beside))
    table = Table(box=box.SIMPLE, title="medians; in brackets barewire's by that")
    for name in ("test", "metric", "device", "barewire", *names):
        table.add_column(name, justify="left" if name in ("test", "metric", "device") else "right")
    for result in results:
        others = [
            f"{number(result.samples[name].median)} ({ratio_cell(result, 'barewire', name)})"
            if name in result.samples
            else ""
            for name in names
        ]
        table.add_row(
            f"{result.test} {result.direction}",
            f"{result.metric} {result.unit}".strip(),
            result.device,
            cell(result.samples["barewire"]),
            *others,
        )
    return table


def ratio_cell(result: Result, ours: str, theirs: str) -> str:
    ratio = result.ratio(ours, theirs)
    if ratio is None:
        return "void" if result.is_void(theirs) else ""
    return f"{ratio:.2f}"


def table_rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """A row for each comparison; of each test the blocking run, then the spinning one. The last column
    sets the blocking run, whose waiting calls spin by themselves, beside the kernel's spinning one."""
    results = list(results)
    rows: list[tuple[str, ...]] = []
    for test in dict.fromkeys((r.test, r.direction) for r in results):
        for suffix in ("", "_spin"):
            ours, theirs = "barewire" + suffix, "kernel" + suffix
            for result in results:
                if (result.test, result.direction) != test or ours not in result.samples:
                    continue
                rows.append(
                    (
                        " ".join(w for w in (*test, suffix.strip("_")) if w),
                        f"{result.metric} {result.unit}".strip(),
                        cell(result.samples[ours]),
                        cell(result.samples.get(theirs)),
                        ratio_cell(result, ours, theirs),
                        "" if suffix else ratio_cell(result, ours, "kernel_spin"),
                    )
                )
    return rows
