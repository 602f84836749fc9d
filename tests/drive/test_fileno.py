"""The descriptor that foreign select, poll and epoll can watch: in step with the socket."""

from __future__ import annotations

import os
import select
import socket

from .kit import (
    HUP,
    IN,
    OUT,
    Item,
    Sock,
    Stack,
    Thread,
    descriptors,
    pair,
    two_stacks,
    until,
    wait_many,
)

RDHUP = 0x2000


def says(fd: int) -> int:
    """What poll(2) says now."""
    poll = select.poll()
    poll.register(fd, IN | OUT | RDHUP)
    found = poll.poll(0)
    return found[0][1] if found else 0


def test_is_made_once_and_goes_with_the_socket() -> None:
    with Stack() as stack:
        sock = Sock(stack)
        fd = sock.fileno()
        assert sock.fileno() == fd
        sock.close()
        assert says(fd) == 0x20  # POLLNVAL: nobody has it


def test_readable_and_no_longer() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        fd = here.fileno()
        assert says(fd) == OUT
        there.sendall(b"x")
        until(lambda: says(fd) == IN | OUT, "the descriptor to be readable")
        assert here.recv() == b"x"
        until(lambda: says(fd) == OUT, "nothing more")


def test_not_writable_while_the_send_buffer_is_full() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        fd = here.fileno()
        while here.try_send(bytes(1 << 16)) > 0:
            pass
        until(lambda: not says(fd) & OUT, "a full buffer")
        draining = Thread(lambda: [there.recv(1 << 20) for _ in range(1000) if not says(fd) & OUT])
        until(lambda: bool(says(fd) & OUT), "room again")
        here.close()
        draining.result()


def test_end_of_stream_and_hang_up() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        fd = here.fileno()
        there.shutdown(1)
        until(lambda: says(fd) == IN | OUT | RDHUP, "the end of the stream")
        here.shutdown(1)
        until(lambda: bool(says(fd) & HUP), "both directions shut")


def test_before_connect_nothing_hangs_up() -> None:
    with two_stacks() as (a, b):
        Sock(b).bind("0.0.0.0", 7).listen()
        sock = Sock(a)
        fd = sock.fileno()
        sock.connect("198.18.0.2", 7)
        until(lambda: says(fd) == OUT, "connected")


def test_epoll_sees_each_arrival() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        with select.epoll() as epoll:
            epoll.register(here.fileno(), select.EPOLLIN | select.EPOLLET)
            for _ in range(10):
                there.sendall(b"x")
                assert epoll.poll(30) == [(here.fileno(), select.EPOLLIN)]
                assert here.recv() == b"x"


def test_waiting_on_sockets_of_two_stacks_and_a_descriptor() -> None:
    with two_stacks() as (a, b):
        import os

        here, there = pair(a, b)
        read, write = os.pipe()
        watched = [
            Item(a, here.handle, IN),
            Item(b, there.handle, IN),
            Item(None, read, IN),
        ]
        try:
            assert wait_many(watched, 0) == [0, 0, 0]
            assert wait_many(watched, 0.001) == [0, 0, 0]
            for i, act in enumerate(
                (
                    lambda: there.sendall(b"x"),
                    lambda: here.sendall(b"x"),
                    lambda: os.write(write, b"x"),
                )
            ):
                waiting = Thread(wait_many, watched, 30)
                act()
                assert waiting.result()[i] == IN
                (here.recv, there.recv, lambda: os.read(read, 1))[i]()
            here.close()
            assert wait_many(watched, 30)[0] == 0x20
        finally:
            os.close(read)
            os.close(write)


def test_waiting_for_nothing_is_a_sleep() -> None:
    assert wait_many([], 0.001) == []


def reuse(fd: int) -> tuple[socket.socket, socket.socket]:
    """The program closes the number, and it becomes a socket of the program's own."""
    os.close(fd)
    mine, peer = socket.socketpair()
    if mine.fileno() != fd:
        os.dup2(mine.fileno(), fd)
        mine.close()
        mine = socket.socket(fileno=fd)
    mine.setblocking(False)
    peer.setblocking(False)
    return mine, peer


def holds(sock: socket.socket) -> bytes:
    try:
        return sock.recv(100)
    except BlockingIOError:
        return b""


def test_a_number_that_the_program_closed_and_used_again_is_left_alone() -> None:
    """Full, room again, readable, read, hung up, closed: nothing comes to the stranger, nothing is taken."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        stranger, peer = reuse(here.fileno())
        with stranger, peer:
            peer.send(b"theirs")
            while here.try_send(bytes(1 << 16)) > 0:
                pass
            there.sendall(b"x")
            assert here.recv() == b"x"
            for _ in range(200):
                there.try_recv(1 << 20)
            there.sendall(b"y")
            there.close()
            until(lambda: here.readiness() & RDHUP != 0, "the end")
            here.close()
            assert holds(peer) == b""
            assert holds(stranger) == b"theirs"
            stranger.send(b"it is open")
            assert peer.recv(100) == b"it is open"


def test_the_mirror_of_a_closed_number_costs_nothing_when_its_socket_is_gone() -> None:
    with Stack() as stack:
        before = descriptors()
        sock = Sock(stack)
        os.close(sock.fileno())
        sock.close()
        assert descriptors() == before
