"""xdp: an interface of the kernel's through AF_XDP.

Chooses mode and options, and opens the sockets in the interface's namespace; setup.c and rings.c do
the rest. The interface keeps all its settings; the XDP program goes when the device closes or the
process ends.
"""

from __future__ import annotations

import _socket
import errno
import os
import secrets
import time
from typing import Any

from ..device import Device, stable_mac
from ..driving import GROUP_OPTIONS, ONE_QUEUE, QUEUE_OPTIONS, Queues, queues_of
from ..errors import DeviceError, invalid
from ..guard.guard import GUARD_HELP, GUARD_RATE_MAX
from ..helper_thread import in_thread
from ..interface import interface_up
from ..kernel import pyroute2
from ..libraries import missing
from ..names import (
    DeviceSpec,
    parse_between,
    parse_choice,
    parse_flag,
    parse_mac,
    parse_power_of_two,
    parse_text,
)
from ..packet_filter import assembled, own_frames
from ..registry import RunningDevice, register

try:
    from ._xdp import ffi, lib

    _missing = ""
except ImportError as error:
    _missing = missing("xdp", error)

_ARPHRD_ETHER = 1
_MODES = {"auto": 0, "native": 1, "generic": 2, "zerocopy": 3}  # XDP_MODE_*
_STEER_OWN, _STEER_SHARE, _STEER_ALL = 0, 1, 2  # XDP_STEER_*
_MTU_MAX = 9_500
_QUEUES_MAX = 16  # XDP_QUEUES_MAX
_RUNNING_MAX = 256
_BUSY_TRIES, _BUSY_WAIT = 50, 0.01  # seconds


def _info(netdev: Any) -> dict[str, int]:
    """What it runs as: 0 or 1 each."""
    info = ffi.new("struct xdp_info *")
    lib.xdp_get_info(netdev, info)
    return {name: int(getattr(info, name)) for name, _ in ffi.typeof("struct xdp_info").fields}


def open_xdp(
    name: str,
    *,
    netns: str | None = None,
    mac: bytes | None = None,
    share: bool = False,
    steer: str = "own",
    mode: str = "auto",
    queues: Queues = ONE_QUEUE,
    ring: int = 1024,
    hugepages: bool = False,
    busy_poll: int = 0,
    rx_checksum: str = "full",
    syn_guard: int = 0,
) -> Device:
    """Opens the given queues of an interface that is up.

    The stack gets what is sent to its MAC address (`mac`, by default a stable one of the name; the
    interface lets it in while the device is open) and ARP for its addresses. With `share` it has
    the interface's MAC address, and gets IPv4 to its addresses, which the kernel must not have. With
    steer="all" it gets every frame. All else goes to the kernel.

    `mode` is auto, native (in the interface's driver), generic (after it) or zerocopy; `ring` the
    entries of each ring, a power of two; `hugepages` refuses to run without them (they are used
    where there are some); `busy_poll` microseconds a call may poll the interface in this thread;
    rx_checksum="pseudo" also takes a checksum that is just the pseudo header's sum, which a sender on
    this machine left unfinished: AF_XDP does not tell those from wrong ones; `syn_guard` is
    how many SYNs a second the XDP program lets in at first sight, more only when they are repeated
    (0: all). With a group of `queues` the stack is one of several that share interface and MAC
    address, and agree on mode, mac and syn_guard. `netns` is a named network namespace, or a path
    of one. Raises DeviceError: ENODEV, ENETDOWN, EPERM, EBUSY, …
    """
    if _missing:
        raise DeviceError(errno.ENOTSUP, f"no XDP devices: {_missing}")
    if ring & (ring - 1):
        raise invalid(f"ring={ring}: expected a power of two")
    if share and (mac or steer == "all"):
        raise invalid("share excludes mac and steer=all: it means the interface's own address")
    if queues.group > 1 and (share or steer == "all"):
        raise invalid(
            "stacks that share an interface have a MAC address: neither share nor steer=all"
        )
    config = ffi.new("struct xdp_config *")
    label = ffi.new("char[]", name.encode())
    config.name, config.ring = label, ring
    config.queue, config.queues = queues.first, queues.count
    config.busy_poll, config.mode, config.hugepages = busy_poll, _MODES[mode], hugepages
    config.pseudo = rx_checksum == "pseudo"
    config.syn_guard, config.guard_key = syn_guard, secrets.randbits(64)
    config.steer = _STEER_SHARE if share else _STEER_ALL if steer == "all" else _STEER_OWN

    def open_here() -> Any:
        config.ifindex, config.mtu, hardware = _look_at(name)
        own = mac or stable_mac(f"{name} {hardware.hex()}")
        config.mac = hardware if share else own
        if queues.group > 1:
            program = own_frames(own, queues)
            code = ffi.new("uint8_t[]", assembled(program))
            if queues.rss is not None:
                config.rss_key, config.table_len = queues.rss.key, len(queues.rss.table)
                ffi.memmove(config.table, bytes(queues.rss.table), len(queues.rss.table))
            config.group, config.filter, config.filter_len = queues.group, code, len(program)
        return _new(config)

    netdev = in_thread(open_here, netns, lambda late: late.close(late))
    return Device("xdp", netdev, info=_info(netdev), queues=queues)


