"""What a fuzzer speaks to: one network stack at the end of one Ethernet link, seen from the link's far end.

A target takes frames, gives back the frames that it sent, and lets time pass. Those that run programs of
this process (`StackTarget`, `KernelTarget`) also give sockets, with the same calls, so that one script of
frames and calls can be played to two of them. `Peer` (in `peer.py`) is what stands at the far end.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, Protocol

from barewire import Stack
from barewire.l2 import Mac
from barewire.nic_drivers import Device, open_device, pipe_pair
from barewire.select import poll as stack_poll
from barewire.tools import netns
from barewire.tools.closing import Closing

from .strategies import OUR_MAC, PEER, PEER_MAC, US

MS = 1_000_000
SECOND = 1_000_000_000
MAX_DEADLINES = 10_000  # of one advance: more means that time stands still
PREFIX = 24  # of the link that target and peer share
# Nothing of one connection is remembered for the next, and no answer is held back by a rate.
KERNEL_SETTINGS = {
    "net.ipv4.tcp_no_metrics_save": 1,
    "net.ipv4.tcp_invalid_ratelimit": 0,
    "net.ipv4.icmp_ratelimit": 0,
    "net.ipv4.tcp_ecn": 2,
    "net.ipv4.tcp_comp_sack_nr": 0,  # each ACK with SACK blocks goes at once
    "net.ipv4.tcp_early_retrans": 0,  # tail loss probes depend on how long a step took
    "net.ipv4.tcp_wmem": "4096 4194304 4194304",  # no conversation fills it
}


class Target(Protocol):
    """`address` and `mac` are the target's, `clock` its time in ns."""

    name: str
    address: IPv4Address
    mac: Mac

    def put(self, frame: bytes) -> bool:
        """One frame to the target, which handles it at once. False: no link carries such a frame."""

    def take(self) -> list[bytes]:
        """The frames that it has sent since the last call, once it has come to rest."""

    def advance(self, ns: int) -> Iterator[None]:
        """Time passes; it stops wherever the target may have sent something, for `take`."""

    def now(self) -> int:
        """The target's time, in ns."""

    def forget(self) -> None:
        """Lets what is left of closed connections end, where time costs nothing."""

    def socket(self, kind: int) -> Any:
        """A non-blocking socket of SOCK_STREAM or SOCK_DGRAM. Raises TypeError for a target that runs no
        program of ours."""

    def poll(self) -> Any:
        """A `select.poll` object for the target's sockets."""

    def close(self) -> None:
        """The target is gone, and what was made for it."""


class StackTarget(Closing):
    """A stack of its own over the pipe, in virtual time: no privilege, no clock, the same run each time.
    `stack` is the stack, `link` the pipe's far end.

    options: those of `barewire.Stack`. `gateway`: the peer routes other networks too.
    """

    name = "barewire"

    def __init__(self, *, gateway: bool = False, **options: Any) -> None:
        self.address, self.mac = US, OUR_MAC
        self._time = time_of_its_own = [
            0
        ]  # no clock that holds the target: both end with their last user
        ours, self.link = pipe_pair(offload=False, macs=(OUR_MAC, PEER_MAC))
        options = {"seed": 1, "buffer_bytes": 8 << 20, "max_sockets": 64} | options
        if gateway:
            options["gateway"] = str(PEER)
        self.stack = Stack(
            ours, addresses=[f"{US}/{PREFIX}"], clock=lambda: time_of_its_own[0], **options
        )

    def put(self, frame: bytes) -> bool:
        sent = self.link.stats["tx_frames"]
        self.link.send(frame)
        return bool(self.link.stats["tx_frames"] > sent)

    def take(self) -> list[bytes]:
        while self.stack.poll():
            pass
        frames: list[bytes] = []
        while (frame := self.link.recv()) is not None:
            frames.append(frame)
        deadline = self.stack.next_deadline()
        assert frames or deadline is None or deadline > self._time[0], (
            "at rest, and yet there is work now"
        )
        return frames

    def advance(self, ns: int) -> Iterator[None]:
        end = self._time[0] + ns
        for _ in range(MAX_DEADLINES):
            deadline = self.stack.next_deadline()
            if deadline is None or deadline > end:
                break
            self._time[0] = max(self._time[0], deadline)
            yield
        else:
            raise AssertionError(f"more than {MAX_DEADLINES} deadlines in {ns / SECOND:g} s")
        self._time[0] = end
        yield

    def now(self) -> int:
        return self._time[0]

    def forget(self) -> None:
        for _ in self.advance(300 * SECOND):
            self.take()

    def socket(self, kind: int) -> Any:
        sock = self.stack.socket(type=kind)
        sock.setblocking(False)
        return sock

    def poll(self) -> Any:
        return stack_poll()

    def close(self) -> None:
        """Closes the stack and sees that nothing is left of it."""
        self.stack.close(0)
        left = self.stack.stats()
        self.link.close()
        assert left["sockets"] == 0, left
        assert left["memory_chunks"] == 0, left


