"""One TLS connection over a barewire socket: OpenSSL works on memory, the socket moves the bytes.

It stands where the standard library's SSLSocket has its `_sslobj`: the same methods, errors and texts. Of
the socket it reads one record at a time (RFC 8446 5.1: five bytes of header say its length) and never a byte
beyond, so that select() knows of all that was not read, and what follows after unwrap() is the program's.

Several threads may use it: OpenSSL's object is one thread's at a time, and nobody holds it while he waits.
"""

from __future__ import annotations

import errno
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import ref

from barewire.stack import ffi, lib

from .._buffers import give, take
from .._errors import error
from .._transfer import EAGAIN, IN, OUT
from . import record

_recv, _send = lib.host_recv, lib.host_send
ENDED = "EOF occurred in violation of protocol"
# Whether a reset ends as an end of stream does in the running Python (gh-115627).
LOSES_ERRNO = sys.version_info < (3, 11, 9) or (3, 12) <= sys.version_info < (3, 12, 3)
CHUNK = 8 << 14  # bytes that are encrypted before they are handed to the socket: eight records


class Channel:
    """owner: the SSLSocket, whose transfer methods it stands under.

    Errors are `ssl`'s: SSLWantReadError and SSLWantWriteError on sockets that do not block, SSLEOFError
    where the stream ends without close_notify, TimeoutError with the operation's name.
    """

    def __init__(
        self, owner: Any, context: Any, server_side: bool, hostname: str | None, session: Any
    ) -> None:
        self._owner = ref(owner)  # it holds this
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context._wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=hostname,
            owner=owner, session=session,
        )  # fmt: skip
        self._object = threading.RLock()  # OpenSSL's object and its two BIOs; callbacks come back
        self._reading, self._writing, self._writers = (threading.Lock() for _ in range(3))
        self._record = record.Reader()
        self._read_so_far = (
            0  # how often somebody fed the object: who waited for that need not read
        )
        self._unsent = memoryview(b"")  # encrypted, and refused by a socket that does not block
        self._ended = False  # by close_notify or an error: what follows may not be TLS's
        self._taken = 0  # bytes that were encrypted of a write() that could not end

    # ---- what SSLSocket asks for -------------------------------------------------------------

    def do_handshake(self) -> None:
        _, until = self._run(self._ssl.do_handshake, what="handshake")
        self._flush(until, "handshake")

    def read(self, size: int, buffer: Any = None) -> Any:
        """bytes, or into the buffer and their number; b"" or 0 after close_notify."""
        if buffer is not None and memoryview(buffer).readonly:
            return self._ssl.read(size, buffer)  # has the error's words
        arguments = (size,) if buffer is None else (size, buffer)
        until = None
        if not (self._ended or self._ssl.pending() or self._incoming.pending):
            until = self._feed(self._read_so_far, None, None, "read")  # its exception is dear
        got = self._run(self._ssl.read, *arguments, what="read", until=until)[0]
        self._ended = not got and size > 0
        return got

    def write(self, data: Any) -> int:
        """Sends all of the bytes; their number.

        On a socket that does not block, SSLWantWriteError until all of them are in the send queue: the
        program calls again with the same bytes, as OpenSSL has it, and what was encrypted is not again.
        """
        with memoryview(data) as view, view.cast("B") as raw, self._writers:
            if len(raw) < self._taken:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "[SSL: BAD_LENGTH] bad length")
            until = self._flush(None, "write")
            while True:
                piece = raw[self._taken : self._taken + CHUNK]
                taken, until = self._run(self._ssl.write, piece, what="write", until=until)
                self._taken += taken
                if self._taken == len(raw):
                    break
                until = self._flush(until, "write")
            self._flush(until, "write")
            self._taken = 0
            return len(raw)

    def shutdown(self) -> Any:
        """Sends close_notify, waits for the peer's; the socket, for clear text."""
        _, until = self._run(self._ssl.shutdown, what="read")
        self._flush(until, "write")
        return self._owner()

    @property
    def context(self) -> Any:
        return self._ssl.context

    @context.setter
    def context(self, context: Any) -> None:
        self._ssl.context = context

    @property
    def session(self) -> Any:
        return self._ssl.session

    @session.setter
    def session(self, session: Any) -> None:
        self._ssl.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)  # cipher, version, getpeercert, pending and the like

    # ---- moving ------------------------------------------------------------------------------

    def _run(
        self, call: Callable[..., Any], *arguments: Any, what: str, until: int | None = None
    ) -> tuple[Any, int | None]:
        """Calls OpenSSL until it has its answer: (that, the deadline). What it has to send meanwhile is sent,
        what it needs is received; what its answer leaves to be sent is the caller's to flush."""
        while True:
            try:
                with self._object:
                    seen = self._read_so_far
                    answer = call(*arguments)
                    wants = None
            except ssl.SSLWantReadError as problem:
                wants = problem
            except BaseException:
                self._ended = True  # or not: OpenSSL is asked before the socket
                self._tell_the_peer()
                raise
            if wants is None:
                return answer, until
            until = self._flush(until, what)
            until = self._feed(seen, wants, until, what)

    def _feed(self, seen: int, wants: Exception | None, until: int | None, what: str) -> int | None:
        """Gives OpenSSL the next record, or what there is of it; raises `wants` if there is nothing now."""
        with self._reading:
            if self._read_so_far != seen:
                return until  # another thread has
            scratch = take()
            try:
                begun = False
                while True:
                    n, until = self._receive(
                        scratch.data, self._record.wanted, until, wants, begun, what
                    )
                    if n < 0:
                        return until  # of a record that has come in part
                    begun = True
                    with self._object:
                        self._read_so_far += 1
                        if not n:
                            self._incoming.write_eof()
                            return until
                        piece = ffi.buffer(scratch.data, n)
                        self._incoming.write(piece)
                    if self._record.has(piece):
                        return until
            finally:
                give(scratch)

    def _receive(
        self,
        data: Any,
        size: int,
        until: int | None,
        wants: Exception | None,
        begun: bool,
        what: str,
    ) -> tuple[int, int | None]:
        """(bytes, deadline); -1: no more now, on a socket that does not block."""
        owner = self._socket()
        while True:
            answer = _recv(owner._host, owner._sock, data, size, 0, owner._spin)
            if answer >= 0:
                return answer, until
            if answer == EAGAIN and owner.gettimeout() == 0:
                if begun or wants is None:
                    return -1, until
                raise wants
            until = self._wait(answer, IN, until, what)

    def _flush(self, until: int | None, what: str) -> int | None:
        """Sends what OpenSSL has encrypted, in its order; SSLWantWriteError where it would block.

        A reader does not wait for a thread that sends (whose peer may wait for this reader): that one sends
        what came meanwhile too.
        """
        while self._unsent or self._outgoing.pending:
            if not self._writing.acquire(blocking=what != "read"):
                break
            try:
                until = self._send_all(until, what)
            except ssl.SSLWantWriteError:
                if what != "read":
                    raise
                break  # it may be read nevertheless; the next call sends
            finally:
                self._writing.release()
        return until

    def _send_all(self, until: int | None, what: str) -> int | None:
        owner = self._socket()
        while True:
            if not self._unsent:
                with self._object:
                    self._unsent = memoryview(self._outgoing.read())
                if not self._unsent:
                    return until
            with ffi.from_buffer("char[]", self._unsent) as data:
                answer = _send(owner._host, owner._sock, data, len(data), 0, owner._spin)
            if answer >= 0:
                self._unsent = self._unsent[answer:]
            elif answer == EAGAIN and owner.gettimeout() == 0:
                raise ssl.SSLWantWriteError(
                    ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
                )
            else:
                until = self._wait(answer, OUT, until, what)

    def _socket(self) -> Any:
        owner = self._owner()
        if owner is None:
            raise ReferenceError("the socket of this TLS connection is gone")
        return owner

    def _tell_the_peer(self) -> None:
        """An alert goes out with the error that it tells of, if there is room, or with what is being sent."""
        owner = self._socket()
        if not self._writing.acquire(blocking=False):
            return
        try:
            with self._object:
                self._unsent = memoryview(bytes(self._unsent) + self._outgoing.read())
            if self._unsent:
                with ffi.from_buffer("char[]", self._unsent) as data:
                    answer = _send(owner._host, owner._sock, data, len(data), 0, 0)
                self._unsent = self._unsent[max(answer, 0) :]
        finally:
            self._writing.release()

    def _wait(self, answer: int, events: int, until: int | None, what: str) -> int | None:
        if answer == -errno.EBADF:
            raise error(answer)
        try:
            waited: int | None = self._socket()._wait(answer, events, until)
            return waited
        except TimeoutError:
            raise TimeoutError(f"The {what} operation timed out") from None
        except OSError:
            if LOSES_ERRNO and what in ("read", "write"):
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, ENDED) from None
            raise
