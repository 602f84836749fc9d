"""The benchmark's end of a worker: a process, pinned to a core, that runs what it is told to.

The other end is process.py; orders and answers are lines of JSON on its stdin and stdout.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from .. import netns
from . import programs, transfer


class WorkerError(Exception):
    """A measured program failed; the text is its own."""


class Worker:
    """The benchmark's end of such a process."""

    def __init__(
        self,
        where: netns.Namespace,
        core: int,
        device: str = "",
        address: str = "",
        gateway: str = "",
    ) -> None:
        command = [sys.executable, "-P", "-m", "barewire.tools.bench.process", str(core)]
        command += [word for word in (device, address, gateway) if word]
        self.name = device or "kernel"
        self.address = address.split("/")[0]
        self.process: subprocess.Popen[str] = where.popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.answer()

    def tell(self, program: str, **order: Any) -> None:
        """Starts a program; returns when it has begun to wait, if it is one that waits."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"program": program, **order}) + "\n")
        self.process.stdin.flush()
        if program in programs.WAITING | transfer.WAITING:
            self.answer()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"the program on {self.name} ended with code {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer
