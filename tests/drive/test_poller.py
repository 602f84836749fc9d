"""The poller: interests that last, a ready list, batches, its bounds. In virtual time."""

from __future__ import annotations

import errno
import os

import pytest
from barewire._poller import BATCH, Poller
from barewire.stack import lib

from .kit import HUP, IN, NVAL, OUT, Sock, Stack
from .polling import ET, ONESHOT, Watched, add, refused
from .test_virtual import World

# ---- readiness -----------------------------------------------------------------------------------


def test_level(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, IN, 42)
    assert poller.wait(0) == []
    there.try_send(b"ab")
    world.rest()
    assert poller.wait(0) == [(42, IN)] == poller.wait(0)
    here.try_recv(1)
    assert poller.wait(0) == [(42, IN)], "one byte is left"
    here.try_recv(1)
    assert poller.wait(0) == []
    assert poller.stats()["ready"] == 0


def test_edge(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, IN | OUT | ET)
    assert poller.wait(0) == [(1, OUT)], "what is ready when it is added"
    assert poller.wait(0) == []
    there.try_send(b"a")
    world.rest()
    assert poller.wait(0) == [(1, IN | OUT)]
    assert poller.wait(0) == []
    there.try_send(b"b")
    world.rest()
    assert poller.wait(0) == [(1, IN | OUT)], "more came, though some was there"
    here.try_recv(1)
    assert poller.wait(0) == [], "what the program takes is no news"
    here.try_send(b"x")
    world.rest()
    assert poller.wait(0) == [], "and neither is an ACK while there is room"


def test_edge_of_room_to_write(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, OUT | ET)
    poller.wait(0)
    for _ in range(1000):
        if here.try_send(bytes(1 << 16)) == -errno.EAGAIN:
            break
        world.rest()
    assert not here.readiness() & OUT and poller.wait(0) == []
    for _ in range(1000):
        if not there.try_recv(1 << 20):
            break
        world.rest()
    world.run()
    assert poller.wait(0) == [(1, OUT)]
    assert poller.wait(0) == []


def test_edge_of_a_listener_and_of_datagrams(world: World, poller: Poller) -> None:
    listener = Sock(world.b).bind("0.0.0.0", 9).listen()
    datagrams = Sock(world.b, type=lib.BW_SOCK_UDP).bind("127.0.0.1", 9)
    add(poller, listener, IN | ET, 1)
    add(poller, datagrams, IN | ET, 2)
    from barewire import _address

    for _ in range(2):
        lib.host_connect(world.a.host, Sock(world.a).handle, _address.pack("198.18.0.2", 9))
        world.rest()
        assert poller.wait(0) == [(1, IN)], "each connection is told"
        to = _address.pack("127.0.0.1", 9)
        lib.host_sendto(world.b.host, datagrams.handle, b"x", 1, 0, to, 0)
        world.rest()
        assert poller.wait(0) == [(2, IN)], "and each datagram"


def test_once(world: World, poller: Poller) -> None:
    here, there = world.connect()
    interest = add(poller, here, OUT | ONESHOT)
    assert poller.wait(0) == [(1, OUT)]
    there.close()
    world.rest()
    assert poller.wait(0) == [], "not even HUP"
    poller.change(interest, OUT | ONESHOT)
    assert poller.wait(0)[0][1] & OUT
    assert poller.wait(0) == []


def test_hang_up_is_always_told(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, 0)
    there.close()
    world.rest()
    here.shutdown(1)
    world.run()
    assert poller.wait(0) == [(1, HUP)]


def test_changed_while_ready(world: World, poller: Poller) -> None:
    here, there = world.connect()
    interest = add(poller, here, OUT)
    assert poller.wait(0) == [(1, OUT)]
    poller.change(interest, IN)
    assert poller.wait(0) == []
    there.try_send(b"x")
    world.rest()
    poller.change(interest, OUT)
    assert poller.wait(0) == [(1, OUT)]
    poller.change(interest, IN | ET)
    assert poller.wait(0) == [(1, IN)], "what is ready is told once more"
    assert poller.wait(0) == []


def test_removed_while_ready(world: World, poller: Poller) -> None:
    here, _ = world.connect()
    interest = add(poller, here, OUT)
    poller.remove(interest)
    assert poller.wait(0) == []
    refused(lambda: poller.change(interest, IN), errno.ENOENT)
    poller.remove(interest)
    assert poller.stats()["interests"] == 0


