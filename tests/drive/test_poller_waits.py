"""Waiting on a poller: who sleeps, who drives, who is woken; its descriptor, and fork."""

from __future__ import annotations

import errno
import os
import select
import threading

import pytest
from barewire._poller import Poller
from barewire.stack import lib

from .kit import (
    HUP,
    IN,
    OUT,
    PATIENCE,
    Item,
    Sock,
    Stack,
    Thread,
    asleep,
    pair,
    two_stacks,
    until,
    wait_many,
)
from .polling import ET, EXCLUSIVE, ONESHOT, Watched, add, refused
from .test_virtual import World

# ---- waiting -------------------------------------------------------------------------------------


def test_waits_in_virtual_time(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, IN)
    with pytest.raises(RuntimeError, match="virtual time"):
        poller.wait(1.0)
    world.run()
    waiting = Thread(poller.wait, 5.0)
    deadline = world.clock.now + 5_000_000_000
    until(lambda: world.a.next_deadline() == deadline, "the wait's deadline")
    world.clock.now = deadline - 1
    world.rest()
    assert not waiting.done
    world.clock.now = deadline
    world.rest()
    assert waiting.result() == []
    waiting = Thread(poller.wait, None)
    there.try_send(b"x")
    world.rest()
    assert waiting.result() == [(1, IN)]


def test_sleeps_until_something_comes(poller: Poller) -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        add(poller, here, IN, 1)
        add(poller, there, IN, 2)
        waiting = asleep(a, poller.wait, PATIENCE)
        there.sendall(b"x")
        assert waiting.result() == [(1, IN)]
        assert here.recv() == b"x"
        assert poller.wait(0.001) == []
        read, write = os.pipe()
        waiting = asleep(a, poller.wait, PATIENCE)
        poller.add_fd(read, IN)  # while it sleeps without any descriptor
        os.write(write, b"x")
        assert waiting.result() == [(read, IN)]
        os.close(read)
        os.close(write)


def test_a_socket_that_is_added_while_a_thread_sleeps(poller: Poller) -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        add(poller, here, IN, 1)
        waiting = asleep(a, poller.wait, PATIENCE)
        add(poller, there, OUT, 2)
        assert waiting.result() == [(2, OUT)]


def test_woken_from_another_thread(poller: Poller) -> None:
    with Stack() as stack:
        sock = Sock(stack, type=lib.BW_SOCK_UDP)
        add(poller, sock, IN)
        waiting = asleep(stack, poller.wait, None)
        poller.wake()
        assert waiting.result() == []
        poller.wake()
        assert poller.wait(PATIENCE) == [], "or the next wait, if nobody is there"


def test_one_of_several_threads_is_woken_and_the_next_if_something_is_left(poller: Poller) -> None:
    with two_stacks() as (a, b):
        pairs = [pair(a, b, port=port) for port in (7, 8)]
        for i, (here, _) in enumerate(pairs):
            add(poller, here, IN | ET, i)
        first = asleep(a, poller.wait, PATIENCE, 1)
        second = asleep(a, poller.wait, PATIENCE, 1, role="follower")
        for _, there in pairs:
            there.sendall(b"x")
        assert sorted(first.result() + second.result()) == [(0, IN), (1, IN)]


def test_exclusive_wakes_one(world: World) -> None:
    """Two pollers with one listener: as on Linux, one that somebody waits on is told."""
    here, there = world.connect()
    pollers = [Poller() for _ in range(3)]
    for poller in pollers:
        poller.add(Watched(here), IN | EXCLUSIVE, 1)
    waiting = [Thread(poller.wait, None) for poller in pollers]
    until(lambda: world.a.stats()["follower_sleeps"] >= 3, "the three to sleep")
    there.try_send(b"x")
    world.rest()
    until(lambda: any(thread.done for thread in waiting), "one to wake")
    assert sum(poller.stats()["ready"] + poller.stats()["events"] for poller in pollers) <= 2
    assert sum(thread.done for thread in waiting) == 1
    for poller in pollers:
        poller.wake()
    assert sorted(len(thread.result()) for thread in waiting) == [0, 0, 1]
    for poller in pollers:
        poller.close()


def test_exclusive_takes_no_other_flags(world: World, poller: Poller) -> None:
    here, _ = world.connect()
    refused(lambda: add(poller, here, IN | EXCLUSIVE | ONESHOT), errno.EINVAL)
    interest = add(poller, here, IN | EXCLUSIVE)
    refused(lambda: poller.change(interest, IN), errno.EINVAL)
    interest = add(poller, here, IN)
    refused(lambda: poller.change(interest, IN | EXCLUSIVE), errno.EINVAL)


def test_closed_while_another_thread_waits(poller: Poller) -> None:
    with Stack() as stack:
        add(poller, Sock(stack, type=lib.BW_SOCK_UDP), IN)
        waiting = asleep(stack, poller.wait, None)
        poller.close()
        refused(waiting.result, errno.EBADF)
        refused(lambda: poller.wait(0), errno.EBADF)


