"""One suite, two networks: the kernel's sockets on its loopback, and barewire's on a stack's own.

A test module writes its tests once, in a class without a network, and names it twice: as a subclass
of Kernel and of Barewire. What the kernel does is the expectation.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import barewire
import barewire.select
import barewire.selectors
import barewire.socket
import pytest

from tests.kit.kept import Kept

LOCAL = "127.0.0.1"
PATIENCE = 20.0  # seconds until a test that hangs fails
SHORT = 0.05  # a timeout that is meant to be over


class Network(Kept):
    """What a test may use: the modules under test, and sockets that clean up after themselves."""

    socket: Any
    select: Any
    selectors: Any

    def stream(self) -> Any:
        sock = self.keep(self.socket.socket())
        sock.settimeout(PATIENCE)
        return sock

    def datagram(self, *, bound: bool = True) -> Any:
        sock = self.keep(self.socket.socket(self.socket.AF_INET, self.socket.SOCK_DGRAM))
        sock.settimeout(PATIENCE)
        if bound:
            sock.bind((LOCAL, 0))
        return sock

    def listener(self, backlog: int = 16) -> Any:
        sock = self.stream()
        sock.bind((LOCAL, 0))
        sock.listen(backlog)
        return sock

    def pair(self) -> tuple[Any, Any]:
        """Two ends of a connection."""
        listener = self.listener()
        one = self.stream()
        one.connect(listener.getsockname())
        other = self.keep(listener.accept()[0])
        other.settimeout(PATIENCE)
        return one, other

    def unused_port(self) -> int:
        with self.socket.socket() as sock:
            sock.bind((LOCAL, 0))
            return int(sock.getsockname()[1])


class Kernel(Network):
    socket, select, selectors = socket, select, selectors


class Barewire(Network):
    socket, select, selectors = barewire.socket, barewire.select, barewire.selectors

    @pytest.fixture(autouse=True)
    def _stack(self) -> Iterator[None]:
        with own_default_stack():
            yield


@contextmanager
def own_default_stack() -> Iterator[barewire.Stack]:
    """A default stack for this test alone, with its loopback only."""
    with barewire.Stack() as stack:
        barewire.set_default_stack(stack)
        try:
            yield stack
        finally:
            barewire.set_default_stack(None)


@contextmanager
def background(work: Callable[[], object]) -> Iterator[None]:
    """Runs work in a thread meanwhile; its exception is the test's."""
    problems: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(PATIENCE)
    assert not thread.is_alive(), "the other thread hangs"
    if problems:
        raise problems[0]


def receive(sock: Any, size: int) -> bytes:
    """Exactly size bytes, or what there was until the end of the stream."""
    data = bytearray()
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return bytes(data)


def outcome(call: Callable[[], Any]) -> object:
    """What a call did: its value, or its exception's type, errno and text."""
    try:
        return call()
    except Exception as problem:
        return type(problem), getattr(problem, "errno", None), str(problem)


def run_python(*command: str, said: str = "") -> str:
    """What a Python prints, of its own, that ends well and says nothing on stderr (or just one such line)."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error::ResourceWarning", *command],
        env={k: v for k, v in os.environ.items() if k != "BAREWIRE"},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stderr and done.stderr.count("\n") == bool(said), done.stderr
    return done.stdout