def _new(config: Any) -> Any:
    """The kernel lets a closed device's queue go a little later: so a busy one is tried again. Of
    what stays so, another program on the interface (EEXIST) is told before a busy queue, which may be
    of what our own attempt before left closing."""
    number, text = ffi.new("int *"), ffi.new("char[]", lib.XDP_ERROR_MAX)
    refused: dict[int, str] = {}
    for _ in range(_BUSY_TRIES):
        netdev = lib.xdp_new(config, number, text)
        if netdev != ffi.NULL:
            return netdev
        if number[0] not in (errno.EBUSY, errno.EEXIST):
            raise DeviceError(int(number[0]), ffi.string(text).decode())
        refused.setdefault(int(number[0]), ffi.string(text).decode())
        time.sleep(_BUSY_WAIT)
    if errno.EEXIST in refused:
        raise DeviceError(errno.EBUSY, refused[errno.EEXIST])
    raise DeviceError(errno.EBUSY, refused[errno.EBUSY])


def _look_at(name: str) -> tuple[int, int, bytes]:
    """Index, MTU and MAC address of an Ethernet interface that is there and up."""
    link = interface_up(name)
    if link.hardware != _ARPHRD_ETHER:
        raise invalid(f"interface {name} does not carry Ethernet")
    if link.mtu > _MTU_MAX:
        text = f"the MTU of {name} is {link.mtu}, and XDP devices carry at most {_MTU_MAX}"
        raise invalid(f"{text}: lower it (`ip link set {name} mtu {_MTU_MAX}`)")
    return link.index, link.mtu, link.mac


# ---- what runs ---------------------------------------------------------------------------------


def _running() -> list[RunningDevice]:
    """The interfaces with our program on them, of whichever process."""
    if _missing:
        return []
    found = ffi.new("struct xdp_running[]", _RUNNING_MAX)
    n = lib.xdp_list_running(found, _RUNNING_MAX)
    if n < 0:
        text = f"no permission to list XDP programs ({os.strerror(-n)}): run as root"
        raise DeviceError(-n, text)
    names = in_thread(_programs) if n else {}
    return [
        RunningDevice(
            "xdp",
            names.get((int(r.ifindex), int(r.program)), "(in another network namespace)"),
            {ffi.string(v.name).decode(): int(v.value) for v in r.verdict},
        )
        for r in found[0:n]
    ]


def _programs() -> dict[tuple[int, int], str]:
    """Names of this namespace's interfaces by index and the id of the XDP program on them."""
    IPRoute = pyroute2().IPRoute
    found = {}
    with IPRoute() as route:
        for link in route.get_links():
            xdp = link.get_attr("IFLA_XDP")
            program = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None
            if program:
                found[link["index"], program] = str(link.get_attr("IFLA_IFNAME"))
    return found


# ---- the registry's part ---------------------------------------------------------------------


def _factory(spec: DeviceSpec) -> Device:
    queues = queues_of(spec, _QUEUES_MAX)
    return open_xdp(
        spec.name,
        netns=spec.get("netns", parse_text, None),
        mac=spec.get("mac", parse_mac, None),
        share=spec.get("share", parse_choice("address"), "") == "address",
        steer=spec.get("steer", parse_choice("own", "all"), "own"),
        mode=spec.get("mode", parse_choice(*_MODES), "auto"),
        queues=queues,
        ring=spec.get("ring", parse_power_of_two(64, 16_384), 1024),
        hugepages=spec.get("hugepages", parse_flag, False),
        busy_poll=spec.get("busy_poll", parse_between(0, 1000), 0),
        rx_checksum=spec.get("rx_checksum", parse_choice("full", "pseudo"), "full"),
        syn_guard=spec.get("syn_guard", parse_between(0, GUARD_RATE_MAX), 0),
    )


def _probe() -> str:
    if _missing:
        return _missing
    try:
        _socket.socket(44, _socket.SOCK_RAW, 0).close()  # AF_XDP
    except OSError as error:
        if error.errno == errno.EPERM:
            return "no permission to open XDP sockets: run as root, with CAP_NET_RAW and CAP_BPF"
        return f"this kernel has no XDP sockets: {error.strerror}"
    return ""


register(
    "xdp",
    _factory,
    _probe,
    description="an interface of the Linux kernel through AF_XDP",
    running=_running,
    options={
        "netns": "network namespace of the interface: a name of `ip netns`, or a path",
        "mac": "MAC address of the stack (a stable one of the name)",
        "share": "address: the stack has the interface's MAC address, and gets its IP addresses",
        "steer": "own (default) or all: every frame goes to the stack",
        "mode": "auto (default), native, generic or zerocopy",
        **QUEUE_OPTIONS,
        **GROUP_OPTIONS,
        "ring": "entries of each ring, a power of two (1024)",
        "hugepages": "1: refuse to run without huge pages (0)",
        "busy_poll": "microseconds a call may poll the interface itself (0)",
        "rx_checksum": "pseudo: take unfinished checksums of senders on this machine (full)",
        "syn_guard": GUARD_HELP,
    },
)
