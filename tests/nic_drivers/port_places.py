"""A DPDK port that is joined to another, and through it to the kernel (port_peer.py)."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

from barewire.nic_drivers import Device

from tests.nic_drivers import port_peer
from tests.nic_drivers.places import KERNEL, PATIENCE, PREFIX, Place, TapPlace

PEER = Path(port_peer.__file__)


class JoinedPlace(TapPlace):
    """The kernel's end is an interface of another process, which has the other port.

    device, peer: their names, with {} for the socket at which they meet. vnet: what the device
    sends may be unfinished, which the interface has to see to; what the kernel sends is finished.
    Killing that process is how the interface is deleted.
    """

    small_ring = "ring=64"
    looks = 3000  # a port is gone when a hundred looks, 1 ms apart, find it without its link

    def __init__(self, device: str, peer: str, vnet: bool) -> None:
        folder = tempfile.TemporaryDirectory(prefix="port")
        path = os.path.join(folder.name, "socket")
        super().__init__(device.format(path))
        self._stack.enter_context(folder)
        interface = f"tap:{self.own}?vnet={vnet:d}&host={KERNEL}/{PREFIX}"
        self._process = self.near.popen(
            [sys.executable, "-P", str(PEER), peer.format(path), interface],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._runs = False

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)
        super().close()

    def name(self, *options: str) -> str:
        return Place.name(self, *options)

    def prepare(self) -> None:
        if not self._runs:
            self._orders("start", "started")
            self.near.finish_checksums(self.own)
            self._runs = True

    def open(self, *options: str) -> Device:
        device = super().open(*options)
        for _ in range(1000):
            if port_peer.link_is_up(device.name):
                break
            nap()
        else:
            device.close()
            raise AssertionError(f"{device} has no link")
        self._orders("meet", "met")
        return device

    def breaks(self) -> None:
        self._orders("kill", "killed")
        self._runs = False

    def drive(self, device: Device, now: int) -> None:
        """EAL's thread hears of the other end by itself."""
        super().drive(device, now)
        nap()

    def closed(self, descriptors: int) -> None:
        """EAL's thread closes what it was reading from."""
        for _ in range(1000):
            if len(os.listdir("/proc/self/fd")) <= descriptors:
                return
            nap()

    def _orders(self, word: str, answer: str) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(word + "\n")
        stdin.flush()
        assert select.select([stdout], [], [], PATIENCE)[0], f"the other end does not {word}"
        assert stdout.readline() == answer + "\n"


class VirtioPlace(JoinedPlace):
    """Its other end, net_vhost (22.11), takes super-segments and sends none."""

    sends_whole = False


class MemifPlace(JoinedPlace):
    """Its rings are memory and eventfds that EAL's thread makes when the other end answers, later
    than the device was opened: they hold no interface."""

    closes_on_exec = False


def nap() -> None:
    select.select([], [], [], 0.001)
