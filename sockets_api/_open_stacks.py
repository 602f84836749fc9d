"""The stacks of this process that are open: what is done to all of them at fork(2) and at exit."""

from __future__ import annotations

import atexit
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from barewire.stack import ffi, lib

from . import _errors

if TYPE_CHECKING:
    from ._stack import Stack

stacks: weakref.WeakSet[Stack] = weakref.WeakSet()


def _all() -> list[Stack]:
    while True:
        try:
            return list(stacks)
        except RuntimeError:  # another thread has made one meanwhile
            continue


@atexit.register
def _close_all() -> None:
    """Before the interpreter is torn down: what was sent arrives."""
    _errors.interpreter_ends()
    for stack in _all():
        stack.close()


class _Fork:
    """What a fork holds while it lasts."""

    signals: Any
    collects: bool
    stacks: list[Stack]


_fork = _Fork()  # of the thread that holds _forks
_forks = threading.Lock()


def _before_fork() -> None:
    """No stack goes meanwhile, no signal handler comes in this thread and no finaliser runs: what they
    call would wait for the locks of the stacks, which this thread has."""
    signals = ffi.new("struct held_signals *")
    lib.signals_hold(signals)
    _forks.acquire()
    _fork.signals, _fork.collects, _fork.stacks = signals, gc.isenabled(), _all()
    gc.disable()
    for stack in _fork.stacks:
        lib.host_before_fork(stack.host)


def _after_fork(end: Callable[[Any], None]) -> None:
    for stack in _fork.stacks:
        end(stack.host)
    if _fork.collects:
        gc.enable()
    signals = _fork.signals
    _fork.stacks = []
    _forks.release()
    lib.signals_release(signals)


def _in_parent() -> None:
    _after_fork(lib.host_after_fork)


def _in_child() -> None:
    _after_fork(lib.host_forked)
    stacks.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
