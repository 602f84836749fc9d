"""tap: an interface of the Linux kernel whose other side is a descriptor of ours.

Opens /dev/net/tun, creates the interface or attaches to an existing one, and configures the
kernel's side if asked to. What we made disappears with the descriptor. Settings of an interface
we did not make change only where an option says so.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from pyroute2 import IPRoute, NetlinkError

from .._netdev import ffi, lib
from ..device import Device, stable_mac
from ..errors import DeviceError, invalid
from ..helper_thread import in_thread
from ..names import DeviceSpec, parse_between, parse_choice, parse_flag, parse_mac, parse_text
from ..registry import register

TUN_PATH = "/dev/net/tun"

_CAP_NET_ADMIN = 12
_RUN_AS = "run as root, with CAP_NET_ADMIN, or inside `unshare -Urn`"

# linux/if_tun.h, linux/sockios.h
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454D0, 0x400454D8
_IFF_TUN, _IFF_TAP, _IFF_MULTI_QUEUE = 0x1, 0x2, 0x100
_IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x1000, 0x4000, 0x8000
_TUN_F_CSUM, _TUN_F_TSO4 = 0x1, 0x2
_TUN_F_USO4, _TUN_F_USO6 = 0x20, 0x40  # since Linux 6.2, and only both together
_IFA_F_NODAD = 2  # usable at once
_SIOCGIFMTU, _SIOCGIFHWADDR = 0x8921, 0x8927


@dataclass(frozen=True)
class _Request:
    """What to open, checked."""

    name: str
    mode: str
    host: tuple[IPv4Interface | IPv6Interface, ...]
    mtu: int | None
    vnet: bool
    offload: bool
    gso: bool
    persist: bool | None


@dataclass(frozen=True)
class _Opened:
    """A descriptor with its interface, and the kernel side's MTU and MAC address."""

    fd: int
    name: str
    mtu: int
    mac: bytes


def open_tap(
    name: str = "",
    *,
    mode: str = "tap",
    host: str | Sequence[str] = (),
    mtu: int | None = None,
    netns: str | None = None,
    mac: bytes | None = None,
    vnet: bool = True,
    offload: bool = True,
    gso: bool = True,
    persist: bool | None = None,
) -> Device:
    """Creates a TAP (layer 2) or, with mode="tun", a TUN (layer 3) interface, or attaches to one.

    `name` "" lets the kernel choose; `host` are addresses with prefix length for the kernel's
    side, which is then brought up, as is an interface made here; `mtu` is set on the interface,
    and otherwise read from it; `netns` is a named network namespace, or a path of one; `mac` is
    the stack's address, by default a stable one of the name; `vnet` carries a virtio-net header
    before each frame, `offload` leaves checksums unfinished through it, and `gso` lets TCP travel
    in super-segments of up to 64 KB; `persist` keeps the interface after close, or lets it go.
    Raises DeviceError: ENOENT, EPERM, EBUSY, EINVAL, …
    """
    if len(name.encode()) > 15 or "/" in name or any(c.isspace() for c in name):
        raise invalid(f"interface name {name!r}: it has at most 15 bytes and no space or slash")
    request = _Request(
        name=name,
        mode=mode,
        host=tuple(_parse_host(text) for text in ([host] if isinstance(host, str) else host)),
        mtu=mtu,
        vnet=vnet,
        offload=offload and vnet,
        gso=gso and offload and vnet,
        persist=persist,
    )
    opened = in_thread(lambda: _open(request), netns, lambda late: os.close(late.fd))
    try:
        return _device(request, opened, mac)
    except BaseException:
        os.close(opened.fd)
        raise


def _device(request: _Request, opened: _Opened, mac: bytes | None) -> Device:
    own = bytearray(mac or stable_mac(opened.name))
    if mac is None and bytes(own) == opened.mac:
        own[5] ^= 1
    config = ffi.new("struct tap_config *")
    name = ffi.new("char[]", opened.name.encode())
    config.name, config.mtu, config.layer = name, opened.mtu, 2 if request.mode == "tap" else 3
    config.vnet, config.offload, config.gso = request.vnet, request.offload, request.gso
    config.mac = bytes(own) if request.mode == "tap" else bytes(6)
    netdev = lib.tap_new(opened.fd, config)
    if netdev == ffi.NULL:
        raise DeviceError(errno.ENOMEM, f"no memory for {request.mode}:{opened.name}")
    return Device("tap", netdev)


def _parse_host(text: str) -> IPv4Interface | IPv6Interface:
    try:
        if "/" in text:
            return ip_interface(text)
    except ValueError:
        pass
    raise invalid(f"host={text}: expected an address with its prefix length, such as 198.18.0.1/24")


# ---- in the helper thread: the namespace is the interface's ----------------------------------


def _open(request: _Request) -> _Opened:
    fd = _open_tun()
    try:
        name, created = _attach(fd, request)
        if request.vnet:
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", lib.TAP_VNET_HDR_LEN))
        _set_offload(fd, request)
        _configure(name, request, created)
        if request.persist is not None:
            fcntl.ioctl(fd, _TUNSETPERSIST, int(request.persist))
        return _Opened(fd, name, *_read_link(name))
    except DeviceError:
        os.close(fd)
        raise
    except OSError as error:
        os.close(fd)
        text = f"cannot set up {request.mode}:{request.name}: {error.strerror}"
        raise DeviceError(error.errno or 0, text) from None
    except BaseException:
        os.close(fd)
        raise


def _open_tun() -> int:
    try:
        return os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DeviceError(error.errno or 0, _tun_missing(error)) from None


