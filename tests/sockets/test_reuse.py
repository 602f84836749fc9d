"""Who may bind to a name that somebody has: every pair of sockets, on the kernel and on a stack."""

from __future__ import annotations

import errno
import itertools
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import barewire.socket
import pytest

from tests.sockets.kit import LOCAL, own_default_stack

ADDRESS, PORT = socket.SO_REUSEADDR, socket.SO_REUSEPORT
OPTIONS = {"none": (), "addr": (ADDRESS,), "port": (PORT,), "both": (ADDRESS, PORT)}
ANYWHERE = "0.0.0.0"


@pytest.fixture(autouse=True)
def _stack() -> Iterator[None]:
    with own_default_stack():
        yield


def says(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return ""


def socket_with(module: Any, stack: ExitStack, kind: int, options: str) -> Any:
    sock = stack.enter_context(module.socket(type=kind))
    for option in OPTIONS[options]:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    return sock


def comes_second(
    module: Any, kind: int, first: tuple[str, str], second: tuple[str, str]
) -> list[str]:
    """What bind() says to the second, and listen() to each: a listener that was there first, too."""
    found = []
    for early in (False, True)[: 1 + (kind == socket.SOCK_STREAM)]:
        with ExitStack() as stack:
            one = socket_with(module, stack, kind, first[1])
            one.bind((first[0], 0))
            if early:
                one.listen()
            other = socket_with(module, stack, kind, second[1])
            found.append(says(other.bind, (second[0], one.getsockname()[1])))
            if kind == socket.SOCK_STREAM and not found[-1]:
                found += [says(other.listen), says(one.listen)]
    return found


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("addresses", [*itertools.product([LOCAL, ANYWHERE], repeat=2)])
def test_who_may_share_a_name(kind: int, addresses: tuple[str, str]) -> None:
    pairs = [
        tuple(zip(addresses, pair, strict=True)) for pair in itertools.product(OPTIONS, repeat=2)
    ]
    theirs = {p: comes_second(socket, kind, *p) for p in pairs}
    assert {p: comes_second(barewire.socket, kind, *p) for p in pairs} == theirs


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("accepted", [True, False])
def test_a_port_with_connections(options: str, accepted: bool) -> None:
    """The listener is gone: who comes next, and may it listen?"""
    answers = []
    for module in (socket, barewire.socket):
        with ExitStack() as stack:
            listener = socket_with(module, stack, socket.SOCK_STREAM, options)
            listener.bind((LOCAL, 0))
            listener.listen()
            name = listener.getsockname()
            client = stack.enter_context(module.socket())
            client.connect(name)
            stack.enter_context(listener.accept()[0])
            listener.close()
            other = socket_with(module, stack, socket.SOCK_STREAM, options)
            asked = name if accepted else client.getsockname()
            answers.append([says(other.bind, asked), says(other.listen)])
    assert answers[1] == answers[0]
