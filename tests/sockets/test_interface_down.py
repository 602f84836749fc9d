"""A device whose interface is down for a while: in virtual time, with a pipe whose two ends say so."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import barewire
import pytest
from barewire.nic_drivers import Device, pipe_pair, with_faults, with_late, with_pcap

A, B = "198.18.0.1", "198.18.0.2"
MS = 1_000_000
ESTABLISHED, CLOSED = 1, 7  # as in TCP_INFO


def state(sock: barewire.socket.socket) -> int:
    info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
    return info[0]


class Wire:
    """Two stacks in virtual time, and a cable that can be pulled; a TCP connection from A to B."""

    def __init__(self, wrap: Any = None) -> None:
        self.now = 10**9
        ends = pipe_pair(2)
        self._netdevs = [end._netdev for end in ends]
        self.a = self._stack(wrap(ends[0]) if wrap else ends[0], A)
        self.b = self._stack(ends[1], B)
        listener = self.b.create_server((B, 80))
        listener.setblocking(False)
        self.ours = self.a.socket()
        self.ours.setblocking(False)
        self.ours.connect_ex((B, 80))
        self.run(10)
        self.theirs, _ = listener.accept()
        self.theirs.setblocking(False)
        listener.close()

    def _stack(self, device: Device, address: str) -> barewire.Stack:
        return barewire.Stack(device, addresses=[f"{address}/24"], clock=lambda: self.now, seed=1)

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.now += MS
            while sum(stack.poll() for stack in (self.a, self.b) if not stack.closed):
                pass

    def set(self, *, down: bool) -> None:
        for netdev in self._netdevs:
            netdev.down = down
        self.run(5)

    def close(self) -> None:
        for it in (self.ours, self.theirs, self.a, self.b):
            it.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_what_was_written_meanwhile_arrives_afterwards(wire: Wire) -> None:
    """Nothing was in flight: the persist timer finds the way again."""
    wire.set(down=True)
    assert wire.ours.send(b"later") == 5
    wire.run(1000)
    with pytest.raises(BlockingIOError):
        wire.theirs.recv(10)
    wire.set(down=False)
    wire.run(1000)
    assert wire.theirs.recv(10) == b"later"
    assert state(wire.ours) == ESTABLISHED


def test_what_was_in_flight_is_sent_again(wire: Wire) -> None:
    wire.set(down=True)
    assert wire.theirs.send(b"from B") == 6
    wire.run(100)
    wire.set(down=False)
    wire.ours.send(b"from A")
    wire.a.poll()  # on the wire, unread
    wire.set(down=True)
    wire.run(1000)
    wire.set(down=False)
    wire.run(2000)
    assert (wire.ours.recv(10), wire.theirs.recv(10)) == (b"from B", b"from A")


def test_a_close_meanwhile_is_told_afterwards(wire: Wire) -> None:
    wire.set(down=True)
    wire.ours.shutdown(socket.SHUT_WR)
    wire.run(500)
    wire.set(down=False)
    wire.run(1000)
    assert wire.theirs.recv(10) == b""


def test_a_bulk_transfer_goes_on(wire: Wire) -> None:
    data, got = bytes(range(256)) * 4096, bytearray()
    sent = 0
    for step in range(4000):
        if step in (5, 500):
            wire.set(down=step == 5)
        with contextlib.suppress(BlockingIOError):
            sent += wire.ours.send(data[sent:])
        wire.run(1)
        with contextlib.suppress(BlockingIOError):
            got += wire.theirs.recv(1 << 16)
    assert bytes(got) == data


def test_datagrams_and_new_connections_have_no_route(wire: Wire) -> None:
    """As on Linux (tests/netns/test_interface_down.py); a reader waits on, as there."""
    with wire.a.socket(type=socket.SOCK_DGRAM) as udp, wire.b.socket(type=socket.SOCK_DGRAM) as far:
        for sock in (udp, far):
            sock.setblocking(False)
        udp.connect((B, 9))
        far.bind((B, 9))
        before = wire.a.addresses, wire.a.routes
        wire.set(down=True)
        for send in (lambda: udp.send(b"x"), lambda: udp.sendto(b"x", (B, 9))):
            with pytest.raises(OSError) as caught:
                send()
            assert caught.value.errno == errno.ENETUNREACH
        with pytest.raises(BlockingIOError):
            udp.recv(10)
        with wire.a.socket() as other:
            other.setblocking(False)
            assert other.connect_ex((B, 80)) == errno.ENETUNREACH
        assert (wire.a.addresses, wire.a.routes) == before
        wire.set(down=False)
        udp.send(b"again")
        wire.run(5)
        assert far.recv(10) == b"again"


def test_the_timers_decide_how_long(wire: Wire) -> None:
    """TCP_USER_TIMEOUT counts from the first byte that could not be sent."""
    wire.ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
    wire.set(down=True)
    wire.ours.send(b"x")
    wire.run(4900)
    assert wire.ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ENETUNREACH)
    assert state(wire.ours) == ESTABLISHED
    wire.run(600)
    assert state(wire.ours) == CLOSED


def test_an_orphan_ends(wire: Wire) -> None:
    """Nobody is told, so what a closed socket holds ends by the number of attempts."""
    wire.set(down=True)
    wire.ours.send(b"x")
    wire.ours.close()
    wire.run(10)
    assert wire.a.stats()["orphans"] == 1
    for _ in range(600):
        wire.now += 250 * MS
        wire.run(1)
    assert wire.a.stats()["orphans"] == 0


def test_a_device_that_goes_while_it_is_down_is_gone(wire: Wire) -> None:
    wire.set(down=True)
    wire.ours.send(b"x")
    wire.b.close()
    wire.run(5)
    assert wire.ours.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ENETDOWN
    assert not wire.a.interfaces[1].up


@pytest.mark.parametrize("kind", ["fault", "pcap", "late"])
def test_wrappers_hand_it_on(kind: str, tmp_path: Any) -> None:
    wraps = {
        "fault": with_faults,
        "pcap": lambda device: with_pcap(device, str(tmp_path / "down.pcap")),
        "late": with_late,
    }
    wire = Wire(wraps[kind])
    wire.set(down=True)
    with wire.a.socket(type=socket.SOCK_DGRAM) as udp, pytest.raises(OSError) as caught:
        udp.sendto(b"x", (B, 9))
    assert caught.value.errno == errno.ENETUNREACH
    wire.set(down=False)
    wire.ours.send(b"there")
    wire.run(50)
    assert wire.theirs.recv(10) == b"there"
    wire.close()
