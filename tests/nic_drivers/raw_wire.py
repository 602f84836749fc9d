"""raw's place: its near end, where devices are opened, shares its address with the kernel there."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import barewire
from barewire.nic_drivers import Device, open_device
from barewire.tools import netns
from barewire.tools.netns import Namespace

PEER, OURS = "198.18.0.1", "198.18.0.2"
INSIDE, OUTSIDE = 61_000, 50_000


@dataclass
class Wire:
    """The near end, where raw devices are opened, shares its address with the kernel there."""

    near: Namespace
    far: Namespace

    def open(self, options: str = "") -> Device:
        with self.near.entered():
            return open_device(f"raw:veth0?{options}" if options else "raw:veth0")

    def stack(self, options: str = "", **more: object) -> barewire.Stack:
        return barewire.Stack(self.open(options), addresses=[f"{OURS}/24"], **more)

    def udp(self, port: int = 0) -> socket.socket:
        """A socket of the peer's."""
        sock = self.far.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(5)
        sock.bind((PEER, port))
        return sock

    def tcp(self) -> socket.socket:
        sock = self.far.socket()
        sock.settimeout(5)
        return sock

    def ip(self, *words: str) -> str:
        done = self.near.run(["ip", *words], capture_output=True, text=True, check=True)
        return str(done.stdout)

    def snmp(self, name: str) -> int:
        """A counter of the near kernel's."""
        with self.near.entered(), open("/proc/thread-self/net/snmp", encoding="ascii") as file:
            lines = [line.split() for line in file]
        for heads, values in zip(lines[::2], lines[1::2], strict=True):
            if name in heads:
                return int(values[heads.index(name)])
        raise KeyError(name)


def lay_wire(near: Namespace, far: Namespace) -> Wire:
    for ns in (near, far):
        ns.quiet()
    netns.veth(near, far, f"{OURS}/24", f"{PEER}/24")
    return Wire(near, far)
