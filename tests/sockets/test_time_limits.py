"""SO_RCVTIMEO and SO_SNDTIMEO (socket(7)): what a blocking call says when their time is over, on the kernel's
sockets and on ours."""

from __future__ import annotations

import errno
import socket
import struct
import time
from typing import Any

import pytest

from tests.sockets.kit import LOCAL, Barewire, Kernel, Network

LIMIT = 0.04


def limited(sock: Any, *options: int) -> Any:
    """The socket, which blocks, and has these limits."""
    sock.settimeout(None)
    for option in options:
        micros = round(LIMIT * 1e6)
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, micros))
    return sock


class TimeLimits(Network):
    def late(self, call: Any, code: int = errno.EAGAIN) -> None:
        """The call ends by its limit."""
        begin = time.monotonic()
        with pytest.raises(BlockingIOError) as caught:
            call()
        assert caught.value.errno == code
        assert time.monotonic() - begin >= LIMIT

    def test_receiving(self) -> None:
        sock = limited(self.datagram(), socket.SO_RCVTIMEO)
        room = bytearray(10)
        self.late(lambda: sock.recv(10))
        self.late(lambda: sock.recvfrom(10))
        self.late(lambda: sock.recv_into(room))
        self.late(lambda: sock.recvmsg(10))
        sock.sendto(b"in time", sock.getsockname())
        assert sock.recv(10) == b"in time"

    def test_a_stream(self) -> None:
        one, other = self.pair()
        limited(other, socket.SO_RCVTIMEO)
        self.late(lambda: other.recv(10))
        one.sendall(b"abc")
        assert other.recv(10, socket.MSG_WAITALL) == b"abc"

    def test_accept(self) -> None:
        listener = limited(self.listener(), socket.SO_RCVTIMEO)
        self.late(listener.accept)

    def test_a_child_has_its_listeners(self) -> None:
        listener = limited(self.listener(), socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
        one = self.stream()
        one.connect(listener.getsockname())
        child = self.keep(listener.accept()[0])
        assert child.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 0
        child.settimeout(None)
        self.late(lambda: child.recv(10))

    def test_sending(self) -> None:
        one, _ = self.pair()
        limited(one, socket.SO_SNDTIMEO)
        piece = bytes(1 << 20)
        assert one.send(bytes(64 << 20)) > 0, "what found room"

        def fill() -> None:
            for _ in range(1000):
                one.send(piece)

        self.late(fill)
        self.late(lambda: one.sendall(piece))

    def test_pythons_timeout_comes_first(self) -> None:
        sock = limited(self.datagram(), socket.SO_RCVTIMEO)
        sock.settimeout(3 * LIMIT)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            sock.recv(10)
        assert time.monotonic() - begin >= 3 * LIMIT
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)

    def test_a_negative_one_is_no_wait_and_zero_none(self) -> None:
        sock = self.datagram()
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", -1, 0))
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        limited(sock, socket.SO_RCVTIMEO)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16) == bytes(16)

    def test_the_path_mtu_of_a_connection(self) -> None:
        one, other = self.pair()
        udp = self.datagram()
        udp.connect((LOCAL, 9))
        for sock in (one, other, udp):
            assert sock.getsockopt(socket.IPPROTO_IP, 14) == 65535
        listener = self.listener()
        for sock in (listener, self.stream(), self.datagram()):
            with pytest.raises(OSError) as caught:
                sock.getsockopt(socket.IPPROTO_IP, 14)
            assert caught.value.errno == errno.ENOTCONN


class TestKernel(TimeLimits, Kernel):
    pass


class TestBarewire(TimeLimits, Barewire):
    pass
