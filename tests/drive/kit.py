"""The driver alone: handles and waits, without the socket class; and stacks joined by a pipe."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from barewire import _address, _errors, _waiting
from barewire._stack import Stack
from barewire.nic_drivers import pipe_pair
from barewire.stack import ffi, lib

IN, OUT, ERR, HUP, NVAL = 0x1, 0x4, 0x8, 0x10, 0x20
SPIN = 100_000  # ns
A, B = "198.18.0.1", "198.18.0.2"
PATIENCE = 30.0  # seconds until a test that hangs fails; never how long something should take


class Sock:
    """One handle of C with blocking calls on it: as little as the tests of waiting need.

    timeout is in seconds of the stack's clock, None: for ever. A timeout raises TimeoutError.
    """

    def __init__(self, stack: Stack, handle: Any = None, type: int = lib.BW_SOCK_TCP) -> None:
        self.stack = stack
        self.handle = stack.open_handle(type) if handle is None else handle
        self.timeout: float | None = PATIENCE
        self.spin = SPIN

    def wait(self, events: int, until: int | None = None) -> int:
        if until is None:
            until = _waiting.deadline(self.stack, self.timeout)
        revents = _waiting.wait_one(self.stack, self.handle, events, until)
        if not revents:
            raise TimeoutError("timed out")
        return revents

    def _blocking(self, call: Callable[[], int], events: int) -> int:
        until = _waiting.deadline(self.stack, self.timeout)
        while True:
            answer = call()
            if answer == -errno.EAGAIN:
                self.wait(events, until)
            else:
                return _errors.check(answer)

    def bind(self, host: str, port: int) -> Self:
        _errors.check(lib.host_bind(self.stack.host, self.handle, _address.pack(host, port)))
        return self

    def listen(self, backlog: int = 128) -> Self:
        _errors.check(lib.host_listen(self.stack.host, self.handle, backlog))
        return self

    def accept(self) -> Sock:
        out, peer = ffi.new("struct bw_sock **"), ffi.new("struct bw_addr *")
        self._blocking(lambda: lib.host_accept(self.stack.host, self.handle, out, peer), IN)
        return Sock(self.stack, out[0])

    def connect(self, host: str, port: int) -> Self:
        answer = lib.host_connect(self.stack.host, self.handle, _address.pack(host, port))
        if answer == -errno.EINPROGRESS:
            self.wait(OUT)
            answer = -lib.host_take_error(self.stack.host, self.handle)
        _errors.check(answer)
        return self

    def try_recv(self, n: int = 65536, spin: int = 0) -> bytes | None:
        """One attempt; None: nothing is there."""
        buffer = ffi.new("char[]", n)
        got = lib.host_recv(self.stack.host, self.handle, buffer, n, 0, spin)
        if got == -errno.EAGAIN:
            return None
        return bytes(ffi.buffer(buffer, _errors.check(got)))

    def recv(self, n: int = 65536) -> bytes:
        buffer = ffi.new("char[]", n)
        host, handle = self.stack.host, self.handle
        got = self._blocking(lambda: lib.host_recv(host, handle, buffer, n, 0, self.spin), IN)
        return bytes(ffi.buffer(buffer, got))

    def recv_exactly(self, n: int) -> bytes:
        parts = bytearray()
        while len(parts) < n:
            part = self.recv(n - len(parts))
            if not part:
                raise EOFError(f"{len(parts)} of {n} bytes, then the end")
            parts += part
        return bytes(parts)

    def try_send(self, data: bytes) -> int:
        return int(lib.host_send(self.stack.host, self.handle, data, len(data), 0, 0))

    def sendall(self, data: bytes) -> None:
        buffer = ffi.from_buffer(data)
        host, handle, at = self.stack.host, self.handle, 0
        while at < len(data):
            rest, left = buffer + at, len(data) - at
            at += self._blocking(
                lambda rest=rest, left=left: lib.host_send(host, handle, rest, left, 0, self.spin),
                OUT,
            )

    def shutdown(self, how: int) -> None:
        _errors.check(lib.host_shutdown(self.stack.host, self.handle, how))

    def readiness(self) -> int:
        return _errors.check(lib.host_readiness(self.stack.host, self.handle))

    def state(self) -> int:
        value = ffi.new("int64_t *")
        option = lib.BW_OPT_TCP_STATE
        _errors.check(lib.host_getopt(self.stack.host, self.handle, option, value))
        return int(value[0])

    def fileno(self) -> int:
        return _errors.check(lib.host_sock_fileno(self.stack.host, self.handle))

    def close(self) -> None:
        _errors.check(lib.host_sock_close(self.stack.host, self.handle))


@contextmanager
def two_stacks(layer: int = 3, ring: int = 512, **options: Any) -> Iterator[tuple[Stack, Stack]]:
    """Stacks A and B, joined by a pipe; closed without linger at the end."""
    a, b = pipe_pair(layer=layer, ring=ring)
    with b:
        first = Stack(a, addresses=[f"{A}/24"], **options)
        try:
            second = Stack(b, addresses=[f"{B}/24"], **options)
            try:
                yield first, second
            finally:
                second.close(0)
        finally:
            first.close(0)


def pair(a: Stack, b: Stack, host: str = B, port: int = 7) -> tuple[Sock, Sock]:
    """A connection from stack a to stack b, both ends."""
    listener = Sock(b).bind("0.0.0.0", port).listen()
    here = Sock(a).connect(host, port)
    there = listener.accept()
    listener.close()
    return here, there


class Thread:
    """Runs a function at once; `result()` gives what it returned or raises what it raised."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._outcome: list[tuple[Any, BaseException | None]] = []
        self._thread = threading.Thread(target=self._run, args=(function, *args), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._outcome.append((function(*args), None))
        except BaseException as error:
            self._outcome.append((None, error))

    @property
    def ident(self) -> int:
        assert self._thread.ident is not None
        return self._thread.ident

    @property
    def done(self) -> bool:
        return bool(self._outcome)

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert self._outcome, "the thread hangs"
        value, error = self._outcome[0]
        if error is not None:
            raise error
        return value


def asleep(stack: Stack, function: Callable[..., Any], *args: Any, role: str = "driver") -> Thread:
    """A thread in a call that waits on this stack: returns once it sleeps in that role."""
    before = stack.stats()[f"{role}_sleeps"]
    thread = Thread(function, *args)
    until(lambda: stack.stats()[f"{role}_sleeps"] > before, f"a thread to sleep as {role}")
    return thread


def until(condition: Callable[[], bool], why: str) -> None:
    """Looks at a condition again and again; fails after PATIENCE."""
    pause = threading.Event()
    for _ in range(int(PATIENCE * 2000)):
        if condition():
            return
        pause.wait(0.0005)
    raise AssertionError(f"waited in vain: {why}")


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


class Item(NamedTuple):
    """One thing to wait for: a socket handle of a stack, or (stack None) a descriptor."""

    stack: Stack | None
    target: Any
    events: int  # poll(2)'s bits


def wait_many(watched: Sequence[Item], timeout: float | None) -> list[int]:
    """Waits for any of them; the revents of each, in order, all 0 when the time is over.

    With stacks in virtual time among them the timeout is in the first one's time.
    """
    stacks: dict[Stack, None] = {}
    waiter = _waiting.take(len(watched))
    try:
        for item, (stack, target, events) in zip(waiter.items, watched, strict=False):
            item.events, item.revents = events, 0
            if stack is None:
                item.host, item.fd = ffi.NULL, target
            else:
                item.host, item.sock = stack.host, target
                stacks[stack] = None
        _waiting.wait_for(waiter, len(watched), tuple(stacks), timeout)
        return [int(waiter.items[i].revents) for i in range(len(watched))]
    finally:
        _waiting.give(waiter)
