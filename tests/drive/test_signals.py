"""A signal in each phase of a wait: its handler runs at once, the call goes on or ends (PEP 475)."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest
from barewire import _waiting
from barewire.stack import ffi, lib

from .kit import IN, PATIENCE, B, Sock, Stack, Thread, asleep, pair, two_stacks, until


class Interrupted(Exception):
    pass


class Handler:
    """Counts its calls; raises in them if told to."""

    def __init__(self, raises: bool) -> None:
        self.calls = 0
        self.raises = raises

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.calls += 1
        if self.raises:
            self.raises = False  # once: what is under way afterwards is the test's own
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Interrupted


@pytest.fixture(params=[False, True], ids=["returns", "raises"])
def handler(request: pytest.FixtureRequest) -> Iterator[Handler]:
    made = Handler(request.param)
    before = signal.signal(signal.SIGALRM, made)
    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def sleeps(stack: Stack) -> int:
    stats = stack.stats()
    return stats["driver_sleeps"] + stats["follower_sleeps"]


def interrupt_in_sleep(stack: Stack, handler: Handler, then: Callable[[], object]) -> Thread:
    """Sends SIGALRM to the calling thread once it sleeps; after its handler ran, calls `then`."""
    me, before = threading.get_ident(), sleeps(stack)

    def run() -> None:
        until(lambda: sleeps(stack) > before, "the main thread to sleep")
        while not handler.calls:
            signal.pthread_kill(me, signal.SIGALRM)
            threading.Event().wait(0.001)
        then()

    return Thread(run)


def check(handler: Handler, call: Callable[[], object], result: object) -> None:
    if handler.raises:
        with pytest.raises(Interrupted):
            call()
            pytest.fail("the handler never raised")
    else:
        assert call() == result
    assert handler.calls
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set(), "the mask is what it was"


def test_in_the_sleep_of_the_driver(handler: Handler) -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        other = interrupt_in_sleep(a, handler, lambda: there.sendall(b"late"))
        check(handler, here.recv, b"late")
        other.result()


def test_in_the_sleep_of_a_follower(handler: Handler) -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        driver = asleep(a, here2.recv)
        followers = a.stats()["follower_sleeps"]
        other = interrupt_in_sleep(a, handler, lambda: there.sendall(b"late"))
        check(handler, here.recv, b"late")
        other.result()
        assert a.stats()["follower_sleeps"] > followers
        there2.sendall(b"too")
        assert driver.result() == b"too"


def test_in_accept(handler: Handler) -> None:
    with two_stacks() as (a, b):
        listener = Sock(b).bind("0.0.0.0", 7).listen()
        other = interrupt_in_sleep(b, handler, lambda: Sock(a).connect(B, 7))
        check(handler, lambda: listener.accept().state(), 1)
        other.result()


def test_in_connect(handler: Handler) -> None:
    with two_stacks() as (a, b):
        b.remove_address(f"{B}/24")  # nobody answers the first SYN

        def answer() -> None:
            b.add_address(f"{B}/24")

        Sock(b).bind("0.0.0.0", 7).listen()
        other = interrupt_in_sleep(a, handler, answer)
        check(handler, lambda: Sock(a).connect(B, 7).state(), 1)
        other.result()


def test_in_the_spin(handler: Handler) -> None:
    """An interval timer that hits every phase, spins of the longest kind most of all."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        here.spin = 1_000_000
        wanted = 1 if handler.raises else 20

        def send_after_some() -> None:
            until(lambda: handler.calls >= wanted, "the handler to run")
            signal.setitimer(signal.ITIMER_REAL, 0)
            there.sendall(b"late")

        other = Thread(send_after_some)

        def receive() -> bytes:
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            return here.recv()

        check(handler, receive, b"late")
        other.result()


def test_given_to_another_thread_that_waits(handler: Handler) -> None:
    """Python's handlers run in the main thread: a waiter that catches the signal wakes it."""
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        catcher = asleep(a, here2.recv)
        before = sleeps(a)

        def run() -> None:
            until(lambda: sleeps(a) > before, "the main thread to sleep")
            signal.pthread_kill(catcher.ident, signal.SIGALRM)
            until(lambda: handler.calls > 0, "the handler to run")
            there.sendall(b"late")

        other = Thread(run)
        check(handler, here.recv, b"late")
        other.result()
        there2.sendall(b"too")
        assert catcher.result() == b"too"


def test_a_handler_may_wait_itself() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        got: list[bytes] = []
        before = signal.signal(signal.SIGALRM, lambda *_: got.append(here2.recv()))
        me, slept = threading.get_ident(), sleeps(a)

        def run() -> None:
            until(lambda: sleeps(a) > slept, "the main thread to sleep")
            count = sleeps(a)
            signal.pthread_kill(me, signal.SIGALRM)
            until(lambda: sleeps(a) > count, "the handler to sleep")
            there2.sendall(b"inner")
            until(lambda: bool(got), "the handler to end")
            there.sendall(b"outer")

        try:
            other = Thread(run)
            assert here.recv() == b"outer"
            assert got == [b"inner"]
            other.result()
        finally:
            signal.signal(signal.SIGALRM, before)


