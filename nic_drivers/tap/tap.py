"""tap: a TAP or TUN interface, a read or a write a frame (tap.c). Opening it is in ../tun.py."""

from __future__ import annotations

import errno
from dataclasses import replace

from .._netdev import ffi, lib
from ..device import Device
from ..errors import DeviceError
from ..guard.guard import GUARD_HELP, GUARD_RATE_MAX
from ..names import DeviceSpec, parse_between
from ..registry import register
from ..tun import TUN_OPTIONS, TunRequest, open_tun, tun_probe, tun_request


def open_tap(request: TunRequest) -> Device:
    """Creates the interface or attaches to one. Raises DeviceError: ENOENT, EPERM, EBUSY, …"""
    opened = open_tun(request)
    config = ffi.new("struct tap_config *")
    name = ffi.new("char[]", opened.name.encode())
    config.name, config.mtu, config.mac, config.layer = name, opened.mtu, opened.mac, opened.layer
    config.vnet, config.offload, config.gso = opened.vnet, opened.offload, opened.gso
    config.guard = opened.guard
    netdev = lib.tap_new(opened.fd, config)
    if netdev == ffi.NULL:
        opened.close()
        raise DeviceError(errno.ENOMEM, f"no memory for {request.mode}:{opened.name}")
    return Device("tap", netdev)


def _factory(spec: DeviceSpec) -> Device:
    guard = spec.get("syn_guard", parse_between(0, GUARD_RATE_MAX), 0)
    return open_tap(replace(tun_request(spec), syn_guard=guard))


register(
    "tap",
    _factory,
    tun_probe,
    description="a TAP or TUN interface of the Linux kernel, created or attached",
    options={**TUN_OPTIONS, "syn_guard": GUARD_HELP},
)
