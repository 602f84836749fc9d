"""What a program forgets to close is closed when it is collected, and a ResourceWarning says so."""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import barewire
import pytest
from barewire.nic_drivers import CallbackDevice

closed: list[str] = []


class ClosingDevice(CallbackDevice):
    def close(self) -> None:
        closed.append("device")
        super().close()


class ClosingStack(barewire.Stack):
    def close(self, linger: float | None = None) -> None:
        closed.append("stack")
        super().close(linger)


class ClosingSocket(barewire.socket.socket):
    def _real_close(self) -> None:
        closed.append("socket")
        super()._real_close()


@pytest.mark.parametrize("action", ["always", "error"])
@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("device", lambda stack: ClosingDevice()),
        ("stack", lambda stack: ClosingStack()),
        ("socket", lambda stack: ClosingSocket(stack=stack)),
    ],
)
def test_a_warning_that_became_an_error_does_not_keep_it_open(
    what: str, make: Callable[[Any], Any], action: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: reported.append(str(args.exc_value)))
    closed.clear()
    with barewire.Stack() as stack, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        forgotten = make(stack)
        del forgotten
        gc.collect()
    assert what in closed
    told = reported if action == "error" else [str(one.message) for one in caught]
    assert any("unclosed" in text for text in told)
