"""Virtual time: no threads, no other clock; everything happens in poll()."""

from __future__ import annotations

import errno
import threading

import pytest
from barewire.nic_drivers import DeviceError, PipeEnd, pipe_pair
from barewire.stack import lib

from .kit import IN, OUT, A, B, Sock, Stack, Thread, until

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


class World:
    """Two stacks over a pipe under one clock."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = Clock()
        first, second = pipe_pair(layer=3)
        self.a = Stack(first, addresses=[f"{A}/24"], clock=self.clock, seed=seed)
        self.b = Stack(second, addresses=[f"{B}/24"], clock=self.clock, seed=seed + 1)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *exc: object) -> None:
        self.a.close()
        self.b.close()

    def rest(self) -> bool:
        moved = False
        while self.a.poll() | self.b.poll():
            moved = True
        return moved

    def run(self, condition: object = None, steps: int = 10_000) -> None:
        """Runs to rest, then on from deadline to deadline until the condition holds."""
        for _ in range(steps):
            self.rest()
            if callable(condition) and condition():
                return
            deadlines = [d for d in (self.a.next_deadline(), self.b.next_deadline()) if d]
            if not deadlines:
                return
            self.clock.now = max(self.clock.now, min(deadlines))
        raise AssertionError("it never came to rest")

    def connect(self) -> tuple[Sock, Sock]:
        listener = Sock(self.b).bind("0.0.0.0", 7).listen()
        here = Sock(self.a)
        with pytest.raises(BlockingIOError):
            _start(here)
        self.rest()
        assert here.readiness() & OUT
        there = listener.accept()
        listener.close()
        return here, there


def _start(sock: Sock) -> None:
    from barewire import _address, _errors

    _errors.check(lib.host_connect(sock.stack.host, sock.handle, _address.pack(B, 7)))


def test_nothing_moves_but_in_poll() -> None:
    threads = threading.active_count()
    with World() as w:
        assert threading.active_count() == threads
        here, there = w.connect()
        assert here.try_send(b"hello") == 5
        assert there.try_recv() is None
        assert w.rest()
        assert there.try_recv() == b"hello"
        w.run(lambda: not w.rest())


def test_poll_says_whether_anything_moved() -> None:
    with World() as w:
        w.rest()
        assert not w.a.poll() and not w.b.poll()


def test_a_transfer_in_virtual_time() -> None:
    with World() as w:
        here, there = w.connect()
        data, got, at = bytes(range(256)) * 4096, bytearray(), 0
        for _ in range(10_000):
            if at < len(data):
                at += max(0, here.try_send(data[at : at + 65536]))
            w.rest()
            while part := there.try_recv():
                got += part
            if len(got) == len(data):
                break
        assert got == data


def test_the_time_is_the_callers() -> None:
    with World() as w:
        w.clock.now += 5 * SECOND
        w.a.poll()
        assert w.a.now() == w.clock.now
        w.clock.now -= 1
        with pytest.raises(ValueError, match="went back"):
            w.a.poll()
        w.clock.now += 1


def frames_of(seed: int) -> list[bytes]:
    """All that a stack says in an hour to a peer that never answers."""
    clock, (mine, other) = Clock(), pipe_pair(layer=3)
    said: list[bytes] = []
    with other, Stack(mine, addresses=[f"{A}/24"], clock=clock, seed=seed) as stack:
        with pytest.raises(BlockingIOError):
            _start(Sock(stack))
        for _ in range(1000):
            stack.poll()
            said += drained(other)
            deadline = stack.next_deadline()
            if deadline is None or deadline > 3600 * SECOND:
                break
            clock.now = max(clock.now, deadline)
    return said


def drained(end: PipeEnd) -> list[bytes]:
    found = []
    try:
        while (frame := end.recv()) is not None:
            found.append(frame)
    except DeviceError:
        pass  # the other end is closed, and nothing is left
    return found


def test_same_seed_same_bytes() -> None:
    first = frames_of(7)
    assert len(first) >= 4, "a SYN and its retransmissions"
    assert frames_of(7) == first
    assert frames_of(8) != first


def test_a_blocked_call_is_in_next_deadline_and_ends_with_it() -> None:
    with World() as w:
        here, _there = w.connect()
        here.timeout = 5.0
        w.run()
        quiet = w.clock.now
        blocked = Thread(here.recv)
        until(lambda: w.a.next_deadline() == quiet + 5 * SECOND, "the blocked call's deadline")
        w.clock.now += 5 * SECOND - 1
        w.rest()
        assert not blocked.done
        w.clock.now += 1
        w.rest()
        with pytest.raises(TimeoutError):
            blocked.result()


def test_a_blocked_call_ends_with_its_data() -> None:
    with World() as w:
        here, there = w.connect()
        here.timeout = None
        blocked = Thread(here.recv)
        until(lambda: w.a.stats()["follower_sleeps"] > 0, "the call to block")
        there.try_send(b"at last")
        assert not blocked.done
        w.rest()
        assert blocked.result() == b"at last"


def test_blocking_in_the_thread_that_polls_raises() -> None:
    with World() as w:
        here, _ = w.connect()
        with pytest.raises(RuntimeError, match="virtual time"):
            here.recv()
        here.timeout = 0.0
        with pytest.raises(TimeoutError):
            here.wait(IN)


def test_another_thread_may_take_over_polling() -> None:
    with World() as w:
        here, there = w.connect()
        there.try_send(b"x")
        stop = threading.Event()

        def poll() -> None:
            while not stop.is_set():
                w.rest()
                stop.wait(0.0005)

        poller = Thread(poll)
        until(lambda: w.a.polling_thread == poller.ident, "the other thread to poll")
        assert here.recv() == b"x"
        stop.set()
        poller.result()


def test_close_in_virtual_time_rests_then_resets() -> None:
    with World() as w:
        here, there = w.connect()
        here.try_send(b"the last word")
        w.a.close()
        w.b.poll()
        assert there.try_recv() == b"the last word"
        with pytest.raises(OSError) as caught:
            w.a.poll()
        assert caught.value.errno == errno.EBADF
