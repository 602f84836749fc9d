"""Every way of dying wakes every waiter, with the right errno: two stacks in virtual time, the waiters
in threads of their own."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import barewire.select
import pytest
from barewire import Stack
from barewire.nic_drivers import pipe_pair
from barewire.stack import lib

from tests.drive.kit import Thread, until
from tests.kit import frames
from tests.kit.world import World

HERE, THERE = "198.18.0.1", "198.18.0.2"


class Pair:
    """A connection between two stacks; `sock` is the end that will die."""

    def __init__(self, world: World) -> None:
        self.world = world
        a, self.near = pipe_pair(layer=3, ring=1024)
        self.far, b = pipe_pair(layer=3, ring=1024)
        self.is_cut = False
        world.add_mover(self.carries)
        world.add_closer(self.cut)
        self.here, self.there = world.stack(a, f"{HERE}/24"), world.stack(b, f"{THERE}/24")
        self.opened: list[Any] = []
        self.listener = self.keep(self.there.create_server((THERE, 7)))
        self.sock = self.keep(self.here.socket())
        self.sock.setblocking(False)
        self.sock.connect_ex((THERE, 7))
        world.run("1s")
        self.peer = self.keep(self.listener.accept()[0])

    def keep(self, sock: Any) -> Any:
        self.opened.append(sock)
        return sock

    def carries(self) -> bool:
        """The cable between the two."""
        moved = False
        for one, other in ((self.near, self.far), (self.far, self.near)):
            while (frame := one.recv(self.world.clock.now)) is not None:
                other.send(frame, self.world.clock.now)
                moved = True
        return moved

    def cut(self) -> None:
        """The devices at both ends find that there is no cable any more."""
        if self.is_cut:
            return
        self.is_cut = True
        self.world.remove_mover(self.carries)
        self.near.close()
        self.far.close()

    def blocked(self, stack: Stack, call: Callable[[], Any]) -> Thread:
        """The call, in a thread, once it waits."""
        before = stack.stats()["follower_sleeps"]
        thread = Thread(call)
        until(lambda: stack.stats()["follower_sleeps"] > before, "the call to block")
        return thread

    def fill(self, sock: Any) -> None:
        sock.setblocking(False)
        try:
            while True:
                sock.send(bytes(1 << 16))
                self.world.rest()
        except BlockingIOError:
            pass

    def goes_silent(self) -> None:
        """What the peer's stack sends is lost from now on."""
        self.world.stacks.remove(self.there)
        self.world.add_closer(self.there.close)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with World(1, buffer_bytes=16 << 20) as world:
        pair = Pair(world)
        yield pair
        for sock in pair.opened:
            sock.close()


# ---- the ways to die: each gives the errno -------------------------------------------------------


def reset(pair: Pair) -> int:
    linger = struct.pack("ii", 1, 0)
    pair.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    pair.peer.close()
    pair.world.rest()
    return errno.ECONNRESET


def timeout(pair: Pair) -> int:
    """Data that nobody acknowledges, until R2."""
    pair.goes_silent()
    pair.fill(pair.sock)
    pair.world.run("1h")
    return errno.ETIMEDOUT


def user_timeout(pair: Pair) -> int:
    pair.goes_silent()
    pair.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000)
    pair.fill(pair.sock)
    pair.world.run("10s")
    return errno.ETIMEDOUT


def keepalive(pair: Pair) -> int:
    pair.goes_silent()
    pair.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    pair.world.run("3h")
    return errno.ETIMEDOUT


def icmp(pair: Pair) -> int:
    """An ICMP error explains the time-out (RFC 5461: it does not end the connection itself)."""
    pair.goes_silent()
    pair.fill(pair.sock)
    ours, theirs = pair.sock.getsockname(), pair.sock.getpeername()
    snapshot = barewire._waiting.ffi.new("struct bw_tcp_snapshot *")
    lib.host_snapshot(pair.here.host, pair.sock._sock, snapshot)
    sent = frames.Segment(ours[1], theirs[1], int(snapshot.snd_una))
    about = frames.tcp(HERE, THERE, sent)
    packet = frames.unreachable("198.18.0.9", HERE, 1, about)
    pair.near.send(packet, pair.world.clock.now)
    pair.world.run("1h")
    return errno.EHOSTUNREACH


def device_down(pair: Pair) -> int:
    pair.cut()
    pair.world.rest()
    return errno.ENETDOWN


def stack_closed(pair: Pair) -> int:
    pair.here.close(0)
    return errno.EBADF


