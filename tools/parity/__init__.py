"""CPython's own tests of the standard library with barewire in place, beside the same tests on the kernel.

    python -m barewire.tools.parity docs/parity.md [MODULE ...]

Each module of tests runs twice, in processes of its own: plain, and under `barewire run` on the stack's own
loopback. A test that passes on the kernel has to pass here, or stands in the file as an exception with its
reason; an exception that passes, or that names no test, is a mistake of the file. A test that opened a
kernel socket of AF_INET while barewire was in place counts as failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .record import Record
from .suite import Outcome, Suite, modules, run

USAGE_ERROR = 2


def main(argv: Sequence[str]) -> int:
    """Runs the command; 0 where the file says what was seen."""
    parser = argparse.ArgumentParser(prog="parity", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("record", type=Path, help="the file of exceptions: docs/parity.md")
    parser.add_argument("modules", nargs="*", help="such as test_asyncio.test_streams (all)")
    parser.add_argument("-v", "--verbose", action="store_true", help="with what failed, and how")
    options = parser.parse_intermixed_args(argv)
    known = modules()
    chosen = options.modules or known
    if wrong := sorted(set(chosen) - set(known)):
        there = ", ".join(known) or "none: this interpreter lacks its `test` package"
        print(f"parity: there is no module {wrong[0]}; there are {there}", file=sys.stderr)
        return USAGE_ERROR
    if not chosen:
        print("parity: this interpreter lacks its `test` package (Debian: libpython3.N-testsuite)",
              file=sys.stderr)  # fmt: skip
        return USAGE_ERROR
    record = Record.read(options.record)
    mistakes, total = [], Counts()
    print(f"{'':42}{'the kernel':>12}{'barewire':>10}{'excepted':>10}   of those with INET sockets")
    for name in chosen:
        theirs, ours = run(name), run(name, on_stack=True)
        mistakes += record.check(name, theirs, ours)
        counts = Counts.of(theirs, ours, record)
        total = total.plus(counts)
        print(f"{name:42}{counts}", flush=True)
        if options.verbose:
            show(theirs, ours)
    print(f"{'':42}{total}")
    print("\n".join(mistakes))
    return 1 if mistakes else 0


class Counts(tuple[int, ...]):
    """Tests that pass on the kernel, those of them that pass here, those excepted; and the same of the tests
    that open INET sockets on the kernel."""

    @classmethod
    def of(cls, theirs: Suite, ours: Suite, record: Record) -> Counts:
        passed = [name for name, one in theirs.items() if one.passed]
        counts = []
        for names in (passed, [name for name in passed if theirs[name].inet]):
            here = sum(ours.get(name, Outcome()).passed for name in names)
            counts += [len(names), here, sum(record.excepts(name) for name in names)]
        return cls(counts)

    def plus(self, other: Counts) -> Counts:
        return Counts(a + b for a, b in zip(self or [0] * 6, other, strict=True))

    def __str__(self) -> str:
        return "{:12}{:10}{:10}   {:8}{:8}{:8}".format(*(self or [0] * 6))


def show(theirs: Suite, ours: Suite) -> None:
    for name, one in theirs.items():
        here = ours.get(name, Outcome())
        if one.passed and not here.passed:
            print(f"  {name}: {here.how}\n{here.said}")
