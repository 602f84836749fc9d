"""tap: a TAP or TUN interface, a read or a write a frame (tap.c). Opening it is in ../tun.py."""

from __future__ import annotations

import os
from dataclasses import replace

from .._netdev import ffi, lib
from ..device import Device
from ..driving import QUEUE_OPTIONS, queues_of
from ..errors import DeviceError, invalid
from ..names import DeviceSpec
from ..registry import register
from ..tun import TUN_OPTIONS, TunRequest, open_tun, tun_probe, tun_request


def open_tap(request: TunRequest) -> Device:
    """Creates the interface or attaches to one. Raises DeviceError: ENOENT, EPERM, EBUSY, …"""
    opened = open_tun(request)
    config = ffi.new("struct tap_config *")
    name = ffi.new("char[]", opened.name.encode())
    config.queues, config.fd = len(opened.fds), opened.fds
    config.name, config.mtu, config.mac, config.layer = name, opened.mtu, opened.mac, opened.layer
    config.vnet, config.offload, config.gso = opened.vnet, opened.offload, opened.gso
    config.uso = opened.uso
    config.guard = opened.guard
    netdev = lib.tap_new(config)
    if netdev == ffi.NULL:
        number = ffi.errno
        opened.close()
        text = f"cannot make the device {request.mode}:{opened.name}: {os.strerror(number)}"
        raise DeviceError(number, text)
    return Device("tap", netdev, info={"queues": len(opened.fds)}, queues=request.queues)


def _factory(spec: DeviceSpec) -> Device:
    queues = queues_of(spec, lib.TAP_QUEUES_MAX)
    if "queue" in spec.options:
        # ARP and the rest without ports would reach one of the stacks only.
        raise invalid(
            f"option queue={queues.first} of device {spec}: the queues of a TAP interface have no "
            "numbers of their own: use queues= alone, or an interface for each stack"
        )
    return open_tap(replace(tun_request(spec), queues=queues))


register(
    "tap",
    _factory,
    tun_probe,
    description="a TAP or TUN interface of the Linux kernel, created or attached",
    options={**TUN_OPTIONS, **QUEUE_OPTIONS},
)
