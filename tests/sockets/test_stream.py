"""TCP sockets do what the kernel's do."""

from __future__ import annotations

import errno
import hashlib
import struct
import threading

import pytest

from tests.sockets.kit import LOCAL, SHORT, Barewire, Kernel, Network, background, receive


class Stream(Network):
    def test_echo(self) -> None:
        one, other = self.pair()
        assert one.send(b"ping") == 4
        assert other.recv(100) == b"ping"
        assert other.sendall(b"pong") is None
        assert one.recv(2) == b"po"
        assert one.recv(2) == b"ng"

    def test_names_of_both_ends(self) -> None:
        listener = self.listener()
        one = self.stream()
        one.connect(listener.getsockname())
        other, peer = listener.accept()
        self.keep(other)
        assert peer == one.getsockname() == other.getpeername()
        assert one.getpeername() == other.getsockname() == listener.getsockname()
        assert peer[0] == LOCAL and isinstance(peer[1], int)

    def test_attributes(self) -> None:
        sock = self.keep(self.socket.socket())
        assert (sock.family, sock.type, sock.proto) == (2, 1, 0)
        assert (sock.timeout, sock.gettimeout(), sock.getblocking()) == (None, None, True)
        assert isinstance(sock, self.socket.socket)
        assert sock.getsockname() == ("0.0.0.0", 0)
        assert f"fd={sock.fileno()}" in repr(sock)
        assert "laddr=('0.0.0.0', 0)" in repr(sock)
        assert not sock.get_inheritable()

    def test_closed(self) -> None:
        sock = self.stream()
        sock.close()
        sock.close()
        assert sock.fileno() == -1
        assert "[closed]" in repr(sock)
        for call in (sock.listen, sock.accept, sock.getsockname, sock.getpeername):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF
        for call in (sock.recv, sock.settimeout, sock.recvfrom):
            with pytest.raises(OSError) as caught:
                call(1)
            assert caught.value.errno == errno.EBADF

    def test_end_of_stream(self) -> None:
        one, other = self.pair()
        one.sendall(b"last words")
        one.close()
        assert receive(other, 100) == b"last words"
        assert other.recv(1) == b""
        assert other.recv(1) == b""

    def test_half_close(self) -> None:
        one, other = self.pair()
        one.sendall(b"question")
        one.shutdown(self.socket.SHUT_WR)
        assert receive(other, 100) == b"question"
        other.sendall(b"answer")
        assert one.recv(100) == b"answer"
        with pytest.raises(BrokenPipeError):
            one.send(b"more")

    def test_shutdown_for_reading(self) -> None:
        one, _ = self.pair()
        one.shutdown(self.socket.SHUT_RD)
        assert one.recv(1) == b""

    def test_shutdown_unconnected(self) -> None:
        with pytest.raises(OSError) as caught:
            self.stream().shutdown(self.socket.SHUT_RDWR)
        assert caught.value.errno == errno.ENOTCONN

    def test_of_what_both_ends_have_ended(self) -> None:
        """Whoever ended first, and is in TIME-WAIT, has no peer either."""
        one, other = self.pair()
        one.shutdown(self.socket.SHUT_WR)
        other.shutdown(self.socket.SHUT_WR)
        assert one.recv(1) == other.recv(1) == b""
        for sock in one, other:
            for call in sock.getpeername, lambda sock=sock: sock.shutdown(self.socket.SHUT_RDWR):
                with pytest.raises(OSError) as caught:
                    call()
                assert caught.value.errno == errno.ENOTCONN

    def test_refused(self) -> None:
        sock = self.stream()
        with pytest.raises(ConnectionRefusedError):
            sock.connect((LOCAL, self.unused_port()))
        assert sock.connect_ex((LOCAL, self.unused_port())) in (
            errno.ECONNREFUSED,
            errno.ECONNABORTED,
        )

    def test_connected_twice(self) -> None:
        one, other = self.pair()
        # After a connect that a poll ended, the next one still says that it worked.
        assert one.connect_ex(other.getsockname()) in (0, errno.EISCONN)
        assert one.connect_ex(other.getsockname()) == errno.EISCONN

    def test_connected_twice_blocking(self) -> None:
        listener = self.listener()
        sock = self.stream()
        sock.settimeout(None)
        sock.connect(listener.getsockname())
        with pytest.raises(OSError) as caught:
            sock.connect(listener.getsockname())
        assert caught.value.errno == errno.EISCONN

    def test_connect_without_blocking(self) -> None:
        listener = self.listener()
        sock = self.stream()
        sock.setblocking(False)
        assert sock.connect_ex(listener.getsockname()) in (0, errno.EINPROGRESS)
        readable, writable, _ = self.select.select([], [sock], [], 5)
        assert (readable, writable) == ([], [sock])
        assert sock.getsockopt(self.socket.SOL_SOCKET, self.socket.SO_ERROR) == 0
        assert sock.getpeername() == listener.getsockname()

    def test_reset(self) -> None:
        one, other = self.pair()
        linger = struct.pack("ii", 1, 0)
        one.setsockopt(self.socket.SOL_SOCKET, self.socket.SO_LINGER, linger)
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)
        assert other.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            other.send(b"x")

    def test_unread_data_at_close_resets(self) -> None:
        one, other = self.pair()
        other.sendall(b"nobody reads this")
        assert one.recv(1) == b"n"
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)

    def test_timeouts(self) -> None:
        listener = self.listener()
        one, _ = self.pair()
        one.settimeout(SHORT)
        listener.settimeout(SHORT)
        for call in (lambda: one.recv(1), listener.accept, lambda: one.recv_into(bytearray(1))):
            with pytest.raises(TimeoutError) as caught:
                call()
            assert str(caught.value) == "timed out"
            assert caught.value.errno is None

    def test_without_blocking(self) -> None:
        listener = self.listener()
        one, _ = self.pair()
        one.setblocking(False)
        listener.settimeout(0)
        assert one.gettimeout() == 0
        assert not one.getblocking()
        for call in (lambda: one.recv(1), listener.accept, lambda: one.recvfrom(1)):
            with pytest.raises(BlockingIOError) as caught:
                call()
            assert caught.value.errno == errno.EAGAIN

    def test_dontwait(self) -> None:
        one, _ = self.pair()
        one.settimeout(None)
        with pytest.raises(BlockingIOError):
            one.recv(1, self.socket.MSG_DONTWAIT)

    def test_accepted_socket_blocks(self) -> None:
        listener = self.listener()
        listener.settimeout(5)
        with self.socket.create_connection(listener.getsockname()):
            other, _ = listener.accept()
            with other:
                assert other.gettimeout() is None

    def test_full_buffer(self) -> None:
        one, other = self.pair()
        one.setblocking(False)
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 1 << 28:
                sent += one.send(b"x" * 65536)
        one.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            one.sendall(b"x" * 65536)
        other.setblocking(True)
        one.close()
        got = 0
        while piece := other.recv(1 << 20):
            got += len(piece)
        assert sent <= got <= sent + 65536

    @pytest.mark.parametrize("call", ["send", "sendall", "sendmsg"])
    def test_large(self, call: str) -> None:
        one, other = self.pair()
        one.settimeout(None)
        data = bytes(range(256)) * 16384  # 4 MiB
        digest = hashlib.sha256()

        def read() -> None:
            while piece := other.recv(100_000):
                digest.update(piece)

        with background(read):
            if call == "sendmsg":
                assert one.sendmsg([data[:1000], data[1000:]]) == len(data)
            else:
                assert getattr(one, call)(data) == (len(data) if call == "send" else None)
            one.shutdown(self.socket.SHUT_WR)
        assert digest.digest() == hashlib.sha256(data).digest()

    def test_kinds_of_buffers(self) -> None:
        one, other = self.pair()
        for data in (b"ab", bytearray(b"ab"), memoryview(b"ab"), memoryview(b"aabb")[1:3]):
            one.sendall(data)
            assert receive(other, 2) == b"ab"
            assert one.send(data) == 2
            assert receive(other, 2) == b"ab"

    def test_recv_into(self) -> None:
        one, other = self.pair()
        one.sendall(b"0123456789")
        buffer = bytearray(b"........")
        assert other.recv_into(buffer, 4) == 4
        assert buffer == b"0123...."
        assert other.recv_into(memoryview(buffer)[4:6]) == 2
        assert buffer == b"012345.."
        assert other.recv_into(buffer) == 4
        assert buffer == b"678945.."

    def test_recvfrom(self) -> None:
        one, other = self.pair()
        one.sendall(b"0123456789")
        assert other.recvfrom(4) == (b"0123", None)
        buffer = bytearray(4)
        assert other.recvfrom_into(buffer, 2) == (2, None)
        assert bytes(buffer) == b"45\0\0"
        assert other.recvmsg(2) == (b"67", [], 0, None)
        target = [bytearray(1), bytearray(5)]
        assert other.recvmsg_into(target) == (2, [], 0, None)
        assert target == [bytearray(b"8"), bytearray(b"9\0\0\0\0")]

    def test_peek(self) -> None:
        one, other = self.pair()
        one.sendall(b"abc")
        assert other.recv(2, self.socket.MSG_PEEK) == b"ab"
        assert other.recv(3, self.socket.MSG_PEEK) == b"abc"
        assert other.recv(3) == b"abc"

    def test_waitall(self) -> None:
        one, other = self.pair()
        other.settimeout(None)
        middle = threading.Event()

        def send() -> None:
            one.sendall(b"first ")
            middle.wait(SHORT)
            one.sendall(b"second")

        with background(send):
            assert other.recv(12, self.socket.MSG_WAITALL) == b"first second"
        one.sendall(b"short")
        one.close()
        assert other.recv(100, self.socket.MSG_WAITALL) == b"short"

    def test_nothing_to_send_or_receive(self) -> None:
        one, other = self.pair()
        assert one.send(b"") == 0
        assert one.sendall(b"") is None
        assert other.recv(0) == b""
        assert other.recv_into(bytearray()) == 0

    def test_makefile(self) -> None:
        one, other = self.pair()
        with one.makefile("rw", encoding="utf-8", newline="\n") as file:
            file.write("grüße\n")
            file.flush()
            with other.makefile("rb") as lines:
                assert lines.readline() == "grüße\n".encode()
            other.sendall(b"one\ntwo\n")
            other.shutdown(self.socket.SHUT_WR)
            assert list(file) == ["one\n", "two\n"]

    def test_file_outlives_the_socket(self) -> None:
        one, other = self.pair()
        file = one.makefile("wb", buffering=0)
        one.close()
        assert file.write(b"still here") == 10
        file.close()
        assert receive(other, 100) == b"still here"
        assert other.recv(1) == b""

    def test_makefile_arguments(self) -> None:
        one, _ = self.pair()
        with pytest.raises(ValueError, match="invalid mode"):
            one.makefile("x")
        with pytest.raises(ValueError, match="unbuffered"):
            one.makefile("r", buffering=0)

    def test_context_manager(self) -> None:
        with self.socket.socket() as sock:
            assert sock.fileno() >= 0
        assert sock.fileno() == -1

    def test_detach_and_take_over(self) -> None:
        one, other = self.pair()
        number = one.fileno()
        assert one.detach() == number
        assert one.fileno() == -1
        assert one.detach() == -1
        again = self.keep(self.socket.socket(fileno=number))
        assert again.fileno() == number
        assert again.type == self.socket.SOCK_STREAM
        again.sendall(b"moved")
        assert other.recv(10) == b"moved"

    def test_detach_and_close(self) -> None:
        one, other = self.pair()
        self.socket.close(one.detach())
        assert other.recv(1) == b""

    def test_address_in_use(self) -> None:
        listener = self.listener()
        with pytest.raises(OSError) as caught:
            self.stream().bind(listener.getsockname())
        assert caught.value.errno == errno.EADDRINUSE

    def test_address_of_somebody_else(self) -> None:
        with pytest.raises(OSError) as caught:
            self.stream().bind(("192.0.2.1", 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL

    def test_bound_twice(self) -> None:
        sock = self.stream()
        sock.bind((LOCAL, 0))
        with pytest.raises(OSError) as caught:
            sock.bind((LOCAL, 0))
        assert caught.value.errno == errno.EINVAL

    def test_port_again_after_close(self) -> None:
        listener = self.socket.create_server((LOCAL, 0))
        address = listener.getsockname()
        with self.socket.create_connection(address) as one:
            other, _ = listener.accept()
            other.close()
            assert one.recv(1) == b""
        listener.close()
        with self.socket.create_server(address) as again:
            assert again.getsockname() == address

    def test_accept_before_listen(self) -> None:
        with pytest.raises(OSError) as caught:
            self.stream().accept()
        assert caught.value.errno == errno.EINVAL

    def test_unconnected(self) -> None:
        sock = self.stream()
        for call, number in (
            (lambda: sock.recv(1), errno.ENOTCONN),
            (lambda: sock.send(b"x"), errno.EPIPE),
            (sock.getpeername, errno.ENOTCONN),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == number

    def test_listen_is_not_connect(self) -> None:
        listener = self.listener()
        listener.settimeout(None)
        with pytest.raises(OSError) as caught:
            listener.recv(1)
        assert caught.value.errno == errno.ENOTCONN
        assert listener.connect_ex(listener.getsockname()) == errno.EISCONN

    def test_create_connection(self) -> None:
        listener = self.listener()
        port = listener.getsockname()[1]
        source = self.unused_port()
        with self.socket.create_connection(("localhost", port), 7, (LOCAL, source)) as sock:
            assert sock.gettimeout() == 7
            assert sock.getsockname() == (LOCAL, source)
        with pytest.raises(ConnectionRefusedError):
            self.socket.create_connection((LOCAL, self.unused_port()))
        with pytest.raises(ExceptionGroup) as caught:
            self.socket.create_connection((LOCAL, self.unused_port()), all_errors=True)
        assert [type(e) for e in caught.value.exceptions] == [ConnectionRefusedError]

    def test_create_server(self) -> None:
        with self.socket.create_server(("", 0), backlog=3) as server:
            assert server.getsockname()[0] == "0.0.0.0"
            assert server.getsockopt(self.socket.SOL_SOCKET, self.socket.SO_ACCEPTCONN) == 1
            with pytest.raises(OSError, match="while attempting to bind on address") as caught:
                self.socket.create_server(server.getsockname())
            assert caught.value.errno == errno.EADDRINUSE

    def test_default_timeout(self) -> None:
        self.socket.setdefaulttimeout(3.5)
        try:
            assert self.socket.getdefaulttimeout() == 3.5
            assert self.stream_as_made() == 3.5
        finally:
            self.socket.setdefaulttimeout(None)
        assert self.stream_as_made() is None

    def stream_as_made(self) -> float | None:
        with self.socket.socket() as sock:
            timeout: float | None = sock.gettimeout()
            return timeout

    def test_socketpair(self) -> None:
        for one, other in (
            self.socket.socketpair(),
            self.socket.socketpair(self.socket.AF_UNIX, self.socket.SOCK_DGRAM),
        ):
            with one, other:
                assert one.family == self.socket.AF_UNIX
                one.send(b"hello")
                assert other.recv(10) == b"hello"

    def test_other_families(self) -> None:
        with self.socket.socket(self.socket.AF_UNIX) as sock:
            assert isinstance(sock, self.socket.socket)
            assert sock.family == self.socket.AF_UNIX

    def test_flags_in_the_type(self) -> None:
        kind = self.socket.SOCK_STREAM | self.socket.SOCK_NONBLOCK | self.socket.SOCK_CLOEXEC
        with self.socket.socket(self.socket.AF_INET, kind) as sock:
            assert sock.type == self.socket.SOCK_STREAM
            assert sock.gettimeout() == 0

    def test_unclosed_warns(self) -> None:
        sock = self.socket.socket()
        with pytest.warns(ResourceWarning, match="unclosed"):
            del sock

    def test_many_connections(self) -> None:
        listener = self.listener(backlog=200)
        ones = [self.stream() for _ in range(100)]
        for one in ones:
            one.connect(listener.getsockname())
        others = {peer: self.keep(s) for s, peer in (listener.accept() for _ in ones)}
        for i, one in enumerate(ones):
            one.sendall(b"%d" % i)
        for i, one in enumerate(ones):
            assert others[one.getsockname()].recv(100) == b"%d" % i


class TestKernelStream(Kernel, Stream):
    pass


class TestBarewireStream(Barewire, Stream):
    def test_closed_by_another_thread(self) -> None:
        """The kernel's sockets leave the other thread blocked; here it gets EBADF."""
        _, other = self.pair()
        caught = []

        def read() -> None:
            try:
                other.recv(1)
            except OSError as problem:
                caught.append(problem.errno)

        with background(read):
            threading.Event().wait(SHORT)
            other.close()
        assert caught == [errno.EBADF]

    def test_pair_on_the_stack(self) -> None:
        one, other = self.socket.socketpair(self.socket.AF_INET)
        with one, other:
            one.sendall(b"hello")
            assert other.recv(10) == b"hello"
            assert one.getpeername() == other.getsockname()

    def test_not_ours_yet(self) -> None:
        with pytest.raises(OSError) as caught:
            self.socket.socket(self.socket.AF_INET6)
        assert caught.value.errno == errno.EAFNOSUPPORT
        assert not self.socket.has_ipv6
        assert not self.socket.has_dualstack_ipv6()