class KernelTarget(Closing):
    """The kernel, behind a TAP interface in a network namespace of its own, in real time.

    It needs root, or user namespaces (`barewire.tools.netns.in_user_namespace`); raises
    `netns.NoPrivilege`, whose text says what to do. What a frame causes has happened when `put` returns,
    for the kernel takes a TAP's frame in the call that writes it.
    """

    name = "kernel"

    def __init__(self, *, gateway: bool = False, congestion: str = "cubic") -> None:
        self.address = US
        self._namespace = netns.Namespace("kernel target")
        try:
            self._namespace.quiet()
            for setting, value in KERNEL_SETTINGS.items():
                self._namespace.sysctl(setting, value)
            with self._namespace.entered():
                self._tap: Device = open_device(
                    f"tap:tap0?host={US}/{PREFIX}&vnet=0&mac={PEER_MAC}"
                )
            self.mac = Mac(
                bytes.fromhex(self._namespace.call(netns.mac_of, "tap0").replace(":", ""))
            )
            self._namespace.call(netns.add_neighbour, "tap0", str(PEER), str(PEER_MAC))
            if gateway:
                self._namespace.add_route("default", str(PEER))
            self._namespace.use_congestion("tap0", congestion)
            self.take()  # what the interface said when it came up
        except BaseException:
            self.close()
            raise

    def put(self, frame: bytes) -> bool:
        return self._tap.send(frame)

    def take(self) -> list[bytes]:
        frames = []
        while (frame := self._tap.recv()) is not None:
            frames.append(frame)
        return frames

    def advance(self, ns: int) -> Iterator[None]:
        end = time.monotonic_ns() + ns
        while (left := end - time.monotonic_ns()) > 0:
            select.select([], [], [], min(left / SECOND, 0.005))
            yield

    def now(self) -> int:
        return time.monotonic_ns()

    def forget(self) -> None:
        """A real target takes its time."""

    def socket(self, kind: int) -> Any:
        sock = self._namespace.socket(kind=kind)
        sock.setblocking(False)
        return sock

    def poll(self) -> Any:
        return select.poll()

    def close(self) -> None:
        with contextlib.suppress(AttributeError):  # an interface that was never made
            self._tap.close()
        self._namespace.close()


class DeviceTarget(Closing):
    """Any peer behind a device of ours: another machine, a virtual one, a program on a TAP. It runs no
    program of ours, so a script of frames alone can be played to it.

    device: a name such as "packet:eth1", or an object. `address` is the peer's ("198.18.0.2/24"), `mac`
    its MAC address. `rest`: how long a silence is taken for rest, in ns.
    """

    name = "device"

    def __init__(
        self, device: str | Device, address: str, mac: bytes, *, rest: int = 20 * MS
    ) -> None:
        self.address, self.mac = IPv4Interface(address).ip, Mac(mac)
        self._device = open_device(device) if isinstance(device, str) else device
        self._rest = rest

    def put(self, frame: bytes) -> bool:
        return self._device.send(frame)

    def take(self) -> list[bytes]:
        frames, silent_since = [], time.monotonic_ns()
        while time.monotonic_ns() - silent_since < self._rest:
            frame = self._device.recv()
            if frame is None:
                select.select([], [], [], 0.001)
            else:
                frames.append(frame)
                silent_since = time.monotonic_ns()
        return frames

    def advance(self, ns: int) -> Iterator[None]:
        end = time.monotonic_ns() + ns
        while time.monotonic_ns() < end:
            select.select([], [], [], min((end - time.monotonic_ns()) / SECOND, 0.005))
            yield

    def now(self) -> int:
        return time.monotonic_ns()

    def forget(self) -> None:
        """A real target takes its time."""

    def socket(self, kind: int) -> Any:
        raise TypeError("a target behind a device has no sockets of ours: play frames to it")

    def poll(self) -> Any:
        raise TypeError("a target behind a device has no sockets of ours: play frames to it")

    def close(self) -> None:
        self._device.close()
