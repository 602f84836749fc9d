"""Where real devices are opened: namespaces with interfaces, and the kernel at the other end."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import select
import shutil
import socket
import struct
from typing import NamedTuple

from barewire.nic_drivers import CallbackDevice, Device, open_device
from barewire.tools import netns
from barewire.tools.netns import Namespace

from tests.nic_drivers.frames import (
    AWAY,
    CHECKSUM,
    HEADER,
    L2_HEADER,
    OURS,
    TCP,
    UDP,
    finished,
)

KERNEL, PREFIX = "198.18.0.1", 24
PATIENCE = 5.0  # seconds until a frame is missing; never how long something should take
FAR_MAC = b"\x02\0\0\0\0\x99"

# linux/if_packet.h, linux/virtio_net.h, asm/socket.h
_SOL_PACKET, _VNET_HDR, _IGNORE_OUTGOING, _ETH_P_IP = 263, 15, 23, 0x0800
_NEEDS_CSUM = 1
_GSO = {CHECKSUM[TCP]: (1, HEADER[TCP]), CHECKSUM[UDP]: (5, HEADER[UDP])}  # by csum_offset
_VNET = struct.Struct("=BBHHHH")
_SO_RCVBUFFORCE = 33
# linux/ethtool.h: receive and transmit checksums, scatter-gather, TSO, GSO, GRO
_ETHTOOL_GETS = (0x14, 0x16, 0x18, 0x1E, 0x23, 0x2B)


class Seen(NamedTuple):
    """A frame that reached the kernel's end, its checksum made whole; gso_size 0: no super-segment."""

    data: bytes
    gso_size: int


class KernelEnd:
    """Frames in and out where the kernel has the other end: a packet socket of the test's own.

    It has the virtio-net header, so it sees and makes unfinished checksums and super-segments. Only
    what goes to AWAY is shown: the kernel's own chatter is not.
    """

    def __init__(self, ns: Namespace, interface: str, l2: int) -> None:
        self._l2 = l2
        with ns.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
        self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        self._make_room()
        with ns.entered():
            self._socket.bind((interface, _ETH_P_IP))

    def _make_room(self) -> None:
        """64 MB where this process may; an ordinary user's sockets have what the machine allows."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)

    def close(self) -> None:
        self._socket.close()

    def send(self, frame: bytes, *, gso_size: int = 0, csum_offset: int = 0) -> None:
        """One frame; with csum_offset its transport checksum is still to be finished."""
        header = (0, 0, 0, 0, 0, 0)
        if csum_offset:
            kind, length = _GSO[csum_offset] if gso_size else (0, 0)
            start = self._l2 + 20
            header = (_NEEDS_CSUM, kind, start + length, gso_size, start, csum_offset)
        self._socket.send(_VNET.pack(*header) + frame)

    def received(self, most: int) -> list[Seen]:
        """What is there now; waits for the first."""
        found: list[Seen] = []
        while (
            len(found) < most and select.select([self._socket], [], [], 0 if found else PATIENCE)[0]
        ):
            seen = self._parsed(self._socket.recv(1 << 17))
            if seen.data[self._l2 + 16 : self._l2 + 20] == socket.inet_aton(AWAY):
                found.append(seen)
        return found

    def _parsed(self, message: bytes) -> Seen:
        flags, _, _, gso_size, start, offset = _VNET.unpack_from(message)
        data = message[_VNET.size :]
        return Seen(finished(data, start, offset) if flags & _NEEDS_CSUM else data, gso_size)


class PacketEnd(KernelEnd):
    """The same at the end of an Ethernet interface whose near side is a device of bare packets."""

    def __init__(self, ns: Namespace, interface: str, near_mac: bytes) -> None:
        super().__init__(ns, interface, L2_HEADER)
        self._link = near_mac + FAR_MAC + _ETH_P_IP.to_bytes(2, "big")

    def send(self, frame: bytes, *, gso_size: int = 0, csum_offset: int = 0) -> None:
        super().send(self._link + frame, gso_size=gso_size, csum_offset=csum_offset)

    def received(self, most: int) -> list[Seen]:
        return [seen._replace(data=seen.data[L2_HEADER:]) for seen in super().received(most)]


class Place:
    """Devices of one kind are opened here, one after the other; the kernel is at the other end.

    near: the namespace in which they are opened; far: the one in which the kernel has KERNEL as its
    address on `interface`; own: the interface of the near side that a device takes, which the
    device's name names.
    """

    own = interface = "veth0"
    small_ring = "ring=64"  # the option for a ring that a few frames fill
    gone = errno.ENETDOWN  # what a device says whose interface was deleted
    looks = 3  # after so many at most it says so
    sends_whole = True  # super-segments of the kernel's, to a device that takes them
    closes_on_exec = True  # all that a device opens, whenever it does

    def __init__(self, device: str) -> None:
        self.device = device
        self._stack = contextlib.ExitStack()
        self.near = self._namespace("near")
        self.far = self.near

    def _namespace(self, name: str) -> Namespace:
        made: Namespace = self._stack.enter_context(Namespace(name))
        made.quiet()
        return made

    def close(self) -> None:
        self._stack.close()

    def prepare(self) -> None:
        """The interfaces are there and up, as new."""

    def configure(self) -> None:
        """What the kernel's side lacks when a device has made the interface."""

    def name(self, *options: str) -> str:
        """The device's name as the table has it, with more options."""
        mark = "&" if "?" in self.device else "?"
        return self.device + (mark + "&".join(options) if options else "")

    def open(self, *options: str) -> Device:
        self.prepare()
        with self.near.entered():
            return open_device(self.name(*options))

    def breaks(self) -> None:
        """The interface goes for good."""
        self.ip("link", "del", self.own)

    def returns(self) -> None:
        """The interface is up again: what the kernel forgot while it was down."""

    def closed(self, descriptors: int) -> None:
        """A device was closed, before which so many descriptors were open: waits for what goes by
        itself."""

    def wait_for_carrier(self) -> None:
        """An interface that found its other end drops what it should send until the kernel has
        seen to it."""
        for _ in range(1000):
            [link] = json.loads(self.ip("-j", "link", "show", self.own))
            if link["qdisc"] != "noop":
                return
            select.select([], [], [], 0.002)
        raise AssertionError(f"{self.own} has no carrier")

    def end(self, device: Device) -> KernelEnd:
        return KernelEnd(self.far, self.interface, L2_HEADER if device.layer == 2 else 0)

    def drive(self, device: Device, now: int) -> None:
        """What a stack that sends does beside its calls: kick, and take back."""
        device.arm(now)
        device.reclaim()

    def lost(self, device: Device) -> int | None:
        """How many frames were thrown away for want of room, as the device counts them. None: it
        does not (DPDK's net_af_packet and net_af_xdp)."""
        if device.kind == "dpdk":
            return None
        names = ("dropped", "full", "empty")
        return sum(
            value
            for name, value in device.xstats.items()
            if name.startswith("kernel_rx") and name.endswith(names)
        )

    def ip(self, *words: str) -> str:
        """The near side's `ip`; what it printed."""
        done = self.near.run(["ip", *words], capture_output=True, text=True, check=False)
        return str(done.stdout)

    def state(self) -> str:
        """What must be as it was when a device has gone: everything `ip` shows of the near side's
        interface (flags, promiscuity, XDP, sizes), its offloads, and the packet filter's rules."""
        shown = self.ip("-d", "link", "show", self.own) + self.ip("address", "show", self.own)
        if shutil.which("nft"):
            rules = self.near.run(["nft", "list", "ruleset"], capture_output=True, text=True)
            shown += rules.stdout
        return shown + str(self._offloads_on())

    def _offloads_on(self) -> list[int]:
        found = []
        with self.near.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for question in _ETHTOOL_GETS:
                answer = ctypes.create_string_buffer(struct.pack("II", question, 0))
                request = struct.pack("16sP16x", self.own.encode(), ctypes.addressof(answer))
                with contextlib.suppress(OSError):  # there is no such interface (any more)
                    fcntl.ioctl(sock, netns.SIOCETHTOOL, request)
                found.append(struct.unpack("II", answer.raw[:8])[1])
        return found


