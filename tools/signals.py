"""Ctrl-C and SIGTERM as exceptions, and the moments in which they must wait."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM)


def _raise(number: int, frame: object) -> None:
    raise KeyboardInterrupt(number)


@contextlib.contextmanager
def as_exceptions() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt(number) in the main thread, but for one that the
    program was started without (a shell's background job, nohup): that stays ignored."""
    before = {number: signal.signal(number, _raise) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore() -> None:
    """From here on things are put away: a second Ctrl-C does not stop that."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _heard() -> list[signal.Signals]:
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """What comes inside is handled at the end: nothing that was begun is forgotten half-made.

    Signals are handled in the main thread alone; in any other this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {n: signal.signal(n, lambda number, frame: came.append(number)) for n in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
