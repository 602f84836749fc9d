"""A stack, a wire and a scripted peer for each test; everything runs with header prediction on and
off, because the fast path is a shortcut and not a second truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World


@pytest.fixture(params=[True, False], ids=["fast", "full"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(header_prediction=request.param, buffer_bytes=64 << 20) as world:
        yield world


@pytest.fixture
def tcp(world: World) -> Tcp:
    return Tcp(Wire(world))


@pytest.fixture
def peer(tcp: Tcp) -> TcpPeer:
    return tcp.peer
