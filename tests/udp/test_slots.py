"""A datagram that finds no header slot waits until a device that completes late has given some back."""

from __future__ import annotations

import socket

import barewire.select
import pytest
from barewire.nic_drivers import pipe_pair, with_late

from tests.kit.world import World

A, B = "198.18.0.1", "198.18.0.2"
SLOTS = 4096  # stack/sizes.h
LATE = 10_000_000  # ns


def test_who_waits_for_a_slot_is_woken_when_one_comes_back() -> None:
    mine, other = pipe_pair(ring=2 * SLOTS)
    with World() as world:
        a = world.stack(with_late(mine, max_delay=LATE, depth=SLOTS), f"{A}/24")
        b = world.stack(other, f"{B}/24")
        there, sock = (stack.socket(type=socket.SOCK_DGRAM) for stack in (b, a))
        there.bind((B, 9))
        sock.setblocking(False)
        sock.connect((B, 9))
        sock.send(b"who is there?")
        world.run("50ms")
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += sock.send(bytes(200)) // 200
                a.poll()
        assert sent == SLOTS, "the transmit queue is empty: the device has them all"
        assert not barewire.select.select([], [sock], [], 0)[1]
        world.run("10ms")
        assert barewire.select.select([], [sock], [], 0)[1] == [sock]
        assert sock.send(bytes(200)) == 200
        there.close(), sock.close()
