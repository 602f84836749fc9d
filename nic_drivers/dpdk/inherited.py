"""Descriptors that DPDK opened: a program started later must not hold a port's interface."""

from __future__ import annotations

import contextlib
import os


def inheritable() -> set[int]:
    """The descriptors that a program started now would have."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.get_inheritable(int(name)):
                found.add(int(name))
    return found


def close_on_exec(kept: set[int]) -> None:
    """Those that came after inheritable() gave `kept` are the process's own."""
    for fd in inheritable() - kept:
        with contextlib.suppress(OSError):
            os.set_inheritable(fd, False)
