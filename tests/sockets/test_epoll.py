"""epoll beside the kernel's: edges, one-shot, exclusive, errors, its descriptor, and what closes under it."""

from __future__ import annotations

import errno
import os
import select as _select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.sockets.kit import PATIENCE, SHORT, Barewire, Kernel, Network, background


class Epoll(Network):
    DATAGRAMS_SENT_ARE_EDGES: bool

    @pytest.fixture
    def epoll(self) -> Iterator[Any]:
        with self.select.epoll() as epoll:
            yield epoll

    def refused(self, call: Callable[[], Any], number: int) -> None:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == number

    def later(self, epoll: Any) -> list[tuple[int, int]]:
        """What comes, with a little time for it to come."""
        return list(epoll.poll(PATIENCE))

    # ---- readiness ----

    def test_edge_triggered(self, epoll: Any) -> None:
        one, other = self.pair()
        epoll.register(one, self.select.EPOLLIN | self.select.EPOLLOUT | self.select.EPOLLET)
        number, in_, out = one.fileno(), self.select.EPOLLIN, self.select.EPOLLOUT
        assert self.later(epoll) == [(number, out)]
        assert epoll.poll(0) == []
        other.send(b"a")
        assert self.later(epoll) == [(number, in_ | out)]
        assert epoll.poll(0) == []
        other.send(b"b")
        assert self.later(epoll) == [(number, in_ | out)], "more came"
        assert one.recv(1) == b"a"
        assert epoll.poll(SHORT) == []
        one.send(b"x")
        assert other.recv(1) == b"x"
        assert epoll.poll(SHORT) == [], "an ACK is no news while there is room"

    def test_edge_of_room(self, epoll: Any) -> None:
        one, other = self.pair()
        one.setblocking(False)
        epoll.register(one, self.select.EPOLLOUT | self.select.EPOLLET)
        assert len(self.later(epoll)) == 1
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += one.send(bytes(1 << 16))
        while epoll.poll(0):  # the kernel's receiver may have taken some meanwhile
            pass
        while sent:
            sent -= len(other.recv(1 << 20))
        assert self.later(epoll) == [(one.fileno(), self.select.EPOLLOUT)]

    def test_edge_of_datagrams_sent(self, epoll: Any) -> None:
        one, other = self.datagram(), self.datagram()
        epoll.register(one, self.select.EPOLLOUT | self.select.EPOLLET)
        assert len(self.later(epoll)) == 1
        one.sendto(b"x", other.getsockname())
        assert other.recv(9) == b"x"
        told = epoll.poll(PATIENCE if self.DATAGRAMS_SENT_ARE_EDGES else SHORT)
        assert bool(told) == self.DATAGRAMS_SENT_ARE_EDGES

    def test_edge_of_accepting(self, epoll: Any) -> None:
        listener = self.listener()
        epoll.register(listener, self.select.EPOLLIN | self.select.EPOLLET)
        for _ in range(2):
            self.keep(self.socket.create_connection(listener.getsockname()))
            assert self.later(epoll) == [(listener.fileno(), self.select.EPOLLIN)]
            assert epoll.poll(0) == []

    def test_changing_tells_once_more(self, epoll: Any) -> None:
        one, _ = self.pair()
        edge = self.select.EPOLLOUT | self.select.EPOLLET
        epoll.register(one, edge)
        assert len(self.later(epoll)) == 1 and epoll.poll(0) == []
        epoll.modify(one, edge)
        assert epoll.poll(0) == [(one.fileno(), self.select.EPOLLOUT)]
        assert epoll.poll(0) == []

    def test_one_shot_tells_nothing_more(self, epoll: Any) -> None:
        one, other = self.pair()
        epoll.register(one, self.select.EPOLLOUT | self.select.EPOLLONESHOT)
        assert len(self.later(epoll)) == 1
        other.close()
        assert epoll.poll(SHORT) == []
        self.refused(lambda: epoll.register(one), errno.EEXIST)
        epoll.modify(one, self.select.EPOLLIN)
        assert self.later(epoll) == [(one.fileno(), self.select.EPOLLIN)]

    def test_end_of_a_stream(self, epoll: Any) -> None:
        one, other = self.pair()
        select = self.select
        epoll.register(one, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        other.shutdown(self.socket.SHUT_WR)
        assert self.later(epoll) == [(one.fileno(), select.EPOLLIN | select.EPOLLRDHUP)]
        one.shutdown(self.socket.SHUT_WR)
        ((_, bits),) = self.later(epoll)
        assert bits == select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP

    def test_the_other_words_for_in_and_out(self, epoll: Any) -> None:
        one, other = self.pair()
        epoll.register(one, self.select.EPOLLRDNORM | self.select.EPOLLWRNORM)
        assert self.later(epoll) == [(one.fileno(), self.select.EPOLLWRNORM)]
        other.send(b"x")
        self.select.select([one], [], [], PATIENCE)
        both = self.select.EPOLLRDNORM | self.select.EPOLLWRNORM
        assert epoll.poll(0) == [(one.fileno(), both)]

    def test_exclusive(self, epoll: Any) -> None:
        one, other = self.pair()
        select = self.select
        only = select.EPOLLIN | select.EPOLLEXCLUSIVE
        epoll.register(one, only)
        other.send(b"x")
        assert self.later(epoll) == [(one.fileno(), select.EPOLLIN)]
        self.refused(lambda: epoll.modify(one, select.EPOLLIN), errno.EINVAL)
        epoll.unregister(one)
        self.refused(lambda: epoll.register(one, only | select.EPOLLONESHOT), errno.EINVAL)
        self.refused(lambda: epoll.register(one, only | select.EPOLLRDHUP), errno.EINVAL)
        epoll.register(one, only | select.EPOLLET | select.EPOLLOUT)
        assert self.later(epoll) == [(one.fileno(), select.EPOLLIN | select.EPOLLOUT)]

    def test_as_many_as_asked_for_in_turn(self, epoll: Any) -> None:
        socks = [self.datagram() for _ in range(4)]
        for sock in socks:
            epoll.register(sock, self.select.EPOLLOUT)
        told = [fd for _ in range(4) for fd, _ in epoll.poll(0, 1)]
        assert sorted(told) == sorted(sock.fileno() for sock in socks)
        assert len(epoll.poll(0, 3)) == 3
        assert len(epoll.poll(0)) == 4

    # ---- errors ----

    def test_errors_of_numbers(self, epoll: Any) -> None:
        one, _ = self.pair()
        gone = os.dup(0)
        os.close(gone)
        for call in (epoll.register, lambda fd: epoll.modify(fd, 1), epoll.unregister):
            self.refused(lambda call=call: call(gone), errno.EBADF)
        self.refused(lambda: epoll.unregister(one), errno.ENOENT)
        self.refused(lambda: epoll.modify(one, 1), errno.ENOENT)
        self.refused(lambda: epoll.register(epoll.fileno()), errno.EINVAL)
        with open(__file__, "rb") as plain:
            self.refused(lambda: epoll.register(plain), errno.EPERM)
        epoll.register(one)
        self.refused(lambda: epoll.register(one), errno.EEXIST)
        self.refused(lambda: epoll.register(one.fileno()), errno.EEXIST)

    def test_wrong_arguments(self, epoll: Any) -> None:
        one, _ = self.pair()
        for call, kind, text in (
            (lambda: epoll.register("x"), TypeError, "fileno"),
            (lambda: epoll.register(-1), ValueError, "negative"),
            (lambda: epoll.register(one, 1.5), TypeError, "float"),
            (lambda: epoll.register(one, "x"), TypeError, "str"),
            (lambda: epoll.poll("x"), TypeError, "timeout must be"),
            (lambda: epoll.poll(float("nan")), ValueError, "NaN"),
            (lambda: epoll.poll(1e10), OverflowError, "time"),
            (lambda: epoll.poll(1e7), OverflowError, "timeout is too large"),
            (lambda: epoll.poll(0, 0), ValueError, "maxevents must be greater than 0, got 0"),
            (lambda: epoll.poll(0, -2), ValueError, "maxevents must be greater than 0, got -2"),
            (lambda: epoll.poll(0, 1.5), TypeError, "float"),
            (lambda: self.select.epoll(0), ValueError, "negative sizehint"),
            (lambda: self.select.epoll(-2), ValueError, "negative sizehint"),
            (lambda: self.select.epoll(1, 77), OSError, "invalid flags"),
        ):
            with pytest.raises(kind, match=text):
                call()
        epoll.register(one, 1 << 32)
        assert epoll.poll(0) == [], "the lower 32 bits are asked for"

    def test_closed(self) -> None:
        one, _ = self.pair()
        epoll = self.select.epoll()
        epoll.close()
        epoll.close()
        assert epoll.closed
        for call in (
            lambda: epoll.register(one), lambda: epoll.modify(one, 1), lambda: epoll.poll(0),
            lambda: epoll.unregister(one), epoll.fileno, epoll.__enter__,
        ):  # fmt: skip
            with pytest.raises(ValueError, match="I/O operation on closed epoll object"):
                call()
        with pytest.raises(TypeError):
            epoll.register("x")

    # ---- what closes, and comes again ----

    def test_a_number_that_is_used_again(self, epoll: Any) -> None:
        """The interest of a closed socket is no interest of the next one under its number."""
        one, other = self.pair()
        number = one.fileno()
        epoll.register(one, self.select.EPOLLIN)
        other.send(b"x")
        assert self.later(epoll) == [(number, self.select.EPOLLIN)]
        one.close()
        again = self.datagram()
        for _ in range(20):
            if again.fileno() == number:
                break
            again = self.datagram()
        epoll.register(again, self.select.EPOLLOUT)
        assert epoll.poll(0) == [(again.fileno(), self.select.EPOLLOUT)]
        self.refused(lambda: epoll.register(again), errno.EEXIST)

    def test_closed_and_unregistered_late(self, epoll: Any) -> None:
        one, _ = self.pair()
        number = one.fileno()
        epoll.register(one, self.select.EPOLLOUT)
        one.close()
        assert epoll.poll(0) == []
        self.refused(lambda: epoll.unregister(number), errno.EBADF)

    # ---- its own descriptor ----

    def test_its_descriptor_says_that_something_is_ready(self, epoll: Any) -> None:
        one, other = self.pair()
        epoll.register(one, self.select.EPOLLIN)
        assert _select.select([epoll], [], [], 0)[0] == []
        other.send(b"x")
        assert _select.select([epoll], [], [], PATIENCE)[0] == [epoll]
        assert self.select.select([epoll], [], [], PATIENCE)[0] == [epoll]
        assert epoll.poll(0) == [(one.fileno(), self.select.EPOLLIN)]
        one.recv(1)
        assert epoll.poll(0) == []
        assert _select.select([epoll], [], [], 0)[0] == []

    def test_an_epoll_in_an_epoll(self, epoll: Any) -> None:
        one, other = self.pair()
        with self.select.epoll() as outer:
            outer.register(epoll, self.select.EPOLLIN)
            epoll.register(one, self.select.EPOLLIN)
            assert outer.poll(0) == []
            other.send(b"x")
            assert self.later(outer) == [(epoll.fileno(), self.select.EPOLLIN)]

    def test_from_its_descriptor(self, epoll: Any) -> None:
        one, _ = self.pair()
        second = type(epoll).fromfd(epoll.fileno())
        assert second.fileno() == epoll.fileno()
        second.register(one, self.select.EPOLLOUT)
        assert len(self.later(epoll)) == 1
        self.refused(lambda: epoll.register(one), errno.EEXIST)
        epoll.close()
        with suppress(
            OSError
        ):  # the number was both's: not to be closed again once it is another's
            second.close()

    # ---- several threads ----

    def test_one_thread_registers_while_another_waits(self, epoll: Any) -> None:
        one, _ = self.pair()
        with background(
            lambda: (threading.Event().wait(SHORT), epoll.register(one, self.select.EPOLLOUT))
        ):
            assert self.later(epoll) == [(one.fileno(), self.select.EPOLLOUT)]

    # ---- selectors ----

    @pytest.mark.parametrize("name", ["Default", "Epoll", "Poll", "Select"])
    def test_a_plain_file_in_a_selector(self, name: str) -> None:
        with getattr(self.selectors, f"{name}Selector")() as selector:
            with open(__file__, "rb") as plain:
                if name in ("Default", "Epoll"):
                    self.refused(lambda: selector.register(plain, 1), errno.EPERM)
                    assert len(selector.get_map()) == 0
                    return
                key = selector.register(plain, 1)
                assert selector.select(None) == [(key, 1)]
                key = selector.modify(plain, 1, "data")
                assert selector.select(0) == [(key, 1)]
                assert selector.unregister(plain) == key
                assert selector.select(0) == []

    def test_a_selector_has_a_descriptor(self) -> None:
        one, other = self.pair()
        with self.selectors.DefaultSelector() as selector:
            selector.register(one, 1)
            assert _select.select([selector.fileno()], [], [], 0)[0] == []
            other.send(b"x")
            assert _select.select([selector.fileno()], [], [], PATIENCE)[0]
        with pytest.raises(ValueError, match="closed"):
            selector.select(0)

    def test_a_selector_with_a_closed_number(self) -> None:
        with self.selectors.DefaultSelector() as selector:
            number = os.dup(0)
            os.close(number)
            self.refused(lambda: selector.register(number, 1), errno.EBADF)
            assert len(selector.get_map()) == 0

    def test_a_wait_outlasts_what_was_closed(self, epoll: Any) -> None:
        one, _ = self.pair()
        with self.selectors.DefaultSelector() as selector:
            epoll.register(one, self.select.EPOLLIN)
            selector.register(one, 1)
            one.close()
            for wait in (epoll.poll, selector.select):
                begin = time.monotonic()
                assert wait(SHORT) == []
                assert time.monotonic() - begin >= SHORT


class TestKernelEpoll(Kernel, Epoll):
    DATAGRAMS_SENT_ARE_EDGES = True


class TestBarewireEpoll(Barewire, Epoll):
    DATAGRAMS_SENT_ARE_EDGES = False

    def test_a_wait_takes_no_number_that_was_just_closed(self) -> None:
        """The descriptor that a thread needs to wait is far from those that a program counts."""
        with self.select.epoll() as epoll:
            number = os.dup(0)
            os.close(number)

            def wait() -> list[tuple[int, int]]:
                found = epoll.poll(0.001)
                self.refused(lambda: epoll.register(number), errno.EBADF)
                return list(found)

            with background(wait):
                pass
            epoll.fileno()
            self.refused(lambda: epoll.register(number), errno.EBADF)

    def test_more_ready_than_a_batch(self) -> None:
        """A selector tells all that are ready in one call."""
        with self.selectors.DefaultSelector() as selector:
            for _ in range(1100):
                selector.register(self.datagram(bound=False), self.selectors.EVENT_WRITE)
            assert len({id(key) for key, _ in selector.select(0)}) == 1100

    def test_closed_while_another_thread_waits(self) -> None:
        """The kernel leaves that thread there for ever."""
        one, _ = self.pair()
        epoll = self.select.epoll()
        epoll.register(one, self.select.EPOLLIN)
        with background(lambda: (threading.Event().wait(SHORT), epoll.close())):
            with pytest.raises(ValueError, match="closed epoll object"):
                epoll.poll()

    def test_a_foreign_descriptor_gives_the_kernels_object(self) -> None:
        with _select.epoll() as kernels:
            assert isinstance(self.select.epoll.fromfd(os.dup(kernels.fileno())), _select.epoll)
