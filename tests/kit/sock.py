"""A socket of the engine: C's calls with Python's errors, and a look inside. It never blocks.

Tests of protocols use this one, because it shows what the engine does and nothing else, and because
options that the socket module has no name for can be set. The drop-in class has tests of its own.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

from barewire import Stack, TcpInfo
from barewire._errors import errno_of
from barewire.stack import ffi, lib
from barewire.stack.port import from_ip16, ip16

IN, OUT, ERR, HUP, RDHUP = 0x1, 0x4, 0x8, 0x10, 0x2000
MSG_PEEK, MSG_TRUNC, MSG_MORE = 0x2, 0x20, 0x8000
STATES = {
    getattr(lib, f"BW_TCP_{name}"): name
    for name in [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RCVD",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "TIME_WAIT",
        "CLOSED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ]
}


_BUFFER = ffi.new("char[]", 1 << 20)


def _pack(host: str, port: int) -> Any:
    addr = ffi.new("struct bw_addr *")
    addr.ip, addr.port = ip16(IPv4Address(host)), port
    return addr


def _unpack(addr: Any) -> tuple[str, int]:
    raw = bytes(ffi.buffer(addr.ip))
    return str(from_ip16(raw)) if any(raw) else "0.0.0.0", int(addr.port)


def check(result: int) -> int:
    """The answer of a C call; raises OSError (BlockingIOError for EAGAIN) if it is an error."""
    if result < 0:
        number = errno_of(result)
        raise OSError(number, os.strerror(number))
    return int(result)


class Sock:
    """One socket. `kind` is lib.BW_SOCK_TCP or BW_SOCK_UDP."""

    def __init__(self, stack: Stack, kind: int = lib.BW_SOCK_TCP, handle: Any = None) -> None:
        self.stack = stack
        self.kind = kind
        self._host = stack.host
        self._handle = stack.open_handle(kind) if handle is None else handle

    # ---- naming and opening ------------------------------------------------------------------

    def bind(self, host: str, port: int) -> Sock:
        check(lib.host_bind(self._host, self._handle, _pack(host, port)))
        return self

    def listen(self, backlog: int = 128) -> Sock:
        check(lib.host_listen(self._host, self._handle, backlog))
        return self

    def connect(self, host: str, port: int) -> Sock:
        """Begins; a TCP socket is connected when it is writable."""
        result = lib.host_connect(self._host, self._handle, _pack(host, port))
        if result != -errno.EINPROGRESS:
            check(result)
        return self

    def connect_ex(self, host: str, port: int) -> int:
        answer = int(lib.host_connect(self._host, self._handle, _pack(host, port)))
        return errno_of(answer) if answer else 0

    def disconnect(self) -> None:
        check(lib.host_connect(self._host, self._handle, ffi.new("struct bw_addr *")))

    def accept(self) -> Sock:
        out, peer = ffi.new("struct bw_sock **"), ffi.new("struct bw_addr *")
        check(lib.host_accept(self._host, self._handle, out, peer))
        return Sock(self.stack, self.kind, out[0])

    @property
    def name(self) -> tuple[str, int]:
        return self._name(lib.host_sockname)

    @property
    def peer(self) -> tuple[str, int]:
        return self._name(lib.host_peername)

    def _name(self, ask: Callable[[Any, Any, Any], int]) -> tuple[str, int]:
        addr = ffi.new("struct bw_addr *")
        check(ask(self._host, self._handle, addr))
        return _unpack(addr)

    # ---- data --------------------------------------------------------------------------------

    def send(self, data: bytes, flags: int = 0) -> int:
        answer = lib.host_send(self._host, self._handle, data, len(data), flags, 0)
        if answer == -lib.BW_EARLY:  # the first write after TCP_FASTOPEN_CONNECT
            flags |= lib.BW_MSG_FASTOPEN
            answer = lib.host_send(self._host, self._handle, data, len(data), flags, 0)
        return check(answer)

    def sendto(self, data: bytes, host: str, port: int, flags: int = 0) -> int:
        to = _pack(host, port)
        return check(lib.host_sendto(self._host, self._handle, data, len(data), flags, to, 0))

    def recv(self, size: int = 1 << 20, flags: int = 0) -> bytes:
        size = min(size, len(_BUFFER))
        n = check(lib.host_recv(self._host, self._handle, _BUFFER, size, flags, 0))
        return bytes(ffi.buffer(_BUFFER, min(n, size)))

    def recvfrom(self, size: int = 1 << 16, flags: int = 0) -> tuple[bytes, tuple[str, int]]:
        source = ffi.new("struct bw_addr *")
        n = check(lib.host_recvfrom(self._host, self._handle, _BUFFER, size, flags, source, 0))
        return bytes(ffi.buffer(_BUFFER, min(n, size))), _unpack(source)

    def read_all(self) -> bytes:
        """What is there now; b"" if nothing is."""
        found = bytearray()
        while True:
            try:
                part = self.recv()
            except BlockingIOError:
                return bytes(found)
            if not part:
                return bytes(found)
            found += part

    # ---- closing -----------------------------------------------------------------------------

    def shutdown(self, how: int = 1) -> None:
        check(lib.host_shutdown(self._host, self._handle, how))

    def close(self) -> None:
        check(lib.host_sock_close(self._host, self._handle))

    def abort(self) -> None:
        check(lib.host_sock_abort(self._host, self._handle))

    # ---- options and a look inside -------------------------------------------------------------

    def set(self, **options: int) -> Sock:
        """`sock.set(nodelay=1, keepidle=10)`: names as in BW_OPT_*, values in its units."""
        for name, value in options.items():
            option = getattr(lib, f"BW_OPT_{name.upper()}")
            check(lib.host_setopt(self._host, self._handle, option, value))
        return self

    def get(self, name: str) -> int:
        value = ffi.new("int64_t *")
        option = getattr(lib, f"BW_OPT_{name.upper()}")
        check(lib.host_getopt(self._host, self._handle, option, value))
        return int(value[0])

    def take_error(self) -> int:
        """SO_ERROR: an errno or 0."""
        return check(lib.host_take_error(self._host, self._handle))

    @property
    def ready(self) -> int:
        """poll(2)'s bits: IN, OUT, ERR, HUP, RDHUP."""
        return check(lib.host_readiness(self._host, self._handle))

    @property
    def readable(self) -> bool:
        return bool(self.ready & IN)

    @property
    def writable(self) -> bool:
        return bool(self.ready & OUT)

    @property
    def inside(self) -> SimpleNamespace:
        """struct bw_tcp_snapshot: snd_una, cwnd, rto, …"""
        snapshot = ffi.new("struct bw_tcp_snapshot *")
        check(lib.host_snapshot(self._host, self._handle, snapshot))
        fields = ffi.typeof("struct bw_tcp_snapshot").fields
        return SimpleNamespace(**{name: int(getattr(snapshot, name)) for name, _ in fields})

    @property
    def info(self) -> TcpInfo:
        """TCP_INFO."""
        out = ffi.new("struct bw_tcp_info *")
        check(lib.host_tcp_info(self._host, self._handle, out))
        return TcpInfo.from_bytes(ffi.buffer(out)[:])

    @property
    def state(self) -> str:
        return STATES[self.inside.state]

    @property
    def unread(self) -> int:
        return check(lib.host_queued_bytes(self._host, self._handle, 0))

    @property
    def unacked(self) -> int:
        return check(lib.host_queued_bytes(self._host, self._handle, 1))
