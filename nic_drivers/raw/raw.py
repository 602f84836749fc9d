"""raw: bare IPv4 packets on an interface and an address that stay the kernel's.

For machines where only CAP_NET_RAW is given. The stack has some local ports (`ports=`); the kernel
keeps all others, ARP, routes and echo requests. A packet socket brings what comes in for those ports,
a raw IP socket sends. The kernel would answer for the ports too, and reset TCP: where CAP_NET_ADMIN
is given a guard keeps it silent (guard.py), and where not, TCP is refused.
"""

from __future__ import annotations

import _socket
import errno
import logging
import os
from contextlib import ExitStack
from dataclasses import dataclass

from .._netdev import ffi, lib
from ..device import Device, Limits
from ..errors import DeviceError, invalid
from ..helper_thread import in_thread
from ..interface import interface_up
from ..names import DeviceSpec, parse_between, parse_choice, parse_text
from ..packet_filter import own_ports
from ..packet_socket import SOL_PACKET, attach_filter, look_at
from ..registry import register
from .claims import claim_ports
from .guard import open_guard
from .ports import DEFAULT, Ports, check_kernel, parse_ports, ports_text

log = logging.getLogger("barewire.raw")
_RUN_AS = "run as root, with CAP_NET_RAW, or inside `unshare -Urn`"
_ETH_P_IP, _LINK_HEADER = 0x0800, 14
_ARPHRD_LOOPBACK = 772
_VNET_HDR, _IGNORE_OUTGOING = 15, 23  # linux/if_packet.h
_BOOKKEEPING = 768  # what the kernel counts against a receive buffer beside a packet's bytes


@dataclass(frozen=True)
class _Request:
    """What to open, checked."""

    name: str
    ports: Ports
    guard: str
    ring: int


@dataclass(frozen=True)
class _Opened:
    """The sockets, what is held with them, and why TCP is not carried."""

    fds: tuple[int, ...]
    mtu: int
    link_header: int
    no_tcp: str


def open_raw(
    name: str,
    *,
    ports: str | Ports = DEFAULT,
    guard: str = "auto",
    ring: int = 512,
    netns: str | None = None,
) -> Device:
    """Opens an interface that is up, for local `ports`: "80,443,61000-65535". The stack's addresses
    have to be the kernel's.

    `guard` "auto" sets an nft rule that keeps the kernel from answering for the ports, and where it
    may not (CAP_NET_ADMIN) leaves the stack without TCP (Device.limits says why), and UDP peers with
    a port-unreachable beside each answer; "nft" fails instead; "none" trusts a firewall rule of
    somebody else's. `ring` is about how many packets received may wait. `netns` is a named network
    namespace, or a path of one. Raises DeviceError: ENODEV, ENETDOWN, EPERM, EADDRINUSE, …
    """
    if isinstance(ports, str):
        ports = DeviceSpec("raw", name, {"ports": ports}).get("ports", parse_ports, DEFAULT)
    request = _Request(name, ports, guard, ring)
    opened = in_thread(lambda: _open(request), netns, _discard)
    config = ffi.new("struct raw_config *")
    label = ffi.new("char[]", name.encode())
    config.name, config.mtu, config.link_header = label, opened.mtu, opened.link_header
    config.tcp = not opened.no_tcp
    config.rx_fd, config.tx_fd, *held = opened.fds
    config.held = [*held, *[-1] * (int(lib.RAW_HELD) - len(held))]
    netdev = lib.raw_new(config)
    if netdev == ffi.NULL:
        _discard(opened)
        raise DeviceError(errno.ENOMEM, f"no memory for raw:{name}")
    if opened.no_tcp:
        log.warning("%s, and answers each datagram with port unreachable", opened.no_tcp)
    info: dict[str, int | str] = {
        "ports": ports_text(ports),
        "guard": int(len(held) == int(lib.RAW_HELD)),
    }
    device = Device("raw", netdev, info=info)
    device.limits = Limits(ports, opened.no_tcp)
    return device


def _discard(opened: _Opened) -> None:
    for fd in opened.fds:
        os.close(fd)


