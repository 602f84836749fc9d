"""A call ends at its time limit whatever readiness says: where it is always said, and each try finds nothing.

Virtual time: a try takes a millisecond here.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import barewire
import pytest
from barewire import _inet, _messages, _transfer, batch
from barewire.stack import lib

MS = 1_000_000
LIMIT = 40  # ms
LOCAL = "127.0.0.1"
NOSIGNAL = socket.MSG_NOSIGNAL  # with flags a call is Python's from its beginning


class Lies:
    """The engine, but for calls that answer EAGAIN, a millisecond later each."""

    def __init__(self) -> None:
        self.now, self.tries = 10**9, 0
        self.stack = barewire.Stack(clock=lambda: self.now)

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)

    def again(self, *arguments: Any) -> int:
        self.tries += 1
        assert self.tries <= LIMIT + 1, "it goes on for ever"
        self.now += MS
        lib.host_set_now(self.stack.host, self.now)
        return -errno.EAGAIN

    host_accept = again


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lies]:
    made = Lies()
    for name in ("_recv", "_recvfrom", "_recvmsg", "_send", "_sendto"):
        monkeypatch.setattr(_transfer, name, made.again)
    for name in ("_recv_batch", "_send_batch"):
        monkeypatch.setattr(batch, name, made.again)
    monkeypatch.setattr(_messages, "_sendmsg", made.again)
    monkeypatch.setattr(_inet, "lib", made)
    yield made
    made.stack.close()


CALLS: dict[str, Callable[[Any], Any]] = {
    "recv": lambda s: s.recv(10, NOSIGNAL),
    "recv_into": lambda s: s.recv_into(bytearray(10), 0, NOSIGNAL),
    "recvfrom": lambda s: s.recvfrom(10),
    "recvfrom_into": lambda s: s.recvfrom_into(bytearray(10)),
    "recvmsg": lambda s: s.recvmsg(10, 0, NOSIGNAL),
    "recvmsg_into": lambda s: s.recvmsg_into([bytearray(10)]),
    "send": lambda s: s.send(b"x", NOSIGNAL),
    "sendall": lambda s: s.sendall(b"x", NOSIGNAL),
    "sendto": lambda s: s.sendto(b"x", s.getsockname()),
    "sendmsg": lambda s: s.sendmsg([b"x"], [], 0, s.getsockname()),
    "sendmsg with control": lambda s: s.sendmsg(
        [b"x"], [(socket.IPPROTO_IP, socket.IP_TOS, b"\0")]
    ),
    "recv_batch": lambda s: s.recv_batch(batch.Batch(4, 100)),
    "send_batch": lambda s: s.send_batch(batch.Batch(4, 100), count=2),
}


@pytest.mark.parametrize("by_option", [False, True])
@pytest.mark.parametrize("call", CALLS)
def test_a_datagram_socket(lies: Lies, call: str, by_option: bool) -> None:
    """It has a datagram to read and room to send: so it is ready all the time."""
    with lies.stack.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind((LOCAL, 0))
        sock.connect(sock.getsockname())
        sock.setblocking(False)
        assert sock.send(b"here") == 4  # begins in C, where nobody lies
        while lies.stack.poll():
            pass
        if by_option:
            sock.setblocking(True)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", 0, LIMIT * 1000))
        else:
            sock.settimeout(LIMIT / 1000)
        with pytest.raises(BlockingIOError if by_option else TimeoutError):
            CALLS[call](sock)
        assert LIMIT <= lies.tries <= LIMIT + 1


def test_accepting(lies: Lies) -> None:
    with lies.stack.socket() as listener, lies.stack.socket() as client:
        listener.bind((LOCAL, 0))
        listener.listen()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        while lies.stack.poll():
            pass
        listener.settimeout(LIMIT / 1000)
        with pytest.raises(TimeoutError):
            listener.accept()
        assert LIMIT <= lies.tries <= LIMIT + 1
