"""tap: a TAP or TUN interface, a read or a write a frame (tap.c). Opening it is in ../tun.py."""

from __future__ import annotations

import errno
import os

from .._netdev import ffi, lib
from ..device import Device
from ..errors import DeviceError
from ..names import DeviceSpec
from ..registry import register
from ..tun import TUN_OPTIONS, TunRequest, open_tun, tun_probe, tun_request


def open_tap(request: TunRequest) -> Device:
    """Creates the interface or attaches to one. Raises DeviceError: ENOENT, EPERM, EBUSY, …"""
    opened = open_tun(request)
    config = ffi.new("struct tap_config *")
    name = ffi.new("char[]", opened.name.encode())
    config.name, config.mtu, config.mac, config.layer = name, opened.mtu, opened.mac, opened.layer
    config.vnet, config.offload, config.gso = opened.vnet, opened.offload, opened.gso
    netdev = lib.tap_new(opened.fd, config)
    if netdev == ffi.NULL:
        os.close(opened.fd)
        raise DeviceError(errno.ENOMEM, f"no memory for {request.mode}:{opened.name}")
    return Device("tap", netdev)


def _factory(spec: DeviceSpec) -> Device:
    return open_tap(tun_request(spec))


register(
    "tap",
    _factory,
    tun_probe,
    description="a TAP or TUN interface of the Linux kernel, created or attached",
    options=TUN_OPTIONS,
)
