"""Work without any capability, whoever the test runs as: capabilities(7) belong to a thread."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from typing import TypeVar

from barewire.tools import netns

T = TypeVar("T")

_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


def without_privilege(work: Callable[[], T]) -> T:
    """work() in a thread that has given up its capabilities; its result, or its exception here."""

    def run() -> T:
        header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return work()

    return netns.in_thread(run)
