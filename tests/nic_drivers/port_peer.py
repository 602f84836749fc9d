"""The other end of a DPDK port: a process that joins it to a TAP interface of the kernel's.

    port_peer.py PEER INTERFACE

opens the devices PEER (dpdk:…) and INTERFACE (tap:…) and carries frames between them: what one side
has no room for waits. It is told on standard input, a line each, and answers each with a line:

    start  a process opens both ("started")
    meet   waits for the port's link, and forgets what was on its way before ("met")
    kill   SIGKILL for that process ("killed")

The port stays open whoever comes and goes at its other end: nobody asks it whether it is gone.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from typing import NoReturn

from barewire.nic_drivers import Device, RxFrame, TxFrame, open_device

NAP = 0.0005  # seconds between two looks at the port, which has nothing to wait for
FIELD = {6: 16, 17: 6}  # the checksum in the header of TCP, UDP
UNFINISHED = 2  # struct rx_frame, csum


def link_is_up(port: str) -> bool:
    """Whether an open port of this process has found its other end (rte_ethdev.h)."""
    from barewire.nic_drivers.dpdk import _dpdk

    dpdk = ctypes.CDLL(_dpdk.__file__)
    number, link = ctypes.c_uint16(), ctypes.c_uint64()
    if dpdk.rte_eth_dev_get_port_by_name(port.encode(), ctypes.byref(number)):
        return False
    dpdk.rte_eth_link_get_nowait(number, ctypes.byref(link))
    return bool(link.value >> 34 & 1)  # after the speed, the duplex, and how it was found


def onward(frame: RxFrame) -> TxFrame:
    """A frame that came in, to be sent; who sends it finishes what is unfinished."""
    data = frame.data
    if frame.csum != UNFINISHED and not frame.gso_size:
        return TxFrame([data])
    start, protocol = 14 + 4 * (data[14] & 15), data[23]
    if data[14] >> 4 == 6:
        start, protocol = 54, data[20]
    return TxFrame([data], csum_start=start, csum_offset=FIELD[protocol], gso_size=frame.gso_size)


class Way:
    """Frames from one device to another."""

    def __init__(self, source: Device, target: Device) -> None:
        self.source, self.target = source, target
        self.held: list[TxFrame] = []

    def carry(self) -> bool:
        """A burst, as far as there is room; whether anything moved."""
        came = 0
        if not self.held:
            self.held = [onward(frame) for frame in self.source.rx()]
            came = len(self.held)
        went = self.target.tx(self.held) if self.held else 0
        self.held = self.held[went:]
        return came + went > 0

    def forget(self) -> None:
        """What is held, and what the source still has."""
        self.held = []
        while self.source.rx():
            pass


def carry_on(port: Device, interface: Device, orders: int) -> None:
    """Until nobody is there to give orders."""
    ways = [Way(port, interface), Way(interface, port)]
    fd = interface.arm(time.monotonic_ns()).fd
    while True:
        moved = [way.carry() for way in ways]
        if any(moved):
            continue
        # An interface whose frame is held is always readable.
        ready = select.select([orders] if ways[1].held else [orders, fd], [], [], NAP)[0]
        if orders in ready:
            if not os.read(orders, 1):
                return
            while not link_is_up(port.name):
                time.sleep(NAP)
            for way in ways:
                way.forget()
            say("met")


def work(names: list[str], orders: int) -> None:
    with open_device(names[0]) as port, open_device(names[1]) as interface:
        say("started")
        carry_on(port, interface, orders)


def start(names: list[str]) -> tuple[int, int]:
    """The process that opens both devices, and a pipe to it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(reader)
        return pid, writer
    os.close(writer)
    return child(names, reader)


def child(names: list[str], orders: int) -> NoReturn:
    try:
        work(names, orders)
    except BaseException as error:
        say(f"failed: {error!r}")
        os._exit(1)
    os._exit(0)


def say(word: str) -> None:
    print(word, flush=True)


def main(names: list[str]) -> None:
    pid = writer = 0
    for line in sys.stdin:
        if line == "start\n":
            pid, writer = start(names)
        elif line == "meet\n":
            os.write(writer, b"m")
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(writer)
            pid = 0
            say("killed")
    if pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1:])
