"""Blocking TLS sockets for the peers of the tests, by memory BIOs.

A barewire socket cannot be wrapped by `ssl` yet. The loop's own TLS, which the tests are about, needs no such
socket; the client or server in a thread that a test meets it with does.
"""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
RECORD = 1 << 15


class TlsSocket:
    """What those peers use of ssl.SSLSocket."""

    def __init__(
        self,
        context: ssl.SSLContext,
        sock: Any,
        server_side: bool,
        handshake: bool,
        name: str | None,
    ) -> None:
        self._sock, self.context = sock.dup(), context
        self._sock.settimeout(sock.gettimeout())
        sock.close()
        self._read, self._written = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._read, self._written, server_side, name)
        self._io_refs, self._closed, self._handshake = 0, False, handshake

    def __getattr__(self, name: str) -> Any:
        """Addresses, options and time-outs are the socket's, certificates and ciphers TLS's."""
        return getattr(self._sock if hasattr(self._sock, name) else self._tls, name)

    def _until(self, call: Callable[[], T]) -> T:
        while True:
            try:
                done = call()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._sock.recv(RECORD):
                    self._read.write(data)
                else:
                    self._read.write_eof()
                continue
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert
                raise
            self._flush()
            return done

    def _flush(self) -> None:
        if self._written.pending:
            self._sock.sendall(self._written.read())

    def do_handshake(self) -> None:
        self._until(self._tls.do_handshake)

    def connect(self, address: Any) -> None:
        self._sock.connect(address)
        if self._handshake:
            self.do_handshake()

    def unwrap(self) -> Any:
        self._until(self._tls.unwrap)
        return self._sock

    def recv(self, size: int = 1024, flags: int = 0) -> bytes:
        try:
            return self._until(lambda: self._tls.read(size))
        except ssl.SSLEOFError:  # suppress_ragged_eofs, which is the default
            return b""
        except ssl.SSLZeroReturnError:
            return b""

    read = recv

    def recv_into(self, buffer: Any, size: int | None = None, flags: int = 0) -> int:
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        return self._until(lambda: self._tls.write(data))

    write = send

    def sendall(self, data: Any, flags: int = 0) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self.send(rest) :]

    def shutdown(self, how: int) -> None:
        self._sock.shutdown(how)

    def makefile(self, mode: str = "r", buffering: int = -1) -> Any:
        raw = socket.SocketIO(self, "rb" if "r" in mode else "wb")  # type: ignore[arg-type]
        self._io_refs += 1
        if buffering == 0:
            return raw
        return io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)

    def _decref_socketios(self) -> None:
        self._io_refs -= 1
        if self._closed:
            self.close()

    def close(self) -> None:
        self._closed = True
        if self._io_refs <= 0:
            self._sock.close()

    def detach(self) -> int:
        return int(self._sock.detach())

    def __enter__(self) -> TlsSocket:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def wrap_socket(
    context: ssl.SSLContext,
    sock: Any,
    server_side: bool = False,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    server_hostname: str | None = None,
    session: Any = None,
) -> TlsSocket:
    """In the place of SSLContext.wrap_socket."""
    wrapped = TlsSocket(context, sock, server_side, do_handshake_on_connect, server_hostname)
    if do_handshake_on_connect:
        try:
            wrapped.getpeername()
        except OSError:
            return wrapped  # as it connects
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
    return wrapped
