"""The kinds of devices there are, and opening one by its name.

A driver registers its kind when it is imported; those that are part of barewire are imported when a
device is first asked for by name, for some bring large libraries with them. The options that wrap a
device in middleware are the same for every kind, and are added here:
`tap:tap0?loss=1%&delay=10ms&pcap=/tmp/x.pcap`. The capture is the outer layer: it shows what the stack
sent, and what reached it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from . import driving
from .device import Device
from .errors import DeviceError, invalid
from .names import DeviceSpec, parse_device_name

Factory = Callable[[DeviceSpec], Device]
Probe = Callable[[], str]
Running = Callable[[], "list[RunningDevice]"]
Wrapper = Callable[[DeviceSpec, Device], Device]


@dataclass(frozen=True)
class DeviceInfo:
    """One kind, for `barewire devices`. `reason` says why it is not available, else it is
    empty."""

    kind: str
    available: bool
    reason: str
    description: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class RunningDevice:
    """A device that some process has open, as far as the system tells: `name` of its interface, and
    what is counted outside that process."""

    kind: str
    name: str
    counters: Mapping[str, int]


@dataclass(frozen=True)
class _Kind:
    factory: Factory
    probe: Probe
    description: str
    options: Mapping[str, str]
    running: Running


_DRIVERS = (
    "dpdk.dpdk",
    "fault.fault",
    "late.late",
    "packet.packet",
    "pcap.pcap",
    "pipe.callback",
    "pipe.pipe",
    "raw.raw",
    "tap.tap",
    "uring.uring",
    "xdp.xdp",
)
_kinds: dict[str, _Kind] = {}
_wrappers: list[tuple[int, Wrapper, Mapping[str, str]]] = []


def register(
    kind: str,
    factory: Factory,
    probe: Probe,
    *,
    description: str,
    options: Mapping[str, str] | None = None,
    running: Running = list,
) -> None:
    """Adds a kind. `factory` opens a device; `probe` says in one sentence why the kind cannot be
    used here, or "" if it can; `options` are the names the factory reads, with a line of help
    each; `running` lists the devices of other processes too."""
    _kinds[kind] = _Kind(factory, probe, description, dict(options or {}), running)


def register_wrapper(wrapper: Wrapper, options: Mapping[str, str], place: int) -> None:
    """Adds middleware for every kind: `wrapper` gives back the device itself, or one around it. A
    smaller `place` is nearer to the device."""
    _wrappers.append((place, wrapper, dict(options)))
    _wrappers.sort(key=lambda entry: entry[0])


@cache
def load_drivers() -> None:
    """Imports the drivers that are part of barewire, which register themselves."""
    for name in _DRIVERS:
        import_module(f".{name}", __package__)


def common_options() -> dict[str, str]:
    """The options every kind has, with a line of help each."""
    load_drivers()
    wrapping = {name: text for _, _, options in _wrappers for name, text in options.items()}
    return {**driving.OPTIONS, **wrapping}


def available() -> list[DeviceInfo]:
    """Every kind, by name, and whether it can be used here."""
    load_drivers()
    found = []
    for name, kind in sorted(_kinds.items()):
        reason = kind.probe()
        found.append(DeviceInfo(name, not reason, reason, kind.description, kind.options))
    return found


def running() -> list[RunningDevice]:
    """The devices that run on this machine, of the kinds that leave a trace of it (xdp: its
    program). Raises DeviceError where that may not be looked at."""
    load_drivers()
    return [device for _, kind in sorted(_kinds.items()) for device in kind.running()]


def open_device(device: str | DeviceSpec | Device) -> Device:
    """Opens a device by name or spec; a Device is passed through. Raises DeviceError."""
    if isinstance(device, Device):
        return device
    load_drivers()
    spec = parse_device_name(device) if isinstance(device, str) else device
    kind = _kinds.get(spec.kind)
    if kind is None:
        known = ", ".join(sorted(_kinds))
        raise DeviceError(errno.ENODEV, f"unknown kind of device {spec.kind!r}: known are {known}")
    for option in spec.options:
        if option not in kind.options and option not in common_options():
            raise invalid(
                f"unknown option {option!r} of device {spec.kind}:{spec.name}: known are "
                f"{', '.join(sorted(kind.options))}, and those of every kind (`barewire devices -v`)"
            )
    driven = driving.driving_of(spec)
    opened = kind.factory(spec)
    spec = opened.spec or spec
    try:
        for _, wrapper, _ in _wrappers:
            opened = wrapper(spec, opened)
    except BaseException:
        opened.close()
        raise
    opened.spec, opened.driving = spec, driven
    return opened
