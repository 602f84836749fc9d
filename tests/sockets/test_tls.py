"""TLS over sockets does what it does over the kernel's: one suite, two networks."""

from __future__ import annotations

import contextlib
import errno
import socket as kernel_socket
import ssl
import threading
from pathlib import Path
from typing import Any

import barewire.ssl
import pytest
from barewire.tls.channel import LOSES_ERRNO

from tests.sockets.kit import (
    LOCAL,
    PATIENCE,
    SHORT,
    Barewire,
    Kernel,
    Network,
    background,
    receive,
)
from tests.sockets.tls import Contexts

BIG = bytes(range(256)) * 4096  # 1 MiB, many records


class Tls(Network):
    def wrapped(self, contexts: Contexts, **client: Any) -> tuple[Any, Any]:
        """Two ends of a connection after the handshake: the client's, the server's."""
        one, other = self.pair()
        made: list[Any] = []

        def serve() -> None:
            made.append(self.keep(contexts.server.wrap_socket(other, server_side=True)))

        with background(serve):
            options = {"server_hostname": "localhost", **client}
            one = self.keep(contexts.client.wrap_socket(one, **options))
        return one, made[0]

    def test_read_into_what_is_read_only(self, contexts: Contexts) -> None:
        one, _ = self.wrapped(contexts)
        with pytest.raises(TypeError, match="read-write"):
            one.recv_into(b"abc")  # at once: nothing comes

    def test_recv_after_an_error_does_not_wait(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)
        other.sendall(b"data")
        with pytest.raises(ssl.SSLError, match="APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
            one.unwrap()
        assert one.recv(10) == b""

    def test_echo(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)
        assert isinstance(one, ssl.SSLSocket)
        assert one.send(b"ping") == 4 and other.recv(100) == b"ping"
        assert other.sendall(b"pong") is None
        assert one.recv(2) == b"po" and one.pending() == 2
        room = bytearray(10)
        assert one.recv_into(room) == 2 and room[:2] == b"ng"
        assert one.version() == other.version() == "TLSv1.3"
        assert one.getpeercert()["subjectAltName"] == (
            ("DNS", "localhost"),
            ("IP Address", LOCAL),
        )
        assert one.cipher() == other.cipher() and one.context is contexts.client
        assert one.server_hostname == "localhost" and other.server_side

    def test_names_and_number_move(self, contexts: Contexts) -> None:
        one, _ = self.pair()
        name, peer, number = one.getsockname(), one.getpeername(), one.fileno()
        wrapped = contexts.client.wrap_socket(
            one, server_hostname="localhost", do_handshake_on_connect=False
        )
        self.keep(wrapped)
        assert one.fileno() == -1
        assert (wrapped.getsockname(), wrapped.getpeername(), wrapped.fileno()) == (
            name,
            peer,
            number,
        )
        assert wrapped.gettimeout() == PATIENCE
        with pytest.raises(NotImplementedError):
            wrapped.dup()
        with pytest.raises(NotImplementedError):
            wrapped.recvmsg(10)
        with pytest.raises(ValueError, match="recvfrom not allowed"):
            wrapped.recvfrom(10)
        with pytest.raises(ValueError, match="non-zero flags not allowed"):
            wrapped.send(b"a", 1)

    def test_a_write_takes_all(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)
        with background(lambda: self._receives(other, BIG)):
            assert one.send(BIG) == len(BIG)

    def _receives(self, sock: Any, expected: bytes) -> None:
        assert receive(sock, len(expected)) == expected

    def test_select_knows_of_what_was_not_read(self, contexts: Contexts) -> None:
        """Nothing is read beyond the record that was asked for."""
        one, other = self.wrapped(contexts)
        other.sendall(b"first")
        other.sendall(b"second")
        assert one.recv(100) == b"first"
        assert self.select.select([one], [], [], PATIENCE)[0] == [one]
        assert one.pending() == 0
        assert one.recv(100) == b"second"

    def test_clear_text_after_unwrap(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)

        def serve() -> None:
            clear = other.unwrap()
            clear.sendall(b"clear")

        with background(serve):
            clear = one.unwrap()
            assert clear.recv(100) == b"clear"
        with pytest.raises(ValueError, match="No SSL wrapper"):
            one.unwrap()

    def test_nothing_is_read_beyond_close_notify(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)

        def serve() -> None:
            other.unwrap().sendall(b"clear")

        with background(serve):
            assert one.recv(100) == b"" and one.recv(100) == b""
            assert one.unwrap().recv(100) == b"clear"

    def test_end_with_and_without_close_notify(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)
        other.sendall(b"last")
        with background(other.unwrap):
            assert one.recv(100) == b"last" and one.recv(100) == b""
            one.unwrap()
        one, other = self.wrapped(contexts)
        other.shutdown(self.socket.SHUT_WR)  # without a word
        assert one.recv(100) == b""
        one, other = self.wrapped(contexts, suppress_ragged_eofs=False)
        other.shutdown(self.socket.SHUT_WR)
        with pytest.raises(ssl.SSLEOFError, match="EOF occurred in violation of protocol"):
            one.recv(100)

    def test_without_blocking(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)
        other.sendall(b"ping")
        one.recv(100)
        one.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError) as caught:
            one.recv(100)
        assert caught.value.errno == 2 and "did not complete (read)" in str(caught.value)
        sent = 0
        with pytest.raises(ssl.SSLWantWriteError) as refused:
            while sent < 1 << 26:
                sent += one.send((BIG + BIG)[sent % len(BIG) :][:100_000])
        assert refused.value.errno == 3 and "did not complete (write)" in str(refused.value)
        again = (BIG + BIG)[sent % len(BIG) :][:100_000]
        got = [receive(other, sent)]
        while True:
            self.select.select([], [one], [], PATIENCE)
            try:
                assert one.send(again) == len(again)
                break
            except ssl.SSLWantWriteError:
                continue
        got.append(receive(other, len(again)))
        whole = b"".join(got)
        assert len(whole) == sent + len(again)
        assert whole == (BIG * (len(whole) // len(BIG) + 1))[: len(whole)]

    def test_handshake_without_blocking(self, contexts: Contexts) -> None:
        one, other = self.pair()
        for sock in (one, other):
            sock.setblocking(False)
        ends = [
            contexts.client.wrap_socket(
                one, server_hostname="localhost", do_handshake_on_connect=False
            ),
            contexts.server.wrap_socket(other, server_side=True, do_handshake_on_connect=False),
        ]
        waiting = [self.keep(end) for end in ends]
        for _ in range(100):
            for end in list(waiting):
                try:
                    end.do_handshake()
                    waiting.remove(end)
                except ssl.SSLWantReadError:
                    self.select.select([end], [], [], SHORT)
            if not waiting:
                break
        assert ends[0].version() == ends[1].version() == "TLSv1.3"

    def test_time_outs(self, contexts: Contexts) -> None:
        one, _ = self.wrapped(contexts)
        one.settimeout(SHORT)
        with pytest.raises(TimeoutError, match="The read operation timed out"):
            one.recv(100)
        with pytest.raises(TimeoutError, match="The write operation timed out"):
            while True:
                one.send(BIG)
        quiet, _ = self.pair()
        quiet.settimeout(SHORT)
        with pytest.raises(TimeoutError, match="handshake operation timed out"):
            contexts.client.wrap_socket(quiet, server_hostname="localhost")

    def test_a_certificate_nobody_trusts(self, contexts: Contexts) -> None:
        contexts.client = ssl.create_default_context()
        one, other = self.pair()

        def serve() -> None:
            with pytest.raises(ssl.SSLError, match="alert unknown ca"):
                contexts.server.wrap_socket(other, server_side=True)

        with background(serve), pytest.raises(ssl.SSLCertVerificationError):
            contexts.client.wrap_socket(one, server_hostname="localhost")

    def test_no_tls_at_all(self, contexts: Contexts) -> None:
        one, other = self.pair()
        one.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError, match="HTTP_REQUEST"):
            contexts.server.wrap_socket(other, server_side=True)
        one, other = self.pair()
        other.sendall(b"220 mail.example ESMTP\r\n")
        with pytest.raises(ssl.SSLError, match=r"(?i)wrong.version.number"):
            contexts.client.wrap_socket(one, server_hostname="localhost")

    def test_connect_of_a_wrapped_socket(self, contexts: Contexts) -> None:
        listener = self.keep(contexts.server.wrap_socket(self.listener(), server_side=True))
        got: list[bytes] = []

        def serve() -> None:
            other = self.keep(listener.accept()[0])
            got.append(other.recv(100))

        with background(serve):
            one = contexts.client.wrap_socket(self.stream(), server_hostname="localhost")
            self.keep(one)
            with pytest.raises(OSError) as caught:
                one.getpeercert()
            assert caught.value.errno == errno.ENOTCONN
            one.connect(listener.getsockname())
            one.sendall(b"ping")
            with pytest.raises(ValueError, match="already-connected"):
                one.connect(listener.getsockname())
        assert got == [b"ping"]

    def test_connect_to_nobody(self, contexts: Contexts) -> None:
        one = contexts.client.wrap_socket(self.stream(), server_hostname="localhost")
        self.keep(one)
        assert one.connect_ex((LOCAL, self.unused_port())) == errno.ECONNREFUSED

    def test_arguments(self, contexts: Contexts) -> None:
        wrap = contexts.client.wrap_socket
        with pytest.raises(NotImplementedError, match="only stream sockets"):
            wrap(self.datagram(), server_hostname="localhost")
        with pytest.raises(ValueError, match="check_hostname requires"):
            wrap(self.stream())
        with pytest.raises(ValueError, match="only be specified in client mode"):
            wrap(self.stream(), server_side=True, server_hostname="localhost")
        one, _ = self.pair()
        one.setblocking(False)
        with pytest.raises(ValueError, match="non-blocking sockets"):
            wrap(one, server_hostname="localhost")

    def test_negotiated(self, contexts: Contexts) -> None:
        asked: list[Any] = []
        contexts.server.set_alpn_protocols(["h2", "http/1.1"])
        contexts.client.set_alpn_protocols(["http/1.1"])
        contexts.server.sni_callback = lambda sock, name, context: asked.append((sock, name))
        one, other = self.wrapped(contexts)
        assert one.selected_alpn_protocol() == other.selected_alpn_protocol() == "http/1.1"
        assert asked == [(other, "localhost")]

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_a_session_used_again(self, contexts: Contexts, version: ssl.TLSVersion) -> None:
        contexts.only(version)
        one, other = self.wrapped(contexts)
        other.sendall(b"ticket")
        assert one.recv(100) == b"ticket" and not one.session_reused
        again, _ = self.wrapped(contexts, session=one.session)
        assert again.session_reused

    def test_authentication_after_the_handshake(self, contexts: Contexts) -> None:
        contexts.ask_for_certificate()
        contexts.server.verify_mode = ssl.CERT_REQUIRED
        contexts.server.post_handshake_auth = contexts.client.post_handshake_auth = True
        one, other = self.wrapped(contexts)
        assert other.getpeercert() is None
        other.verify_client_post_handshake()
        other.sendall(b"who are you")
        assert one.recv(100) == b"who are you"
        one.sendall(b"me")
        assert other.recv(100) == b"me"
        names = other.getpeercert()["subjectAltName"]
        assert names == (("DNS", "client.example"),)

    def test_a_class_of_ones_own(self, contexts: Contexts) -> None:
        class Own(ssl.SSLSocket):
            def greet(self) -> int:
                return self.send(b"hello")

            def recv(self, size: int = 1024, flags: int = 0) -> bytes:
                return super().recv(size, flags).upper()

        contexts.client.sslsocket_class = Own
        one, other = self.wrapped(contexts)
        assert isinstance(one, Own) and one.greet() == 5
        assert other.recv(100) == b"hello"
        other.sendall(b"yes")
        assert one.recv(100) == b"YES"

    def test_files(self, contexts: Contexts, tmp_path: Path) -> None:
        one, other = self.wrapped(contexts)
        with one.makefile("rw", newline="\n") as one_file, other.makefile("rb") as other_file:
            one_file.write("a line\n")
            one_file.flush()
            assert other_file.readline() == b"a line\n"
        path = tmp_path / "file"
        path.write_bytes(BIG)
        with path.open("rb") as file, background(lambda: self._receives(other, BIG[4096:])):
            assert one.sendfile(file, 4096) == len(BIG) - 4096
            assert file.tell() == len(BIG)

    def test_reset(self, contexts: Contexts) -> None:
        one, other = self.wrapped(contexts)
        other.sendall(b"ticket")
        one.recv(100)
        one.setsockopt(self.socket.SOL_SOCKET, self.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.close()
        if LOSES_ERRNO:
            assert other.recv(100) == b""
        else:
            with pytest.raises(ConnectionResetError):
                other.recv(100)

    def test_another_thread_closes(self, contexts: Contexts) -> None:
        one, _ = self.wrapped(contexts)
        ended = threading.Event()

        def read() -> None:  # BrokenPipeError: Python 3.13 answers the end of the stream
            try:
                with contextlib.suppress(BrokenPipeError):
                    assert one.recv(100) == b""
            finally:
                ended.set()

        with background(read):
            while not ended.wait(SHORT):
                one.shutdown(self.socket.SHUT_RDWR)
        assert one._sslobj is None and one.version() is None


class TestOnKernel(Tls, Kernel):
    def test_what_is_wrapped_is_the_standard_one(self, contexts: Contexts) -> None:
        one, _ = self.wrapped(contexts)
        assert type(one) is ssl.SSLSocket and isinstance(one, kernel_socket.socket)


class TestOnBarewire(Tls, Barewire):
    def test_what_is_wrapped_is_barewires(self, contexts: Contexts) -> None:
        one, _ = self.wrapped(contexts)
        assert type(one) is not ssl.SSLSocket and isinstance(one, barewire.socket.socket)

    # The standard class's OpenSSL object is no two threads' at once before Python 3.13.
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_bulk_both_ways_at_once(self, contexts: Contexts, version: ssl.TLSVersion) -> None:
        contexts.only(version)
        one, other = self.wrapped(contexts)

        def answer() -> None:
            with background(lambda: other.sendall(BIG)):
                assert receive(other, len(BIG)) == BIG

        with background(answer), background(lambda: one.sendall(BIG)):
            assert receive(one, len(BIG)) == BIG

    def test_a_record_in_pieces(self, contexts: Contexts) -> None:
        """A socket that does not block has a part of a record: the rest is waited for, nothing is lost."""
        one, other = self.pair()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = contexts.server.wrap_bio(incoming, outgoing, server_side=True)

        def serve() -> None:
            while True:
                try:
                    return peer.do_handshake()
                except ssl.SSLWantReadError:
                    other.sendall(outgoing.read())
                    incoming.write(other.recv(1 << 16))

        with background(serve):
            one = self.keep(contexts.client.wrap_socket(one, server_hostname="localhost"))
        peer.write(b"in pieces")
        record = outgoing.read()
        one.setblocking(False)
        for at in range(len(record)):
            with pytest.raises(ssl.SSLWantReadError):
                one.recv(100)
            other.sendall(record[at : at + 1])
            self.select.select([one], [], [], PATIENCE)
        assert one.recv(100) == b"in pieces"

    def test_a_write_is_repeated_with_the_same_bytes(self, contexts: Contexts) -> None:
        one, _ = self.wrapped(contexts)
        one.setblocking(False)
        with pytest.raises(ssl.SSLWantWriteError):
            while True:
                one.send(BIG)
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.length"):
            one.send(BIG[:10])

    def test_certificate_of_a_server(self, contexts: Contexts) -> None:
        listener = self.keep(contexts.server.wrap_socket(self.listener(), server_side=True))
        with background(lambda: self.keep(listener.accept()[0])):
            found = barewire.ssl.get_server_certificate(listener.getsockname(), timeout=PATIENCE)
        assert found.startswith("-----BEGIN CERTIFICATE-----")
