"""What a device leaves its stack (`Device.limits`): some local ports, or no TCP."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from barewire.nic_drivers import Device, Limits
from barewire.stack import lib


def agreed(config: Any, devices: Sequence[Device], chosen: tuple[int, int] | None) -> Limits:
    """What all of them leave; struct host_config gets the range of ephemeral ports: the one chosen,
    or else the widest that is left. Raises ValueError for what does not fit."""
    found = {device.limits.ports for device in devices if device.limits.ports}
    if len(found) > 1:
        raise ValueError("the devices of one stack leave it different ports=")
    reasons = [device.limits.no_tcp for device in devices if device.limits.no_tcp]
    limits = Limits(found.pop() if found else (), reasons[0] if reasons else "")
    if limits.ports:
        first, last = chosen or max(limits.ports, key=lambda ports: ports[1] - ports[0])
        if not any(low <= first and last <= high for low, high in limits.ports):
            raise ValueError(f"ports {(first, last)}: the device leaves {_text(limits)}")
        config.engine.port_first, config.engine.port_last = first, last
    return limits


def check_port(limits: Limits, port: int) -> None:
    """bind() to a port that the device does not leave: EADDRNOTAVAIL."""
    if port and limits.ports and not any(low <= port <= high for low, high in limits.ports):
        text = f"the stack's device leaves it the ports {_text(limits)}: name {port} among them"
        raise OSError(errno.EADDRNOTAVAIL, text)


def check_type(limits: Limits, type: int) -> None:
    if limits.no_tcp and type == lib.BW_SOCK_TCP:
        raise PermissionError(errno.EPERM, limits.no_tcp)


def _text(limits: Limits) -> str:
    return ",".join(f"{low}-{high}" for low, high in limits.ports)
