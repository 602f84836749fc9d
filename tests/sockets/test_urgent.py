"""Urgent data through the socket module, the kernel's and ours."""

from __future__ import annotations

import errno
import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Any

import pytest

from tests.sockets.kit import PATIENCE, SHORT, Barewire, Kernel, Network

SIOCATMARK = 0x8905


def failure(call: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:
        call()
    return caught.value.errno


class Urgent(Network):
    def at_mark(self, sock: Any) -> bool:
        raise NotImplementedError

    def urgent_pair(self, *, inline: bool = False) -> tuple[Any, Any]:
        """abc, X urgent, def are on their way; all of it has come."""
        s = self.socket
        one, other = self.pair()
        for sock in (one, other):
            sock.settimeout(None)
        other.setsockopt(s.SOL_SOCKET, s.SO_OOBINLINE, int(inline))
        one.sendall(b"abcX", s.MSG_OOB)
        one.sendall(b"def")
        assert self.exceptional(other, PATIENCE)
        return one, other

    def exceptional(self, sock: Any, timeout: float = 0) -> bool:
        return bool(self.select.select([], [], [sock], timeout)[2])

    def all_of(self, sock: Any, size: int) -> list[bytes]:
        """What each read gives, until size bytes came."""
        parts = []
        while sum(map(len, parts)) < size:
            parts.append(sock.recv(100))
        return parts

    def test_the_urgent_byte(self) -> None:
        s = self.socket
        _, other = self.urgent_pair()
        assert other.recv(1, s.MSG_OOB | s.MSG_PEEK) == b"X"
        assert other.recv(10, s.MSG_OOB) == b"X"
        assert not self.exceptional(other)
        assert other.recv(100) == b"abc"
        assert self.at_mark(other)
        assert b"".join(self.all_of(other, 3)) == b"def"
        assert not self.at_mark(other)

    def test_inline(self) -> None:
        _, other = self.urgent_pair(inline=True)
        assert other.recv(100) == b"abc"
        assert self.at_mark(other)
        assert b"".join(self.all_of(other, 4)) == b"Xdef"
        assert failure(lambda: other.recv(1, self.socket.MSG_OOB)) == errno.EINVAL

    def test_what_is_not_there(self) -> None:
        """EINVAL, also on sockets that wait: a read of urgent data does not."""
        _, other = self.pair()
        for timeout in (None, 0.0):
            other.settimeout(timeout)
            assert failure(lambda: other.recv(1, self.socket.MSG_OOB)) == errno.EINVAL

    def test_poll_says_pri(self) -> None:
        one, other = self.pair()
        poll = self.select.poll()
        poll.register(other, self.select.POLLIN | self.select.POLLPRI)
        assert poll.poll(SHORT * 1000) == []
        one.send(b"X", self.socket.MSG_OOB)
        assert poll.poll(PATIENCE * 1000) == [(other.fileno(), self.select.POLLPRI)]

    def test_datagrams_have_none(self) -> None:
        sock, target = self.datagram(), self.datagram()
        assert (
            failure(lambda: sock.sendto(b"x", self.socket.MSG_OOB, target.getsockname()))
            == errno.EOPNOTSUPP
        )

    def test_recvmsg_names_it(self) -> None:
        s = self.socket
        _, other = self.urgent_pair()
        data, _, flags, _ = other.recvmsg(1, 0, s.MSG_OOB)
        assert (data, flags & s.MSG_OOB) == (b"X", s.MSG_OOB)


class TestKernel(Urgent, Kernel):
    def at_mark(self, sock: Any) -> bool:
        return bool(struct.unpack("i", fcntl.ioctl(sock, SIOCATMARK, bytes(4)))[0])

    def test_inq_counts_up_to_the_mark(self) -> None:
        """FIONREAD, which the engine's own test holds ours against."""
        _, other = self.urgent_pair()
        assert struct.unpack("i", fcntl.ioctl(other, termios.FIONREAD, bytes(4)))[0] == 3


class TestBarewire(Urgent, Barewire):
    def at_mark(self, sock: Any) -> bool:
        return bool(sock.sockatmark())

    def test_with_a_timeout_the_byte_needs_no_other_data(self) -> None:
        """The kernel's module waits for ordinary data first, and so in vain."""
        one, other = self.pair()
        other.settimeout(PATIENCE)
        one.send(b"X", self.socket.MSG_OOB)
        assert self.exceptional(other, PATIENCE)
        assert other.recv(1, self.socket.MSG_OOB) == b"X"

    def test_datagram_sockets_are_never_at_the_mark(self) -> None:
        assert self.datagram().sockatmark() is False
