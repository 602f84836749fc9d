"""A TAP or TUN interface of the Linux kernel: a descriptor of ours is its other side.

Opens /dev/net/tun, creates the interface or attaches to an existing one, and configures the
kernel's side if asked to. What we made disappears with the descriptor. Settings of an interface
we did not make change only where an option says so. The drivers tap and uring share this file.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import struct
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TYPE_CHECKING

from ._netdev import lib
from .device import stable_mac
from .driving import ONE_QUEUE, Queues
from .errors import DeviceError, invalid
from .guard.guard import GUARD_HELP, GUARD_RATE_MAX, load_tun_guard
from .helper_thread import in_thread
from .interface import interface
from .kernel import pyroute2
from .names import DeviceSpec, parse_between, parse_choice, parse_flag, parse_mac, parse_text

if TYPE_CHECKING:
    from pyroute2 import IPRoute  # loaded where it is needed: it takes longer than all the rest

TUN_PATH = "/dev/net/tun"

_CAP_NET_ADMIN = 12
_RUN_AS = "run as root, with CAP_NET_ADMIN, or inside `unshare -Urn`"

# linux/if_tun.h
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_TUNSETOWNER, _TUNSETGROUP = 0x400454CC, 0x400454CE
_TUNSETOFFLOAD, _TUNSETVNETHDRSZ = 0x400454D0, 0x400454D8
_TUNSETFILTEREBPF = 0x800454E1
_IFF_TUN, _IFF_TAP, _IFF_NAPI, _IFF_MULTI_QUEUE = 0x1, 0x2, 0x10, 0x100
_IFF_NO_PI, _IFF_VNET_HDR, _IFF_TUN_EXCL = 0x1000, 0x4000, 0x8000
_TUN_F_CSUM, _TUN_F_TSO4 = 0x1, 0x2
_IFA_F_NODAD = 2  # usable at once
_VNET_HDR_LEN = 10  # struct virtio_net_hdr

TUN_OPTIONS = {
    "host": "address of the kernel's side, such as 198.18.0.1/24; several with commas",
    "mtu": "MTU of the interface, in bytes",
    "mode": "tap (Ethernet, default) or tun (bare IP packets)",
    "netns": "network namespace of the interface: a name of `ip netns`, or a path",
    "mac": "MAC address of the stack (a stable one of the name)",
    "vnet": "0: no virtio-net header before each frame (1)",
    "offload": "0: finish checksums in software (1)",
    "gso": "0: no TCP or UDP super-segments (1)",
    "napi": "1: the kernel takes frames in by NAPI: a shorter tail, less bulk (0)",
    "persist": "1: the interface stays after close; 0: it goes",
    "owner": "user, by name or number, who may attach to the interface without privilege",
    "group": "group, by name or number, whose members may (with owner= it takes both)",
    "syn_guard": GUARD_HELP,
}


@dataclass(frozen=True)
class TunRequest:
    """What to open.

    `name` "" lets the kernel choose; `mode` is "tap" (layer 2) or "tun" (layer 3); `host` are
    addresses for the kernel's side, which is then brought up, as is an interface made here; `mtu`
    is set on the interface, and otherwise read from it; `netns` is a named network namespace, or a
    path of one; `mac` is the stack's address, by default a stable one of the name; `vnet` carries a
    virtio-net header before each frame, `offload` leaves checksums unfinished through it, and `gso`
    lets TCP travel in super-segments of up to 64 KB; `napi` has the kernel take frames in as it
    does a network card's (IFF_NAPI, Linux 4.15); `persist` keeps the interface after close, or lets
    it go; `owner` and `group` are the numbers of a user and a group who may attach to it; `queues`
    has a descriptor for each queue; `syn_guard` is how many SYNs a second are let in at first
    sight, more only when they are repeated (0: all), on an interface made here. Raises DeviceError,
    EINVAL, for a name that no interface can have.
    """

    name: str = ""
    mode: str = "tap"
    host: tuple[IPv4Interface | IPv6Interface, ...] = ()
    mtu: int | None = None
    netns: str | None = None
    mac: bytes | None = None
    vnet: bool = True
    offload: bool = True
    gso: bool = True
    napi: bool = False
    persist: bool | None = None
    owner: int | None = None
    group: int | None = None
    queues: Queues = ONE_QUEUE
    syn_guard: int = 0

    def __post_init__(self) -> None:
        name = self.name
        if len(name.encode()) > 15 or "/" in name or any(c.isspace() for c in name):
            raise invalid(f"interface name {name!r}: it has at most 15 bytes and no space or slash")


@dataclass(frozen=True)
class OpenedTun:
    """Non-blocking descriptors, one a queue, with their interface, the kernel side's MTU, the stack's
    MAC address (zeros for TUN), the layer (2 or 3), what was agreed on, and a descriptor of the SYN
    guard's counters (-1: none)."""

    fds: tuple[int, ...]
    name: str
    mtu: int
    mac: bytes
    layer: int
    vnet: bool
    offload: bool
    gso: bool
    uso: bool
    guard: int = -1

    @property
    def fd(self) -> int:
        """The first."""
        return self.fds[0]

    def close(self) -> None:
        for fd in (*self.fds, self.guard):
            if fd >= 0:
                os.close(fd)


