"""in_thread: work in a thread of its own, its result, its errors, and what an interrupt leaves."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from barewire.nic_drivers.helper_thread import in_thread


def test_result_error_and_another_thread() -> None:
    assert in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0)


def test_signals_are_left_to_the_other_threads() -> None:
    blocked = in_thread(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []))
    assert signal.SIGINT in blocked and signal.SIGTERM in blocked
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_the_caller_keeps_its_mask_all_the_time() -> None:
    """What a handler starts while the thread is started inherits no blocked signal of ours."""
    masks: list[set[int]] = []
    before = signal.signal(
        signal.SIGALRM, lambda *_: masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    )
    try:
        signal.setitimer(signal.ITIMER_REAL, 2e-4, 2e-4)
        while len(masks) < 200:
            in_thread(os.getpid)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set().union(*masks) == set()


def test_an_interrupted_caller_discards_the_result() -> None:
    discarded: list[str] = []

    def work() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "a descriptor"

    with pytest.raises(KeyboardInterrupt):
        in_thread(work, discard=discarded.append)
    assert discarded == ["a descriptor"]
