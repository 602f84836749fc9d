"""The tools' signals: exceptions where they are heard, nothing where the parent has them ignored."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from barewire.tools import signals


@pytest.fixture
def ignored() -> Iterator[None]:
    """SIGINT is ignored, as in what a shell starts in its background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_signal_is_an_exception_with_its_number(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, signals.as_exceptions():
        signal.raise_signal(number)
    assert caught.value.args == (number,)


def test_what_is_ignored_stays_ignored(ignored: None) -> None:
    with signals.as_exceptions():
        signal.raise_signal(signal.SIGINT)
        with signals.deferred():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_what_comes_in_a_deferred_moment_is_handled_at_its_end() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), signals.as_exceptions(), signals.deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]
