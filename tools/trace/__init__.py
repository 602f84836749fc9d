"""`barewire trace`: records what a program's connections do, and shows it.

    barewire trace --device tap:tap0 --address 198.18.0.2/24 --out run.jsonl -- app.py
    barewire trace show run.jsonl
    barewire trace plot run.jsonl --out run.svg

A script that is called show or plot is named ./show or ./plot.
"""

from __future__ import annotations

import argparse
import atexit
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from barewire import cli
from barewire.cli import UserError

from ... import trace
from ..console import console

PICTURES = 10  # drawn without being asked for by number: the busiest


def main(argv: Sequence[str]) -> int:
    """Runs the command; its exit status."""
    commands: dict[str, Callable[[Sequence[str]], int]] = {"plot": plot, "show": show}
    arguments = list(argv)
    command = commands.get(arguments[0]) if arguments else None
    try:
        return command(arguments[1:]) if command else record(arguments)
    except (UserError, trace.TraceError) as problem:
        print(f"barewire trace: {problem}", file=sys.stderr)
        return cli.USAGE_ERROR


# ---- recording -----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="barewire trace",
        usage="barewire trace [options] [--] (SCRIPT | -m MODULE) [ARGUMENT ...]\n"
        "       barewire trace show FILE\n"
        "       barewire trace plot FILE [--out PICTURE] [--connection N]",
        description="Run a program as `barewire run` does, and record what its connections do.",
    )
    cli.add_stack_options(parser)
    parser.add_argument("--out", default="trace.jsonl", metavar="FILE",
                        help="the trace, JSON lines (trace.jsonl)")  # fmt: skip
    parser.add_argument("--plot", metavar="PICTURE", help="and draw it: .png, .svg or .pdf")
    cli.add_program(parser)
    return parser


def record(arguments: Sequence[str]) -> int:
    """Runs the program; the trace is whole when the interpreter has ended it, threads and all."""
    options = _parser().parse_args(arguments)
    if options.program[:1] == ["--"]:
        del options.program[0]
    program = cli.program(options)
    console()  # says what is missing before the work, not after it
    if options.plot:
        _find_matplotlib()
        trace.check_picture(options.plot)
    stack = cli.open_stack(options)
    try:
        recorder = trace.Recorder(stack, options.out)
    except OSError as problem:
        stack.close()
        raise UserError(f"cannot write {options.out}: {problem.strerror}") from problem
    # Handlers run in reverse: this one before the stack's own, after every thread has ended.
    atexit.register(_finish, os.getpid(), stack, recorder, options.out, options.plot)
    return program(stack)


def _finish(pid: int, stack: Any, recorder: trace.Recorder, out: str, picture: str | None) -> None:
    if pid != os.getpid():
        return
    stack.close()
    recorder.close()
    try:
        found = trace.connections(trace.read(out))
        _print_table(found, sys.stderr)
        print(f"trace: {out}", file=sys.stderr)
        if picture and found:
            _draw(out, picture, None, found)
    except (UserError, trace.TraceError, OSError) as problem:
        print(f"barewire trace: {problem}", file=sys.stderr)


# ---- showing -------------------------------------------------------------------------------------


def show(arguments: Sequence[str]) -> int:
    """The table of a trace's connections."""
    parser = argparse.ArgumentParser(
        prog="barewire trace show", description="Print what the connections of a trace did."
    )
    parser.add_argument("file", metavar="FILE", help="what `barewire trace` wrote")
    options = parser.parse_args(arguments)
    _print_table(_connections(options.file), sys.stdout)
    return 0


def plot(arguments: Sequence[str]) -> int:
    """Pictures of a trace's connections."""
    parser = argparse.ArgumentParser(
        prog="barewire trace plot", description="Draw a picture of each connection of a trace."
    )
    parser.add_argument("file", metavar="FILE", help="what `barewire trace` wrote")
    parser.add_argument("--out", metavar="PICTURE",
                        help="its name: .png, .svg or .pdf (FILE's name, .png)")  # fmt: skip
    parser.add_argument("--connection", type=int, action="append", metavar="N",
                        help=f"only this one, may repeat (the {PICTURES} busiest)")  # fmt: skip
    options = parser.parse_args(arguments)
    _find_matplotlib()
    found = _connections(options.file)
    picture = options.out or str(Path(options.file).with_suffix(".png"))
    _draw(options.file, picture, options.connection, found)
    return 0


def _connections(path: str) -> dict[int, trace.Connection]:
    try:
        found = trace.connections(trace.read(path))
    except OSError as problem:
        raise UserError(f"cannot read {path}: {problem.strerror}") from problem
    if not found:
        raise trace.TraceError(f"there is no connection in {path}")
    return found


def _draw(
    path: str, picture: str, only: Iterable[int] | None, found: dict[int, trace.Connection]
) -> None:
    busiest = sorted(found.values(), key=lambda c: -c.out.fresh - c.back.fresh)[:PICTURES]
    chosen = [c.conn for c in busiest] if only is None else list(only)
    try:
        for name in trace.plot(trace.read(path), picture, only=chosen):
            print(f"picture: {name}", file=sys.stderr)
    except OSError as problem:
        raise UserError(f"cannot write {problem.filename}: {problem.strerror}") from problem
    if only is None and len(found) > PICTURES:
        left = len(found) - PICTURES
        print(f"{left} more connections: choose with --connection N", file=sys.stderr)


def _find_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise UserError("pictures need matplotlib: pip install matplotlib")


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3g}"


def _print_table(found: dict[int, trace.Connection], file: Any) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    names = ("", "local", "remote", "state", "seconds", "sent", "received", "again", "time-outs",
             "undone", "in recovery", "RTT ms min", "median", "max")  # fmt: skip
    for name in names:
        table.add_column(name, justify="left" if name in names[1:4] else "right", no_wrap=True)
    for connection in found.values():
        s = connection.summary()
        table.add_row(
            str(s.conn), s.local, s.remote, s.state, f"{s.duration:.3f}", str(s.sent),
            str(s.received), str(s.retransmissions), str(s.timeouts), str(s.undone),
            f"{s.in_recovery:.3f}", _milliseconds(s.rtt_min), _milliseconds(s.rtt_median),
            _milliseconds(s.rtt_max),
        )  # fmt: skip
    terminal = console(160)
    terminal.file = file
    terminal.print(table)
