"""One module of the interpreter's own tests, run in a process of its own that may hang or die.

The process says on a pipe which test begins and how it ended (child.py). One that says nothing for too long
is ended: the test it was at has hung, and another process goes on behind it.
"""

from __future__ import annotations

import json
import os
import pkgutil
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec

PATIENCE = 30.0  # seconds for one test
PACKAGES = ("test_asyncio",)
_OF_OTHERS = ("test_windows_events", "test_windows_utils", "test_proactor_events")
_ON_STACK = ("-m", "barewire", "run", "--device", "pipe:parity")


@dataclass
class Outcome:
    """How a test ended: "passed", "skipped", "failed", "hung", "died" or "did not run"; what it said; whether
    it opened kernel sockets of AF_INET."""

    how: str = "did not run"
    said: str = ""
    inet: bool = False

    @property
    def passed(self) -> bool:
        return self.how == "passed"


Suite = dict[str, Outcome]


def modules() -> list[str]:
    """Those this interpreter has, such as test_asyncio.test_streams."""
    found = []
    for package in PACKAGES:
        if find_spec("test") is None or (spec := find_spec(f"test.{package}")) is None:
            continue
        for module in pkgutil.iter_modules(spec.submodule_search_locations):
            if module.name.startswith("test_") and module.name not in _OF_OTHERS:
                found.append(f"{package}.{module.name}")
    return found


def run(module: str, *, on_stack: bool = False) -> Suite:
    """Every test of a module: on the kernel, or under `barewire run`."""
    outcomes: Suite = {}
    with tempfile.TemporaryDirectory() as folder:
        while not _one_process(module, on_stack, folder, outcomes):
            pass
    if on_stack:
        for outcome in outcomes.values():
            if outcome.inet and outcome.passed:
                outcome.how = "opened a kernel socket of AF_INET"
    return outcomes


def _one_process(module: str, on_stack: bool, folder: str, outcomes: Suite) -> bool:
    """Runs what has no outcome yet; whether it came to the end."""
    reading, writing = os.pipe()
    environment = {k: v for k, v in os.environ.items() if k != "BAREWIRE"}
    command = [sys.executable, "-P", *(_ON_STACK if on_stack else ()), "-m", f"{__package__}.child"]
    with subprocess.Popen(
        [*command, module, str(writing)], pass_fds=[writing], cwd=folder, env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            os.close(writing)
            assert process.stdin
            process.stdin.write(json.dumps(list(outcomes)).encode())
            process.stdin.close()
            return _follow(module, reading, process, outcomes)
        finally:
            process.kill()
            os.close(reading)


def _follow(module: str, reading: int, process: subprocess.Popen[bytes], outcomes: Suite) -> bool:
    """Notes what the process says, to its end or until it says nothing; whether that was the end."""
    current, said = f"{module}: around the tests", b""
    while select.select([reading], [], [], PATIENCE)[0]:
        more = os.read(reading, 1 << 16)
        if not more:
            outcomes[current] = Outcome("died", f"status {process.wait(PATIENCE)}")
            break
        *lines, said = (said + more).split(b"\n")
        for line in lines:
            name, *rest = json.loads(line)
            if name is None:
                return True
            if rest:
                outcomes[name] = Outcome(*rest)
                current = f"{module}: around the tests"
            else:
                current = name
    else:
        outcomes[current] = Outcome("hung")
    return current.startswith(f"{module}: ")
