"""The devices of a stack: opening them, what they ask of it, handing them over, what they count."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface
from typing import Any, TypeVar

from barewire.nic_drivers import Device, DeviceSpec, Limits, open_device
from barewire.stack import ffi, lib
from barewire.stack.control import Interface
from barewire.stack.port import check_addrs, ip16

from . import _config, _errors

T = TypeVar("T")
_RELEASE_TRIES, _RELEASE_WAIT = 1000, 0.001  # seconds


def open_all(wanted: Sequence[str | Device]) -> list[Device]:
    """All of them, or none. Raises DeviceError."""
    found: list[Device] = []
    try:
        for one in wanted:
            found.append(open_device(one))
    except BaseException:
        close_all(found)
        raise
    return found


def close_all(devices: Iterable[Device]) -> None:
    """Those that no stack has taken yet."""
    for device in devices:
        device.close()


def take_wishes(config: Any, devices: Sequence[Device], spin: float | None) -> int:
    """What the devices' names say of how they are driven goes into struct host_config; the
    nanoseconds to spin. Raises ValueError for devices that want different things."""
    cpu = _agreed("cpu", (d.driving.cpu for d in devices))
    if cpu is not None and config.virtual_time:
        raise ValueError(f"cpu={cpu}: a stack in virtual time has no thread to pin")
    config.cpu = -1 if cpu is None else cpu
    group = _agreed("queue", (replace(d.queues, count=1) for d in devices if d.queues.group > 1))
    if group is not None:
        share = config.engine.share
        share.group, share.mine = group.group, group.first
        if group.rss is not None:
            share.key, share.table_len = group.rss.key, len(group.rss.table)
            ffi.memmove(share.table, bytes(group.rss.table), len(group.rss.table))
    if spin is not None:
        return round(spin * 1e9)
    wished = _agreed("spin", (d.driving.spin_ns for d in devices))
    return round(_config.SPIN * 1e9) if wished is None else wished


def _agreed(option: str, values: Iterable[T | None]) -> T | None:
    found = {value for value in values if value is not None}
    if len(found) > 1:
        raise ValueError(f"the devices of one stack have different values of {option}=")
    return found.pop() if found else None


class Attachments:
    """The devices that a stack has, by interface index. `mtu` is the stack's word on theirs."""

    def __init__(self, host: Any, mtu: int | None, is_virtual: bool) -> None:
        self._host = host
        self._mtu = mtu
        self._is_virtual = is_virtual
        self._specs: dict[int, DeviceSpec | None] = {}
        self._limits: dict[int, Limits] = {}
        self._deliver: dict[int, Callable[[], bool]] = {}  # of devices that end in Python
        self._lock = threading.Lock()

    def add(self, device: Device) -> Interface:
        """Hands a device over; it is closed where that fails."""
        self._check_mtu(device)
        return self._added(device, lib.host_add_netdev(self._host, self._take(device)))

    def add_again(
        self, index: int, device: str | Device | None, addresses: Sequence[IPv4Interface]
    ) -> Interface:
        """Another device for an interface that is gone, by default opened by the same name, which is
        to have these addresses. Raises OSError EBUSY for an interface that is not gone, EADDRINUSE
        or EADDRNOTAVAIL for an address that the device refuses, DeviceError."""
        with self._lock:
            wanted = device or self._specs.get(index)
            if wanted is None:
                text = "the stack got an open device there and cannot open it again: give another"
                raise OSError(errno.EINVAL, text)
            self._release(index)
            again = open_device(wanted)
            self._check_mtu(again)
            self._check_limits(index, again)
            _check_addresses(again, addresses)
            return self._added(again, lib.host_restore_netdev(self._host, index, self._take(again)))

    def _release(self, index: int) -> None:
        """The old device has to let go first, perhaps in its thread."""
        for _ in range(_RELEASE_TRIES):
            answer = lib.host_release_netdev(self._host, index)
            if answer == -errno.EBUSY:
                raise OSError(
                    errno.EBUSY, "the interface is not gone: there is nothing to reattach"
                )
            if answer != -errno.EAGAIN:
                _errors.check(answer)
                return
            time.sleep(_RELEASE_WAIT)
        raise OSError(errno.EBUSY, "the device that is gone does not let go: try again")

    def _check_mtu(self, device: Device) -> None:
        if self._mtu is not None and not 68 <= self._mtu <= device.mtu:
            device.close()
            raise ValueError(
                f"mtu {self._mtu}: device {device.name} takes IP packets of 68 to {device.mtu} bytes"
            )

    def _check_limits(self, index: int, device: Device) -> None:
        if device.limits != self._limits[index]:
            device.close()
            limits = (
                device.limits.no_tcp or f"it leaves other ports than {self._limits[index].ports}"
            )
            raise OSError(errno.EINVAL, f"device {device.name} is not as the one before: {limits}")

    def _take(self, device: Device) -> Any:
        netdev = device.take()
        netdev.mtu = self._mtu or device.mtu
        return netdev

    def _added(self, device: Device, answer: int) -> Interface:
        index = _errors.check(answer)
        self._specs[index] = device.spec
        self._limits[index] = device.limits
        self._deliver.pop(index, None)
        if deliver := device.attached(self._is_virtual):
            self._deliver[index] = deliver
        return Interface(index, device.name, device.layer, device.mac, self._mtu or device.mtu)

    def deliver(self) -> bool:
        """Virtual time: moves frames of devices that end in Python; whether there were any."""
        moved = False
        for deliver in self._deliver.values():
            moved |= deliver()
        return moved


def _check_addresses(device: Device, addresses: Sequence[IPv4Interface]) -> None:
    """Before the stack takes it: a device that refuses them later would be half attached."""
    table = ffi.new("struct netdev_addr[]", len(addresses))
    for entry, a in zip(table, addresses, strict=True):
        lib.host_netdev_addr(ffi.addressof(entry), ip16(a.ip))
    try:
        with device.using() as netdev:
            if netdev.set_addrs != ffi.NULL:
                check_addrs(int(netdev.set_addrs(netdev, table, len(addresses))))
    except OSError:
        device.close()
        raise


def counters(host: Any, index: int) -> dict[str, int]:
    """struct netdev_stats of a device, and behind it what only its driver counts."""
    stats = ffi.new("struct netdev_stats *")
    _errors.check(lib.host_netdev_stats(host, index, stats))
    found = {n: int(getattr(stats, n)) for n, _ in ffi.typeof("struct netdev_stats").fields}
    rows = ffi.new("struct netdev_xstat[]", lib.BW_XSTATS)
    n = _errors.check(lib.host_netdev_xstats(host, index, rows, lib.BW_XSTATS))
    return found | {ffi.string(row.name).decode(): int(row.value) for row in rows[0:n]}
