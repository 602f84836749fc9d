"""What the tests of DPDK's ports share: EAL in this process, pairs of joined ports, and frames."""

from __future__ import annotations

import contextlib
import itertools
import select
from collections.abc import Iterator
from pathlib import Path

from barewire.nic_drivers import Device, open_device
from barewire.nic_drivers.dpdk import eal

LOCAL = b"\x88\xb5"  # EtherType for experiments (IEEE 802)
BOARD = b"\xff" * 6
_numbers = itertools.count()


def start_eal(folder: Path) -> None:
    """EAL and its threads, which stay, so that no test is blamed for them."""
    with open_device(f"dpdk:net_vhost_first,iface={folder}/first?hugepages=0"):
        pass


def names(kind: str, folder: Path, more: str = "") -> tuple[str, str]:
    """The names of two ports that are each other's peer; the first is to be opened first."""
    path = folder / f"{kind}{next(_numbers)}"
    if kind == "memif":
        shared = f"socket={path},socket-abstract=no{more}"
        return f"dpdk:net_memif0,role=server,{shared}", f"dpdk:net_memif1,role=client,{shared}"
    return f"dpdk:net_vhost0,iface={path}{more}", f"dpdk:net_virtio_user0,path={path}"


@contextlib.contextmanager
def pair(kind: str, folder: Path, more: str = "", options: str = "") -> Iterator[list[Device]]:
    """Two ports that have found each other."""
    first, second = (name + options for name in names(kind, folder, more))
    with open_device(first) as a, open_device(second) as b:
        meet(a, b)
        yield [a, b]


def meet(a: Device, b: Device) -> None:
    """Waits until frames go both ways between two ports."""
    for sender, receiver in ((a, b), (b, a)):
        for _ in range(2000):
            sender.tx([frame(0)])
            if receiver.rx():
                break
            nap()
        else:
            raise AssertionError(f"{sender} and {receiver} do not find each other")
    for device in (a, b, a, b):
        while device.rx():
            pass


def nap(seconds: float = 0.002) -> None:
    select.select([], [], [], seconds)


def frame(number: int, size: int = 60) -> bytes:
    head = BOARD + b"\x02\0\0\0\0\x02" + LOCAL + number.to_bytes(4, "big")
    return head + bytes((number + i) & 255 for i in range(size - len(head)))


def received(device: Device, n: int) -> list[bytes]:
    """The next n frames of the tests' own type."""
    found: list[bytes] = []
    for _ in range(2000):
        found += [f.data for f in device.rx() if f.data[12:14] == LOCAL]
        if len(found) >= n:
            return found
        nap()
    raise AssertionError(f"{len(found)} of {n} frames came")


def open_ports() -> int:
    return eal.open_ports()
