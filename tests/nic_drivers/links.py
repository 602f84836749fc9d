"""What the driver tests share: pairs of joined devices, and frames with known contents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from barewire.nic_drivers import Device, Faults, pipe_pair, with_faults, with_late, with_pcap


class Link:
    """A device under test and its peer, with a clock. Frames may take `patience` ns."""

    def __init__(self, device: Device, peer: Device, *, ordered: bool = True, patience: int = 0):
        self.device, self.peer = device, peer
        self.ordered, self.patience = ordered, patience
        self.now = 1_000_000_000

    def close(self) -> None:
        self.device.close()
        self.peer.close()

    def settle(self) -> None:
        """Lets everything on the way arrive."""
        self.now += self.patience
        self.device.arm(self.now)
        self.device.reclaim()

    def received(self) -> list[bytes]:
        """All that reaches the peer."""
        self.settle()
        found: list[bytes] = []
        while frames := self.peer.rx(64, self.now):
            found += [frame.data for frame in frames]
            self.settle()
        return found if self.ordered else sorted(found)

    def expected(self, frames: list[bytes]) -> list[bytes]:
        return frames if self.ordered else sorted(frames)

    def frame(self, number: int, size: int | None = None) -> bytes:
        """A frame of IPv4's type whose bytes depend on number; size counts the whole frame."""
        size = (14 if self.device.layer == 2 else 0) + 46 if size is None else size
        head = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\x00" if self.device.layer == 2 else b"\x45\0"
        body = head + number.to_bytes(4, "big")
        return (body + bytes((number + i) & 0xFF for i in range(size)))[:size]

    @property
    def largest(self) -> int:
        return self.device.mtu + (14 if self.device.layer == 2 else 0)


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
