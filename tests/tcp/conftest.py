"""A stack, a wire and a scripted peer for each test; everything runs with header prediction on and
off, because the fast path is a shortcut and not a second truth."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World

# A run without header prediction (tests/conftest.py) has the full path only.
PATHS = {"fast": True, "full": False}
if os.environ.get("BAREWIRE_TEST_HEADER_PREDICTION", "1") == "0":
    del PATHS["fast"]


@pytest.fixture(params=PATHS.values(), ids=PATHS.keys())
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(header_prediction=request.param, buffer_bytes=64 << 20) as world:
        yield world


@pytest.fixture
def tcp(world: World) -> Tcp:
    return Tcp(Wire(world))


@pytest.fixture
def peer(tcp: Tcp) -> TcpPeer:
    return tcp.peer
