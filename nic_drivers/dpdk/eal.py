"""EAL, DPDK's environment: one in a process, started by the first device and never stopped.

What it is started with holds for all devices of the process; a device that asks for something else
is refused. It is started in a thread of its own, which it pins, and prints nothing.
"""

from __future__ import annotations

import errno
import glob
import os
import shlex
import threading
from dataclasses import dataclass, fields
from typing import Any

from ..errors import DeviceError, invalid
from ..helper_thread import in_thread
from ._dpdk import ffi, lib
from .inherited import close_on_exec, inheritable

MEMORY = 128  # megabytes, if the options do not say: room for some ten ports
_NOBODY = "ffff:1f:1f.7"  # the only PCI card EAL may take by itself: none
_HUGE = "/sys/kernel/mm/hugepages/hugepages-*"


@dataclass(frozen=True)
class EalOptions:
    """What one device asks of EAL; None: it takes what there is.

    `lcores` in the words of --lcores, `memory` in megabytes, `hugepages` True (only with), False
    (only without) or None (where enough are free), `eal` further arguments of EAL's.
    """

    lcores: str | None = None
    memory: int | None = None
    hugepages: bool | None = None
    eal: str | None = None


@dataclass(frozen=True)
class _Eal:
    handle: Any
    pid: int
    options: EalOptions
    hugepages: bool


_lock = threading.Lock()
_started: list[_Eal] = []  # one at most; lives as long as the process


def free_huge_bytes() -> int:
    """Bytes of huge pages, of any size, that nobody uses."""
    total = 0
    for path in glob.glob(_HUGE):
        with open(f"{path}/free_hugepages", encoding="ascii") as file:
            total += int(file.read()) * int(path.rpartition("-")[2].removesuffix("kB")) * 1024
    return total


def arguments(options: EalOptions, hugepages: bool) -> list[str]:
    """EAL's command line. All memory there at the start: what comes later has to be told to vhost
    peers, and one in this process would wait for itself."""
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    words = ["barewire", "--no-telemetry", "-a", _NOBODY]
    words += ["--lcores", options.lcores or f"0@({cores})"]
    words += ["-m", str(options.memory or MEMORY)]
    if hugepages:  # one file for all: vhost takes a few of them at most
        words += ["--in-memory", "--single-file-segments"]
    else:  # EAL has --in-memory for huge pages only; it makes no file here either
        words += ["--no-huge", "--no-shconf"]
    return words + shlex.split(options.eal or "")


def start(options: EalOptions) -> Any:
    """EAL (`struct dpdk_eal *`), started now or before. Raises DeviceError: EBUSY where it runs with
    other options or was a parent process's, ENOMEM without huge pages, EINVAL, …"""
    with _lock:
        if not _started:
            _started.append(in_thread(lambda: _start(options)))
        eal = _started[0]
    if eal.pid != os.getpid():
        text = "DPDK belongs to the process that started it: open its devices in a process of their own"
        raise DeviceError(errno.EBUSY, f"{text}, not in a forked child")
    _agree(eal, options)
    return eal.handle


def open_ports() -> int:
    """How many ports are plugged in now."""
    return int(lib.dpdk_ports(_started[0].handle)) if _started else 0


def _start(options: EalOptions) -> _Eal:
    need = (options.memory or MEMORY) << 20
    enough = free_huge_bytes() >= need
    if options.hugepages and not enough:
        pages = f"`sysctl vm.nr_hugepages={need >> 21}`"
        text = f"DPDK needs {need >> 20} MB of huge pages and so many are not free: reserve them with {pages}"
        raise DeviceError(errno.ENOMEM, text)
    hugepages = enough if options.hugepages is None else options.hugepages
    words = [ffi.new("char[]", word.encode()) for word in arguments(options, hugepages)]
    number, text = ffi.new("int *"), ffi.new("char[]", lib.DPDK_ERROR_MAX)
    kept = inheritable()
    handle = lib.dpdk_eal_start(len(words), [*words, ffi.NULL], number, text)
    close_on_exec(kept)
    if handle == ffi.NULL:
        raise DeviceError(number[0], ffi.string(text).decode(errors="replace"))
    return _Eal(handle, os.getpid(), options, bool(lib.dpdk_eal_has_huge_pages()))


def _agree(eal: _Eal, options: EalOptions) -> None:
    """What this device asks for is what EAL was started with."""
    for field in fields(options):
        wanted, has = getattr(options, field.name), getattr(eal.options, field.name)
        if field.name == "hugepages":
            has = eal.hugepages
        if wanted is not None and wanted != has:
            have = f"{field.name}={_word(has)}" if has is not None else f"no {field.name}="
            raise invalid(
                f"option {field.name}={_word(wanted)}: DPDK already runs in this process with {have}; "
                "give it to the first device that is opened"
            )


def _word(value: object) -> object:
    return int(value) if isinstance(value, bool) else value
