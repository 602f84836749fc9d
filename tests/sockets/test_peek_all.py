"""MSG_PEEK with MSG_WAITALL waits for all of it, and takes nothing: on the kernel's sockets and on ours."""

from __future__ import annotations

import struct
import threading

import pytest

from tests.sockets.kit import SHORT, Barewire, Kernel, Network, background


class PeekAll(Network):
    def test_waitall_without_taking(self) -> None:
        """All at once; what is there, at the end of the stream, at an urgent mark, or when time is over."""
        one, other = self.pair()
        other.settimeout(None)
        s, middle = self.socket, threading.Event()
        peek = s.MSG_PEEK | s.MSG_WAITALL

        def send(*pieces: bytes) -> None:
            for piece in pieces:
                middle.wait(SHORT)
                one.sendall(piece)

        with background(lambda: send(b"first ", b"second")):
            assert other.recv(12, peek) == b"first second"
        assert other.recv(3, peek) == b"fir"
        assert other.recv(7, peek | s.MSG_DONTWAIT) == b"first s"
        buffer = bytearray(12)
        assert other.recv_into(buffer, 0, peek) == 12 and buffer == b"first second"
        assert other.recvmsg(12, 0, peek)[0] == b"first second"
        other.setsockopt(s.SOL_SOCKET, s.SO_RCVTIMEO, struct.pack("ll", 0, 40_000))
        assert other.recv(100, peek) == b"first second"
        assert other.recv(12) == b"first second"
        with pytest.raises(BlockingIOError):
            other.recv(100, peek)
        other.setsockopt(s.SOL_SOCKET, s.SO_RCVTIMEO, struct.pack("ll", 0, 0))
        with background(lambda: (send(b"abc"), one.send(b"!", s.MSG_OOB), one.sendall(b"de"))):
            assert other.recv(100, peek) == b"abc"
        assert other.recv(3) == b"abc"
        with background(lambda: (send(b"f"), one.close())):
            assert other.recv(100, peek) == b"def"
        assert other.recv(100) == b"def"
        assert other.recv(100, peek) == b""

    def test_waitall_without_taking_and_a_reset(self) -> None:
        """What came before is there; then the error, once."""
        one, other = self.pair()
        other.settimeout(None)
        s, middle = self.socket, threading.Event()
        one.setsockopt(s.SOL_SOCKET, s.SO_LINGER, struct.pack("ii", 1, 0))

        def send() -> None:
            one.sendall(b"abc")
            middle.wait(SHORT)
            one.close()

        with background(send):
            assert other.recv(100, s.MSG_PEEK | s.MSG_WAITALL) == b"abc"
        assert other.recv(100) == b"abc"
        with pytest.raises(ConnectionResetError):
            other.recv(100)
        assert other.recv(100) == b""


class TestKernel(PeekAll, Kernel):
    pass


class TestBarewire(PeekAll, Barewire):
    pass
