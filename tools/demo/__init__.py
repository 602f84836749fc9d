"""`barewire demo`: a barewire stack on a TAP interface, the Linux kernel as its peer.

Everything happens in network namespaces of the demo's own, which vanish with it. barewire serves
(the standard library's http.server, unmodified, through the drop-in) and the kernel's side pings,
echoes, fetches and uploads; then barewire is the client. In turn with it the same programs run over
the kernel's own sockets on both ends of a veth pair. A file counts only with its SHA-256 checked.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import netns, signals
from ..bench.report import Samples, cell
from ..console import console

if TYPE_CHECKING:
    from rich.console import Console

PEER, OURS, PREFIX = "198.18.0.1", "198.18.0.2", "/24"
PROGRAMS = os.path.join(os.path.dirname(__file__), "programs.py")
BUDGET = 60.0  # seconds for everything
ECHOES = "1000"  # datagrams there and back, a round


class DemoError(Exception):
    """The demo could not run, or found something wrong; the text says what."""


@dataclass
class Link:
    """Where a program of the side that is measured runs, and where its peer, the kernel's."""

    here: netns.Namespace
    peer: netns.Namespace


@dataclass
class Side:
    """One of the two compared: how its programs are started, and where. It serves on one link and is
    the client on the other, so that all its programs may run at once."""

    title: str
    prefix: list[str]
    serving: Link
    calling: Link
    figures: dict[str, Samples] = field(default_factory=dict)

    def note(self, figure: str, value: float) -> None:
        self.figures.setdefault(figure, Samples()).add(value)


