"""No port is free: a call that needs one says EAGAIN at once, on a blocking socket too. Both stacks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import barewire
import pytest

from tests.sockets.kit import LOCAL, PATIENCE, Network

PORTS = 50000, 50001
NOBODY = LOCAL, 9
pytestmark = pytest.mark.netns


class NoPort(Network):
    @pytest.fixture(autouse=True)
    def _taken(self) -> None:
        for port in PORTS:
            self.datagram(bound=False).bind((LOCAL, port))

    @pytest.mark.parametrize("timeout", [None, 0])
    def test_sending_and_connecting(self, timeout: float | None) -> None:
        sock = self.datagram(bound=False)
        sock.settimeout(timeout)
        for call in (
            lambda: sock.sendto(b"x", NOBODY),
            lambda: sock.sendmsg([b"x"], [], 0, NOBODY),
            lambda: sock.connect(NOBODY),
        ):
            with pytest.raises(BlockingIOError) as caught:
                call()
            assert caught.value.errno == errno.EAGAIN
        assert sock.connect_ex(NOBODY) == errno.EAGAIN

    def test_connecting_with_a_timeout(self) -> None:
        sock = self.datagram(bound=False)
        sock.settimeout(PATIENCE)
        with pytest.raises(BlockingIOError):
            sock.connect(NOBODY)
        assert sock.connect_ex(NOBODY) == errno.EAGAIN

    def test_binding(self) -> None:
        with pytest.raises(OSError) as caught:
            self.datagram(bound=False).bind((LOCAL, 0))
        assert caught.value.errno == errno.EADDRINUSE

    def test_a_port_that_is_free_again(self) -> None:
        sock = self.datagram(bound=False)
        sock.settimeout(None)
        with pytest.raises(BlockingIOError):
            sock.sendto(b"x", NOBODY)
        self._kept[0].close()
        assert sock.sendto(b"x", NOBODY) == 1
        assert sock.getsockname()[1] == PORTS[0]


class TestKernel(NoPort):
    @pytest.fixture(autouse=True)
    def _inside(self, ns: Any) -> Iterator[None]:
        ns.sysctl("net.ipv4.ip_local_port_range", f"{PORTS[0]} {PORTS[1]}")
        with ns.entered():
            yield

    socket = socket


class TestBarewire(NoPort):
    @pytest.fixture(autouse=True)
    def _stack(self) -> Iterator[None]:
        with barewire.Stack(ports=PORTS) as stack:
            barewire.set_default_stack(stack)
            try:
                yield
            finally:
                barewire.set_default_stack(None)

    socket = barewire.socket

    @pytest.mark.parametrize("timeout", [None, 0, PATIENCE])
    def test_batches(self, timeout: float | None) -> None:
        sock = self.datagram(bound=False)
        sock.settimeout(timeout)
        batch = barewire.Batch(3, 100)
        for i in range(3):
            batch[i] = b"x"
        batch.set_address(NOBODY)
        with pytest.raises(BlockingIOError):
            sock.send_batch(batch)
