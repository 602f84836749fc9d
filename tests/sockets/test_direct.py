"""send, sendall, recv and recv_into in every form do the same: the plain ones, which `_direct.c` ends,
and the others, which go the long way through Python."""

from __future__ import annotations

import errno
import inspect
import threading
from collections.abc import Callable
from typing import Any

import barewire
import pytest
from barewire._transfer import Transfer

from tests.sockets.kit import Barewire, Kernel, Network, own_default_stack

SENDS: dict[str, Callable[[Any, bytes], Any]] = {
    "bytes": lambda s, data: s.send(data),
    "bytearray": lambda s, data: s.send(bytearray(data)),
    "a part": lambda s, data: s.send(memoryview(b"<" + data + b">")[1:-1]),
    "flags": lambda s, data: s.send(data, 0),
    "all": lambda s, data: s.sendall(data) or len(data),
    "all, flags": lambda s, data: s.sendall(data, 0) or len(data),
}


class Size(int):
    pass


def into(sock: Any, *args: Any, **named: Any) -> bytes:
    buffer = bytearray(64)
    return bytes(buffer[: sock.recv_into(buffer, *args, **named)])


RECEIVES: dict[str, Callable[[Any], bytes]] = {
    "recv": lambda s: s.recv(64),
    "recv, at the shortcut's bound": lambda s: s.recv(16384),
    "recv, beyond it": lambda s: s.recv(16385),
    "recv, a size of another type": lambda s: s.recv(Size(64)),
    "recv, flags": lambda s: s.recv(64, 0),
    "into": lambda s: into(s),
    "into, bytes": lambda s: into(s, 64),
    "into, all words": lambda s: into(s, 0, 0),
    "into, named": lambda s: into(s, nbytes=64, flags=0),
}


class Forms(Network):
    @pytest.mark.parametrize("receive", RECEIVES.values(), ids=RECEIVES)
    @pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
    def test_the_same_arrives(
        self, send: Callable[[Any, bytes], Any], receive: Callable[[Any], bytes]
    ) -> None:
        one, other = self.pair()
        for data in (b"x", b"market data"):
            assert send(one, data) == len(data)
            assert receive(other) == data
        one.shutdown(self.socket.SHUT_WR)
        assert receive(other) == b""

    @pytest.mark.parametrize("receive", RECEIVES.values(), ids=RECEIVES)
    def test_nothing_there(self, receive: Callable[[Any], bytes]) -> None:
        one, _ = self.pair()
        one.settimeout(0.01)
        with pytest.raises(TimeoutError, match="timed out"):
            receive(one)
        one.setblocking(False)
        with pytest.raises(BlockingIOError) as caught:
            receive(one)
        assert caught.value.errno == errno.EAGAIN
        assert caught.value.strerror == "Resource temporarily unavailable"

    @pytest.mark.parametrize("send", SENDS.values(), ids=SENDS)
    def test_no_room(self, send: Callable[[Any, bytes], Any]) -> None:
        one, other = self.pair()
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                send(one, bytes(65536))
        other.close()

    @pytest.mark.parametrize("receive", RECEIVES.values(), ids=RECEIVES)
    def test_closed(self, receive: Callable[[Any], bytes]) -> None:
        one, other = self.pair()
        one.close()
        other.close()
        for call in (lambda: receive(one), *(lambda f=f: f(one, b"x") for f in SENDS.values())):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF

    def test_nothing_moves(self) -> None:
        one, other = self.pair()
        assert one.send(b"") == 0
        assert one.sendall(bytearray()) is None
        assert other.recv_into(bytearray()) == 0
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)

    def test_too_many_words(self) -> None:
        one, _ = self.pair()
        for call in (one.send, one.sendall, one.recv, one.recv_into):
            for words in ((), (b"x", 0, 0, 0), (b"x",) * 20):
                with pytest.raises(TypeError):
                    call(*words)
            with pytest.raises(TypeError):
                call(b"x", colour=1)

    def test_a_part_of_every_other_byte(self) -> None:
        one, _ = self.pair()
        for call in (one.send, one.sendall):
            with pytest.raises((TypeError, BufferError)):
                call(memoryview(bytes(8))[::2])
        with pytest.raises((TypeError, BufferError)):
            one.recv_into(memoryview(bytearray(8))[::2])

    def test_a_buffer_in_use_keeps_its_size(self) -> None:
        one, other = self.pair()
        buffer = bytearray(8)
        got: list[int] = []
        reader = threading.Thread(target=lambda: got.append(other.recv_into(buffer)))
        reader.start()
        one.sendall(b"now")
        reader.join()
        buffer += b"free again"
        assert got == [3] and buffer == b"now\0\0\0\0\0free again"


class TestKernel(Forms, Kernel):
    pass


class TestBarewire(Forms, Barewire):
    def test_the_connection_moves_to_another_object(self) -> None:
        one, other = self.pair()
        moved = self.keep(self.socket.socket(fileno=one.detach()))
        assert moved.send(b"x") == 1 and other.recv(1) == b"x"
        for call in (lambda: one.send(b"x"), lambda: one.recv(1)):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF


def test_a_socket_that_outlives_its_stack() -> None:
    with own_default_stack():
        sock = barewire.socket.socket()
    for call in (lambda: sock.send(b"x"), lambda: sock.recv(1)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    sock.close()


@pytest.mark.parametrize("name", ["send", "sendall", "recv", "recv_into"])
def test_what_the_calls_say_of_themselves(name: str) -> None:
    method = getattr(Transfer, name)
    assert method.__doc__
    long_way = inspect.signature(getattr(Transfer, f"_{name}"))
    words = [
        (p.name, p.kind, p.default) for p in long_way.parameters.values() if p.name != "answer"
    ]
    ours = inspect.signature(method).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours][1:] == words[1:]
