"""The namespace tests' fixtures: a link between the kernel and a stack, and an end for what hangs."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.netns.as_linux import Side
from tests.netns.link import Link

TEST_LIMIT = 60  # seconds; the long forms set their own


@pytest.fixture(autouse=True)
def test_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that hangs fails by itself."""
    mark = request.node.get_closest_marker("slow")
    limit = mark.kwargs.get("limit", 300) if mark else TEST_LIMIT

    def expired(number: int, frame: object) -> None:
        raise TimeoutError(f"the test took more than {limit} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def make_link(ns: Any) -> Iterator[Callable[..., Link]]:
    """A function that makes the link of the test's namespace, closed at its end."""
    made: list[Link] = []

    def make(**options: Any) -> Link:
        made.append(Link(ns, **options))
        return made[-1]

    yield make
    for link in made:
        link.close()


@pytest.fixture
def link(make_link: Callable[..., Link]) -> Link:
    """A link with MTU 1500."""
    return make_link()


@pytest.fixture
def make_side() -> Iterator[Callable[..., Side]]:
    """A function that makes one side of a comparison, closed at the test's end."""
    made: list[Side] = []

    def make(name: str, **options: Any) -> Side:
        made.append(Side(name, **options))
        return made[-1]

    yield make
    for side in made:
        side.close()


@pytest.fixture(params=["kernel", "barewire"])
def with_options(request: pytest.FixtureRequest, make_side: Any) -> Callable[..., Side]:
    """A function that makes the side of this run of the test."""
    return lambda **options: make_side(request.param, **options)


@pytest.fixture
def side(with_options: Callable[..., Side]) -> Side:
    return with_options()
