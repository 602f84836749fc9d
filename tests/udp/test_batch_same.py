"""A batch does what as many single calls do: in any portions, with any sizes, at any place."""

from __future__ import annotations

import socket
from typing import Any

from barewire import Batch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit import frames
from tests.kit.wire import Wire
from tests.kit.world import World

PEER = "198.18.0.2"
SIZES = st.one_of(st.integers(0, 100), st.integers(0, 2000))
PORTIONS = st.lists(st.integers(1, 90), min_size=1, max_size=8)


def opened(wire: Wire) -> Any:
    sock = wire.stack.socket(type=socket.SOCK_DGRAM)
    sock.bind((wire.here, 7))
    sock.setblocking(False)
    return sock


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, max_size=120), PORTIONS, st.integers(1, 1600), st.integers(0, 5))
def test_receiving(sizes: list[int], portions: list[int], slot: int, start: int) -> None:
    with World(buffer_bytes=16 << 20) as world:
        wire = Wire(world)
        with opened(wire) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            datas = [frames.pattern(size, at) for at, size in enumerate(sizes)]
            for at in range(0, len(datas), 60):
                wire.sends_burst(
                    *(
                        frames.udp(PEER, wire.here, 5000 + i, 7, datas[i])
                        for i in range(at, min(at + 60, len(datas)))
                    )
                )
            batch, seen = Batch(start + 90, slot), []
            for portion in portions * 120:
                try:
                    n = sock.recv_batch(batch, portion, start=start)
                except BlockingIOError:
                    break
                assert n == min(portion, len(datas) - len(seen))
                for i in range(start, start + n):
                    seen.append((bytes(batch[i]), batch.lengths[i], batch.address(i)))
            assert not any(batch.lengths[:start])
            assert seen == [
                (data[:slot], len(data), (PEER, 5000 + i)) for i, data in enumerate(datas)
            ]


@settings(max_examples=60, deadline=None)
@given(st.lists(SIZES, max_size=120), PORTIONS)
def test_sending(sizes: list[int], portions: list[int]) -> None:
    """The same frames, byte for byte, as single calls make."""
    datas = [frames.pattern(size, at) for at, size in enumerate(sizes)]
    assert sent(datas, portions) == sent(datas, [])


def sent(datas: list[bytes], portions: list[int]) -> list[bytes]:
    with World(buffer_bytes=16 << 20) as world:
        wire = Wire(world, ring=1024)
        with opened(wire) as sock:
            batch = Batch(max(1, len(datas)), 2000)
            for i, data in enumerate(datas):
                batch[i] = data
                batch.set_address((PEER, 6000 + i), i)
            at, calls = 0, iter(portions * len(datas) or [0] * len(datas))
            while at < len(datas):
                if portion := next(calls):
                    at += sock.send_batch(batch, min(portion, len(datas) - at), start=at)
                else:
                    sock.sendto(datas[at], (PEER, 6000 + at))
                    at += 1
                world.rest()
            return [packet.raw for packet in wire.drain()]
