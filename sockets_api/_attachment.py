"""The devices of a stack: opening them, what they ask of it, handing them over, what they count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from barewire.nic_drivers import Device, open_device
from barewire.stack import ffi, lib
from barewire.stack.control import Interface

from . import _config, _errors

Delivery = Callable[[], bool]
T = TypeVar("T")


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
    group = _agreed(
        "queue", ((d.queues.group, d.queues.first) for d in devices if d.queues.group > 1)
    )
    if group is not None:
        config.engine.port_mod, config.engine.port_value = group
    if spin is not None:
        return _config.nanoseconds("spin", spin, 1e-3)
    wished = _agreed("spin", (d.driving.spin_ns for d in devices))
    return round(_config.SPIN * 1e9) if wished is None else wished


def _agreed(option: str, values: Iterable[T | None]) -> T | None:
    found = {value for value in values if value is not None}
    if len(found) > 1:
        raise ValueError(f"the devices of one stack have different values of {option}=")
    return found.pop() if found else None


def attach(
    host: Any, device: Device, mtu: int | None, is_virtual: bool
) -> tuple[Interface, Delivery | None]:
    """Hands a device over; what poll() has to call for it in virtual time. It is closed where that
    fails."""
    if mtu is not None and not 68 <= mtu <= device.mtu:
        device.close()
        raise ValueError(
            f"mtu {mtu}: device {device.name} takes IP packets of 68 to {device.mtu} bytes"
        )
    netdev = device.take()
    netdev.mtu = mtu or device.mtu
    index = _errors.check(lib.host_add_netdev(host, netdev))
    interface = Interface(index, device.name, device.layer, device.mac, mtu or device.mtu)
    return interface, device.attached(is_virtual)


def counters(host: Any, index: int) -> dict[str, int]:
    """struct netdev_stats of a device, and behind it what only its driver counts."""
    stats = ffi.new("struct netdev_stats *")
    _errors.check(lib.host_netdev_stats(host, index, stats))
    found = {n: int(getattr(stats, n)) for n, _ in ffi.typeof("struct netdev_stats").fields}
    rows = ffi.new("struct netdev_xstat[]", lib.BW_XSTATS)
    n = _errors.check(lib.host_netdev_xstats(host, index, rows, lib.BW_XSTATS))
    return found | {ffi.string(row.name).decode(): int(row.value) for row in rows[0:n]}
