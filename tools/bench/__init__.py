"""`barewire bench`: the same programs on barewire's sockets and the kernel's, side by side.

And what the engine costs by itself, on the `pipe` device, what looks at many sockets cost, and what comes
through bad links. See compare.py for the rules of the comparison, programs.py for what is measured, aio.py
for event loops, engine.py for the engine, waiting.py for selectors, epoll and select, attacks.py, flood.py
and strangers.py for hostile packets, goodput.py for the links.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from .. import netns, signals
from ..console import console
from . import aio, attacks, compare, devices, engine, flood, goodput, report, strangers, waiting
from .worker import WorkerError

QUICK, FULL = (3, 0.4), (9, 1.0)  # rounds, seconds each
NAMES = list(
    dict.fromkeys(
        [
            *(test.name for test in compare.TESTS),
            *devices.TESTS,
            *aio.TESTS,
            *engine.TESTS,
            *waiting.TESTS,
            *attacks.TESTS,
            *flood.TESTS,
            *strangers.TESTS,
            *goodput.TESTS,
        ]
    )
)
# What --quick measures where no test is named: what fits into two minutes.
QUICK_NAMES = [
    *dict.fromkeys(test.name for test in compare.TESTS),
    *(test.name for device in ("xdp", "packet") for test in devices.tests_of(device)),
    *engine.TESTS,
    *waiting.TESTS,
    *attacks.TESTS,
    "goodput_sim",
    "fairness_sim",
]
LEFT_OUT = [name for name in NAMES if name not in QUICK_NAMES]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif "round 1/" in text or "round" not in text:
        print(text, file=sys.stderr, flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="barewire bench", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "tests",
        nargs="*",
        metavar="TEST",
        help=f"of: {', '.join(NAMES)}; or the first word of some",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"in two minutes, less exact, and without {', '.join(LEFT_OUT)}",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument("--only", metavar="TEST,…", help="the same, with commas")
    parser.add_argument("--rounds", type=int, help=f"default {FULL[0]}; seeds of the bad links")
    parser.add_argument("--seconds", type=float, help=f"for each measurement; default {FULL[1]}")
    options = parser.parse_args(argv)
    asked = [*options.tests, *(options.only.split(",") if options.only else [])]
    chosen = {word: [n for n in NAMES if n == word or n.startswith(word + "_")] for word in asked}
    if unknown := [word for word, found in chosen.items() if not found]:
        parser.error(f"there is no test {unknown[0]!r}; there are {', '.join(NAMES)}")
    every = QUICK_NAMES if options.quick else NAMES
    options.only = [name for found in chosen.values() for name in found] if asked else every
    rounds, seconds = QUICK if options.quick else FULL
    options.rounds_given = bool(options.rounds)
    options.rounds = options.rounds or rounds
    options.seconds = options.seconds or seconds
    return options


def measure(
    options: argparse.Namespace, progress: Callable[[str], None]
) -> tuple[list[report.Result], list[str]]:
    """Everything asked for, the comparisons first; and notes about it."""
    aio.check(options.only)
    results: list[report.Result] = []
    tests = [test for test in compare.TESTS if test.name in options.only]
    if tests:
        results += compare.compare(tests, options.rounds, options.seconds, progress)
    if wanted := [name for name in devices.TESTS if name in options.only]:
        results += devices.measure(wanted, options.rounds, options.seconds, progress)
    if wanted := [name for name in aio.TESTS if name in options.only]:
        results += aio.measure(wanted, options.rounds, options.seconds, progress)
    if wanted := [name for name in engine.TESTS if name in options.only]:
        results += engine.measure(wanted, options.rounds, options.seconds, progress)
    if wanted := [name for name in waiting.TESTS if name in options.only]:
        results += waiting.measure(wanted, options.rounds, options.seconds, progress)
    if wanted := [name for name in attacks.TESTS if name in options.only]:
        results += attacks.measure(wanted, options.rounds, options.seconds, progress)
    if wanted := [name for name in flood.TESTS if name in options.only]:
        results += flood.measure(wanted, options.rounds, options.seconds, progress)
    if wanted := [name for name in strangers.TESTS if name in options.only]:
        results += strangers.measure(wanted, options.rounds, options.seconds, progress)
    size = goodput.QUICK if options.quick else goodput.FULL
    if options.rounds_given:
        size = replace(size, seeds=options.rounds, fairness_seeds=options.rounds)
    bad = goodput.measure([n for n in goodput.TESTS if n in options.only], size, progress)
    return results + bad.results, bad.notes


def main(argv: Sequence[str] = ()) -> int:
    """Measures and prints; 0, or 1 with a sentence on stderr, or 128 + the signal."""
    options = _parse(argv)
    terminal = console(width=144)
    try:
        netns.in_user_namespace([sys.executable, "-P", "-m", "barewire", "bench", *argv])
        with signals.as_exceptions():
            results, notes = measure(options, _progress)
        where = report.machine(compare.CONGESTION)
        _progress("")
        report.print_table(terminal, where, results, notes)
        if options.json:
            report.write_json(options.json, where, results, notes)
    except (WorkerError, netns.NoPrivilege) as exc:
        print(f"barewire bench: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as exc:
        print("\nbarewire bench: interrupted; everything is removed", file=sys.stderr)
        return 128 + int(exc.args[0] if exc.args else signal.SIGINT)
    return 0
