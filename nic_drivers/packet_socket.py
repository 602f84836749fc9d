"""An AF_PACKET socket on an interface of the kernel's, bound, with its filter.

The interface keeps all its settings: what the socket asks for (its MAC address in the interface's
filter, the BPF filter) goes away with the socket. The drivers packet and uring share this file.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from .device import stable_mac
from .driving import GROUP_OPTIONS, ONE_QUEUE, Queues, queues_of
from .errors import DeviceError, invalid
from .helper_thread import in_thread
from .interface import interface_up
from .names import DeviceSpec, parse_between, parse_choice, parse_flag, parse_mac, parse_text
from .packet_filter import Instruction, assembled, nothing, own_frames

_RUN_AS = "run as root, with CAP_NET_RAW, or inside `unshare -Urn`"

# linux/if_packet.h, linux/if_ether.h, linux/if_arp.h
SOL_PACKET = 263
_ETH_P_ALL = 3
_ADD_MEMBERSHIP, _VNET_HDR, _FANOUT, _QDISC_BYPASS, _IGNORE_OUTGOING = 1, 15, 18, 20, 23
_MR_PROMISC, _MR_UNICAST = 1, 3
_SO_ATTACH_FILTER = 26
_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE = 1, 772, 0xFFFE

_FANOUT_MODES = {"hash": 0, "lb": 1, "cpu": 2, "rollover": 3, "rnd": 4, "qm": 5}

PACKET_OPTIONS = {
    "netns": "network namespace of the interface: a name of `ip netns`, or a path",
    "mac": "MAC address of the stack (a stable one of the name)",
    "share": "address: the stack has the interface's MAC address, and gets its IP addresses",
    "offload": "0: finish checksums and cut segments before sending (1)",
    "filter": "0: no kernel filter, every frame is copied (1)",
    "promiscuous": "1: the interface takes every frame (0)",
    "qdisc_bypass": "1: send past the traffic control (0)",
    "fanout": "number of a group of sockets that share the interface's frames",
    "fanout_mode": "how they share: hash (default), lb, cpu, rollover, rnd or qm",
    "queue": "with queues=N: number of the stack among N that share the interface by ports",
    "queues": "how many those are; only with queue=",
    **GROUP_OPTIONS,
}


@dataclass(frozen=True)
class PacketRequest:
    """What to open: an interface that is up. It goes on being the kernel's: the stack has a MAC
    address of its own (`mac`, by default a stable one of the name), or with `share` the interface's,
    and gets IPv4 to its addresses (set_addrs, packet_share.h), which the kernel must not have.

    `offload` leaves checksums and segmentation of what is sent to the interface; `filtered` copies
    only what is the stack's (a kernel BPF filter); `promiscuous` makes the interface take every
    frame; `qdisc_bypass` sends past the traffic control; `fanout` joins a group of sockets, of which
    each gets a share by `fanout_mode`; with `queues` it is one of a group of stacks with the same
    addresses, and gets what is for its ports. `netns` is a named network namespace, or a path of one.
    """

    name: str
    netns: str | None = None
    mac: bytes | None = None
    share: bool = False
    offload: bool = True
    filtered: bool = True
    promiscuous: bool = False
    qdisc_bypass: bool = False
    fanout: int | None = None
    fanout_mode: str = "hash"
    queues: Queues = ONE_QUEUE

    def __post_init__(self) -> None:
        alone = self.share or not self.filtered or self.fanout is not None
        if self.queues.group > 1 and alone:
            raise invalid(
                "queue= and queues= share an interface among stacks by their filters: leave out "
                "share=, filter=0 and fanout="
            )


@dataclass(frozen=True)
class OpenedPacket:
    """A non-blocking socket with PACKET_VNET_HDR, and the interface as it is."""

    fd: int
    mtu: int
    layer: int
    mac: bytes


def open_packet_socket(
    request: PacketRequest, prepare: Callable[[_socket.socket], None]
) -> OpenedPacket:
    """Opens and binds the socket; `prepare` sets the driver's own options before any frame can come
    in. Raises DeviceError: ENODEV, ENETDOWN, EPERM, EADDRINUSE, EINVAL, …"""
    return in_thread(lambda: _open(request, prepare), request.netns, lambda late: os.close(late.fd))


def packet_request(spec: DeviceSpec) -> PacketRequest:
    """What a device name asks for, by the options of PACKET_OPTIONS."""
    if ("queue" in spec.options) != ("queues" in spec.options):
        raise invalid(
            f"device {spec}: a packet socket takes the frames of all queues: give queue= and queues= "
            "together, to share the interface among stacks"
        )
    return PacketRequest(
        spec.name,
        netns=spec.get("netns", parse_text, None),
        mac=spec.get("mac", parse_mac, None),
        share=spec.get("share", parse_choice("address"), "") == "address",
        offload=spec.get("offload", parse_flag, True),
        filtered=spec.get("filter", parse_flag, True),
        promiscuous=spec.get("promiscuous", parse_flag, False),
        qdisc_bypass=spec.get("qdisc_bypass", parse_flag, False),
        fanout=spec.get("fanout", parse_between(0, 65_535), None),
        fanout_mode=spec.get("fanout_mode", parse_choice(*_FANOUT_MODES), "hash"),
        queues=queues_of(spec, 64),
    )


def packet_probe() -> str:
    """Why no packet socket can be opened here, or ""."""
    try:
        _socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW, 0).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            return f"no permission to open packet sockets: {_RUN_AS}"
        return f"this kernel has no packet sockets: {error.strerror}"
    return ""


def vnet_has_uso() -> bool:
    """Does this kernel know UDP super-segments in a virtio-net header (Linux 6.2)? Nothing on a packet socket
    can be asked: a kernel that does not refuses the frame, as one that is malformed."""
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 2)


# ---- in the helper thread: the namespace is the interface's ----------------------------------


def _open(request: PacketRequest, prepare: Callable[[_socket.socket], None]) -> OpenedPacket:
    try:
        sock = _socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        text = f"cannot open a packet socket: {error.strerror}"
        if error.errno == errno.EPERM:
            text = f"no permission to open a packet socket: {_RUN_AS}"
        raise DeviceError(error.errno or 0, text) from None
    try:
        layer, mtu, hardware = look_at(request.name)
        mac = _own_mac(request, layer, hardware)
        _configure(sock, request, layer, mac)
        prepare(sock)
        sock.bind((request.name, _ETH_P_ALL))
        if request.fanout is not None:
            mode = _FANOUT_MODES[request.fanout_mode]
            sock.setsockopt(SOL_PACKET, _FANOUT, request.fanout | mode << 16)
        sock.setblocking(False)
        return OpenedPacket(sock.detach(), mtu, layer, mac)
    except DeviceError:
        raise
    except OSError as error:
        text = f"cannot set up a packet socket on {request.name}: {error.strerror}"
        raise DeviceError(error.errno or 0, text) from None
    finally:
        sock.close()


def look_at(name: str) -> tuple[int, int, bytes]:
    """Layer, MTU and hardware address of an interface that is there and up."""
    link = interface_up(name)
    if link.hardware not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE):
        raise invalid(
            f"interface {name} carries neither Ethernet nor bare IP (type {link.hardware})"
        )
    return (3 if link.hardware == _ARPHRD_NONE else 2), min(link.mtu, 65_535), link.mac


def _own_mac(request: PacketRequest, layer: int, hardware: bytes) -> bytes:
    if layer == 3:
        return bytes(6)
    if not request.share:
        return request.mac or stable_mac(f"{request.name} {hardware.hex()}")
    if request.mac:
        raise invalid("share and mac exclude each other: a shared interface has its own address")
    return hardware


def _configure(sock: _socket.socket, request: PacketRequest, layer: int, mac: bytes) -> None:
    """Before bind(), so that no frame comes in unfiltered."""
    option = sock.setsockopt
    option(SOL_PACKET, _VNET_HDR, 1)
    option(SOL_PACKET, _IGNORE_OUTGOING, 1)
    option(SOL_PACKET, _QDISC_BYPASS, int(request.qdisc_bypass))
    if request.filtered and layer == 2:
        attach_filter(sock, nothing() if request.share else own_frames(mac, request.queues))
    index = _socket.if_nametoindex(request.name)
    if request.promiscuous:
        option(SOL_PACKET, _ADD_MEMBERSHIP, struct.pack("iHH8x", index, _MR_PROMISC, 0))
    elif layer == 2 and not request.share:
        # The interface takes one more address; one without such a filter takes every frame.
        membership = struct.pack("iHH8s", index, _MR_UNICAST, 6, mac)
        option(SOL_PACKET, _ADD_MEMBERSHIP, membership)


def attach_filter(sock: _socket.socket, program: list[Instruction]) -> None:
    code = ctypes.create_string_buffer(assembled(program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    sock.setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