def open_tun(request: TunRequest) -> OpenedTun:
    """Creates the interface or attaches to it. Raises DeviceError: ENOENT, EPERM, EBUSY, EINVAL, …"""
    return in_thread(lambda: _open(request), request.netns, OpenedTun.close)


def tun_request(spec: DeviceSpec) -> TunRequest:
    """What a device name asks for, by the options of TUN_OPTIONS."""
    host = spec.get("host", parse_text, "")
    return TunRequest(
        spec.name,
        mode=spec.get("mode", parse_choice("tap", "tun"), "tap"),
        host=tuple(map(parse_host, host.split(","))) if host else (),
        mtu=spec.get("mtu", parse_between(68, 65521), None),
        netns=spec.get("netns", parse_text, None),
        mac=spec.get("mac", parse_mac, None),
        vnet=spec.get("vnet", parse_flag, True),
        offload=spec.get("offload", parse_flag, True),
        gso=spec.get("gso", parse_flag, True),
        napi=spec.get("napi", parse_flag, False),
        persist=spec.get("persist", parse_flag, None),
        owner=spec.get("owner", _parse_user, None),
        group=spec.get("group", _parse_group, None),
        syn_guard=spec.get("syn_guard", parse_between(0, GUARD_RATE_MAX), 0),
    )


def parse_host(text: str) -> IPv4Interface | IPv6Interface:
    try:
        if "/" in text:
            return ip_interface(text)
    except ValueError:
        pass
    raise invalid(f"host={text}: expected an address with its prefix length, such as 198.18.0.1/24")


def _parse_user(text: str) -> int:
    return _parse_id(text, "user", lambda name: pwd.getpwnam(name).pw_uid)


def _parse_group(text: str) -> int:
    return _parse_id(text, "group", lambda name: grp.getgrnam(name).gr_gid)


def _parse_id(text: str, what: str, by_name: Callable[[str], int]) -> int:
    try:
        return int(text) if text.isdecimal() and int(text) < 1 << 32 else by_name(text)
    except KeyError:
        raise ValueError(f"there is no {what} {text!r} here") from None


def tun_probe() -> str:
    """Why no interface can be made here, or ""."""
    try:
        os.close(_open_tun())
    except DeviceError as error:
        return str(error)
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        effective = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    if not int(effective, 16) >> _CAP_NET_ADMIN & 1:
        return f"no permission to create interfaces (only to attach to own ones): {_RUN_AS}"
    return ""


# ---- in the helper thread: the namespace is the interface's ----------------------------------


def _open(request: TunRequest) -> OpenedTun:
    fds: list[int] = []
    try:
        name, created = _attach_all(fds, request)
        offload = request.vnet and request.offload
        gso = offload and request.gso
        for fd in fds:
            if request.vnet:
                fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _VNET_HDR_LEN))
            uso = _set_offload(fd, offload, gso)
        _configure(name, request, created)
        _hand_over(fds[0], request)
        link = interface(name)
        return OpenedTun(
            tuple(fds),
            name,
            link.mtu,
            _own_mac(request, name, link.mac),
            layer=2 if request.mode == "tap" else 3,
            vnet=request.vnet,
            offload=offload,
            gso=gso,
            uso=uso,
            guard=_set_guard(fds[0], request, created),
        )
    except BaseException as error:
        for fd in fds:
            os.close(fd)
        if isinstance(error, OSError) and not isinstance(error, DeviceError):
            text = f"cannot set up {request.mode}:{request.name}: {error.strerror}"
            raise DeviceError(error.errno or 0, text) from None
        raise


def _hand_over(fd: int, request: TunRequest) -> None:
    """What outlives us: whose the interface is, and whether it stays."""
    if request.owner is not None:
        fcntl.ioctl(fd, _TUNSETOWNER, request.owner)
    if request.group is not None:
        fcntl.ioctl(fd, _TUNSETGROUP, request.group)
    if request.persist is not None:
        fcntl.ioctl(fd, _TUNSETPERSIST, int(request.persist))


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


def _attach_all(fds: list[int], request: TunRequest) -> tuple[str, bool]:
    """A descriptor for each queue, put into fds; the interface's name, and whether it was made."""
    fds.append(_open_tun())
    name, created = _attach(fds[0], request)
    for _ in range(1, request.queues.count):
        fds.append(_open_tun())
        try:
            _set_iff(fds[-1], name, _flags(request) | _IFF_MULTI_QUEUE)
        except OSError as error:
            raise _attach_error(error, request) from None
    return name, created


def _flags(request: TunRequest) -> int:
    flags = _IFF_NO_PI | (_IFF_TAP if request.mode == "tap" else _IFF_TUN)
    flags |= _IFF_NAPI if request.napi else 0
    return flags | (_IFF_VNET_HDR if request.vnet else 0)


