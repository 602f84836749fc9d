"""Moving bytes: the receiving and sending half of the socket class.

Each method is one call into C, which drives the stack for the calling thread; where C answers
EAGAIN and the timeout allows it, a wait and another try. Blocking is decided in `_wait` and nowhere
else. send, sendall, sendmsg, recv, recv_into and recvmsg begin in `_direct.c`; what it does not end itself
goes on in the method of the same name with an underscore, which is told what C has answered.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from barewire.stack import ffi, lib

from . import _messages, _waiting, batch
from ._address import argument, unpack
from ._buffers import KEEP, fresh, give, readable, take, writable
from ._direct import Direct
from ._errors import check, error
from ._kernel import select as _poll
from ._kernel import socket as _std
from ._options import time_limit

IN, PRI, OUT = _poll.POLLIN, _poll.POLLPRI, _poll.POLLOUT
EAGAIN, BW_EARLY = -errno.EAGAIN, -lib.BW_EARLY
AGAIN_TEXT = os.strerror(errno.EAGAIN)
NOT_ASKED = -lib.BW_NOT_ASKED  # no answer of C
STREAM, DGRAM = int(_std.SOCK_STREAM), int(_std.SOCK_DGRAM)
RECV_FLAGS: int = lib.BW_MSG_PEEK | lib.BW_MSG_TRUNC | lib.BW_MSG_OOB
SEND_FLAGS: int = lib.BW_MSG_MORE | lib.BW_MSG_FASTOPEN | lib.BW_MSG_OOB
FASTOPEN: int = lib.BW_MSG_FASTOPEN
WAITALL: int = lib.BW_MSG_WAITALL
WHOLE: int = lib.BW_WHOLE
BEGUN: int = lib.BW_MSG_BEGUN
OVER = batch.OVER

_recv, _recvfrom = lib.host_recv, lib.host_recvfrom
_recvmsg = lib.host_recvmsg
_send, _sendto = lib.host_send, lib.host_sendto
_bytes = ffi.unpack
_calls = int(ffi.cast("uintptr_t", lib.host_direct_calls()))


class Transfer(Direct):
    """What a socket needs to move bytes, and the methods that do."""

    __slots__ = (
        "_fileno",
        "_host",
        "_proto",
        "_shared",
        "_sock",
        "_spin",
        "_stack",
        "_timeout",
        "_type",
    )

    _stack: Any
    _host: Any  # struct host *
    _sock: Any  # the handle, struct bw_sock *; NULL once closed: C answers EBADF
    _type: int  # SOCK_STREAM or SOCK_DGRAM
    _proto: int
    _fileno: int  # -1: not made yet
    _shared: bool  # its open description has other handles, or had, or its handle other objects
    _timeout: float | None  # seconds
    _spin: int  # ns a call may drive before it answers EAGAIN; 0 for non-blocking sockets

    def _retie(self) -> None:
        """Tells `_direct.c` what handle, spin and timeout are now."""
        host, sock = ffi.cast("uintptr_t", self._host), ffi.cast("uintptr_t", self._sock)
        self._tie(_calls, int(host), int(sock), self._spin, self._timeout == 0 and not self._shared)

    def _share(self) -> None:
        """Whether calls block is no longer this object's alone (O_NONBLOCK)."""
        self._shared = True
        self._retie()

    def _blocks(self) -> bool:
        """Whether a call may wait: as CPython's with a timeout, else as O_NONBLOCK says."""
        if self._timeout:
            return True
        if self._shared or (self._timeout is None and self._fileno >= 0):
            return bool(lib.host_nonblocking(self._host, self._sock) == 0)
        return self._timeout is None

    # ---- waiting -----------------------------------------------------------------------------

    def _wait(
        self, answer: int, events: int, until: int | None, flags: int = 0, begun: bool = False
    ) -> int | None:
        """After an answer below zero: returns the deadline when a new try makes sense, or raises.

        Timeouts and MSG_DONTWAIT act as in CPython: the flag counts only on blocking sockets. For a call
        that has moved something already (begun) the answer is OVER instead of an exception: so nobody
        has to catch one, and none is lost. What a signal handler raises comes through.
        """
        dontwait = self._timeout is None and flags & _std.MSG_DONTWAIT
        if answer != EAGAIN or dontwait or not self._blocks():
            if begun:
                return OVER
            raise error(answer)
        if until is None:
            until = _waiting.deadline(self._stack, self._limit(events))
            late = False
        else:
            late = self._stack.now() >= until  # whatever readiness says
        if late or not _waiting.wait_one(self._stack, self._sock, events, until):
            if begun:
                return OVER
            raise error(EAGAIN) if self._timeout is None else TimeoutError("timed out")
        return until

    def _limit(self, events: int) -> float | None:
        """Seconds that a call may wait; SO_RCVTIMEO and SO_SNDTIMEO count on sockets that block."""
        return self._timeout or time_limit(self, bool(events & OUT))

    # ---- receiving ---------------------------------------------------------------------------

    def _recv(self, answer: int, bufsize: int, flags: int = 0, /) -> bytes:
        if flags or not 0 < bufsize <= KEEP:
            return self._recv_rare(bufsize, flags)
        scratch = take()
        try:
            n = self._receive(answer, scratch.data, bufsize, 0)
            return _bytes(scratch.data, n)  # type: ignore[no-any-return]
        finally:
            give(scratch)

    def _recv_rare(self, bufsize: int, flags: int) -> bytes:
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        if bufsize == 0:
            return b""
        data = fresh(bufsize).data
        n = self._receive(NOT_ASKED, data, bufsize, flags)
        return self._received(data, n, bufsize, flags)

    def _recv_into(self, answer: int, /, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        with writable("recv_into", buffer) as data:
            size = len(data)
            if nbytes:
                if nbytes < 0:
                    raise ValueError("negative buffersize in recv_into")
                if nbytes > size:
                    raise ValueError("buffer too small for requested bytes")
                size = nbytes
            return self._receive(answer, data, size, flags) if size else 0

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """(data, sender's address); a datagram longer than bufsize loses the rest."""
        if flags or not 0 <= bufsize <= KEEP:
            return self._recvfrom_rare(bufsize, flags)
        scratch = take()
        try:
            data, addr, raw = scratch
            n = _recvfrom(self._host, self._sock, data, bufsize, 0, addr, self._spin)
            if n < 0:
                n = self._receive(n, data, bufsize, 0, addr)
            return _bytes(data, n), unpack(raw[:]) if self._type == DGRAM else None
        finally:
            give(scratch)

    def _recvfrom_rare(self, bufsize: int, flags: int) -> tuple[bytes, Any]:
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        data, addr, raw = fresh(max(bufsize, 1))
        n = self._receive(NOT_ASKED, data, bufsize, flags, addr)
        sender = unpack(raw[:]) if self._type == DGRAM else None
        return self._received(data, n, bufsize, flags), sender

    def _written(self, n: int, size: int, flags: int) -> int:
        """How many bytes of a buffer of `size` an answer n has filled. With MSG_TRUNC a stream throws its
        bytes away (tcp(7)), and of a datagram n is the whole length."""
        return 0 if flags & _std.MSG_TRUNC and self._type == STREAM else min(n, size)

    def _received(self, data: Any, n: int, size: int, flags: int) -> bytes:
        """n bytes: those that were received, and zeros where MSG_TRUNC counts others."""
        return bytes(_bytes(data, self._written(n, size, flags))).ljust(n, b"\0")

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As recvfrom, into a writable buffer; (number of bytes, sender's address)."""
        addr = ffi.new("struct bw_addr *")
        with writable("recvfrom_into", buffer) as data:
            if nbytes < 0:
                raise ValueError("negative buffersize in recvfrom_into")
            if nbytes > len(data):
                raise ValueError("nbytes is greater than the length of the buffer")
            n = self._receive(NOT_ASKED, data, nbytes or len(data), flags, addr)
        return n, unpack(ffi.buffer(addr)[:]) if self._type == DGRAM else None

    def _receive(
        self, answer: int, data: Any, size: int, flags: int, addr: Any = None, begun: bool = False,
        message: Any = None,
    ) -> int:  # fmt: skip
        """Goes on after C answered so (NOT_ASKED: nothing yet) until bytes came; their number. `begun`:
        some came before for the same call; 0 for what ends it, an error waits for the next one.
        A message (struct bw_msg) stands for data, size and addr."""
        if answer == EAGAIN and self._timeout == 0 and not self._shared:
            raise BlockingIOError(errno.EAGAIN, AGAIN_TEXT)  # what a program that spins hears most
        engine, events, until = BEGUN if begun else 0, IN, None
        if flags:
            engine |= int(flags) & RECV_FLAGS
            if flags & _std.MSG_ERRQUEUE:
                self._no_such_queue()
            urgent = flags & _std.MSG_OOB and self._type == STREAM
            if urgent and self._timeout is None:
                flags |= _std.MSG_DONTWAIT  # as on Linux: a read of urgent data never waits
            if urgent:
                events = PRI
            if flags & _std.MSG_WAITALL and self._type == STREAM and self._timeout is None:
                return self._receive_all(data, size, flags & ~_std.MSG_WAITALL)
        while True:
            if answer != NOT_ASKED:
                until = self._wait(answer, events, until, flags, begun)
                if until == OVER:
                    return 0
            if message is not None:
                message.flags = engine
                answer = _recvmsg(self._host, self._sock, message, self._spin)
            elif addr is None:
                answer = _recv(self._host, self._sock, data, size, engine, self._spin)
            else:
                answer = _recvfrom(self._host, self._sock, data, size, engine, addr, self._spin)
            if answer >= 0:
                return answer

    def _receive_all(self, data: Any, size: int, flags: int) -> int:
        """MSG_WAITALL: until size bytes came, or the stream ended or failed."""
        if flags & _std.MSG_PEEK and not flags & (_std.MSG_DONTWAIT | _std.MSG_OOB):
            return self._peek_all(data, size, flags)
        got = self._receive(NOT_ASKED, data, size, flags)
        if not got or flags & _std.MSG_PEEK:
            return got
        while got < size:
            n = self._receive(NOT_ASKED, data + got, size - got, flags, begun=True)
            if n == 0:
                break
            got += n
        return got

    def _peek_all(self, data: Any, size: int, flags: int) -> int:
        """The same without taking them: all of them at once, or what is there at the end."""
        engine, until = int(flags) & RECV_FLAGS, None
        while until != OVER:
            answer = _recv(self._host, self._sock, data, size, engine | WAITALL, self._spin)
            if answer >= 0:
                return int(answer)
            until = self._wait(answer, WHOLE, until, flags, begun=True)
        return check(_recv(self._host, self._sock, data, size, engine, 0))

    def _no_such_queue(self) -> None:
        """There is no error queue here, and no urgent data in datagrams: both are always empty."""
        check(lib.host_readiness(self._host, self._sock))
        raise error(EAGAIN)

    def sockatmark(self) -> bool:
        """Whether the next byte to read is the one marked urgent (POSIX sockatmark, SIOCATMARK);
        False for datagrams. A read never crosses the mark."""
        value = ffi.new("int64_t *")
        check(lib.host_getopt(self._host, self._sock, lib.BW_OPT_ATMARK, value))
        return bool(value[0])

    # ---- sending -----------------------------------------------------------------------------

    def _send(self, answer: int, data: Any, flags: int = 0, /) -> int:
        with readable(data) as raw:
            return self._send_on(answer, raw, len(raw), flags, self._whole(flags))

    def _sendall(self, answer: int, data: Any, flags: int = 0, /) -> None:
        with readable(data) as raw:
            self._send_on(answer, raw, len(raw), flags, True, must=True)

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """sendto(data[, flags], address): sends a datagram there; its number of bytes."""
        if len(flags_and_address) == 1:
            flags, address = 0, flags_and_address[0]
        elif len(flags_and_address) == 2:
            flags, address = flags_and_address
        else:
            given = 1 + len(flags_and_address)
            raise TypeError(f"sendto() takes 2 or 3 arguments ({given} given)")
        raw = data if type(data) is bytes else readable(data)
        try:
            size = len(raw)
            engine = self._send_flags(flags) if flags else 0
            addr = argument("sendto", address)
            n: int = _sendto(self._host, self._sock, raw, size, engine, addr, self._spin)
            if engine & FASTOPEN and self._type == STREAM:
                return self._send_on(self._opened(n, flags), raw, size, flags, self._whole(flags))
            if n == size:
                return n
            return self._send_on(n, raw, size, flags, self._whole(flags), addr)
        finally:
            if raw is not data:
                ffi.release(raw)

    def _whole(self, flags: int) -> bool:
        """Whether a write takes all bytes before it returns: on blocking sockets."""
        return self._timeout is None and not flags & _std.MSG_DONTWAIT

    def _opened(self, answer: int, flags: int) -> int:
        """After a write that began a connection, which took that many bytes for the SYN (or EINPROGRESS:
        none): a blocking call waits for the connection and tells of its failure as Linux does, where it is a
        connect(2); one with a timeout does not wait, as CPython's. What is to be said to _send_on."""
        if not self._whole(flags) or (answer < 0 and answer != -errno.EINPROGRESS):
            return answer
        _waiting.wait_one(self._stack, self._sock, OUT, _waiting.NEVER)
        how = lib.host_connect(self._host, self._sock, ffi.NULL)
        if how < 0 and how != -errno.EISCONN:  # it is connected, and somebody was told
            raise error(how)
        return answer if answer >= 0 else NOT_ASKED

    def _send_flags(self, flags: int) -> int:
        if flags & _std.MSG_OOB and self._type == DGRAM:
            raise error(-errno.EOPNOTSUPP)
        return int(flags) & SEND_FLAGS

    def _send_on(
        self, answer: int, raw: Any, size: int, flags: int, whole: bool, addr: Any = None,
        must: bool = False,
    ) -> int:  # fmt: skip
        """Goes on after C answered so: until some bytes are sent, or (whole) all of them are.

        An error after the first bytes waits for the next call, except for sendall (must).
        """
        data = ffi.from_buffer("char[]", raw) if type(raw) is bytes else raw
        engine = self._send_flags(flags) & ~FASTOPEN
        sent, until = 0, None
        while True:
            if answer >= 0:
                sent += answer
                if sent == size or not whole or not answer:
                    return sent
                if must and self._timeout is None:
                    until = (
                        None  # SO_SNDTIMEO is for one write of the kernel's, and each made progress
                    )
            elif answer == BW_EARLY:
                begin = _send(self._host, self._sock, data, size, engine | FASTOPEN, self._spin)
                answer = self._opened(begin, flags)
                continue
            elif answer != NOT_ASKED:
                until = self._wait(answer, OUT, until, flags, bool(engine & BEGUN))
                if until == OVER:
                    return sent
            rest = size - sent
            if sent and not must:
                engine |= BEGUN
            if addr is None:
                answer = _send(self._host, self._sock, data + sent, rest, engine, self._spin)
            else:
                answer = _sendto(
                    self._host, self._sock, data + sent, rest, engine, addr, self._spin
                )

    recv_batch, send_batch = batch.recv_batch, batch.send_batch
    _recvmsg, recvmsg_into = _messages.recvmsg, _messages.recvmsg_into
    _sendmsg, sendfile = _messages.sendmsg, _messages.sendfile
