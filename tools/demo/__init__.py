"""`barewire demo`: a barewire stack on a TAP interface, the Linux kernel as its peer.

Everything happens in network namespaces of the demo's own, which vanish with it. First barewire
serves (the standard library's http.server, unmodified, through the drop-in) and the kernel's side
pings, echoes, fetches and uploads; then barewire is the client. The same programs then run over the
kernel's own sockets on both ends of a veth pair. A file counts only with its SHA-256 checked.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import netns, signals
from ..console import console

if TYPE_CHECKING:
    from rich.console import Console

PEER, OURS, PREFIX = "198.18.0.1", "198.18.0.2", "/24"
PROGRAMS = os.path.join(os.path.dirname(__file__), "programs.py")
BUDGET = 60.0  # seconds for everything


class DemoError(Exception):
    """The demo could not run, or found something wrong; the text says what."""


@dataclass
class Side:
    """One of the two compared: how and where its program is started; the peer is the kernel."""

    title: str
    here: netns.Namespace
    peer: netns.Namespace
    prefix: list[str]
    figures: dict[str, str] = field(default_factory=dict)


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

    def left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DemoError(f"it did not end within {BUDGET:.0f} seconds")
        return left

    def start(
        self, where: netns.Namespace, prefix: Sequence[str], *args: str
    ) -> subprocess.Popen[str]:
        # A session of its own: Ctrl-C reaches the demo alone, which then ends the programs.
        command = [sys.executable, "-P", *prefix, PROGRAMS, *args]
        return where.popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "BAREWIRE_DEMO_PID": str(os.getpid())},
        )

    @contextlib.contextmanager
    def serving(
        self, where: netns.Namespace, prefix: Sequence[str], address: str
    ) -> Iterator[None]:
        """The server program runs; it has said that it is ready."""
        server = self.start(where, prefix, "serve", address, self.folder)
        assert server.stdout is not None
        try:
            if not server.stdout.readline():
                self.failed(server, "the server")
            yield
        finally:
            netns.stop(server)

    def failed(self, process: subprocess.Popen[str], what: str) -> None:
        assert process.stderr is not None
        lines = [line for line in process.stderr.read().splitlines() if line.strip()]
        raise DemoError(f"{what} did not start: {lines[-1] if lines else 'it said nothing'}")

    def ask(self, where: netns.Namespace, prefix: Sequence[str], *args: str) -> dict[str, Any]:
        """Runs a client program to its end: its answer."""
        client = self.start(where, prefix, *args)
        try:
            out, err = client.communicate(timeout=self.left())
        except subprocess.TimeoutExpired:
            raise DemoError(f"{args[0]} did not end within {BUDGET:.0f} seconds") from None
        finally:
            netns.stop(client)
        if client.returncode != 0 or not out.strip():
            last = err.strip().splitlines()[-1:] or [f"it ended with code {client.returncode}"]
            raise DemoError(f"{args[0]} failed: {last[0]}")
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer

    def transfer(self, where: netns.Namespace, prefix: Sequence[str], *args: str) -> str:
        """A file across, checked: its throughput in words."""
        answer = self.ask(where, prefix, *args)
        if answer["bytes"] != self.size or answer["sha256"] != self.sha256:
            raise DemoError(f"{args[0]}: the file arrived changed ({answer})")
        return f"{self.size * 8 / answer['seconds'] / 1e9:.2f} Gbit/s"

    def ping(self, where: netns.Namespace, address: str) -> str:
        command = ["ping", "-q", "-n", "-c", "50", "-i", "0.01", "-W", "1", address]
        done = where.run(command, check=False, capture_output=True, text=True, timeout=self.left())
        times = re.search(r"= [\d.]+/([\d.]+)/[\d.]+/", done.stdout)
        if done.returncode != 0 or times is None:
            raise DemoError(f"no answer to ping: {(done.stdout + done.stderr).strip()[-200:]}")
        return f"{float(times[1]) * 1000:.0f} us"

    def echo(self, where: netns.Namespace, address: str) -> str:
        answer = self.ask(where, [], "echo", address, "3000")
        if answer["rounds"] == 0 or answer["lost"]:
            raise DemoError(f"UDP echo lost {answer['lost']} of 3000")
        return f"{answer['p50']:.0f} us, p99 {answer['p99']:.0f} us"

    def show(self, side: Side) -> None:
        """All steps for one side."""
        figures = side.figures
        with self.serving(side.here, side.prefix, OURS):
            figures["ping, round trip"] = self.ping(side.peer, OURS)
            figures["UDP echo, 64 bytes"] = self.echo(side.peer, OURS)
            figures[f"serves {self.size >> 20} MB (GET)"] = self.transfer(
                side.peer, [], "get", OURS, "file.bin"
            )
            figures[f"receives {self.size >> 20} MB (PUT)"] = self.transfer(
                side.peer, [], "put", OURS, self.path
            )
        with self.serving(side.peer, [], PEER):
            figures[f"as client, fetches {self.size >> 20} MB"] = self.transfer(
                side.here, side.prefix, "get", PEER, "file.bin"
            )
            figures[f"as client, uploads {self.size >> 20} MB"] = self.transfer(
                side.here, side.prefix, "put", PEER, self.path
            )


def sides(stack: contextlib.ExitStack) -> tuple[Side, Side]:
    """barewire on a TAP interface, and the kernel's own sockets on a veth pair."""
    tap = stack.enter_context(netns.Namespace("tap"))
    a = stack.enter_context(netns.Namespace("veth a"))
    b = stack.enter_context(netns.Namespace("veth b"))
    netns.veth(a, b, PEER + PREFIX, OURS + PREFIX)
    netns.tap(tap, PEER + PREFIX)
    run = ["-m", "barewire", "run", "--device", "tap:tap0", "--address", OURS + PREFIX]
    return (
        Side("barewire over TAP", tap, tap, run),
        Side("kernel over veth", b, a, []),
    )


def print_table(console: Console, shown: Sequence[Side]) -> None:
    from rich.table import Table

    table = Table(title="The same Python programs; their peer is the Linux kernel")
    table.add_column("")
    for side in shown:
        table.add_column(side.title, justify="right")
    for name in shown[0].figures:
        table.add_row(name, *(side.figures.get(name, "") for side in shown))
    console.print(table)
    console.print(
        "Every file's SHA-256 was checked at its receiver; TCP congestion control: cubic."
    )


def main(argv: Sequence[str] = ()) -> int:
    """Runs the demo; 0, or 1 with one sentence on stderr, or 128 + the signal that ended it."""
    parser = argparse.ArgumentParser(prog="barewire demo", description=__doc__.split("\n\n")[0])
    parser.add_argument("--megabytes", type=int, default=64, help="size of the file (default 64)")
    options = parser.parse_args(argv)
    terminal = console()
    try:
        netns.in_user_namespace([sys.executable, "-P", "-m", "barewire", "demo", *argv])
        with signals.as_exceptions():
            print_table(terminal, measure(options.megabytes))
    except (DemoError, netns.NoPrivilege) as exc:
        print(f"barewire demo: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as exc:
        print("barewire demo: interrupted; everything is removed", file=sys.stderr)
        return 128 + int(exc.args[0] if exc.args else signal.SIGINT)
    return 0


def measure(megabytes: int) -> Sequence[Side]:
    """Both sides, with their figures; whatever happens, nothing is left."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="barewire-demo-"))
            shown = sides(stack)
            demo = Demo(folder, megabytes)
            for side in shown:
                print(f"{side.title} …", file=sys.stderr, flush=True)
                demo.show(side)
            return shown
        finally:
            signals.ignore()
