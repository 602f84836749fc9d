"""packet: an interface of the kernel's through AF_PACKET's mapped rings.

Opens and binds the socket and sets its rings up; packet.c moves the frames. The interface keeps all
its settings: what the socket asks for (its MAC address in the interface's filter, the rings, the
BPF filter) goes away with the socket.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from pyroute2 import IPRoute

from .._netdev import ffi, lib
from ..device import Device, stable_mac
from ..errors import DeviceError, invalid
from ..helper_thread import in_thread
from ..interface import interface_up
from ..names import DeviceSpec, parse_between, parse_choice, parse_flag, parse_mac, parse_text
from ..registry import register
from .filter import assembled, own_addresses, own_frames

_RUN_AS = "run as root, with CAP_NET_RAW, or inside `unshare -Urn`"

# linux/if_packet.h, linux/if_ether.h, linux/if_arp.h
_SOL_PACKET, _ETH_P_ALL = 263, 3
_ADD_MEMBERSHIP, _RX_RING, _VERSION, _TX_RING, _LOSS = 1, 5, 10, 13, 14
_VNET_HDR, _FANOUT, _QDISC_BYPASS, _IGNORE_OUTGOING = 15, 18, 20, 23
_MR_PROMISC, _MR_UNICAST = 1, 3
_SO_ATTACH_FILTER = 26
_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE = 1, 772, 0xFFFE

_V2, _V3 = 1, 2
_FANOUT_MODES = {"hash": 0, "lb": 1, "cpu": 2, "rollover": 3, "rnd": 4, "qm": 5}
_BLOCK = 1 << 20  # bytes of a block of frames; V3 hands whole ones over
_SUPER_FRAME = 66_048  # a super-segment of 64 KB with headers and the ring's own
_BLOCK_MS = 1  # V3: how old a part-filled block may get


@dataclass(frozen=True)
class _Request:
    """What to open, checked."""

    name: str
    mac: bytes | None
    share: tuple[IPv4Address, ...]
    block: bool
    offload: bool
    ring: int
    filtered: bool
    promiscuous: bool
    qdisc_bypass: bool
    fanout: tuple[int, str] | None


@dataclass(frozen=True)
class _Opened:
    """A socket with its rings, and the interface as it is."""

    fd: int
    mtu: int
    layer: int
    mac: bytes
    rings: dict[str, int]


def open_packet(
    name: str,
    *,
    netns: str | None = None,
    mac: bytes | None = None,
    share: str | Sequence[str] = (),
    rx: str = "frame",
    offload: bool = True,
    ring: int = 512,
    filtered: bool = True,
    promiscuous: bool = False,
    qdisc_bypass: bool = False,
    fanout: int | None = None,
    fanout_mode: str = "hash",
) -> Device:
    """Opens an interface that is up. It goes on being the kernel's: the stack has a MAC address of
    its own (`mac`, by default a stable one of the name), or with `share` the interface's, for the
    addresses given, which the kernel must not have.

    `rx` "frame" (TPACKET_V2) gets each frame at once, "block" (TPACKET_V3) whole blocks of them, at
    most 1 ms late: for bulk and capture. `offload` leaves checksums and segmentation of what is sent
    to the interface; `ring` is the number of frames received that may wait; `filtered` copies only
    what is the stack's (a kernel BPF filter); `promiscuous` makes the interface take every frame;
    `qdisc_bypass` sends past the traffic control; `fanout` joins a group of sockets, of which each
    gets a share by `fanout_mode`. `netns` is a named network namespace, or a path of one. Raises
    DeviceError: ENODEV, ENETDOWN, EPERM, EADDRINUSE, EINVAL, …
    """
    request = _Request(
        name=name,
        mac=mac,
        share=tuple(_parse_share(text) for text in ([share] if isinstance(share, str) else share)),
        block=rx == "block",
        offload=offload,
        ring=ring,
        filtered=filtered,
        promiscuous=promiscuous,
        qdisc_bypass=qdisc_bypass,
        fanout=None if fanout is None else (fanout, fanout_mode),
    )
    opened = in_thread(lambda: _open(request), netns, lambda late: os.close(late.fd))
    config = ffi.new("struct packet_config *", opened.rings)
    label = ffi.new("char[]", name.encode())
    config.name, config.mtu, config.layer, config.mac = label, opened.mtu, opened.layer, opened.mac
    config.version, config.offload = (_V3 if request.block else _V2), offload
    netdev = lib.packet_new(opened.fd, config)
    if netdev == ffi.NULL:
        number = ffi.errno
        os.close(opened.fd)
        raise DeviceError(number, f"cannot map the rings of packet:{name}: {os.strerror(number)}")
    return Device("packet", netdev)


def _parse_share(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise invalid(f"share={text}: expected an IPv4 address, such as 198.18.0.2") from None


# ---- in the helper thread: the namespace is the interface's ----------------------------------


def _open(request: _Request) -> _Opened:
    try:
        sock = _socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        text = f"cannot open a packet socket: {error.strerror}"
        if error.errno == errno.EPERM:
            text = f"no permission to open a packet socket: {_RUN_AS}"
        raise DeviceError(error.errno or 0, text) from None
    try:
        layer, mtu, hardware = _look_at(request.name)
        mac = _own_mac(request, layer, hardware)
        rings = _prepare(sock, request, layer, mac)
        sock.bind((request.name, _ETH_P_ALL))
        if request.fanout is not None:
            group, mode = request.fanout
            sock.setsockopt(_SOL_PACKET, _FANOUT, group | _FANOUT_MODES[mode] << 16)
        sock.setblocking(False)
        return _Opened(sock.detach(), mtu, layer, mac, rings)
    except DeviceError:
        raise
    except OSError as error:
        text = f"cannot set up packet:{request.name}: {error.strerror}"
        raise DeviceError(error.errno or 0, text) from None
    finally:
        sock.close()


def _look_at(name: str) -> tuple[int, int, bytes]:
    """Layer, MTU and hardware address of an interface that is there and up."""
    link = interface_up(name)
    if link.hardware not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE):
        raise invalid(
            f"interface {name} carries neither Ethernet nor bare IP (type {link.hardware})"
        )
    return (3 if link.hardware == _ARPHRD_NONE else 2), min(link.mtu, 65_535), link.mac


def _own_mac(request: _Request, layer: int, hardware: bytes) -> bytes:
    if layer == 3:
        return bytes(6)
    if not request.share:
        return request.mac or stable_mac(f"{request.name} {hardware.hex()}")
    if request.mac:
        raise invalid("share and mac exclude each other: a shared interface has its own address")
    with IPRoute() as route:
        taken = {dict(a["attrs"]).get("IFA_ADDRESS") for a in route.get_addr(family=2)}
    for address in request.share:
        if str(address) in taken:
            text = f"share={address}: the kernel has this address: give the stack another one"
            raise DeviceError(errno.EADDRINUSE, text)
    return hardware


def _prepare(sock: _socket.socket, request: _Request, layer: int, mac: bytes) -> dict[str, int]:
    """Everything before bind(), so that no frame comes in unfiltered. The rings' sizes."""
    option = sock.setsockopt
    option(_SOL_PACKET, _VERSION, _V3 if request.block else _V2)
    option(_SOL_PACKET, _VNET_HDR, 1)
    option(_SOL_PACKET, _LOSS, 1)
    option(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    option(_SOL_PACKET, _QDISC_BYPASS, int(request.qdisc_bypass))
    if request.filtered and layer == 2:
        _attach(sock, own_addresses(list(request.share)) if request.share else own_frames(mac))
    index = _socket.if_nametoindex(request.name)
    if request.promiscuous:
        option(_SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8x", index, _MR_PROMISC, 0))
    elif layer == 2 and not request.share:
        # The interface takes one more address; one without such a filter takes every frame.
        membership = struct.pack("iHH8s", index, _MR_UNICAST, 6, mac)
        option(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
    return _set_up_rings(sock, request)


def _attach(sock: _socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    code = ctypes.create_string_buffer(assembled(program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    sock.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)


def _set_up_rings(sock: _socket.socket, request: _Request) -> dict[str, int]:
    rings: dict[str, int] = {}
    for way, kind, wanted in (("rx", _RX_RING, request.ring), ("tx", _TX_RING, request.ring // 4)):
        frames = _BLOCK // _SUPER_FRAME
        blocks = max(2, -(-wanted // frames))
        plan = [_BLOCK, blocks, _SUPER_FRAME, blocks * frames]
        if request.block:
            plan += [_BLOCK_MS if way == "rx" else 0, 0, 0]
        sock.setsockopt(_SOL_PACKET, kind, struct.pack(f"{len(plan)}I", *plan))
        rings |= {f"{way}_block_size": _BLOCK, f"{way}_blocks": blocks}
        rings[f"{way}_frame_size"] = _SUPER_FRAME
    return rings


# ---- the registry's part ---------------------------------------------------------------------


def _factory(spec: DeviceSpec) -> Device:
    share = spec.get("share", parse_text, "")
    return open_packet(
        spec.name,
        netns=spec.get("netns", parse_text, None),
        mac=spec.get("mac", parse_mac, None),
        share=share.split(",") if share else (),
        rx=spec.get("rx", parse_choice("frame", "block"), "frame"),
        offload=spec.get("offload", parse_flag, True),
        ring=spec.get("ring", parse_between(8, 16_384), 512),
        filtered=spec.get("filter", parse_flag, True),
        promiscuous=spec.get("promiscuous", parse_flag, False),
        qdisc_bypass=spec.get("qdisc_bypass", parse_flag, False),
        fanout=spec.get("fanout", parse_between(0, 65_535), None),
        fanout_mode=spec.get("fanout_mode", parse_choice(*_FANOUT_MODES), "hash"),
    )


def _probe() -> str:
    try:
        _socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW, 0).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            return f"no permission to open packet sockets: {_RUN_AS}"
        return f"this kernel has no packet sockets: {error.strerror}"
    return ""


register(
    "packet",
    _factory,
    _probe,
    description="an interface of the Linux kernel through AF_PACKET rings",
    options={
        "netns": "network namespace of the interface: a name of `ip netns`, or a path",
        "mac": "MAC address of the stack (a stable one of the name)",
        "share": "addresses of the stack, with commas, on the interface's own MAC address",
        "rx": "frame (each at once, default) or block (in blocks, for bulk and capture)",
        "offload": "0: finish checksums and cut segments before sending (1)",
        "ring": "frames received that may wait (512)",
        "filter": "0: no kernel filter, every frame is copied (1)",
        "promiscuous": "1: the interface takes every frame (0)",
        "qdisc_bypass": "1: send past the traffic control (0)",
        "fanout": "number of a group of sockets that share the interface's frames",
        "fanout_mode": "how they share: hash (default), lb, cpu, rollover, rnd or qm",
    },
)