def test_the_driver_role_is_handed_on_by_a_poller(poller: Poller) -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        add(poller, here, IN)
        waiting = asleep(a, poller.wait, PATIENCE)
        follower = asleep(a, here2.recv, role="follower")
        there.sendall(b"x")
        assert waiting.result() == [(1, IN)]
        there2.sendall(b"y")
        assert follower.result() == b"y"


def test_looking_drives(poller: Poller) -> None:
    """A program that only looks moves its frames itself."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        add(poller, here, IN)
        before = a.stats()["bursts"]
        assert poller.wait(0) == []
        assert a.stats()["bursts"] > before
        there.sendall(b"x")
        until(lambda: poller.wait(0) == [(1, IN)], "the byte")


def test_a_reader_that_looks_again_sends_the_delayed_ack(world: World, poller: Poller) -> None:
    """As a call that waits does: a peer with Nagle holds the rest back for it."""
    here, there = world.connect()
    add(poller, here, IN)
    for _ in range(100):
        there.try_send(b"x" * 100)
        world.rest()
        assert poller.wait(0) == [(1, IN)]
        here.try_recv(100)
        if lib.host_queued_bytes(world.b.host, there.handle, 1):
            break
    assert lib.host_queued_bytes(world.b.host, there.handle, 1) == 100, "the ACK waits"
    assert poller.wait(0) == []
    world.rest()
    assert lib.host_queued_bytes(world.b.host, there.handle, 1) == 0


# ---- its descriptor, and fork ---------------------------------------------------------------------


def test_others_wait_on_its_descriptor(world: World, poller: Poller) -> None:
    here, there = world.connect()
    number = poller.fileno()
    assert number == poller.fileno()
    interest = add(poller, here, IN)
    readable = lambda: select.select([number], [], [], 0)[0] == [number]  # noqa: E731
    assert not readable()
    there.try_send(b"x")
    world.rest()
    assert readable() and poller.wait(0) == [(1, IN)] and readable()
    here.try_recv(1)
    assert poller.wait(0) == [] and not readable()
    there.try_send(b"y")
    world.rest()
    poller.remove(interest)
    assert poller.wait(0) == [] and not readable()
    read, write = os.pipe()
    poller.add_fd(read, IN)
    os.write(write, b"x")
    assert readable() and poller.wait(0) == [(read, IN)]
    os.close(read)
    os.close(write)


def test_a_poller_in_a_poller(world: World, poller: Poller) -> None:
    here, there = world.connect()
    outer = Poller()
    add(poller, here, IN, 5)
    outer.add_fd(poller.fileno(), IN)
    assert outer.wait(0) == []
    there.try_send(b"x")
    world.rest()
    assert outer.wait(0) == [(poller.fileno(), IN)]
    refused(lambda: poller.add_fd(poller.fileno(), IN), errno.EINVAL)
    outer.close()


def test_a_forked_child_has_none(poller: Poller) -> None:
    with Stack() as stack:
        sock = Sock(stack, type=lib.BW_SOCK_UDP)
        add(poller, sock, OUT)
        number = poller.fileno()
        pid = os.fork()
        if not pid:
            try:
                poller.wait(0)
            except OSError as problem:
                said = problem.errno == errno.EBADF and "fork" in str(problem)
            lib.poller_close(poller._cdata)
            fresh = Poller()
            read, write = os.pipe()
            fresh.add_fd(read, IN)
            os.write(write, b"x")
            os._exit(0 if said and fresh.wait(0) == [(read, IN)] else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert poller.wait(0) == [(1, OUT)] and poller.fileno() == number


def test_many_threads_add_and_remove_while_others_wait(poller: Poller) -> None:
    with Stack() as stack:
        stop = threading.Event()

        def churn(base: int) -> int:
            for n in range(200):
                sock = Sock(stack, type=lib.BW_SOCK_UDP)
                interest = add(poller, sock, OUT | (ET if n & 1 else 0), base + n)
                if n % 3:
                    poller.remove(interest)
                sock.close()
                if not n % 3:
                    poller.remove(interest)
            return base

        def look() -> int:
            told = 0
            while not stop.is_set():
                told += len(poller.wait(0.001, 8))
            return told

        lookers = [Thread(look) for _ in range(2)]
        for thread in [Thread(churn, 1000 * k) for k in range(3)]:
            thread.result()
        stop.set()
        for thread in lookers:
            thread.result()
        assert poller.stats()["interests"] == poller.stats()["ready"] == 0


def test_a_list_with_exact_events_waits_for_nothing_else() -> None:
    """As select(2): what is only written is not woken by the end of what is read."""
    with Stack(clock=lambda: 1) as stack:
        sock = Sock(stack)
        assert sock.readiness() & HUP, "never connected"
        watched = Item(stack, sock.handle, IN | lib.BW_EXACT)
        assert wait_many([watched], 0) == [0]
        watched = Item(stack, sock.handle, IN)
        assert wait_many([watched], 0)[0] & HUP
