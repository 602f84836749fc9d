"""The stacks of this process that are open: what is done to all of them at fork(2) and at exit."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING

from barewire.stack import ffi, lib

from . import _errors

if TYPE_CHECKING:
    from ._stack import Stack

stacks: weakref.WeakSet[Stack] = weakref.WeakSet()
_forking = threading.local()


@atexit.register
def _close_all() -> None:
    """Before the interpreter is torn down: what was sent arrives."""
    _errors.interpreter_ends()
    for stack in list(stacks):
        stack.close()


def _address(stack: Stack) -> int:
    return int(ffi.cast("uintptr_t", stack.host))


def _before_fork() -> None:
    """In one order always, for two threads may fork at once; and no stack goes meanwhile."""
    _forking.stacks = sorted(stacks, key=_address)
    for stack in _forking.stacks:
        lib.host_before_fork(stack.host)


def _in_parent() -> None:
    for stack in _forking.stacks:
        lib.host_after_fork(stack.host)
    del _forking.stacks


def _in_child() -> None:
    for stack in _forking.stacks:
        lib.host_forked(stack.host)
    del _forking.stacks
    stacks.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