def test_one_socket_twice_and_in_two_pollers(world: World, poller: Poller) -> None:
    """Each interest is told for itself: numbers that are the same are the epoll object's business."""
    here, there = world.connect()
    other = Poller()
    add(poller, here, IN, 1)
    add(poller, here, IN, 2)
    add(other, here, IN, 3)
    there.try_send(b"x")
    world.rest()
    assert sorted(poller.wait(0)) == [(1, IN), (2, IN)]
    assert other.wait(0) == [(3, IN)]
    other.close()
    assert sorted(poller.wait(0)) == [(1, IN), (2, IN)]


def test_closed_while_registered(world: World, poller: Poller) -> None:
    here, _ = world.connect()
    interest = add(poller, here, IN)
    handle = Watched(here)
    here.close()
    assert poller.wait(0) == [(1, NVAL)]
    assert poller.wait(0) == [] and not poller.has(interest)
    refused(lambda: poller.change(interest, IN), errno.ENOENT)
    refused(lambda: poller.add(handle, IN, 1), errno.EBADF)
    poller.remove(interest)
    assert poller.stats()["interests"] == 0


def test_several_stacks(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, IN, 1)
    add(poller, there, IN, 2)
    here.try_send(b"x")
    there.try_send(b"y")
    world.rest()
    assert sorted(poller.wait(0)) == [(1, IN), (2, IN)]


def test_a_stack_closed_while_it_is_polled(poller: Poller) -> None:
    """Its memory stays until its interests are gone; the other stacks' go on."""
    world = World()
    here, there = world.connect()
    first = add(poller, here, IN, 1)
    add(poller, there, OUT, 2)
    world.a.close()
    assert sorted(poller.wait(0)) == [(1, NVAL), (2, OUT)]
    here.stack = there.stack = None  # type: ignore[assignment]
    world.b.close()
    del world, here, there
    assert poller.wait(0) == [(2, NVAL)] and poller.wait(0) == []
    poller.remove(first)
    poller.close()


# ---- bounds --------------------------------------------------------------------------------------


def test_as_many_sockets_as_it_was_made_for(world: World) -> None:
    poller = Poller(most=3)
    socks = [Sock(world.a, type=lib.BW_SOCK_UDP) for _ in range(4)]
    interests = [add(poller, sock, OUT, i) for i, sock in enumerate(socks[:3])]
    refused(lambda: add(poller, socks[3], OUT, 3), errno.ENOSPC)
    assert (poller.stats()["refused"], poller.stats()["interests"]) == (1, 3)
    poller.remove(interests[1])
    again = add(poller, socks[3], OUT, 3)
    assert again not in interests, "the number of one that is gone is no other's"
    assert sorted(c for c, _ in poller.wait(0)) == [0, 2, 3]
    poller.close()


def test_the_ready_list_is_as_long_as_there_are_interests(world: World, poller: Poller) -> None:
    here, there = world.connect()
    add(poller, here, IN | OUT | ET)
    for _ in range(100):
        there.try_send(b"x")
        world.rest()
        assert poller.stats()["ready"] == 1
    assert poller.wait(0) == [(1, IN | OUT)]


def test_batches_in_turn(world: World, poller: Poller) -> None:
    socks = [Sock(world.a, type=lib.BW_SOCK_UDP) for _ in range(10)]
    for i, sock in enumerate(socks):
        add(poller, sock, OUT, i)
    told = [c for _ in range(5) for c, _ in poller.wait(0, 4)]
    assert told == [*range(10), *range(10)]
    with pytest.raises(OSError):
        poller.wait(0, 0)


def test_more_than_a_batch() -> None:
    """What asks for more than C gives in a call gets each once."""
    with Stack(clock=lambda: 1, max_sockets=2 * BATCH) as stack:
        poller, many = Poller(), BATCH + 100
        socks = [Sock(stack, type=lib.BW_SOCK_UDP) for _ in range(many)]
        for i, sock in enumerate(socks):
            add(poller, sock, OUT, i)
        assert len(poller.wait(0)) == BATCH
        assert sorted(poller.wait(0, many)) == [(i, OUT) for i in range(many)]
        assert poller.stats()["events"] >= many
        poller.close()


def test_sockets_and_descriptors_share_a_batch(world: World, poller: Poller) -> None:
    socks = [Sock(world.a, type=lib.BW_SOCK_UDP) for _ in range(3)]
    for i, sock in enumerate(socks):
        add(poller, sock, OUT, 1000 + i)
    read, write = os.pipe()
    os.write(write, b"x")
    poller.add_fd(read, IN)
    told = {c for _ in range(6) for c, _ in poller.wait(0, 1)}
    assert told == {read, 1000, 1001, 1002}
    os.close(read)
    os.close(write)
