"""What a test may do: as root of the machine, as root of an ordinary user's namespace, as nobody."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from barewire.tools import netns

T = TypeVar("T")

_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


def is_machines_root() -> bool:
    """Whether capabilities here are the machine's. Those of a user namespace (user_namespaces(7)) load no
    BPF program, reserve no huge page, and lock no more memory than the user may."""
    with open("/proc/self/uid_map", encoding="ascii") as users:
        every = users.read().split() == ["0", "0", "4294967295"]
    return every and netns.has_privilege()


def for_machine(*parameters: object) -> list[Any]:
    """Parameters with which a test is for the machine's root alone, such as an `xdp` device."""
    return [pytest.param(parameter, marks=pytest.mark.machine) for parameter in parameters]


def without_privilege(work: Callable[[], T]) -> T:
    """work() in a thread that has given up its capabilities, which belong to threads
    (capabilities(7)); its result, or its exception here."""

    def run() -> T:
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return work()

    return netns.in_thread(run)
