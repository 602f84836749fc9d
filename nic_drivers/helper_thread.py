"""Work that must not happen in the calling thread: pyroute2, and entering a network namespace.

pyroute2 is an asyncio program and fails inside a running loop; setns() changes the namespace of
the thread that calls it. So both run in a thread that lives for one call.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import DeviceError

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
}
NAMED_NAMESPACES = "/run/netns"


def enter_namespace(netns: str) -> None:
    """Moves the calling thread into a network namespace: a name of `ip netns`, or a path."""
    path = netns if "/" in netns else f"{NAMED_NAMESPACES}/{netns}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        reason = f"{path}: {error.strerror}: `ip netns` lists those that have a name"
        text = f"no network namespace {netns}: {reason}"
        raise DeviceError(error.errno or 0, text) from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, _CLONE_NEWNET):
            number = ctypes.get_errno()
            text = f"cannot enter the network namespace {netns}: {os.strerror(number)}: run as root"
            raise DeviceError(number, text)
    finally:
        os.close(fd)


def leave_signals_to_others() -> None:
    """In a thread of ours, first: the program's threads get its signals. Whoever starts it keeps its own
    mask all the time: a handler that runs meanwhile, and what that starts, see it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _FAULTS)


def in_thread(
    work: Callable[[], T], netns: str | None = None, discard: Callable[[T], None] = lambda _: None
) -> T:
    """Runs work() in a thread of its own, in `netns` if given, and gives its result or raises its
    exception. If the caller is interrupted meanwhile, the result goes to discard()."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        leave_signals_to_others()
        try:
            if netns is not None:
                enter_namespace(netns)
            results.append(work())
        except BaseException as error:  # raised again in the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="barewire-helper")
    try:
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]
    except BaseException:
        if thread.ident is not None:
            thread.join()
        for result in results:
            discard(result)
        raise
    finally:
        errors.clear()  # an exception and its frames would hold each other
