"""A wait on a poller looks at the kernel's descriptors every 20 us, whatever its sockets do."""

from __future__ import annotations

import os

import barewire
from barewire._poller import Poller

IN = 1
FD_COOKIE_MOST = 1 << 20


def test_a_descriptor_is_told_beside_a_socket_that_is_always_ready() -> None:
    """Waits that follow each other closely leave descriptors out, but never for good."""
    reading, writing = os.pipe()
    poller = Poller()
    with barewire.Stack() as stack, stack.create_server(("127.0.0.1", 7000)) as listener:
        with stack.create_connection(("127.0.0.1", 7000)):
            poller.add(listener, IN, FD_COOKIE_MOST)
            poller.add_fd(reading, IN)
            try:
                assert poller.wait(None) == [(FD_COOKIE_MOST, IN)]
                os.write(writing, b"x")
                told: set[int] = set()
                for _ in range(100_000):
                    told |= {cookie for cookie, _ in poller.wait(None)}
                    if reading in told:
                        break
                assert told == {reading, FD_COOKIE_MOST}
            finally:
                poller.close()
                os.close(reading)
                os.close(writing)


def test_a_descriptor_alone_is_told_by_each_wait() -> None:
    reading, writing = os.pipe()
    poller = Poller()
    os.write(writing, b"x")
    poller.add_fd(reading, IN)
    try:
        assert [poller.wait(1.0) for _ in range(50)] == [[(reading, IN)]] * 50
        assert poller.wait(0) == [(reading, IN)]
    finally:
        poller.close()
        os.close(reading)
        os.close(writing)