def _tun_missing(error: OSError) -> str:
    """Why /dev/net/tun does not open, and what to do."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return (
            f"{TUN_PATH} is missing: load it with `modprobe tun`, or give it to the container "
            f"(docker run --device {TUN_PATH} --cap-add NET_ADMIN)"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to open {TUN_PATH}: {_RUN_AS}, or let this user read and write the file"
        )
    return f"cannot open {TUN_PATH}: {error.strerror}"


def _attach(fd: int, request: _Request) -> tuple[str, bool]:
    """TUNSETIFF: the interface's name, and whether it was made by this call."""
    flags = _IFF_NO_PI | (_IFF_TAP if request.mode == "tap" else _IFF_TUN)
    if request.vnet:
        flags |= _IFF_VNET_HDR
    try:
        return _set_iff(fd, request.name, flags | _IFF_TUN_EXCL), True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise _attach_error(error, request) from None
    try:
        return _set_iff(fd, request.name, flags), False
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise _attach_error(error, request) from None
    try:  # one that was made with several queues says EINVAL to who wants but one
        return _set_iff(fd, request.name, flags | _IFF_MULTI_QUEUE), False
    except OSError as error:
        raise _attach_error(error, request) from None


def _set_iff(fd: int, name: str, flags: int) -> str:
    answer = fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    return answer[:16].rstrip(b"\0").decode()


def _attach_error(error: OSError, request: _Request) -> DeviceError:
    what = f"{request.mode} interface {request.name or '(any name)'}"
    reasons = {
        errno.EPERM: f"no permission to create or attach {what}: {_RUN_AS}",
        errno.EBUSY: f"{what} is in use by another program: end it or choose another name",
        errno.EINVAL: f"{request.name!r} exists and is no {request.mode} interface: use a new name",
    }
    text = reasons.get(error.errno or 0, f"cannot create or attach {what}: {error.strerror}")
    return DeviceError(error.errno or 0, text)


def _set_offload(fd: int, request: _Request) -> None:
    """What the kernel may leave undone in the frames it hands us."""
    flags = (_TUN_F_CSUM if request.offload else 0) | (_TUN_F_TSO4 if request.gso else 0)
    if request.gso:
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, flags | _TUN_F_USO4 | _TUN_F_USO6)
            return
        except OSError as error:  # EINVAL: an older kernel
            if error.errno != errno.EINVAL:
                raise
    fcntl.ioctl(fd, _TUNSETOFFLOAD, flags)


def _configure(name: str, request: _Request, created: bool) -> None:
    """The kernel's side: MTU and addresses as asked for; up if it is ours to bring up."""
    if not (created or request.host or request.mtu):
        return
    try:
        with IPRoute() as route:
            index = _socket.if_nametoindex(name)
            if request.mtu:
                route.link("set", index=index, mtu=request.mtu)
            for host in request.host:
                route.addr(
                    "add",
                    index=index,
                    address=str(host.ip),
                    prefixlen=host.network.prefixlen,
                    flags=_IFA_F_NODAD if host.version == 6 else 0,
                )
            route.link("set", index=index, state="up")
    except NetlinkError as error:
        text = f"cannot configure {request.mode}:{name}: {os.strerror(error.code)}"
        if error.code == errno.EPERM:
            text += f": {_RUN_AS}"
        raise DeviceError(error.code, text) from None


def _read_link(name: str) -> tuple[int, bytes]:
    """MTU and MAC address of an interface (zeros for TUN)."""
    kernel = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    try:
        query = struct.pack("16s24x", name.encode())
        mtu = struct.unpack_from("i", fcntl.ioctl(kernel.fileno(), _SIOCGIFMTU, query), 16)[0]
        return mtu, fcntl.ioctl(kernel.fileno(), _SIOCGIFHWADDR, query)[18:24]
    finally:
        kernel.close()


# ---- the registry's part ---------------------------------------------------------------------


def _factory(spec: DeviceSpec) -> Device:
    host = spec.get("host", parse_text, "")
    return open_tap(
        spec.name,
        mode=spec.get("mode", parse_choice("tap", "tun"), "tap"),
        host=host.split(",") if host else (),
        mtu=spec.get("mtu", parse_between(68, 65521), None),
        netns=spec.get("netns", parse_text, None),
        mac=spec.get("mac", parse_mac, None),
        vnet=spec.get("vnet", parse_flag, True),
        offload=spec.get("offload", parse_flag, True),
        gso=spec.get("gso", parse_flag, True),
        persist=spec.get("persist", parse_flag, None),
    )


def _probe() -> str:
    try:
        os.close(_open_tun())
    except DeviceError as error:
        return str(error)
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    if not int(effective, 16) >> _CAP_NET_ADMIN & 1:
        return f"no permission to create interfaces (only to attach to own ones): {_RUN_AS}"
    return ""


register(
    "tap",
    _factory,
    _probe,
    description="a TAP or TUN interface of the Linux kernel, created or attached",
    options={
        "host": "address of the kernel's side, such as 198.18.0.1/24; several with commas",
        "mtu": "MTU of the interface, in bytes",
        "mode": "tap (Ethernet, default) or tun (bare IP packets)",
        "netns": "network namespace of the interface: a name of `ip netns`, or a path",
        "mac": "MAC address of the stack (a stable one of the name)",
        "vnet": "0: no virtio-net header before each frame (1)",
        "offload": "0: finish checksums in software (1)",
        "gso": "0: no TCP or UDP super-segments (1)",
        "persist": "1: the interface stays after close; 0: it goes",
    },
)
