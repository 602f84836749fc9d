"""`barewire run`: a program as `python` would run it, with its `socket` on the stack."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ._patch import patch

TERMINATED = 128 + signal.SIGTERM


def _terminate(number: int, frame: FrameType | None) -> None:
    """Ends as sys.exit() does, so that the stack drains; the kernel's default would not."""
    raise SystemExit(TERMINATED)


def run_script(path: str, arguments: Sequence[str]) -> int:
    """Runs a file (or a folder or archive with a __main__) with __name__ == "__main__"."""
    if not sys.flags.safe_path and os.path.isfile(path):
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    sys.argv = [path, *arguments]
    return _run(lambda: runpy.run_path(path, run_name="__main__"))


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Runs a module as `python -m` does."""
    if not sys.flags.safe_path:
        sys.path[0] = os.getcwd()
    sys.argv = [name, *arguments]
    return _run(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def _run(program: Callable[[], Any]) -> int:
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:  # as python leaves SIGINT then
        signal.signal(signal.SIGTERM, _terminate)
    patch()
    program()
    return 0
