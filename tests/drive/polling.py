"""What the tests of pollers share."""

from __future__ import annotations

import select
from typing import Any

import pytest
from barewire._poller import Poller

from .kit import Sock

ET, ONESHOT, EXCLUSIVE = select.EPOLLET, select.EPOLLONESHOT, select.EPOLLEXCLUSIVE


class Watched:
    """A handle as the poller of Python takes it."""

    def __init__(self, sock: Sock) -> None:
        self._stack, self._sock = sock.stack, sock.handle


def add(poller: Poller, sock: Sock, events: int, cookie: int = 1) -> int:
    return poller.add(Watched(sock), events, cookie)


def refused(call: Any, number: int) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == number
