"""uring: a TAP interface or an interface of the kernel's, through io_uring.

Opens the descriptor as the drivers tap and packet do (../tun.py, ../packet_socket.py) and chooses what
of io_uring is used; setup.c, receive.c and transmit.c do the rest.
"""

from __future__ import annotations

import _socket
import errno
import os
from dataclasses import dataclass, replace
from typing import Any

from ..device import Device
from ..errors import DeviceError, invalid
from ..helper_thread import in_thread
from ..interface import interface_driver
from ..libraries import missing
from ..names import (
    DeviceSpec,
    parse_between,
    parse_choice,
    parse_flag,
    parse_power_of_two,
    parse_text,
)
from ..packet_socket import (
    PACKET_OPTIONS,
    SOL_PACKET,
    PacketRequest,
    open_packet_socket,
    packet_probe,
    packet_request,
    vnet_has_uso,
)
from ..registry import register
from ..tun import TUN_OPTIONS, TunRequest, open_tun, tun_probe, tun_request

try:
    from ._uring import ffi, lib

    _missing = ""
except ImportError as error:
    _missing = missing("uring", error)

_AUXDATA = 8  # linux/if_packet.h
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
_WAITING = 32 << 10  # bytes that may wait in a packet socket, for each buffer of the ring

_ONE_BY_ONE = {
    False: "each frame is a request of its own: one for many takes Linux 6.7",
    True: "each frame is a request of its own: one for many takes Linux 6.0",
}


@dataclass(frozen=True)
class UringOptions:
    """How io_uring is used.

    `ring` receive buffers, a power of two; `sqpoll` milliseconds without work after which a thread
    of the kernel's that submits goes to sleep, 0: there is none; `sqpoll_cpu` pins it; `dedicated`:
    only the stack's background thread drives (DEFER_TASKRUN); `multishot`: one request receives many
    frames, where the kernel can; `hugepages` refuses to run without them.
    """

    ring: int = 128
    sqpoll: int = 0
    sqpoll_cpu: int | None = None
    dedicated: bool = False
    multishot: bool = True
    hugepages: bool = False

    def __post_init__(self) -> None:
        if self.ring & (self.ring - 1):
            raise invalid(f"ring={self.ring}: expected a power of two")
        if self.sqpoll_cpu is not None and not self.sqpoll:
            raise invalid("sqpoll_cpu is for the thread that sqpoll= makes: give that too")
        if self.sqpoll_cpu is not None and self.sqpoll_cpu >= (os.cpu_count() or 1):
            raise invalid(f"sqpoll_cpu={self.sqpoll_cpu}: there is no such CPU")
        if self.sqpoll and self.dedicated:
            raise invalid(
                "sqpoll and dedicated exclude each other: one thread or the other submits"
            )


def open_uring(request: TunRequest | PacketRequest, options: UringOptions | None = None) -> Device:
    """Opens a TAP interface, or a packet socket on an interface that is up. `info` of the device says
    what it is `over`, and why it is a `fallback`, if it is. Raises DeviceError: ENOSYS, EPERM, ENODEV,
    ENETDOWN, EBUSY, EINVAL, ENOMEM, …"""
    if _missing:
        raise DeviceError(errno.ENOTSUP, f"no uring devices: {_missing}")
    options = options or UringOptions()
    packet = isinstance(request, PacketRequest)
    has_multishot = bool(lib.uring_has_multishot(packet))
    config = ffi.new("struct uring_config *")
    if isinstance(request, PacketRequest):
        fd, label = _open_packet(request, config, options.ring)
    else:
        fd, label = _open_tun(request, config)
    name = ffi.new("char[]", label.encode())
    config.name, config.ring, config.sqpoll = name, options.ring, options.sqpoll
    config.sqpoll_pinned, config.sqpoll_cpu = (
        options.sqpoll_cpu is not None,
        options.sqpoll_cpu or 0,
    )
    config.dedicated, config.hugepages = options.dedicated, options.hugepages
    config.multishot = options.multishot and has_multishot
    number, text = ffi.new("int *"), ffi.new("char[]", lib.URING_ERROR_MAX)
    netdev = lib.uring_new(fd, config, number, text)
    if netdev == ffi.NULL:
        for kept in (fd, config.guard):
            if kept >= 0:
                os.close(kept)
        raise DeviceError(number[0], ffi.string(text).decode())
    info: dict[str, int | str] = {"over": "packet" if packet else "tap"}
    if not has_multishot:
        info["fallback"] = _ONE_BY_ONE[packet]
    return Device("uring", netdev, info=info, queues=request.queues)


