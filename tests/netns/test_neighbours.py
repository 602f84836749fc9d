"""Neighbours that do not exist ping a stack from the kernel's side; real ones do not notice."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from barewire.l2 import Mac
from barewire.l2.neighbour import MAX_ENTRIES
from barewire.l2.neighbour_table import Sender

from tests.kit import frames
from tests.netns.link import KERNEL, OURS, TCP

pytestmark = pytest.mark.netns

SECOND_PEER = "198.18.0.77"  # of the kernel too, on the same interface
RATE, FOR = 1500, 2.0  # pings a second, seconds


def pings(stack_mac, count):
    """As many, each of another neighbour with another MAC address."""
    for i in range(count):
        ip = f"198.18.{64 + i // 250}.{1 + i % 250}"
        mac = Mac(b"\x02\x01" + i.to_bytes(4))
        yield frames.ethernet(stack_mac, mac, frames.echo(ip, OURS))


class Flood:
    """Sends from a thread; `sent` counts."""

    def __init__(self, ns, stack_mac):
        self.sent, self.over = 0, False
        with ns.entered():
            self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self.raw.bind(("tap0", 0))
        self.frames = list(pings(stack_mac, int(RATE * FOR)))
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        start = time.monotonic()
        for frame in self.frames:
            self.raw.send(frame)
            self.sent += 1
            ahead = self.sent / RATE - (time.monotonic() - start)
            if ahead > 0.002:
                time.sleep(ahead)
        self.over = True

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.thread.join()
        self.raw.close()


def test_pings_of_invented_neighbours_stop_neither_a_flow_nor_a_connect(ns, make_link):
    link = make_link(addresses=[f"{OURS}/16"])
    ns.run(["ip", "address", "add", f"{SECOND_PEER}/24", "dev", "tap0"], check=True)
    listener = link.kernel_listener()
    flow = link.ours()
    flow.connect(listener.getsockname())
    peer = link.keep(listener.accept()[0])
    other = link.keep(ns.socket(socket.AF_INET, TCP))
    other.bind((SECOND_PEER, 0))
    other.listen()

    with Flood(ns, link.device.mac) as flood:
        connects, rounds, worst = 0, 0, 0.0
        while not flood.over:
            begin = time.monotonic()
            flow.sendall(b"there")
            peer.sendall(peer.recv(5))
            assert flow.recv(5) == b"there"
            worst = max(worst, time.monotonic() - begin)
            rounds += 1
            if flood.sent > MAX_ENTRIES * (connects + 1) // 2:  # a peer we have not asked for yet
                with link.stack.socket() as sock:
                    sock.settimeout(5)
                    sock.connect(other.getsockname())
                link.stack.control.neighbours.forget(2, frames.IPv4Address(SECOND_PEER))
                other.accept()[0].close()
                connects += 1
    assert flood.sent == len(flood.frames) > 2 * MAX_ENTRIES
    assert rounds > 100
    assert connects >= 3
    assert worst < 2.0, "a retransmission at most; nothing waits for the flood to end"
    entries = link.stack.control.neighbours.entries()
    assert any(str(e.ip) == KERNEL and e.sender > Sender.STRANGER for e in entries)
