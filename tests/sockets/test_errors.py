"""An error is told once, and never lost: what a call cannot tell, because it has moved bytes, the next one
does. Both networks."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.sockets.kit import LOCAL, PATIENCE, Barewire, Kernel, Network, background, outcome


def told(number: int) -> object:
    """What outcome() says of a call that raised this errno."""
    problem = OSError(number, os.strerror(number))
    return type(problem), number, str(problem)


RESET, BROKEN = told(errno.ECONNRESET), told(errno.EPIPE)
ALL, TRUNC = socket.MSG_WAITALL, socket.MSG_TRUNC
SYN_SENT, CLOSE = 2, 7  # of TCP_INFO


def reset(sock: Any) -> None:
    """Closes with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def into(sock: Any, size: int, flags: int = 0) -> Any:
    buffer = bytearray(size)
    return bytes(buffer[: sock.recv_into(buffer, size, flags)])


def from_into(sock: Any, size: int, flags: int = 0) -> Any:
    buffer = bytearray(size)
    return bytes(buffer[: sock.recvfrom_into(buffer, size, flags)[0]])


def msg_into(sock: Any, size: int, flags: int = 0) -> Any:
    one, two = bytearray(3), bytearray(size - 3)
    n = sock.recvmsg_into([one, two], 0, flags)[0]
    return bytes(one + two)[:n]


FORMS: dict[str, Callable[[Any, int, int], Any]] = {
    "recv": lambda sock, size, flags: sock.recv(size, flags),
    "recv_into": into,
    "recvfrom": lambda sock, size, flags: sock.recvfrom(size, flags)[0],
    "recvfrom_into": from_into,
    "recvmsg": lambda sock, size, flags: sock.recvmsg(size, 0, flags)[0],
    "recvmsg_into": msg_into,
}


class Errors(Network):
    def broken(self, data: bytes = b"") -> Any:
        """The end of a connection that has data to read, and was reset."""
        one, other = self.pair()
        if data:
            one.sendall(data)
            other.recv(len(data), socket.MSG_PEEK | ALL)
        reset(one)
        other.settimeout(None)
        poll = self.select.poll()
        poll.register(other, 0)
        assert poll.poll(PATIENCE * 1000), "the reset has come"
        return other

    @pytest.mark.parametrize("flags", [0, ALL], ids=["plain", "waitall"])
    @pytest.mark.parametrize("form", FORMS)
    def test_reading(self, form: str, flags: int) -> None:
        read, sock = FORMS[form], self.broken(b"12345")
        assert read(sock, 10, flags) == b"12345"
        assert outcome(lambda: read(sock, 10, flags)) == RESET
        assert read(sock, 10, flags) == b"", "it was told"
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    @pytest.mark.parametrize("form", FORMS)
    def test_all_that_came_first(self, form: str) -> None:
        read, sock = FORMS[form], self.broken(b"1234567890")
        assert read(sock, 5, ALL) == b"12345"
        assert read(sock, 5, ALL) == b"67890"
        assert outcome(lambda: read(sock, 5, ALL)) == RESET

    def test_a_file(self) -> None:
        sock = self.broken(b"12345")
        with sock.makefile("rb", buffering=0) as raw:
            assert raw.read(10) == b"12345"
            assert outcome(lambda: raw.read(10)) == RESET
            assert raw.read(10) == b""

    def test_a_buffered_file(self) -> None:
        sock = self.broken(b"12345")
        with sock.makefile("rb") as file:
            assert outcome(lambda: file.read(10)) == RESET

    @pytest.mark.parametrize("form", ["send", "sendmsg", "sendto"])
    def test_writing(self, form: str) -> None:
        write = {
            "send": lambda sock, data: sock.send(data),
            "sendmsg": lambda sock, data: sock.sendmsg([data[:9], data[9:]]),
            "sendto": lambda sock, data: sock.sendto(data, (LOCAL, 1)),
        }[form]
        one, other = self.pair()
        one.settimeout(None)
        big, sent = bytes(64 << 20), []
        with background(lambda: sent.append(write(one, big))):
            other.recv(1 << 16, ALL)
            reset(other)
        assert 0 < sent[0] < len(big), "what went before the reset"
        assert outcome(lambda: write(one, b"more")) == RESET
        assert outcome(lambda: write(one, b"more")) == BROKEN

    def test_sending_all(self) -> None:
        one, other = self.pair()
        one.settimeout(None)
        heard: list[object] = []
        with background(lambda: heard.append(outcome(lambda: one.sendall(bytes(64 << 20))))):
            other.recv(1 << 16, ALL)
            reset(other)
        assert heard == [RESET]
        assert outcome(lambda: one.sendall(b"more")) == BROKEN

    @pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
    @pytest.mark.parametrize("timeout", [None, PATIENCE])
    def test_a_connect_that_is_shut_down_meanwhile(self, timeout: float | None, how: int) -> None:
        """It ends, and no other attempt begins."""
        listener = self.listener(backlog=0)
        self.stream().connect(
            listener.getsockname()
        )  # the queue is full: the next SYN has no answer
        sock = self.stream()
        sock.settimeout(timeout)
        heard: list[object] = []

        def state() -> int:
            return int(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0])

        with background(
            lambda: heard.append(outcome(lambda: sock.connect(listener.getsockname())))
        ):
            while state() != SYN_SENT:
                os.sched_yield()
            sock.shutdown(how)
        assert heard == [RESET]
        assert state() == CLOSE
        assert outcome(lambda: sock.send(b"x")) == BROKEN
        assert outcome(lambda: sock.recv(1)) == told(errno.ENOTCONN)

    def test_asking_for_the_error_tells_it(self) -> None:
        sock = self.broken(b"12345")
        assert sock.recv(10, ALL) == b"12345"
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
        assert sock.recv(10) == b""

    def test_what_a_signal_handler_raises_is_not_taken_for_the_end(self) -> None:
        """After the first bytes of a call that wants more."""

        class Interrupted(OSError):
            pass

        def handler(number: int, frame: object) -> None:
            raise Interrupted

        one, other = self.pair()
        one.settimeout(None)
        before = signal.signal(signal.SIGUSR1, handler)
        main = threading.main_thread().ident

        def interrupt() -> None:
            other.recv(1 << 16, ALL)
            signal.pthread_kill(main, signal.SIGUSR1)

        try:
            with background(interrupt), pytest.raises(Interrupted):
                while True:
                    one.send(bytes(64 << 20))
        finally:
            signal.signal(signal.SIGUSR1, before)


class TestKernel(Errors, Kernel):
    pass


class TestBarewire(Errors, Barewire):
    pass