# ---- in the helper thread: the namespace is the interface's ----------------------------------------


def _open(request: _Request) -> _Opened:
    with ExitStack() as undo:
        fds: list[_socket.socket] = []

        def keep(sock: _socket.socket) -> _socket.socket:
            undo.callback(sock.close)
            fds.append(sock)
            return sock

        try:
            receiver = keep(_raw_socket(_socket.AF_PACKET, 0))
            sender = keep(_raw_socket(_socket.AF_INET, _socket.IPPROTO_RAW))
            layer, mtu, _ = look_at(request.name)
            if interface_up(request.name).hardware == _ARPHRD_LOOPBACK:
                raise invalid(f"raw:{request.name}: the kernel's loopback is no way to others")
            check_kernel(request.ports)
            keep(claim_ports(_socket.if_nametoindex(request.name), request.ports, receiver))
            no_tcp, guard = _guard(request)
            if guard is not None:
                keep(guard)
            link_header = _LINK_HEADER if layer == 2 else 0
            _prepare(receiver, sender, request, mtu, link_header, not no_tcp)
        except DeviceError:
            raise
        except OSError as error:
            text = f"cannot set up raw:{request.name}: {error.strerror}"
            raise DeviceError(error.errno or 0, text) from None
        undo.pop_all()
        return _Opened(tuple(sock.detach() for sock in fds), mtu, link_header, no_tcp)


def _raw_socket(family: int, protocol: int) -> _socket.socket:
    try:
        return _socket.socket(family, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        text = f"cannot open a raw socket: {error.strerror}"
        if error.errno == errno.EPERM:
            text = f"no permission to open raw sockets: {_RUN_AS}"
        raise DeviceError(error.errno or 0, text) from None


def _guard(request: _Request) -> tuple[str, _socket.socket | None]:
    """Why there is no TCP, or the guard."""
    if request.guard == "none":
        return "", None
    table = f"barewire-{request.name}-{request.ports[0][0]}-{os.getpid()}"
    try:
        return "", open_guard(table, _socket.if_nametoindex(request.name), request.ports)
    except DeviceError as error:
        sentence = f"raw:{request.name} carries no TCP: the kernel would reset its connections, and {error}"
        if request.guard == "nft":
            raise DeviceError(error.errno or 0, sentence) from None
        return sentence, None


def _prepare(
    receiver: _socket.socket,
    sender: _socket.socket,
    request: _Request,
    mtu: int,
    link_header: int,
    tcp: bool,
) -> None:
    receiver.setsockopt(SOL_PACKET, _VNET_HDR, 1)
    receiver.setsockopt(SOL_PACKET, _IGNORE_OUTGOING, 1)
    room = min(request.ring * (mtu + _BOOKKEEPING), 1 << 30)
    receiver.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, room)
    attach_filter(receiver, own_ports(link_header, request.ports, tcp))
    sender.setblocking(False)
    receiver.bind((request.name, _ETH_P_IP))
    receiver.setblocking(False)


# ---- the registry's part ---------------------------------------------------------------------------


def _factory(spec: DeviceSpec) -> Device:
    return open_raw(
        spec.name,
        ports=spec.get("ports", parse_ports, DEFAULT),
        guard=spec.get("guard", parse_choice("auto", "nft", "none"), "auto"),
        ring=spec.get("ring", parse_between(8, 65_536), 512),
        netns=spec.get("netns", parse_text, None),
    )


def _probe() -> str:
    try:
        _raw_socket(_socket.AF_PACKET, 0).close()
        _raw_socket(_socket.AF_INET, _socket.IPPROTO_RAW).close()
    except DeviceError as error:
        return str(error)
    return ""


register(
    "raw",
    _factory,
    _probe,
    description="some ports of an interface and an address that stay the kernel's (bare IPv4)",
    options={
        "ports": "local ports of the stack: 80,443,61000-65535 (61000-65535)",
        "guard": "nft: with the rule that keeps the kernel silent; none: without; auto (default)",
        "ring": "packets received that may wait (512)",
        "netns": "network namespace of the interface: a name of `ip netns`, or a path",
    },
)
