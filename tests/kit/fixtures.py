"""Fixtures that the folders' conftest files hand out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .wire import Wire
from .world import World


@pytest.fixture
def world() -> Iterator[World]:
    with World(buffer_bytes=64 << 20) as world:
        yield world


@pytest.fixture
def wire(world: World) -> Wire:
    """A stack at 198.18.0.1/24 and the test at 198.18.0.2, on bare IP packets."""
    return Wire(world)


@pytest.fixture
def ether(world: World) -> Wire:
    """The same on Ethernet; the far end answers ARP."""
    return Wire(world, layer=2)