def _open_tun(request: TunRequest, config: Any) -> tuple[int, str]:
    opened = open_tun(request)
    config.mtu, config.mac, config.layer = opened.mtu, opened.mac, opened.layer
    config.vnet, config.offload, config.gso = opened.vnet, opened.offload, opened.gso
    config.uso, config.guard = opened.uso, opened.guard
    return opened.fd, opened.name


def _open_packet(request: PacketRequest, config: Any, ring: int) -> tuple[int, str]:
    opened = open_packet_socket(request, lambda sock: _prepare(sock, ring * _WAITING))
    config.mtu, config.mac, config.layer = opened.mtu, opened.mac, opened.layer
    config.packet = config.vnet = config.gso = True  # a sender on this machine asks nobody
    config.uso, config.guard = vnet_has_uso(), -1
    config.offload, config.share, config.filter = request.offload, request.share, request.filtered
    return opened.fd, request.name


def _prepare(sock: _socket.socket, size: int) -> None:
    """VLAN tags beside the frames, and room for super-segments (as much as is permitted)."""
    sock.setsockopt(SOL_PACKET, _AUXDATA, 1)
    for force, plain in (
        (_SO_SNDBUFFORCE, _socket.SO_SNDBUF),
        (_SO_RCVBUFFORCE, _socket.SO_RCVBUF),
    ):
        try:
            sock.setsockopt(_socket.SOL_SOCKET, force, size)
        except PermissionError:  # without CAP_NET_ADMIN
            sock.setsockopt(_socket.SOL_SOCKET, plain, size)


# ---- the registry's part ---------------------------------------------------------------------

_OPTIONS = {
    "over": "tap or packet (what the interface is; tap where there is none yet)",
    "ring": "receive buffers, a power of two (128)",
    "sqpoll": "ms until a kernel thread that submits sleeps; 0: no such thread (0)",
    "sqpoll_cpu": "CPU that this thread is pinned to",
    "dedicated": "1: only the background thread drives (0)",
    "multishot": "0: each frame is a request of its own, as on older kernels (1)",
    "hugepages": "1: refuse to run without huge pages (0)",
}


def _factory(spec: DeviceSpec) -> Device:
    over = spec.get("over", parse_choice("tap", "packet"), "") or _kind_of(spec)
    others = PACKET_OPTIONS if over == "tap" else TUN_OPTIONS
    for option in spec.options:
        if option in others.keys() - (TUN_OPTIONS if over == "tap" else PACKET_OPTIONS).keys():
            raise invalid(f"option {option} of {spec.kind}:{spec.name} is not for over={over}")
    options = UringOptions(
        ring=spec.get("ring", parse_power_of_two(16, 4096), 128),
        sqpoll=spec.get("sqpoll", parse_between(0, 10_000), 0),
        sqpoll_cpu=spec.get("sqpoll_cpu", parse_between(0, 1023), None),
        dedicated=spec.get("dedicated", parse_flag, False),
        multishot=spec.get("multishot", parse_flag, True),
        hugepages=spec.get("hugepages", parse_flag, False),
    )
    device = open_uring(tun_request(spec) if over == "tap" else packet_request(spec), options)
    device.spec = replace(spec, options={**spec.options, "over": over})
    return device


def _kind_of(spec: DeviceSpec) -> str:
    """What the interface is: a TAP one, or one that a packet socket is for."""
    driver = in_thread(
        lambda: interface_driver(spec.name), spec.get("netns", parse_text, None), lambda _: None
    )
    return "tap" if driver in ("tun", None) else "packet"


def _probe() -> str:
    if _missing:
        return _missing
    text = ffi.new("char[]", lib.URING_ERROR_MAX)
    if lib.uring_probe(text):
        return str(ffi.string(text).decode())
    return tun_probe() and packet_probe()


register(
    "uring",
    _factory,
    _probe,
    description="a TAP interface or one of the Linux kernel's, through io_uring",
    options={**PACKET_OPTIONS, **TUN_OPTIONS, **_OPTIONS},
)
