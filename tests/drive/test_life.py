"""Closing, forking, losing the device, handles that are no longer good, and Stack's arguments."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from barewire import _open_stacks
from barewire.nic_drivers import Faults, pipe_pair, with_faults, with_pcap
from barewire.stack import lib

from .kit import PATIENCE, A, B, Sock, Stack, Thread, asleep, descriptors, pair, two_stacks, until


def test_close_delivers_what_was_sent() -> None:
    data = os.urandom(10 << 20)
    with two_stacks() as (a, b):
        here, there = pair(a, b)

        def read() -> str:
            digest = hashlib.sha256()
            while part := there.recv(1 << 18):
                digest.update(part)
            return digest.hexdigest()

        reader = Thread(read)
        here.sendall(data)
        a.close(PATIENCE)  # not even closed before
        assert reader.result() == hashlib.sha256(data).hexdigest()


def test_close_resets_what_nobody_takes() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        while here.try_send(bytes(1 << 16)) > 0:
            pass
        a.close(0.01)
        with pytest.raises(ConnectionResetError):
            while there.recv(1 << 20):
                pass


def test_close_is_idempotent_and_everything_says_so_afterwards() -> None:
    with two_stacks() as (a, b):
        here, _ = pair(a, b)
        a.close(0)
        a.close()
        assert a.closed
        calls = (a.socket, partial(a.add_address, "198.18.9.1/24"), a.next_deadline, a.__enter__)
        for call in calls:
            with pytest.raises(OSError, match="this stack is closed") as caught:
                call()
            assert caught.value.errno == errno.EBADF
        with pytest.raises(OSError, match="Bad file descriptor"):
            here.recv()
        assert isinstance(a.counters(), dict)


def test_a_forgotten_stack_leaves_no_descriptor() -> None:
    def use() -> None:
        with two_stacks() as (a, b):
            here, there = pair(a, b)
            here.fileno()
            there.close()

    use()  # what is made once, as this thread's waiter, is there now
    gc.collect()
    before = descriptors()
    use()
    gc.collect()
    assert descriptors() == before


def test_close_wakes_who_waits() -> None:
    with two_stacks() as (a, b):
        here, _ = pair(a, b)
        waiting = asleep(a, here.recv)
        a.close(0)
        with pytest.raises(OSError) as caught:
            waiting.result()
        assert caught.value.errno == errno.EBADF


def test_closing_a_socket_wakes_another_thread() -> None:
    with two_stacks() as (a, b):
        here, _ = pair(a, b)
        waiting = [asleep(a, here.recv), asleep(a, here.recv, role="follower")]
        here.close()
        for thread in waiting:
            with pytest.raises(OSError) as caught:
                thread.result()
            assert caught.value.errno == errno.EBADF


def test_a_closed_handle_never_becomes_another_socket() -> None:
    with Stack() as stack:
        first = Sock(stack)
        first.close()
        second = Sock(stack)  # in the same place
        assert second.handle != first.handle
        for call in (
            first.close,
            first.readiness,
            lambda: first.bind("127.0.0.1", 1),
            first.fileno,
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.EBADF
        assert first.try_send(b"x") == -errno.EBADF
        second.bind("127.0.0.1", 1)
        second.close()


def test_sockets_are_bounded() -> None:
    with Stack(max_sockets=4) as stack:
        made = [Sock(stack) for _ in range(4)]
        with pytest.raises(OSError) as caught:
            Sock(stack)
        assert caught.value.errno in (errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
        made.pop().close()
        Sock(stack).close()


def test_a_device_that_vanishes() -> None:
    mine, other = pipe_pair(layer=3)
    with Stack(mine, addresses=[f"{A}/24"]) as stack:
        connecting = asleep(stack, Sock(stack).connect, B, 7)
        other.close()
        with pytest.raises(OSError) as caught:
            connecting.result()
        assert caught.value.errno == errno.ENETDOWN
        with pytest.raises(OSError) as caught:
            Sock(stack).connect(B, 7)
        assert caught.value.errno in (errno.ENETDOWN, errno.ENETUNREACH)
        here, there = pair(stack, stack, "127.0.0.1")
        here.sendall(b"the stack lives on")
        assert there.recv() == b"the stack lives on"


def test_a_forked_child_has_a_foreign_stack() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        waiting = asleep(a, here.recv)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
            pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _in_the_child(a, here)
            finally:
                os._exit(code)
        until(lambda: os.waitpid(pid, os.WNOHANG) == (pid, 0), "the child to say that all is well")
        there.sendall(b"the parent goes on")
        assert waiting.result() == b"the parent goes on"


def test_forks_in_the_middle_of_everything() -> None:
    """Traffic, other threads that fork, stacks that open and close: no child hangs or crashes, and the
    parent goes on."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        stop = threading.Event()

        def echo() -> None:
            while data := there.recv():
                there.sendall(data)

        def talk() -> None:
            while not stop.is_set():
                here.sendall(b"x" * 1000)
                here.recv_exactly(1000)
            here.shutdown(1)

        def come_and_go() -> None:
            while not stop.is_set():
                Stack(pipe_pair()[0], exit_linger=0).close()

        def fork() -> None:
            for _ in range(12):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # 3.12: fork with threads
                    pid = os.fork()
                if pid == 0:
                    signal.alarm(20)
                    os._exit(0 if here.try_send(b"x") == -lib.BW_FOREIGN else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

        threads = [Thread(f) for f in (echo, talk, come_and_go)]
        forkers = [Thread(fork), Thread(fork)]
        for thread in forkers:
            thread.result()
        stop.set()
        for thread in threads:
            thread.result()


def test_a_stack_made_while_a_fork_looks_them_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread; here between two of them that the fork looks at."""
    made: list[Stack] = []

    class Growing(WeakSet[Stack]):
        def __iter__(self) -> Iterator[Stack]:
            for stack in super().__iter__():
                if not made:
                    made.append(Stack(exit_linger=0))
                yield stack

    with Stack(exit_linger=0) as first:
        monkeypatch.setattr(_open_stacks, "stacks", Growing([first]))
        child = os.fork()
        if not child:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert set(_open_stacks.stacks) == {first, *made}
        made[0].close()


def test_no_finaliser_runs_while_a_fork_holds_the_stacks() -> None:
    """The collector would come upon a socket of theirs and wait for ever; and it runs again in both."""
    script = """
import gc, os, signal
os.register_at_fork(before=lambda: [[[] for _ in range(5)] for _ in range(2000)])  # runs last
import barewire
stack = barewire.Stack(exit_linger=0)
os.register_at_fork(before=lambda: gc.set_threshold(1))  # runs first
class Cycle: pass
cycle = Cycle()
cycle.itself, cycle.socket = cycle, stack.socket()
gc.collect()
gc.set_threshold(0)
del cycle
child = os.fork()
enabled = gc.isenabled() and not signal.pthread_sigmask(signal.SIG_BLOCK, [])
if not child:
    os._exit(0 if enabled else 1)
assert enabled and os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


def test_a_forked_child_holds_no_device_of_a_stack(tmp_path: Path) -> None:
    """In wrappers too: of the capture, which the parent closes, the child has no descriptor."""
    capture = tmp_path / "capture"
    near, far = pipe_pair()
    with far:
        stack = Stack(with_faults(with_pcap(near, capture), Faults()), exit_linger=0)
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            links = []
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    links.append(os.readlink(f"/proc/self/fd/{fd}"))
            os._exit(str(capture) in links)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        stack.close()
    assert capture.stat().st_size >= 24


def _in_the_child(stack: Stack, sock: Sock) -> int:
    signal.alarm(20)
    try:
        stack.socket()
        return 2
    except OSError as error:
        if error.errno != errno.EBADF or "belongs to process" not in str(error):
            return 3
    for call in (lambda: sock.recv(), lambda: sock.wait(1), partial(stack.add_address, f"{A}/24")):
        try:
            call()
            return 4
        except OSError as error:
            if error.errno != errno.EBADF:
                return 5
    if sock.try_send(b"not from here") != -lib.BW_FOREIGN:
        return 6
    stack.close()
    del stack
    gc.collect()
    with Stack() as own:  # a stack of its own works
        here, there = pair(own, own, "127.0.0.1")
        here.sendall(b"x")
        if there.recv() != b"x":
            return 7
    return 0


def test_a_cycle_of_stack_and_sockets_is_collected_in_any_order() -> None:
    """The garbage collector may finalize the stack before its sockets; the memory goes last."""

    class Closer:
        def __init__(self, sock: Sock) -> None:
            self.sock = sock
            self.host = sock.stack.host

        def __del__(self) -> None:
            assert lib.host_sock_close(self.host, self.sock.handle) == 0

    for _ in range(20):
        stack = Stack()
        cycle: list[Any] = [Closer(Sock(stack)), stack]
        cycle.append(cycle)
        stack.close(0)
        del stack, cycle
        gc.collect()


def test_an_unclosed_stack_is_warned_about() -> None:
    stack = Stack()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del stack
        gc.collect()


def test_threads_end_with_the_stack() -> None:
    before = threading.active_count()
    with Stack():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"device": "tap"}, OSError, "has no kind"),
        ({"device": 7}, TypeError, "device must be"),
        ({"device": [7]}, TypeError, "device must be"),
        ({"addresses": "198.18.0.1/24"}, TypeError, "must be a list"),
        ({"addresses": ["198.18.0.1"]}, ValueError, "has no prefix length"),
        ({"addresses": ["198.18.0.1/40"]}, ValueError, "no IPv4 address"),
        ({"addresses": [("198.18.0.1/24", "eth9")]}, OSError, "no interface 'eth9'"),
        ({"gateway": "198.18.0.1"}, OSError, "no connected subnet"),
        ({"clock": lambda: 1.5}, TypeError, "int nanoseconds"),
        ({"clock": lambda: -1}, ValueError, "ns from 0"),
        ({"seed": 1.5}, TypeError, "seed must be"),
        ({"mtu": 10, "device": "pipe:x"}, ValueError, "mtu 10"),
        ({"spin": 2}, ValueError, "spin 2"),
        ({"spin": "1"}, TypeError, "spin must be"),
        ({"exit_linger": -1}, ValueError, "exit_linger -1"),
        ({"buffer_bytes": 1}, ValueError, "buffer_bytes 1"),
        ({"receive_buffer": 1 << 20}, TypeError, "give \\(min, default, max\\)"),
        ({"receive_buffer": (1, 4096, 4096)}, ValueError, "receive_buffer's min 1"),
        ({"send_buffer": (4096, 2048, 4096)}, ValueError, "send_buffer's default 2048"),
        ({"send_buffer": (4096, 4096, 1 << 31)}, ValueError, "send_buffer's max"),
        ({"max_sockets": 0}, ValueError, "max_sockets 0"),
        ({"max_sockets": 1.5}, TypeError, "max_sockets must be"),
        ({"ports": (5, 4)}, ValueError, "ports 4"),
        ({"ports": 7}, TypeError, "give \\(first, last\\)"),
        ({"congestion": "vegas"}, ValueError, "congestion 'vegas': known are"),
    ],
)
def test_wrong_arguments_get_one_clear_sentence(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    threads = threading.active_count()
    with pytest.raises(error, match=text):
        Stack(**arguments)
    assert threading.active_count() == threads


def test_views() -> None:
    a, b = pipe_pair(layer=3)
    with b, Stack(a, addresses=[f"{A}/24"], gateway=B, mtu=1400, name="left") as stack:
        assert [i.name for i in stack.interfaces] == ["lo", a.name]
        assert stack.interfaces[1].mtu == 1400
        assert [str(x.address) for x in stack.addresses] == ["127.0.0.1/8", f"{A}/24"]
        assert [str(r.gateway) for r in stack.routes if r.gateway] == [B]
        stack.add_route("203.0.113.0/24", unreachable=True)
        stack.remove_route("203.0.113.0/24")
        stack.remove_route("default")
        stack.remove_address(f"{A}/24")
        assert len(stack.addresses) == 1
        assert "left" in repr(stack) and "open" in repr(stack)
        assert set(stack.interface_stats()) >= {"rx_frames", "tx_frames"}
        with pytest.raises(RuntimeError, match="virtual time"):
            stack.poll()


def test_a_closed_stack_has_no_descriptor_of_its_own() -> None:
    """Also while somebody still holds it: a cycle leaves that to the garbage collector."""
    with Stack() as first:  # what a process has once
        Sock(first).close()
    before = len(os.listdir("/proc/self/fd"))
    stack = Stack()
    assert len(os.listdir("/proc/self/fd")) > before
    stack.close()
    assert len(os.listdir("/proc/self/fd")) == before
    stack.close()
