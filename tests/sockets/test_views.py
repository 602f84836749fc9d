"""Views of a caller's memory: none outlives its call, not even in the traceback of what the call raised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import barewire
import pytest

CALLS: dict[str, Callable[[Any, memoryview], object]] = {
    "send": lambda sock, view: sock.send(view),
    "sendall": lambda sock, view: sock.sendall(view),
    "sendto": lambda sock, view: sock.sendto(view, ("127.0.0.1", 9)),
    "sendto with flags": lambda sock, view: sock.sendto(view, 1 << 20, ("256.0.0.1", 9)),
    "sendmsg": lambda sock, view: sock.sendmsg([view]),
    "recv_into": lambda sock, view: sock.recv_into(view),
    "recv_into too much": lambda sock, view: sock.recv_into(view, 2000),
    "recvfrom_into": lambda sock, view: sock.recvfrom_into(view),
    "recvfrom_into too much": lambda sock, view: sock.recvfrom_into(view, 2000),
    "recvmsg_into": lambda sock, view: sock.recvmsg_into([view, view]),
    "recvmsg_into of another": lambda sock, view: sock.recvmsg_into([view, b"read-only"]),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_a_call_raises_keeps_no_view(call: str) -> None:
    """A memoryview that is looked into takes CPython down, where the garbage collector meets it in a cycle
    with the look: with the exception's traceback it can be in one."""
    with barewire.Stack("pipe:a") as stack, stack.socket() as sock:
        sock.setblocking(False)
        view = memoryview(bytearray(1000))
        with pytest.raises((OSError, TypeError, ValueError)) as raised:
            CALLS[call](sock, view)
        view.release()  # BufferError: something looks into it
        assert raised.value.__traceback__ is not None