class TapPlace(Place):
    """The device makes the interface; its kernel's side is the kernel's end."""

    own = interface = "bw0"
    small_ring = "mtu=1500"

    def name(self, *options: str) -> str:
        return super().name(f"host={KERNEL}/{PREFIX}", *options)

    def lost(self, device: Device) -> int:
        [link] = json.loads(self.ip("-j", "-s", "link", "show", self.own))
        return int(link["stats64"]["tx"]["dropped"])


class VethPlace(Place):
    """The device takes one end of a veth pair, the kernel of another namespace has the other."""

    beside = "198.18.0.3"  # the near kernel's own address

    def __init__(self, device: str, mtu: int = 1500, offloads: bool = True) -> None:
        super().__init__(device)
        self._mtu, self._offloads = mtu, offloads
        self.far = self._namespace("far")

    def prepare(self) -> None:
        if self.own in self.near.links():
            return
        beside = f"{self.beside}/{PREFIX}"
        netns.veth(self.near, self.far, beside, f"{KERNEL}/{PREFIX}", mtu=self._mtu)
        if not self._offloads:
            self.far.finish_checksums(self.interface)


class SharedPlace(VethPlace):
    """The near kernel has the stack's address, and the way to AWAY."""

    beside = OURS

    def prepare(self) -> None:
        new = self.own not in self.near.links()
        super().prepare()
        if new:
            self.returns()

    def returns(self) -> None:
        self.ip("route", "replace", AWAY, "dev", self.own)
        mac = FAR_MAC.hex(":")
        self.ip("neigh", "replace", AWAY, "lladdr", mac, "nud", "permanent", "dev", self.own)

    def end(self, device: Device) -> KernelEnd:
        [link] = json.loads(self.ip("-j", "link", "show", self.own))
        return PacketEnd(self.far, self.interface, bytes.fromhex(link["address"].replace(":", "")))


class TunnelPlace(TapPlace):
    """The device ends in Python, in a tunnel that ends in a TAP interface (tunnels.py)."""

    gone = errno.EBADF  # the tunnel closes the device

    def prepare(self) -> None:
        if self.own not in self.near.links():
            netns.tap(self.near, f"{KERNEL}/{PREFIX}", name=self.own)

    def name(self, *options: str) -> str:
        return Place.name(self, *options)

    def open(self, *options: str) -> Device:
        device = super().open(*options)
        self.wait_for_carrier()
        return device

    def drive(self, device: Device, now: int) -> None:
        super().drive(device, now)
        within: Device | None = device
        while not isinstance(within, CallbackDevice):
            assert within is not None
            within = within.inner
        within.deliver()


class PortPlace(TapPlace):
    """A DPDK port that makes its interface; the kernel's side gets its address afterwards."""

    own = interface = "dtap0"
    small_ring = "ring=64"

    def name(self, *options: str) -> str:
        return Place.name(self, *options)

    def open(self, *options: str) -> Device:
        device = super().open(*options)
        self.configure()
        return device

    def configure(self) -> None:
        self.ip("address", "replace", f"{KERNEL}/{PREFIX}", "dev", self.own)
        self.wait_for_carrier()
