"""MSG_TRUNC: what was cut is counted, and no memory of anybody's is written. Both networks."""

from __future__ import annotations

import socket

import pytest

from tests.sockets.kit import Barewire, Kernel, Network


class Truncation(Network):
    def test_the_length_of_what_was_cut(self) -> None:
        """MSG_TRUNC: the datagram's own, in every form of the call."""
        one, other = self.datagram(), self.datagram()
        trunc, sender = self.socket.MSG_TRUNC, one.getsockname()
        for _ in range(6):
            one.sendto(b"0123456789", other.getsockname())
        assert len(other.recv(4, trunc)) == 10
        buffer = bytearray(3)
        assert other.recv_into(buffer, 0, trunc) == 10 and buffer == b"012"
        assert other.recvfrom_into(buffer, 2, trunc) == (10, sender) and buffer == b"012"
        assert other.recvmsg(4, 0, trunc) == (b"0123", [], trunc, sender)
        buffers = [bytearray(3), bytearray(2)]
        assert other.recvmsg_into(buffers, 0, trunc) == (10, [], trunc, sender)
        assert buffers == [b"012", b"34"]
        assert other.recvmsg_into(buffers) == (5, [], trunc, sender)

    @pytest.mark.parametrize("peek", [0, socket.MSG_PEEK])
    def test_bytes_thrown_away_are_not_written(self, peek: int) -> None:
        """MSG_TRUNC of a stream, tcp(7): a count, and no memory of anybody's in the buffers."""
        one, other = self.pair()
        flags, rest = socket.MSG_TRUNC | peek, b"0123456789"
        for form in ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"):
            one.sendall(rest)
            other.recv(10, socket.MSG_PEEK | socket.MSG_WAITALL)
            dirty = bytearray(b"." * 4), bytearray(b"." * 99)
            match form:
                case "recv" | "recvfrom":
                    answer = getattr(other, form)(4, flags)
                    assert len(answer if form == "recv" else answer[0]) == 4
                case "recv_into" | "recvfrom_into":
                    getattr(other, form)(dirty[0], 0, flags)
                case "recvmsg":
                    assert len(other.recvmsg(4, 0, flags)[0]) == 4
                case "recvmsg_into":
                    assert other.recvmsg_into(dirty, 0, flags)[:3] == (10, [], 0)
            assert dirty == (b"." * 4, b"." * 99), form
            left = 10 if peek else 0 if form == "recvmsg_into" else 6
            assert len(other.recv(100)) == left if left else True


class TestKernel(Truncation, Kernel):
    pass


class TestBarewire(Truncation, Barewire):
    pass