def test_a_handler_has_the_mask_of_the_program() -> None:
    """And so have the threads and the processes that it starts, in every phase of a wait."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        masks: list[set[int]] = []

        def mask() -> set[int]:
            return signal.pthread_sigmask(signal.SIG_BLOCK, [])

        def handler(*_: object) -> None:
            masks.append(mask())
            masks.append(Thread(mask).result())
            if not masks[2:]:
                masks.append(mask_of_a_child())

        before = signal.signal(signal.SIGALRM, handler)
        own = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        me, slept = threading.get_ident(), sleeps(a)

        def run() -> None:
            until(lambda: sleeps(a) > slept, "the main thread to sleep")
            for n in range(1, 6):
                signal.pthread_kill(me, signal.SIGALRM)
                until(lambda: len(masks) > 2 * n, "the handler to end")  # noqa: B023
            there.sendall(b"late")

        try:
            other = Thread(run)
            assert here.recv() == b"late"
            other.result()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, own)
            signal.signal(signal.SIGALRM, before)
        assert all(m == own | {signal.SIGUSR2} for m in masks), masks


def mask_of_a_child() -> set[int]:
    child = os.fork()
    if not child:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        os._exit(0 if blocked == {signal.SIGUSR2} else 1)
    return {signal.SIGUSR2} if os.waitpid(child, 0)[1] == 0 else set()


def test_a_handler_that_changes_the_mask() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)

        def handler(*_: object) -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
            there.sendall(b"late")

        before = signal.signal(signal.SIGALRM, handler)
        try:
            interrupt = interrupt_once_asleep(a)
            assert here.recv() == b"late"
            interrupt.result()
            assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGUSR2}
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            signal.signal(signal.SIGALRM, before)


def interrupt_once_asleep(stack: Stack) -> Thread:
    me, slept = threading.get_ident(), sleeps(stack)

    def run() -> None:
        until(lambda: sleeps(stack) > slept, "the main thread to sleep")
        signal.pthread_kill(me, signal.SIGALRM)

    return Thread(run)


def test_no_moment_at_which_a_signal_is_slept_through() -> None:
    """One signal a wait, later and later; nothing but its handler ends the wait."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        here.spin = 0
        before = signal.signal(signal.SIGALRM, lambda *_: there.sendall(b"x"))
        try:
            for n in range(400):
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + n * 5e-7)
                assert here.recv() == b"x"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_a_signal_that_only_the_interpreter_knows_of_ends_the_sleep() -> None:
    """It came between the interpreter's last look and the block of wait_sleep."""
    came = [0, 1]
    tripped = ffi.callback("int (*)(void)", lambda: came.pop() if came else 0)
    with two_stacks() as (a, b):
        here, _there = pair(a, b)
        waiter = lib.waiter_new(tripped)
        items = ffi.new("struct wait_item[1]")
        items[0].host, items[0].sock, items[0].events = a.host, here.handle, IN
        soon = _waiting.deadline(a, 0.05)
        assert lib.wait_begin(waiter, items, 1, soon, 0) == 0
        assert lib.wait_sleep(waiter) == -errno.EINTR
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
        while not (answer := lib.wait_sleep(waiter)):
            pass
        assert answer == -errno.ETIMEDOUT
        lib.waiter_free(waiter)


def test_the_interpreter_says_that_a_handler_has_still_to_run() -> None:
    calls: list[int] = []
    said: list[bool] = []
    before = signal.signal(signal.SIGUSR2, lambda *_: calls.append(1))
    own = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:

        def run() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, own)
            said.append(bool(_waiting._tripped()))
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
            said.append(bool(_waiting._tripped()))

        thread = threading.Thread(target=run)
        switch = sys.getswitchinterval()
        sys.setswitchinterval(60)  # the main thread waits for the lock, and for nothing else
        try:
            thread.start()
            thread.join()
        finally:
            sys.setswitchinterval(switch)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, own)
        signal.signal(signal.SIGUSR2, before)
    assert said == [False, True] and calls == [1]


def test_comes_through_steady_traffic(handler: Handler) -> None:
    """A driver that never gets to sleep, for the frames of others, still lets signals through."""
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        source, sink = pair(a, b, port=8)
        stop = threading.Event()

        def flood() -> None:
            data = bytes(1 << 18)
            while not stop.is_set():
                source.sendall(data)
            source.shutdown(1)

        def swallow() -> None:
            while sink.recv(1 << 20):
                pass

        threads = [Thread(flood), Thread(swallow)]
        until(lambda: a.stats()["bursts"] > 1000, "traffic")
        ready = threading.Event()

        def run() -> None:
            ready.wait(PATIENCE)
            while not handler.calls:
                os.kill(os.getpid(), signal.SIGALRM)
                threading.Event().wait(0.01)
            there.sendall(b"late")

        def receive() -> bytes:
            ready.set()
            return here.recv()

        other = Thread(run)
        check(handler, receive, b"late")
        stop.set()
        for thread in [*threads, other]:
            thread.result()


def test_ctrl_c_in_close() -> None:
    """close() drains in pieces: a KeyboardInterrupt ends it, and the stack is closed all the same."""
    with two_stacks() as (a, b):
        here, _there = pair(a, b)
        while here.try_send(bytes(1 << 16)) > 0:  # more than the peer's buffer takes
            pass
        me = threading.get_ident()

        def run() -> None:
            closed = -errno.EBADF
            until(lambda: lib.host_readiness(a.host, here.handle) == closed, "the drain")
            signal.pthread_kill(me, signal.SIGINT)

        other = Thread(run)
        with pytest.raises(KeyboardInterrupt):
            a.close(PATIENCE)
        other.result()
        assert a.closed
