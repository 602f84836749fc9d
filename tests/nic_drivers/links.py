"""A device under test and what is at its other end: the same few verbs for every kind.

In virtual time the other end is a second device (`Link`); for a real one it is the kernel
(`RealLink`), and waiting is a bounded wait for the device's own descriptor.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from barewire.nic_drivers import (
    Armed,
    Device,
    Faults,
    RxFrame,
    pipe_pair,
    with_faults,
    with_late,
    with_pcap,
)

from tests.nic_drivers.frames import AWAY, L2_HEADER, OURS, TCP, UDP, datagram
from tests.nic_drivers.places import FAR_MAC, PATIENCE, Place

SECOND = 10**9
TRIES = 1000  # looks at a device until a test fails


class Link:
    """A device under test and its peer, with a clock. Frames may take `patience` ns."""

    virtual = True
    smallest = 1
    gone = errno.ENETDOWN
    looks = 3  # after so many at most a device says so
    closes_on_exec = True

    def __init__(self, device: Device, peer: Device, *, ordered: bool = True, patience: int = 0):
        self.device, self.peer = device, peer
        self.ordered, self.patience = ordered, patience
        self.now = 1_000_000_000

    @property
    def l2(self) -> int:
        return L2_HEADER if self.device.layer == 2 else 0

    @property
    def ethernet(self) -> bytes:
        """The link header of what the device sends, if it has one."""
        return FAR_MAC + self.device.mac + b"\x08\x00" if self.l2 else b""

    @property
    def largest(self) -> int:
        return self.device.mtu + self.l2

    def close(self) -> None:
        self.device.close()
        self.peer.close()

    def settle(self) -> None:
        """Lets everything on the way arrive."""
        self.now += self.patience
        self.device.arm(self.now)
        self.device.reclaim()

    def frame(self, number: int, size: int | None = None) -> bytes:
        """A frame whose bytes depend on number, for the device to send; size counts all of it."""
        size = self.l2 + 46 if size is None else size
        head = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x00" if self.l2 else b"\x45\0"
        body = head + number.to_bytes(4, "big")
        return (body + bytes((number + i) & 0xFF for i in range(size)))[:size]

    def answer(self, number: int, size: int | None = None) -> bytes:
        """The same for the other end to send."""
        return self.frame(number, size)

    def expected(self, frames: list[bytes]) -> list[bytes]:
        return frames if self.ordered else sorted(frames)

    def sends(self, *frames: bytes) -> None:
        """The other end sends to the device."""
        assert self.peer.tx(frames, self.now) == len(frames)

    def transmit(self, frames: list[bytes]) -> None:
        """The device sends all of them, however long that takes."""
        sent = 0
        for _ in range(TRIES):
            sent += (n := self.device.tx(frames[sent : sent + 64], self.now))
            if sent == len(frames):
                return
            if not n and not self.device.arm(self.now, want_tx=True).ready:
                self.wait_for_room()
        raise AssertionError(f"{sent} of {len(frames)} frames went out")

    def wait_for_room(self) -> None:
        self.settle()

    def delivered(self, n: int) -> list[RxFrame]:
        """The next n frames that the device receives."""
        found = self.device.rx(64, self.now)
        for _ in range(TRIES):
            if len(found) >= n:
                return found
            self.wait()
            found += self.device.rx(64, self.now)
        raise AssertionError(f"{len(found)} of {n} frames came")

    def wait(self) -> None:
        """Until the device may have something to receive."""
        self.settle()

    def received(self, n: int) -> list[bytes]:
        """The next n frames that reach the other end."""
        self.settle()
        found: list[bytes] = []
        while frames := self.peer.rx(64, self.now):
            found += [frame.data for frame in frames]
            self.settle()
        assert len(found) == n
        return self.expected(found)

    def woken(self, armed: Armed) -> bool:
        """Whether what arm() said would wake a sleeper."""
        return readable(armed.fd)

    has_interface = False  # that could be down

    def goes(self, *, down: bool) -> None:
        """The interface goes down, or comes up again."""

    def breaks(self) -> None:
        """The other end goes away for good."""
        self.peer.close()


class RealLink(Link):
    """A device of the kernel's, and a packet socket at the interface's other end."""

    virtual = False
    has_interface = True

    def __init__(self, place: Place, *options: str) -> None:
        self.place = place
        self.looks, self.closes_on_exec = place.looks, place.closes_on_exec
        self._descriptors = len(os.listdir("/proc/self/fd"))
        self.device = place.open(*options)
        self.smallest = self.l2 + 28
        self.ordered, self.patience, self.now = True, 0, 1_000_000_000
        try:
            self.end = place.end(self.device)
        except BaseException:
            self.device.close()
            raise

    def close(self) -> None:
        self.device.close()
        self.end.close()
        self.place.closed(self._descriptors)

    def settle(self) -> None:
        self.now += SECOND  # what a device looks after from time to time is due
        self.place.drive(self.device, self.now)

    def frame(self, number: int, size: int | None = None) -> bytes:
        size = self.l2 + 46 if size is None else size
        return self.ethernet + datagram(OURS, AWAY, number, size - self.l2)

    def answer(self, number: int, size: int | None = None) -> bytes:
        size = self.l2 + 46 if size is None else size
        link = self.device.mac + FAR_MAC + b"\x08\x00" if self.l2 else b""
        return link + datagram(AWAY, OURS, number, size - self.l2)

    def sends(self, *frames: bytes) -> None:
        for frame in frames:
            self.end.send(frame)

    def wait(self) -> None:
        armed = self.device.arm(self.now)
        if not armed.ready and not sleep(armed, self.now, PATIENCE):
            assert armed.deadline is not None, "nothing came"

    def wait_for_room(self) -> None:
        self.settle()
        armed = self.device.arm(self.now, want_tx=True)
        if not armed.ready:
            sleep(armed, self.now, PATIENCE)

    def received(self, n: int) -> list[bytes]:
        found: list[bytes] = []
        self.settle()
        while len(found) < n and (more := self.end.received(n - len(found))):
            found += [seen.data for seen in more]
        assert len(found) == n, f"{len(found)} of {n} frames came"
        return found

    def woken(self, armed: Armed) -> bool:
        if armed.fd >= 0:
            return sleep(armed, self.now, PATIENCE)
        return any(self.device.arm(self.now).ready or sleep(armed, 0, 0) for _ in range(TRIES))

    def drained(self) -> list[bytes]:
        """Everything that waits for the device, until it is quiet for 20 ms."""
        found: list[bytes] = []
        quiet = 0
        while quiet < 20:
            frames = self.device.rx(64, self.now)
            found += [frame.data for frame in frames]
            armed = self.device.arm(self.now)
            busy = frames or armed.ready or sleep(armed, self.now, 0.001)
            quiet = 0 if busy else quiet + 1
        return found

    def kernel_sends(self, kind: socket.SocketKind, payload: bytes) -> RxFrame:
        """The first packet that the kernel's own stack sends to the device on a socket of a kind,
        as the device has it."""
        if self.l2:
            words = ["replace", OURS, "lladdr", self.device.mac.hex(":"), "nud", "permanent", "dev"]
            self.place.far.run(["ip", "neigh", *words, self.place.interface])
        protocol = UDP if kind == socket.SOCK_DGRAM else TCP
        with self.place.far.socket(socket.AF_INET, kind) as kernel:
            kernel.setblocking(False)
            kernel.connect_ex((OURS, 7000))
            if kind == socket.SOCK_DGRAM:
                kernel.send(payload)
            for _ in range(TRIES):
                for frame in self.device.rx(64, self.now):
                    if frame.data[self.l2 + 9] == protocol and frame.data[self.l2] == 0x45:
                        return frame
                self.wait()
        raise AssertionError("nothing came")

    @property
    def gone(self) -> int:
        return self.place.gone

    def goes(self, *, down: bool) -> None:
        self.place.ip("link", "set", self.place.own, "down" if down else "up")
        if not down:
            self.place.wait_for_carrier()
            self.place.returns()
            self.end.close()  # its socket is told, too
            self.end = self.place.end(self.device)
        self.settle()

    def breaks(self) -> None:
        self.place.breaks()


def sleep(armed: Armed, now: int, seconds: float) -> bool:
    """As a stack does between two looks at a device: on its descriptor, or in naps of 1 ms."""
    if armed.fd < 0:
        select.select([], [], [], 0.001)
        return False
    if armed.deadline is not None:
        seconds = min(seconds, (armed.deadline - now) / 1e9)
    poller = select.poll()
    poller.register(armed.fd, armed.events)
    return bool(poller.poll(seconds * 1000))


def readable(fd: int) -> bool:
    return fd >= 0 and bool(select.select([fd], [], [], 0)[0])


def _late(_: Path) -> Link:
    a, b = pipe_pair()
    return Link(with_late(a, max_delay=1000, depth=4096), b, ordered=False, patience=1000)


def _pcap(folder: Path) -> Link:
    a, b = pipe_pair()
    return Link(with_pcap(a, folder / "link.pcap", wall_offset=0), b)


def _fault(_: Path) -> Link:
    a, b = pipe_pair()
    return Link(with_faults(a), b)


def _delayed(_: Path) -> Link:
    a, b = pipe_pair()
    return Link(with_faults(a, Faults(delay=5000)), b, patience=5000)


def _everything(folder: Path) -> Link:
    a, b = pipe_pair(3)
    late = with_late(with_faults(a), max_delay=1000, depth=4096)
    return Link(with_pcap(late, folder / "all.pcap"), b, ordered=False, patience=1000)


LINKS: dict[str, Callable[[Path], Link]] = {
    "pipe": lambda _: Link(*pipe_pair()),
    "pipe-layer3": lambda _: Link(*pipe_pair(3)),
    "pipe-jumbo": lambda _: Link(*pipe_pair(mtu=9000)),
    "pipe-no-offload": lambda _: Link(*pipe_pair(offload=False)),
    "fault": _fault,
    "fault-delay": _delayed,
    "pcap": _pcap,
    "late": _late,
    "everything": _everything,
}