class Program:
    """One of the demo's programs. It answers with one line of JSON: that it is ready, and then to
    each question. Raises DemoError with the program's last words where it does not."""

    def __init__(
        self, where: netns.Namespace, prefix: Sequence[str], words: Sequence[str], deadline: float
    ) -> None:
        self.name = words[0]
        self.deadline = deadline
        # A session of its own: Ctrl-C reaches the demo alone, which then ends the programs.
        self._process = where.popen(
            [sys.executable, "-P", *prefix, PROGRAMS, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "BAREWIRE_DEMO_PID": str(os.getpid())},
        )

    def ask(self, *words: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then it has last words
            self._process.stdin.write(json.dumps(words) + "\n")
            self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None and self._process.stderr is not None
        left = max(0.0, self.deadline - time.monotonic())
        if not select.select([self._process.stdout], [], [], left)[0]:
            raise DemoError(f"it did not end within {BUDGET:.0f} seconds")
        line = self._process.stdout.readline()
        if not line:
            said = [text for text in self._process.stderr.read().splitlines() if text.strip()]
            raise DemoError(f"the {self.name} failed: {said[-1] if said else 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Demo:
    """The steps. `deadline` is on the monotonic clock; `folder` holds the file that is served."""

    def __init__(self, folder: str, megabytes: int) -> None:
        self.deadline = time.monotonic() + BUDGET
        self.folder = folder
        self.path = os.path.join(folder, "file.bin")
        self.size = megabytes << 20
        data = os.urandom(1 << 20) * megabytes
        with open(self.path, "wb") as file:
            file.write(data)
        self.sha256 = hashlib.sha256(data).hexdigest()

    def start(self, side: Side) -> Clients:
        """The four programs of a side; they become ready by themselves."""

        def program(where: netns.Namespace, prefix: Sequence[str], *words: str) -> Program:
            return Program(where, prefix, words, self.deadline)

        servers = [
            program(side.serving.here, side.prefix, "server", OURS, self.folder),
            program(side.calling.peer, [], "server", PEER, self.folder),
        ]
        return Clients(
            servers,
            peer=program(side.serving.peer, [], "client"),
            own=program(side.calling.here, side.prefix, "client"),
        )

    def transfer(self, client: Program, what: str, address: str) -> float:
        """A file across, checked: Gbit/s."""
        answer = client.ask(what, address, "file.bin" if what == "get" else self.path)
        if answer["bytes"] != self.size or answer["sha256"] != self.sha256:
            raise DemoError(f"{what}: the file arrived changed ({answer})")
        return float(self.size * 8 / answer["seconds"] / 1e9)

    def ping(self, where: netns.Namespace, address: str) -> float:
        """Microseconds there and back, on average."""
        command = ["ping", "-q", "-n", "-c", "20", "-i", "0.005", "-W", "1", address]
        left = max(0.0, self.deadline - time.monotonic())
        done = where.run(command, check=False, capture_output=True, text=True, timeout=left)
        times = re.search(r"= [\d.]+/([\d.]+)/[\d.]+/", done.stdout)
        if done.returncode != 0 or times is None:
            raise DemoError(f"no answer to ping: {(done.stdout + done.stderr).strip()[-200:]}")
        return float(times[1]) * 1000

    def echo(self, client: Program, address: str) -> tuple[float, float]:
        answer = client.ask("echo", address, ECHOES)
        if answer["rounds"] == 0 or answer["lost"]:
            raise DemoError(f"UDP echo lost {answer['lost']} of {ECHOES}")
        return float(answer["p50"]), float(answer["p99"])

    def round(self, side: Side, clients: Clients) -> dict[str, float]:
        """Every step once: {what: figure}."""
        p50, p99 = self.echo(clients.peer, OURS)
        return {
            "ping, us": self.ping(side.serving.peer, OURS),
            "UDP echo p50, us": p50,
            "UDP echo p99, us": p99,
            "serves (GET), Gbit/s": self.transfer(clients.peer, "get", OURS),
            "receives (PUT), Gbit/s": self.transfer(clients.peer, "put", OURS),
            "fetches (GET), Gbit/s": self.transfer(clients.own, "get", PEER),
            "uploads (PUT), Gbit/s": self.transfer(clients.own, "put", PEER),
        }


@dataclass
class Clients:
    """A side's client programs: the kernel's that asks its server, and its own."""

    servers: list[Program]
    peer: Program
    own: Program

    def wait(self) -> None:
        for program in (*self.servers, self.peer, self.own):
            program.answer()


def sides(stack: contextlib.ExitStack) -> tuple[Side, Side]:
    """barewire on a TAP interface, and the kernel's own sockets on a veth pair."""

    def space(name: str) -> netns.Namespace:
        return stack.enter_context(netns.Namespace(name))

    def tap() -> Link:
        both = space("tap")
        netns.tap(both, PEER + PREFIX)
        return Link(both, both)

    def veth() -> Link:
        link = Link(space("ours"), space("peer"))
        netns.veth(link.peer, link.here, PEER + PREFIX, OURS + PREFIX)
        return link

    run = ["-m", "barewire", "run", "--device", "tap:tap0", "--address", OURS + PREFIX]
    return (
        Side("barewire over TAP", run, tap(), tap()),
        Side("kernel over veth", [], veth(), veth()),
    )


def print_table(console: Console, shown: Sequence[Side], megabytes: int) -> None:
    from rich.table import Table

    table = Table(
        title=f"The same Python programs and {megabytes} MB; their peer is the Linux kernel"
    )
    table.add_column("")
    for side in shown:
        table.add_column(side.title, justify="right")
    for name in shown[0].figures:
        table.add_row(name, *(cell(side.figures[name]) for side in shown))
    console.print(table)
    console.print(
        "Medians (smallest to largest) of rounds in turn, after a warm-up; TCP: cubic.\n"
        "Every file's SHA-256 was checked at its receiver."
    )


def main(argv: Sequence[str] = ()) -> int:
    """Runs the demo; 0, or 1 with one sentence on stderr, or 128 + the signal that ended it."""
    parser = argparse.ArgumentParser(prog="barewire demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--megabytes", type=int, default=64, help="size of the file (default 64)")
    parser.add_argument("--rounds", type=int, default=5, help="how often (default 5)")
    options = parser.parse_args(argv)
    terminal = console()
    try:
        netns.in_user_namespace([sys.executable, "-P", "-m", "barewire", "demo", *argv])
        with signals.as_exceptions():
            shown = measure(options.megabytes, options.rounds)
            print_table(terminal, shown, options.megabytes)
    except (DemoError, netns.NoPrivilege) as exc:
        print(f"barewire demo: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as exc:
        print("barewire demo: interrupted; everything is removed", file=sys.stderr)
        return 128 + int(exc.args[0] if exc.args else signal.SIGINT)
    return 0


def measure(megabytes: int, rounds: int) -> Sequence[Side]:
    """Both sides, with their figures; whatever happens, nothing is left. The first round warms up and does
    not count: buffers are touched for the first time, windows open, interpreters load their modules."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="barewire-demo-"))
            shown = sides(stack)
            demo = Demo(folder, megabytes)
            clients = {side.title: demo.start(side) for side in shown}
            for some in clients.values():
                some.wait()
            for number in range(rounds + 1):
                for side in shown if number % 2 else reversed(shown):
                    what = f"round {number} of {rounds}" if number else "warm-up"
                    print(f"{what}: {side.title}", file=sys.stderr, flush=True)
                    figures = demo.round(side, clients[side.title])
                    for name, value in figures.items() if number else ():
                        side.note(name, value)
            return shown
        finally:
            signals.ignore()
