"""dpdk: ports of DPDK's poll-mode drivers, by their devargs: `dpdk:net_tap0,iface=dtap0`,
`dpdk:0000:00:05.0`.

Chooses options and the stack's MAC address, and opens the port in a thread of its own, in the
port's namespace; port.c and burst.c do the rest.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import re
import stat
from typing import TYPE_CHECKING, Any

from ..device import Device, stable_mac
from ..driving import ONE_QUEUE, QUEUE_OPTIONS, Queues, queues_of
from ..errors import DeviceError, invalid
from ..helper_thread import in_thread
from ..interface import interface_up
from ..libraries import missing
from ..names import DeviceSpec, parse_between, parse_flag, parse_mac, parse_text
from ..registry import register
from .inherited import close_on_exec, inheritable

try:
    from . import eal
    from ._dpdk import ffi, lib

    _missing = ""
except ImportError as error:
    _missing = missing("dpdk", error)

if TYPE_CHECKING:
    from .eal import EalOptions

_TUN = "/dev/net/tun"
_ON_KERNEL = ("net_af_packet", "net_af_xdp")  # drivers of an interface of the kernel's

_NEEDS = {
    "net_tap": ("CAP_NET_ADMIN",),
    "net_af_xdp": ("CAP_NET_ADMIN", "CAP_NET_RAW"),
    "net_af_packet": ("CAP_NET_ADMIN", "CAP_NET_RAW"),  # it sets the interface's own MAC address
}
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}  # linux/capability.h


def open_dpdk(
    devargs: str,
    *,
    queues: Queues = ONE_QUEUE,
    ring: int = 1024,
    mtu: int | None = None,
    mac: bytes | None = None,
    offload: bool = True,
    promiscuous: bool = False,
    netns: str | None = None,
    options: EalOptions | None = None,
) -> Device:
    """Plugs in the port that `devargs` names (a virtual device with its arguments, or a PCI address)
    and opens `queues` of it; devices of one process may share a port, each with queues of its own.

    `ring` is the entries of each ring, as far as the port goes along; `mtu` the largest IP packet
    (the port's own, 1500, or that of the kernel's interface under it). The stack has the port's MAC
    address, or `mac`; on an interface of the kernel's a stable one of the name. With `offload` the
    port does checksums and segmentation where it can. `options` are EAL's, which hold for the
    process. Raises DeviceError: ENODEV, EBUSY, ENOMEM, EINVAL, …
    """
    if _missing:
        raise DeviceError(errno.ENOTSUP, f"no DPDK devices: {_missing}")
    name = devargs.partition(",")[0]
    if not name:
        raise invalid("name a port, such as dpdk:net_tap0,iface=dtap0 or dpdk:0000:00:05.0")
    if len(name) >= lib.DPDK_NAME_MAX or len(devargs) > lib.DPDK_DEVARGS_MAX:
        raise invalid(f"the name of port {name[:32]}… is too long for DPDK")
    if queues.first + queues.count > lib.DPDK_QUEUES_MAX or queues.group > lib.DPDK_QUEUES_MAX:
        raise invalid(f"a DPDK port has at most {lib.DPDK_QUEUES_MAX} queues here")
    handle = eal.start(options or eal.EalOptions())
    config = ffi.new("struct dpdk_config *")
    label = ffi.new("char[]", devargs.encode())
    config.devargs, config.ring, config.mtu = label, ring, mtu or 0
    config.queue, config.queues = queues.first, queues.count
    config.port_queues = max(queues.group, queues.first + queues.count)
    config.offload, config.promiscuous = offload, promiscuous
    config.own_mac, config.mac = mac is not None, mac or stable_mac(devargs)

    _remember(name, devargs)

    def open_here() -> Any:
        _look_at(name, devargs)
        kept = inheritable()
        number, text = ffi.new("int *"), ffi.new("char[]", lib.DPDK_ERROR_MAX)
        netdev = lib.dpdk_new(handle, config, number, text)
        close_on_exec(kept)
        if netdev == ffi.NULL:
            raise DeviceError(number[0], ffi.string(text).decode(errors="replace"))
        return netdev

    netdev = in_thread(open_here, netns, lambda late: late.close(late))
    return Device("dpdk", netdev, info=_info(netdev), queues=queues)


_named: set[str] = set()  # what ports were opened by: net_tap's interfaces, sockets' paths


def _remember(name: str, devargs: str) -> None:
    """Before a port is opened: what its descriptors can be told by in a forked child."""
    arguments = dict(re.findall(r",([^=,]*)=([^,]*)", devargs))
    if name.startswith("net_tap"):
        arguments.setdefault("iface", "dtap%d")
    _named.update(arguments[key] for key in ("iface", "socket", "path") if key in arguments)


def _forked() -> None:
    """Closes a child's copies of what holds net_tap's interfaces, and of the sockets of memif and vhost.
    What else DPDK has cannot be told from the program's own: it ends with the last process that has it."""
    for fd in map(int, os.listdir("/proc/self/fd") if _named else ()):
        try:
            link = os.readlink(f"/proc/self/fd/{fd}")
            names = (
                _interfaces(fd)
                if link == _TUN
                else _addresses(fd)
                if link[:7] == "socket:"
                else set()
            )
            if names & _named:
                os.close(fd)
        except OSError:
            continue  # the listing's own