def _attach(fd: int, request: TunRequest) -> tuple[str, bool]:
    """TUNSETIFF: the interface's name, and whether it was made by this call."""
    flags = _flags(request)
    several = request.queues.count > 1
    try:
        made = flags | _IFF_TUN_EXCL | (_IFF_MULTI_QUEUE if several else 0)
        return _set_iff(fd, request.name, made), True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise _attach_error(error, request) from None
    try:
        if not several:
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


def _attach_error(error: OSError, request: TunRequest) -> DeviceError:
    what = f"{request.mode} interface {request.name or '(any name)'}"
    reasons = {
        errno.EPERM: f"no permission to create or attach {what}: {_RUN_AS}, or be its owner "
        "(made with owner= and persist=1)",
        errno.EBUSY: f"{what} is in use by another program: end it or choose another name",
        errno.EINVAL: f"{request.name!r} exists and is no {request.mode} interface: use a new name",
    }
    if error.errno == errno.EINVAL and _is_of_one_queue(request):
        text = (
            f"{what} was made with one queue: make it with several "
            f"(ip tuntap add {request.name} mode {request.mode} multi_queue), or leave out queues="
        )
        return DeviceError(errno.EINVAL, text)
    text = reasons.get(error.errno or 0, f"cannot create or attach {what}: {error.strerror}")
    return DeviceError(error.errno or 0, text)


def _is_of_one_queue(request: TunRequest) -> bool:
    """Is the interface of the kind asked for, but with one queue only?"""
    IPRoute = pyroute2().IPRoute
    kinds = {"tun": 1, "tap": 2}
    with IPRoute() as route:
        for link in route.get_links(*route.link_lookup(ifname=request.name)):
            data = (link.get_attr("IFLA_LINKINFO") or link).get_attr("IFLA_INFO_DATA")
            if data and data.get_attr("IFLA_TUN_TYPE") == kinds[request.mode]:
                return not data.get_attr("IFLA_TUN_MULTI_QUEUE")
    return False


def _set_offload(fd: int, offload: bool, gso: bool) -> bool:
    """What the kernel may leave undone in the frames it hands us. Are UDP super-segments among it?"""
    flags = (_TUN_F_CSUM if offload else 0) | (_TUN_F_TSO4 if gso else 0)
    if gso:
        try:
            fcntl.ioctl(fd, _TUNSETOFFLOAD, flags | int(lib.tap_uso))
            return True
        except OSError as error:  # EINVAL: an older kernel
            if error.errno != errno.EINVAL:
                raise
    fcntl.ioctl(fd, _TUNSETOFFLOAD, flags)
    return False


def _set_guard(fd: int, request: TunRequest, created: bool) -> int:
    """Has the kernel hold SYN floods back. The filter is the interface's, and stays as long as it."""
    if not request.syn_guard:
        return -1
    if not created:
        raise invalid(f"syn_guard: {request.name} was made by others, whose setting it would be")
    program, state = load_tun_guard(request.syn_guard, 14 if request.mode == "tap" else 0)
    try:
        fcntl.ioctl(fd, _TUNSETFILTEREBPF, struct.pack("i", program))
    except BaseException:
        os.close(state)
        raise
    finally:
        os.close(program)
    return state


def _configure(name: str, request: TunRequest, created: bool) -> None:
    """The kernel's side: MTU and addresses as asked for; up if it is ours to bring up. What an
    interface that stayed has already is left as it is, and needs no privilege."""
    if not (created or request.host or request.mtu):
        return
    IPRoute, NetlinkError = pyroute2().IPRoute, pyroute2().NetlinkError
    link = interface(name)
    try:
        with IPRoute() as route:
            if request.mtu and request.mtu != link.mtu:
                route.link("set", index=link.index, mtu=request.mtu)
            there = set() if created else _addresses(route, link.index)
            for host in request.host:
                if host not in there:
                    _add_address(route, link.index, host)
            if not link.up:
                route.link("set", index=link.index, state="up")
    except NetlinkError as error:
        text = f"cannot configure {request.mode}:{name}: {os.strerror(error.code)}"
        if error.code == errno.EEXIST:
            text = f"interface {name} gets an address of host= twice, or has it with another prefix"
        if error.code == errno.EPERM:
            text += f": {_RUN_AS}"
        raise DeviceError(error.code, text) from None


def _addresses(route: IPRoute, index: int) -> set[IPv4Interface | IPv6Interface]:
    """What the interface has, with prefix lengths."""
    found = set()
    for entry in route.get_addr(index=index):
        address = entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")
        found.add(ip_interface(f"{address}/{entry['prefixlen']}"))
    return found


def _add_address(route: IPRoute, index: int, host: IPv4Interface | IPv6Interface) -> None:
    route.addr(
        "add",
        index=index,
        address=str(host.ip),
        prefixlen=host.network.prefixlen,
        flags=_IFA_F_NODAD if host.version == 6 else 0,
    )


def _own_mac(request: TunRequest, name: str, kernel: bytes) -> bytes:
    if request.mode == "tun":
        return bytes(6)
    own = bytearray(request.mac or stable_mac(name))
    if request.mac is None and bytes(own) == kernel:
        own[5] ^= 1
    return bytes(own)
