"""`barewire devices`: the kinds, what runs, and a look at single devices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from barewire.nic_drivers import (
    Device,
    DeviceError,
    RunningDevice,
    available,
    common_options,
    open_device,
    running,
)


def kinds(*, verbose: bool, as_json: bool) -> None:
    """Every kind: available, or what is missing. `verbose` adds options, and what runs now."""
    if as_json:
        print(json.dumps(_kinds_as_data(verbose), indent=2))
        return
    for info in available():
        state = "available" if info.available else f"not available: {info.reason}"
        print(f"{info.kind}:  {info.description} ({state})")
        if verbose:
            _print_table(info.options)
    if verbose:
        print("options of every kind:")
        _print_table(common_options())
        _print_running()


def _kinds_as_data(verbose: bool) -> list[dict[str, Any]]:
    common = common_options()
    found = [{**vars(info), "options": {**info.options, **common}} for info in available()]
    if verbose:
        try:
            now = running()
        except DeviceError:
            now = []
        for kind in found:
            kind["running"] = [
                {"name": d.name, "counters": d.counters} for d in now if d.kind == kind["kind"]
            ]
    return found


def _print_running() -> None:
    try:
        now: list[RunningDevice] = running()
    except DeviceError as problem:
        print(f"running: {problem}")
        return
    print("running:" if now else "running: none")
    for device in now:
        print(f"  {device.kind}:{device.name}")
        _print_table(device.counters)


def devices(names: Sequence[str], *, as_json: bool) -> None:
    """Opens each for a moment. Raises DeviceError."""
    found = []
    for name in names:
        with open_device(name) as device:
            found.append(_device_as_data(device))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for data in found:
        link = f", {data['mac']}" if data["mac"] else ""
        print(f"{data['kind']}:{data['name']}  layer {data['layer']}, MTU {data['mtu']}{link}")
        print(f"  capabilities: {', '.join(data['capabilities']) or 'none'}")
        for title in ("info", "counters"):
            if data[title]:
                print(f"  {title}:")
                _print_table(data[title])


def _device_as_data(device: Device) -> dict[str, Any]:
    return {
        "kind": device.kind,
        "name": device.name,
        "layer": device.layer,
        "mtu": device.mtu,
        "mac": device.mac.hex(":") if device.layer == 2 else None,
        "capabilities": device.cap_names,
        "info": dict(device.info),
        "counters": {**device.stats, **device.xstats, **device.counters},
    }


def _print_table(rows: Mapping[str, object]) -> None:
    width = max((len(name) for name in rows), default=0)
    for name, value in rows.items():
        print(f"    {name:{width}}  {value}")
