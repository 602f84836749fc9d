"""Fixtures of the driver's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from barewire._poller import Poller

from .test_virtual import World


@pytest.fixture
def world() -> Iterator[World]:
    with World() as w:
        yield w


@pytest.fixture
def poller() -> Iterator[Poller]:
    poller = Poller()
    yield poller
    poller.close()