def closed_by_another_thread(pair: Pair) -> int:
    pair.sock.close()
    return errno.EBADF


def aborted_by_another_thread(pair: Pair) -> int:
    pair.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return closed_by_another_thread(pair)


WAYS = [
    reset, timeout, user_timeout, keepalive, icmp, device_down, stack_closed,
    closed_by_another_thread, aborted_by_another_thread,
]  # fmt: skip


# ---- who waits -----------------------------------------------------------------------------------


def errno_of(thread: Thread) -> int | None:
    with pytest.raises(OSError) as caught:
        thread.result()
    return caught.value.errno


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
def test_a_blocked_recv(pair: Pair, way: Callable[[Pair], int]) -> None:
    pair.sock.settimeout(None)
    thread = pair.blocked(pair.here, lambda: pair.sock.recv(1))
    expected = way(pair)
    assert errno_of(thread) == expected


@pytest.mark.parametrize("way", [w for w in WAYS if w is not keepalive], ids=lambda f: f.__name__)
def test_a_blocked_send(pair: Pair, way: Callable[[Pair], int]) -> None:
    pair.fill(pair.sock)
    pair.sock.settimeout(None)
    thread = pair.blocked(pair.here, lambda: pair.sock.sendall(bytes(1 << 20)))
    if way in (timeout, user_timeout, icmp):
        pair.fill = lambda sock: None  # type: ignore[method-assign]
    expected = way(pair)
    assert errno_of(thread) == expected


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
def test_a_select(pair: Pair, way: Callable[[Pair], int]) -> None:
    """It comes back; the socket says what happened."""
    sock = pair.sock
    thread = pair.blocked(pair.here, lambda: barewire.select.select([sock], [], []))
    expected = way(pair)
    if expected == errno.EBADF:
        assert errno_of(thread) == errno.EBADF
        return
    assert thread.result() == ([sock], [], [])
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == expected
    if way is icmp:  # the hint that explained the time-out is told as itself
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == expected
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
def test_all_at_once(pair: Pair, way: Callable[[Pair], int]) -> None:
    """Several readers and a selector on one socket: one is told the errno, none waits on."""
    pair.sock.settimeout(None)
    threads = [pair.blocked(pair.here, lambda: pair.sock.recv(1)) for _ in range(3)]
    poll = barewire.select.poll()
    poll.register(pair.sock, 1)
    threads.append(pair.blocked(pair.here, poll.poll))
    way(pair)
    for thread in threads:
        try:
            thread.result()
        except OSError:
            pass


# ---- accept and connect --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "shutdown", "stack"])
def test_a_blocked_accept(pair: Pair, how: str) -> None:
    """The backlog is full of others meanwhile; the thread wakes and is told."""
    listener = pair.keep(pair.there.create_server((THERE, 8), backlog=1))
    listener.settimeout(None)
    thread = pair.blocked(pair.there, listener.accept)
    if how == "close":
        listener.close()
    elif how == "shutdown":
        listener.shutdown(socket.SHUT_RDWR)
    else:
        pair.there.close(0)
    assert errno_of(thread) == (errno.EINVAL if how == "shutdown" else errno.EBADF)


def connecting(pair: Pair, address: tuple[str, int]) -> tuple[Any, Thread]:
    sock = pair.keep(pair.here.socket())
    return sock, pair.blocked(pair.here, lambda: sock.connect(address))


def test_a_connect_that_is_refused(pair: Pair) -> None:
    sock, thread = connecting(pair, (THERE, 9))
    pair.world.rest()
    assert errno_of(thread) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0, "it was told"


def test_a_connect_that_times_out(pair: Pair) -> None:
    pair.goes_silent()
    _, thread = connecting(pair, (THERE, 9))
    pair.world.run("10min")
    assert errno_of(thread) == errno.ETIMEDOUT


def test_a_connect_whose_device_goes_down(pair: Pair) -> None:
    pair.goes_silent()
    _, thread = connecting(pair, (THERE, 9))
    expected = device_down(pair)
    assert errno_of(thread) == expected


def test_a_connect_that_does_not_block(pair: Pair) -> None:
    sock = pair.keep(pair.here.socket())
    sock.setblocking(False)
    assert sock.connect_ex((THERE, 9)) == errno.EINPROGRESS
    thread = pair.blocked(pair.here, lambda: barewire.select.select([], [sock], []))
    pair.world.rest()
    assert thread.result() == ([], [sock], [])
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
