"""UDP sockets do what the kernel's do."""

from __future__ import annotations

import errno

import barewire
import pytest
from barewire.nic_drivers import pipe_pair

from tests.sockets.kit import LOCAL, SHORT, Barewire, Kernel, Network

UDP_SEGMENT = 103  # linux/udp.h


class Datagram(Network):
    def test_segments(self) -> None:
        one, other = self.datagram(), self.datagram()
        assert one.getsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT) == 0
        one.setsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        assert one.getsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT) == 100
        for size in (0, 1, 100, 101, 250, 12_800):
            message = bytes(i * 7 & 255 for i in range(size))
            assert one.sendto(message, other.getsockname()) == size
            for at in range(0, size or 1, 100):
                assert other.recvfrom(9000) == (message[at : at + 100], one.getsockname())
        with pytest.raises(OSError) as caught:
            one.sendto(bytes(12_801), other.getsockname())
        assert caught.value.errno == errno.EINVAL, "128 at most"
        one.setsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        one.sendto(b"the last", other.getsockname())
        assert other.recv(100) == b"the last"

    @pytest.mark.parametrize("value", [-1, 65_536, b"\1"])
    def test_a_segment_that_cannot_be(self, value: int | bytes) -> None:
        sock = self.datagram()
        with pytest.raises(OSError) as caught:
            sock.setsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT, value)
        assert caught.value.errno == errno.EINVAL
        assert sock.getsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT) == 0

    def test_streams_have_no_such_segments(self) -> None:
        sock = self.stream()
        with pytest.raises(OSError) as caught:
            sock.setsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT, 100)
        assert caught.value.errno == errno.ENOPROTOOPT
        with pytest.raises(OSError) as caught:
            sock.getsockopt(self.socket.IPPROTO_UDP, UDP_SEGMENT)
        assert caught.value.errno == errno.EOPNOTSUPP

    def test_there_and_back(self) -> None:
        one, other = self.datagram(), self.datagram()
        assert one.sendto(b"ping", other.getsockname()) == 4
        assert other.recvfrom(100) == (b"ping", one.getsockname())
        assert other.sendto(b"pong", 0, one.getsockname()) == 4
        assert one.recv(100) == b"pong"

    def test_boundaries(self) -> None:
        one, other = self.datagram(), self.datagram()
        for data in (b"", b"one", b"two"):
            one.sendto(data, other.getsockname())
        assert [other.recv(100) for _ in range(3)] == [b"", b"one", b"two"]

    def test_cut(self) -> None:
        one, other = self.datagram(), self.datagram()
        for _ in range(5):
            one.sendto(b"0123456789", other.getsockname())
        assert other.recv(4) == b"0123"
        assert other.recv_into(bytearray(3)) == 3
        assert other.recvmsg(4) == (b"0123", [], self.socket.MSG_TRUNC, one.getsockname())
        assert other.recv_into(bytearray(3), 3, self.socket.MSG_TRUNC) == 10
        assert other.recvmsg(10) == (b"0123456789", [], 0, one.getsockname())

    def test_peek(self) -> None:
        one, other = self.datagram(), self.datagram()
        one.sendto(b"look", other.getsockname())
        assert other.recvfrom(2, self.socket.MSG_PEEK) == (b"lo", one.getsockname())
        assert other.recvfrom(9, self.socket.MSG_PEEK) == (b"look", one.getsockname())
        assert other.recvfrom(9) == (b"look", one.getsockname())

    def test_into(self) -> None:
        one, other = self.datagram(), self.datagram()
        one.sendto(b"0123", other.getsockname())
        buffer = bytearray(6)
        assert other.recvfrom_into(buffer) == (4, one.getsockname())
        assert buffer == b"0123\0\0"
        one.sendmsg([b"ab", bytearray(b"cd")], [], 0, other.getsockname())
        assert other.recvfrom_into(memoryview(buffer)[3:], 2) == (2, one.getsockname())
        assert buffer == b"012ab\0"

    def test_connected(self) -> None:
        one, other, third = self.datagram(), self.datagram(), self.datagram()
        one.connect(other.getsockname())
        assert one.getpeername() == other.getsockname()
        third.sendto(b"not for you", one.getsockname())
        other.sendto(b"for you", one.getsockname())
        assert one.recv(100) == b"for you"
        one.sendall(b"connected")
        assert other.recvfrom(100) == (b"connected", one.getsockname())
        one.sendto(b"elsewhere", third.getsockname())
        assert third.recv(100) == b"elsewhere"

    def test_connect_chooses_the_source(self) -> None:
        sock = self.datagram(bound=False)
        sock.connect((LOCAL, 9))
        assert sock.getsockname()[0] == LOCAL
        assert sock.getsockname()[1] != 0

    def test_first_send_binds(self) -> None:
        one, other = self.datagram(bound=False), self.datagram()
        one.sendto(b"x", other.getsockname())
        assert one.getsockname()[0] == "0.0.0.0"
        assert other.recvfrom(1) == (b"x", (LOCAL, one.getsockname()[1]))

    def test_nobody_listens(self) -> None:
        sock = self.datagram()
        with self.socket.socket(self.socket.AF_INET, self.socket.SOCK_DGRAM) as other:
            other.bind((LOCAL, 0))
            address = other.getsockname()
        sock.connect(address)
        sock.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)

    def test_unconnected(self) -> None:
        sock = self.datagram()
        with pytest.raises(OSError) as caught:
            sock.send(b"x")
        assert caught.value.errno == errno.EDESTADDRREQ
        with pytest.raises(OSError) as caught:
            sock.getpeername()
        assert caught.value.errno == errno.ENOTCONN

    def test_too_long(self) -> None:
        one, other = self.datagram(), self.datagram()
        with pytest.raises(OSError) as caught:
            one.sendto(bytes(65508), other.getsockname())
        assert caught.value.errno == errno.EMSGSIZE

    def test_longest(self) -> None:
        one, other = self.datagram(), self.datagram()
        data = bytes(range(256)) * 255
        one.sendto(data, other.getsockname())
        assert other.recv(65535) == data

    def test_waiting(self) -> None:
        sock = self.datagram()
        sock.settimeout(SHORT)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.recvfrom(1)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv_into(bytearray(1))
        assert sock.recv(0) == b""

    def test_not_for_streams(self) -> None:
        sock = self.datagram()
        sock.settimeout(None)
        for call in (sock.listen, sock.accept):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EOPNOTSUPP

    def test_port_in_use(self) -> None:
        one = self.datagram()
        other = self.datagram(bound=False)
        with pytest.raises(OSError) as caught:
            other.bind(one.getsockname())
        assert caught.value.errno == errno.EADDRINUSE

    def test_full_receive_buffer_drops(self) -> None:
        one, other = self.datagram(), self.datagram()
        other.setsockopt(self.socket.SOL_SOCKET, self.socket.SO_RCVBUF, 4096)
        for _ in range(100):
            one.sendto(bytes(1000), other.getsockname())
        other.setblocking(False)
        got = 0
        with pytest.raises(BlockingIOError):
            while True:
                got += len(other.recv(2000))
        assert 1000 <= got < 20_000


class TestKernelDatagram(Kernel, Datagram):
    def test_broadcast_needs_permission(self) -> None:
        with pytest.raises(PermissionError):
            self.datagram(bound=False).sendto(b"x", ("127.255.255.255", 9))


class TestBarewireDatagram(Barewire, Datagram):
    @pytest.mark.parametrize("address", ["198.18.0.255", "<broadcast>"])
    def test_broadcast_needs_permission(self, address: str) -> None:
        one, other = pipe_pair()
        with other, barewire.Stack(one, addresses=["198.18.0.1/24"]) as stack:
            with stack.socket(type=self.socket.SOCK_DGRAM) as sock:
                with pytest.raises(PermissionError):
                    sock.sendto(b"x", (address, 9))
                sock.setsockopt(self.socket.SOL_SOCKET, self.socket.SO_BROADCAST, 1)
                assert sock.sendto(b"x", (address, 9)) == 1