def _interfaces(fd: int) -> set[str]:
    """The interface of a TUN descriptor, and its name without a number."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
        names = set(re.findall(r"^iff:\s*(\S+)", info.read(), re.MULTILINE))
    return names | {re.sub(r"\d+$", "%d", name) for name in names}


def _addresses(fd: int) -> set[str]:
    """Both ends' paths of a Unix socket."""
    sock = _socket.socket(fileno=fd)
    try:
        if sock.family != _socket.AF_UNIX:
            return set()
        found = {sock.getsockname()}
        with contextlib.suppress(OSError):
            found.add(sock.getpeername())
        return {address for address in found if isinstance(address, str)}
    finally:
        sock.detach()


if not _missing:
    os.register_at_fork(after_in_child=_forked)


def _look_at(name: str, devargs: str) -> None:
    """The kernel's interface under such a port is there and up; the socket where a server is to wait
    is nobody's."""
    arguments = dict(re.findall(r",([^=,]*)=([^,]*)", devargs))
    able = _effective()
    for driver, needs in _NEEDS.items():
        if name.startswith(driver) and not all(able >> _CAPABILITIES[one] & 1 for one in needs):
            words = " and ".join(needs)
            text = f"no permission to open port {name}: run as root, or with {words}"
            raise DeviceError(errno.EPERM, text)
    if name.startswith(_ON_KERNEL):
        if "iface" not in arguments:
            raise invalid(f"port {name} needs an interface: dpdk:{name},iface=eth1")
        interface_up(arguments["iface"])
    if name.startswith("net_vhost") and arguments.get("client", "0") == "0":
        _remove_stale(arguments.get("iface", ""))
    if name.startswith("net_memif") and arguments.get("role") in ("server", "master"):
        _remove_stale(arguments.get("socket", ""))


def _effective() -> int:
    """The calling thread's capabilities (capabilities(7))."""
    with open("/proc/thread-self/status", encoding="ascii") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))


def _remove_stale(path: str) -> None:
    """A socket file whose server was killed: DPDK would find its address in use."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        for kind in (_socket.SOCK_STREAM, _socket.SOCK_SEQPACKET):
            probe = _socket.socket(_socket.AF_UNIX, kind, 0)
            try:
                probe.connect(path)
                return
            except ConnectionRefusedError:
                continue
            finally:
                probe.close()
        os.unlink(path)
    except OSError:
        return


def _info(netdev: Any) -> dict[str, int]:
    """Queues, NUMA node (-1: any), link, receive interrupts, buffers, and which offloads run (bits of
    RTE_ETH_RX_OFFLOAD_* and RTE_ETH_TX_OFFLOAD_*)."""
    info = ffi.new("struct dpdk_info *")
    lib.dpdk_get_info(netdev, info)
    return {name: int(getattr(info, name)) for name, _ in ffi.typeof("struct dpdk_info").fields}


# ---- the registry's part ---------------------------------------------------------------------


def _factory(spec: DeviceSpec) -> Device:
    if _missing:
        raise DeviceError(errno.ENOTSUP, f"no DPDK devices: {_missing}")
    options = eal.EalOptions(
        lcores=spec.get("lcores", parse_text, None),
        memory=spec.get("memory", parse_between(16, 1 << 20), None),
        hugepages=spec.get("hugepages", parse_flag, None),
        eal=spec.get("eal", parse_text, None),
    )
    return open_dpdk(
        spec.name,
        queues=queues_of(spec, lib.DPDK_QUEUES_MAX),
        ring=spec.get("ring", parse_between(64, 16_384), 1024),
        mtu=spec.get("mtu", parse_between(68, 16_000), None),
        mac=spec.get("mac", parse_mac, None),
        offload=spec.get("offload", parse_flag, True),
        promiscuous=spec.get("promiscuous", parse_flag, False),
        netns=spec.get("netns", parse_text, None),
        options=options,
    )


def _probe() -> str:
    return _missing


register(
    "dpdk",
    _factory,
    _probe,
    description="a port of DPDK: a network card without the kernel, or a virtual device",
    options={
        "netns": "network namespace to open the port in: a name of `ip netns`, or a path",
        "mac": "MAC address of the stack (the port's; on the kernel's interfaces one of the name)",
        "mtu": "largest IP packet in bytes (the port's own)",
        **QUEUE_OPTIONS,
        "ring": "entries of each ring (1024)",
        "offload": "0: checksums and segmentation are not left to the port (1)",
        "promiscuous": "1: the port takes every frame (0)",
        "hugepages": "1: only with huge pages, 0: only without (where enough are free)",
        "memory": "megabytes for DPDK from the start (128); on huge pages it may take more",
        "lcores": "DPDK's own threads, in the words of its --lcores (one, not pinned)",
        "eal": "further arguments of EAL",
    },
)
