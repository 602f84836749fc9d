"""select, poll, epoll and selectors, over sockets and pipes in one wait, do what the kernel's do."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import barewire.select
import barewire.selectors
import pytest

from tests.sockets.kit import SHORT, Barewire, Kernel, Network, background


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for fd in ends:
            os.close(fd)


class Select(Network):
    def test_each_list(self) -> None:
        one, other = self.pair()
        listener = self.listener()
        assert self.select.select([one, listener], [one], [one], 0) == ([], [one], [])
        other.send(b"x")
        assert self.select.select([one, other], [other], [], 5) == ([one], [other], [])
        assert self.select.select([one.fileno()], [], [], 5) == ([one.fileno()], [], [])
        with self.socket.create_connection(listener.getsockname()):
            assert self.select.select([one, listener], [], [], 5)[0][-1:] == [listener]
            self.keep(listener.accept()[0])

    def test_with_a_pipe(self) -> None:
        one, other = self.pair()
        with pipe() as (reader, writer):
            assert self.select.select([one, reader], [], [], 0) == ([], [], [])
            os.write(writer, b"x")
            assert self.select.select([one, reader], [writer], [], 5) == ([reader], [writer], [])
            other.send(b"x")
            assert self.select.select([one, reader], [], [], 5) == ([one, reader], [], [])

    def test_woken_from_outside(self) -> None:
        one, other = self.pair()
        with pipe() as (reader, writer):
            for wake, expected in (
                (lambda: os.write(writer, b"x"), reader),
                (lambda: other.send(b"x"), one),
            ):
                with background(lambda w=wake: (threading.Event().wait(SHORT), w())):
                    ready, _, _ = self.select.select([one, reader], [], [], 10)
                assert ready == [expected]
                _ = os.read(reader, 1) if expected is reader else one.recv(1)

    def test_time_over(self) -> None:
        one, _ = self.pair()
        assert self.select.select([one], [], [], SHORT) == ([], [], [])
        assert self.select.select([], [], [], 0.001) == ([], [], [])

    def test_end_and_error_are_readable(self) -> None:
        one, other = self.pair()
        other.close()
        assert self.select.select([one], [], [], 5) == ([one], [], [])
        assert one.recv(1) == b""

    def test_same_socket_in_all_lists(self) -> None:
        one, other = self.pair()
        other.send(b"x")
        self.select.select([one], [], [], 5)
        assert self.select.select([one, one], [one, one], [one], 5) == ([one, one], [one, one], [])

    def test_a_hang_up_that_was_not_asked_for_ends_no_wait(self) -> None:
        one, other = self.pair()
        reader, writer = os.pipe()
        try:
            os.close(writer)
            assert self.select.select([], [reader], [reader], SHORT) == ([], [], [])
            assert self.select.select([], [reader], [reader], 0) == ([], [], [])
            with background(lambda: (threading.Event().wait(SHORT), other.send(b"x"))):
                ready = self.select.select([one], [reader], [reader, one], 10)
            assert ready == ([one], [], [])
            assert self.select.select([reader], [], [reader], 10) == ([reader], [], [])
        finally:
            os.close(reader)

    def test_what_comes_after_a_hang_up_ends_the_wait(self) -> None:
        """A TCP socket of the kernel's that is not connected yet is hung up."""
        one, _ = self.pair()
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.socket() as kernel,
        ):

            def connect() -> None:
                threading.Event().wait(SHORT)
                kernel.connect(listener.getsockname())
                with listener.accept()[0] as peer:
                    peer.send(b"x", socket.MSG_OOB)
                    ended.wait(10)

            ended = threading.Event()
            with background(connect):
                try:
                    assert self.select.select([one], [], [kernel], 10) == ([], [], [kernel])
                finally:
                    ended.set()

    def test_objects_with_fileno(self) -> None:
        one, other = self.pair()

        class Wrapped:
            def fileno(self) -> Any:
                return one.fileno()

        wrapped = Wrapped()
        other.send(b"x")
        assert self.select.select([wrapped], [], [], 5) == ([wrapped], [], [])

    def test_wrong_arguments(self) -> None:
        one, other = self.pair()
        other.close()
        for arguments, kind in (
            ((["x"], [], [], 0), TypeError),
            (([-1], [], [], 0), ValueError),
            (([other], [], [], 0), ValueError),
            ((1, [], [], 0), TypeError),
            (([one], [], [], -1), ValueError),
            (([one], [], [], "x"), TypeError),
        ):
            with pytest.raises(kind):
                self.select.select(*arguments)

    def test_closed_number(self) -> None:
        with pipe() as (reader, _):
            number = os.dup(reader)
        os.close(number)
        with pytest.raises(OSError) as caught:
            self.select.select([number], [], [], 0)
        assert caught.value.errno == errno.EBADF

    def test_signal_handler_runs_and_the_wait_goes_on(self) -> None:
        one, other = self.pair()
        seen: list[int] = []

        def handler(number: int, frame: object) -> None:
            seen.append(number)
            other.send(b"x")

        old = signal.signal(signal.SIGUSR1, handler)
        try:
            timer = threading.Timer(SHORT, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            assert self.select.select([one], [], [], 10) == ([one], [], [])
            timer.join()
        finally:
            signal.signal(signal.SIGUSR1, old)
        assert seen == [signal.SIGUSR1]

    # ---- poll ----

    def test_poll(self) -> None:
        one, other = self.pair()
        poll = self.select.poll()
        assert poll.poll(0) == []
        poll.register(one)
        assert poll.poll(1000) == [(one.fileno(), self.select.POLLOUT)]
        poll.modify(one, self.select.POLLIN)
        assert poll.poll(0) == []
        assert poll.poll(10.5) == []
        other.send(b"x")
        with pipe() as (reader, writer):
            poll.register(reader, self.select.POLLIN)
            os.write(writer, b"x")
            expected = {(one.fileno(), self.select.POLLIN), (reader, self.select.POLLIN)}
            assert set(poll.poll(1000)) == expected
            poll.unregister(reader)
        other.close()
        (_, events), *_ = poll.poll(1000)
        assert events & self.select.POLLIN
        poll.unregister(one.fileno())
        assert poll.poll(0) == []

    def test_poll_errors(self) -> None:
        one, _ = self.pair()
        poll = self.select.poll()
        with pytest.raises(KeyError):
            poll.unregister(one)
        with pytest.raises(OSError) as caught:
            poll.modify(one, self.select.POLLIN)
        assert caught.value.errno == errno.ENOENT
        with pytest.raises(TypeError):
            poll.register("x")
        with pytest.raises(ValueError):
            poll.register(-1)
        with pytest.raises(OverflowError):
            poll.register(one, 1 << 20)
        with pytest.raises(TypeError):
            poll.poll("x")

    def test_poll_closed(self) -> None:
        one, _ = self.pair()
        poll = self.select.poll()
        number = one.fileno()
        poll.register(number, self.select.POLLIN)
        one.close()
        assert poll.poll(0) == [(number, self.select.POLLNVAL)]

    def test_poll_knows_numbers(self) -> None:
        """Of the kernel's, and of ours: what is closed is told each time; then what has the number next."""
        one, _ = self.pair()
        poll = self.select.poll()
        reader, writer = os.pipe()
        for number in (one.fileno(), reader):
            poll.register(number, self.select.POLLIN)
        assert poll.poll(0) == []
        number = one.fileno()
        one.close()
        copy = fcntl.fcntl(
            reader, fcntl.F_DUPFD_CLOEXEC, 300
        )  # the file lives on, and its number does not
        os.close(reader)
        os.write(writer, b"x")
        gone = {(number, self.select.POLLNVAL), (reader, self.select.POLLNVAL)}
        for _ in range(3):
            assert set(poll.poll(None)) == gone
        quiet, theirs = os.pipe()
        for taken in {number, reader} - {quiet, theirs}:
            os.dup2(quiet, taken)
        assert [fd for fd, bits in poll.poll(0) if bits & self.select.POLLIN] == []
        os.write(theirs, b"y")
        ready = {fd for fd, bits in poll.poll(1000) if bits & self.select.POLLIN}
        assert ready == {number, reader} - {theirs}
        for fd in {copy, writer, quiet, theirs, number, reader}:
            os.close(fd)

    def test_poll_tells_in_the_order_of_registering(self) -> None:
        pairs = [self.pair() for _ in range(4)]
        poll = self.select.poll()
        for one, _ in reversed(pairs):
            poll.register(one, self.select.POLLIN)
        for one, other in pairs:
            other.send(b"x")
            self.select.select([one], [], [], 5)
        numbers = [one.fileno() for one, _ in pairs]
        assert [fd for fd, _ in poll.poll(0)] == numbers[::-1]
        poll.register(numbers[2], self.select.POLLIN)  # it keeps its place
        assert [fd for fd, _ in poll.poll(0)] == numbers[::-1]
        poll.unregister(numbers[2])
        poll.register(numbers[2], self.select.POLLIN)
        assert [fd for fd, _ in poll.poll(0)] == [numbers[3], numbers[1], numbers[0], numbers[2]]

    def test_poll_with_a_plain_file(self) -> None:
        one, _ = self.pair()
        poll = self.select.poll()
        poll.register(one, self.select.POLLIN)
        with open(__file__) as file:
            poll.register(file, self.select.POLLIN | self.select.POLLPRI)
            assert poll.poll(None) == [(file.fileno(), self.select.POLLIN)]
            assert poll.poll(None) == [(file.fileno(), self.select.POLLIN)]

    def test_poll_of_one_of_two_numbers(self) -> None:
        """The number that was closed is no number any more, though its socket lives on."""
        one, other = self.pair()
        poll = self.select.poll()
        number = one.fileno()
        poll.register(number, self.select.POLLIN)
        assert poll.poll(0) == []
        copy = self.keep(one.dup())
        one.close()
        other.send(b"x")
        assert self.select.select([copy], [], [], 5)[0] == [copy]
        assert poll.poll(0) == [(number, self.select.POLLNVAL)]

    def test_poll_many(self) -> None:
        pairs = [self.pair() for _ in range(20)]
        poll = self.select.poll()
        for one, _ in pairs:
            poll.register(one, self.select.POLLIN)
        assert poll.poll(0) == []
        for one, other in pairs[::3]:
            other.send(b"x")
            assert (one.fileno(), self.select.POLLIN) in poll.poll(5000)
        assert len(poll.poll(0)) == len(pairs[::3])

    def test_poll_hang_up(self) -> None:
        one, other = self.pair()
        other.close()
        one.recv(1)
        one.shutdown(self.socket.SHUT_WR)
        poll = self.select.poll()
        poll.register(one, 0)
        assert poll.poll(5000) == [(one.fileno(), self.select.POLLHUP)]

    def test_poll_refused(self) -> None:
        sock = self.stream()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", self.unused_port()))
        poll = self.select.poll()
        poll.register(sock, self.select.POLLOUT)
        ((_, events),) = poll.poll(5000)
        assert events & self.select.POLLOUT and events & self.select.POLLERR
        error = sock.getsockopt(self.socket.SOL_SOCKET, self.socket.SO_ERROR)
        assert error == errno.ECONNREFUSED
        assert sock.getsockopt(self.socket.SOL_SOCKET, self.socket.SO_ERROR) == 0

    # ---- epoll ----

    def test_epoll(self) -> None:
        one, other = self.pair()
        with self.select.epoll() as epoll:
            assert not epoll.closed
            epoll.register(one, self.select.EPOLLIN)
            assert epoll.poll(0) == []
            other.send(b"x")
            assert epoll.poll(5, 3) == [(one.fileno(), self.select.EPOLLIN)]
            epoll.modify(one, self.select.EPOLLOUT)
            assert epoll.poll() == [(one.fileno(), self.select.EPOLLOUT)]
            epoll.unregister(one)
            assert epoll.poll(0) == []
        assert epoll.closed
        with pytest.raises(ValueError):
            epoll.poll(0)
        with pytest.raises(ValueError):
            epoll.register(one)

    def test_epoll_once(self) -> None:
        one, _ = self.pair()
        with self.select.epoll() as epoll:
            once = self.select.EPOLLOUT | self.select.EPOLLONESHOT
            epoll.register(one, once)
            assert epoll.poll(5) == [(one.fileno(), self.select.EPOLLOUT)]
            assert epoll.poll(0) == []
            epoll.modify(one, once)
            assert epoll.poll(5) == [(one.fileno(), self.select.EPOLLOUT)]

    def test_epoll_errors(self) -> None:
        one, _ = self.pair()
        with self.select.epoll() as epoll:
            epoll.register(one, self.select.EPOLLIN)
            for call, number in (
                (lambda: epoll.register(one, self.select.EPOLLIN), errno.EEXIST),
                (lambda: (epoll.unregister(one), epoll.modify(one, 1)), errno.ENOENT),
                (lambda: epoll.unregister(one), errno.ENOENT),
            ):
                with pytest.raises(OSError) as caught:
                    call()
                assert caught.value.errno == number
            with pytest.raises(ValueError):
                epoll.poll(0, 0)

    def test_epoll_forgets_the_closed(self) -> None:
        one, _ = self.pair()
        with self.select.epoll() as epoll:
            epoll.register(one, self.select.EPOLLOUT)
            one.close()
            assert epoll.poll(0) == []

    # ---- selectors ----

    @pytest.fixture(params=["Default", "Select", "Poll", "Epoll"])
    def selector(self, request: pytest.FixtureRequest) -> Iterator[Any]:
        with getattr(self.selectors, f"{request.param}Selector")() as selector:
            yield selector

    def test_selector(self, selector: Any) -> None:
        one, other = self.pair()
        read, write = self.selectors.EVENT_READ, self.selectors.EVENT_WRITE
        key = selector.register(one, read | write, "data")
        assert (key.fileobj, key.events, key.data) == (one, read | write, "data")
        assert selector.get_key(one) is selector.get_map()[one]
        assert selector.select(5) == [(key, write)]
        other.send(b"x")
        selector.modify(one, read, "other data")
        ((key, events),) = selector.select(5)
        assert (key.data, events) == ("other data", read)
        assert one.recv(1) == b"x"
        assert selector.select(0) == selector.select(-1) == []
        with pipe() as (reader, writer):
            selector.register(reader, read)
            os.write(writer, b"x")
            assert [(k.fd, e) for k, e in selector.select(5)] == [(reader, read)]
            assert len(selector.get_map()) == 2
            selector.unregister(reader)
        assert selector.unregister(one) == key
        assert len(selector.get_map()) == 0

    def test_selector_errors(self, selector: Any) -> None:
        one, other = self.pair()
        selector.register(one, 1)
        with pytest.raises(KeyError, match="already registered"):
            selector.register(one, 1)
        with pytest.raises(ValueError, match="Invalid events"):
            selector.register(other, 8)
        with pytest.raises(KeyError, match="not registered"):
            selector.unregister(other)
        with pytest.raises(KeyError, match="not registered"):
            selector.modify(other, 1)
        with pytest.raises(KeyError):
            selector.get_key(other)
        other.close()
        with pytest.raises(ValueError):
            selector.register(other, 1)
        with pytest.raises(ValueError):
            selector.register("x", 1)

    def test_selector_with_a_closed_socket(self, selector: Any) -> None:
        one, _ = self.pair()
        key = selector.register(one, 1)
        one.close()
        if isinstance(selector, (self.selectors.EpollSelector, self.selectors.DefaultSelector)):
            assert selector.select(0) == []
        assert selector.unregister(one) == key

    def test_selector_closed(self) -> None:
        selector = self.selectors.DefaultSelector()
        selector.close()
        assert selector.get_map() is None
        with pytest.raises(RuntimeError):
            selector.get_key(0)


class TestKernelSelect(Kernel, Select):
    pass


class TestBarewireSelect(Barewire, Select):
    def test_selectors_take_no_descriptor(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        with self.selectors.DefaultSelector() as selector:
            socks = [self.datagram() for _ in range(50)]
            for sock in socks:
                selector.register(sock, self.selectors.EVENT_WRITE)
            ready = selector.select(5)
            assert {key.fileobj for key, _ in ready} == set(socks)
            assert len(os.listdir("/proc/self/fd")) <= before + 2  # the waiter's own
            assert selector.get_key(socks[0].fileno()).fileobj is socks[0]
            assert self.select.select([], [ready[0][0].fd], [], 5)[1] == [ready[0][0].fd]

    def test_foreign_select_can_wait_on_fileno(self) -> None:
        import select

        one, other = self.pair()
        assert select.select([one], [], [], 0)[0] == []
        other.send(b"x")
        assert select.select([one], [], [], 10)[0] == [one]
        one.recv(1)
        one.settimeout(0)
        with pytest.raises(BlockingIOError):
            one.recv(1)
        assert select.select([one], [], [], 0)[0] == [], (
            "a call that found nothing tells it at once"
        )

    def test_two_stacks(self) -> None:
        with barewire.Stack() as stack, stack.socket(type=self.socket.SOCK_DGRAM) as there:
            here = self.datagram()
            there.bind(("127.0.0.1", 0))
            assert self.select.select([here, there], [], [], 0) == ([], [], [])
            there.sendto(b"x", there.getsockname())
            assert self.select.select([here, there], [], [], 5) == ([there], [], [])


def test_same_names() -> None:
    import select
    import selectors

    for ours, theirs in ((barewire.select, select), (barewire.selectors, selectors)):
        public = {name for name in dir(theirs) if not name.startswith("_")}
        missing = public - set(dir(ours)) - {"ABCMeta", "abstractmethod", "namedtuple", "sys"}
        assert not missing - {"math", "select", "Mapping"}
