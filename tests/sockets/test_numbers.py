"""The numbers of barewire's sockets, once the program has closed them itself and they are used again."""

from __future__ import annotations

import os
import socket as kernel
from collections.abc import Iterator
from typing import Any

import barewire
import pytest


@pytest.fixture
def stack() -> Iterator[barewire.Stack]:
    with barewire.Stack(exit_linger=0) as made:
        yield made


def reused(fd: int) -> kernel.socket:
    """A kernel socket, readable, with this number, which the program closed before."""
    os.close(fd)
    sock = kernel.socket(kernel.AF_INET, kernel.SOCK_DGRAM)
    if sock.fileno() != fd:
        os.dup2(sock.fileno(), fd)
        sock.close()
        sock = kernel.socket(fileno=fd)
    sock.bind(("127.0.0.1", 0))
    sock.sendto(b"x", sock.getsockname())
    return sock


def ways() -> list[Any]:
    def select(fd: int) -> bool:
        return barewire.select.select([fd], [], [], 0)[0] == [fd]

    def poll(fd: int) -> bool:
        poll = barewire.select.poll()
        poll.register(fd, 1)
        return poll.poll(0) == [(fd, 1)]

    def selector(fd: int) -> bool:
        with barewire.selectors.DefaultSelector() as selector:
            selector.register(fd, 1)
            return len(selector.select(0)) == 1

    def by_number(fd: int) -> bool:
        sock = barewire.socket.socket(fileno=os.dup(fd))
        with sock:
            return not isinstance(sock, barewire._inet.Transfer) and sock.recv(1) == b"x"

    return [select, poll, selector, by_number]


@pytest.mark.parametrize("way", ways(), ids=lambda way: way.__name__)
def test_a_number_used_again_is_the_new_one(stack: barewire.Stack, way: Any) -> None:
    with stack.socket(type=kernel.SOCK_DGRAM) as sock:
        fd = sock.fileno()
        with reused(fd):
            assert way(fd)


def test_a_socket_that_goes_leaves_the_number_to_the_next(stack: barewire.Stack) -> None:
    one = stack.socket(type=kernel.SOCK_DGRAM)
    fd = one.fileno()
    os.close(fd)
    with stack.socket(type=kernel.SOCK_DGRAM) as two:
        assert two.fileno() == fd, "the lowest that is free"
        one.close()
        two.bind(("127.0.0.1", 0))
        two.sendto(b"x", two.getsockname())
        assert barewire.select.select([fd], [], [], 5)[0] == [fd]
        os.fstat(fd)


def test_a_detached_socket_ends_with_its_number(stack: barewire.Stack) -> None:
    fd = stack.socket(type=kernel.SOCK_DGRAM).detach()
    with reused(fd) as stranger:
        barewire.socket.close(fd)
        with pytest.raises(OSError):
            os.fstat(fd)
        stranger.detach()
    assert stack.stats()["sockets"] == 0
