"""The SYN guard: a BPF program that holds SYN floods back in the kernel (guard.h)."""

from __future__ import annotations

import errno
import os
import secrets

from ..errors import DeviceError
from ..libraries import missing

try:
    from ._guard import ffi, lib

    _missing = ""
except ImportError as error:
    _missing = missing("guard", error)

GUARD_RATE_MAX = 100_000_000
GUARD_HELP = "SYNs a second let in at first sight, more only when repeated; 0: all (0)"


def load_tun_guard(rate: int, link: int) -> tuple[int, int]:
    """Loads the guard for a TUN interface whose IP headers come after `link` bytes: descriptors of
    the program and of its state. `rate` SYNs a second are let in at first sight. Raises DeviceError:
    EPERM, ENOTSUP, …"""
    if _missing:
        raise DeviceError(errno.ENOTSUP, f"no SYN guard: {_missing}")
    config, fds = ffi.new("struct guard_config *"), ffi.new("struct guard_fds *")
    config.key, config.rate, config.link = secrets.randbits(64), rate, link
    number = -lib.guard_load(config, fds)
    if number == errno.EPERM:
        raise DeviceError(number, "no permission to load the SYN guard: run as root, with CAP_BPF")
    if number:
        text = f"the kernel refuses the SYN guard: {os.strerror(number)}"
        raise DeviceError(number, text)
    return fds.program, fds.state
