"""The links of the contract: each kind in virtual time, and each real one the machine supports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from barewire.tools.netns import Namespace

from tests.nic_drivers.kinds import supported
from tests.nic_drivers.links import LINKS, Link, RealLink
from tests.nic_drivers.places import Place
from tests.nic_drivers.raw_wire import Wire, lay_wire

REAL = [pytest.param(name, marks=pytest.mark.netns) for name in supported()]


@pytest.fixture(scope="module", params=[*LINKS, *REAL])
def make_link(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Link]]:
    """Opens a device of a kind, with its other end; the interfaces around it stay."""
    if request.param in LINKS:
        yield LINKS[request.param]
        return
    place = supported()[request.param].make()
    yield lambda _: RealLink(place)
    place.close()


@pytest.fixture
def link(make_link: Callable[[Path], Link], tmp_path: Path) -> Iterator[Link]:
    made = make_link(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module", params=supported())
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Where devices of a real kind are opened."""
    made = supported()[request.param].make()
    yield made
    made.close()


@pytest.fixture
def real(place: Place) -> Iterator[RealLink]:
    made = RealLink(place)
    yield made
    made.close()


@pytest.fixture
def wire(make_netns: Callable[..., Namespace]) -> Wire:
    """Two namespaces and a veth between them, for raw."""
    return lay_wire(make_netns("near"), make_netns("far"))
