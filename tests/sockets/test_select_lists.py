"""select's lists: copied on the way in, and what is asked of each object is what select(2) asks."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.sockets.kit import PATIENCE, SHORT, Barewire, Kernel, Network


class Lists(Network):
    def test_any_iterable(self) -> None:
        one, other = self.pair()
        other.send(b"x")
        assert self.select.select({one}, (other,), iter(()), PATIENCE) == ([one], [other], [])

    def test_the_end_of_reading_does_not_wake_a_writer(self) -> None:
        """HUP makes readable; a full queue stays full."""
        one, other = self.pair()
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                one.send(bytes(1 << 16))
        assert self.select.select([], [one], [one], SHORT) == ([], [], [])
        other.shutdown(self.socket.SHUT_WR)
        assert self.select.select([one], [], [], PATIENCE) == ([one], [], [])
        assert self.select.select([], [one], [one], SHORT) == ([], [], [])

    def test_the_same_object_many_times(self) -> None:
        one, other = self.pair()
        other.send(b"x")
        assert self.select.select([one] * 3, [one] * 2, [], PATIENCE) == ([one] * 3, [one] * 2, [])

    def test_a_number_that_is_no_int_of_c(self) -> None:
        with pytest.raises(OverflowError):
            self.select.select([1 << 32], [], [], 0)

    def test_fileno_is_asked_once(self) -> None:
        one, other = self.pair()

        class Once:
            numbers = iter((one.fileno(),))

            def fileno(self) -> int:
                return next(self.numbers)

        other.send(b"x")
        lone = Once()
        assert self.select.select([lone], [], [], PATIENCE) == ([lone], [], [])

    def test_an_exception_of_fileno_comes_through(self) -> None:
        class Broken:
            def fileno(self) -> Any:
                raise LookupError("no number")

        with pytest.raises(LookupError):
            self.select.select([Broken()], [], [], 0)

    def test_fileno_may_wait_itself(self) -> None:
        """And change the list: what was given when the call began counts."""
        one, other = self.pair()
        other.send(b"x")
        given: list[Any] = []

        class Nested:
            def fileno(nested: Any) -> Any:
                given.clear()
                assert self.select.select([one], [], [], PATIENCE)[0] == [one]
                return one.fileno()

        nested = Nested()
        given += [nested, one]
        if isinstance(self, Barewire):
            assert self.select.select(given, [], [], PATIENCE)[0] == [nested, one]
        else:  # the kernel's reads the list itself, which is shorter now
            assert self.select.select(given, [], [], PATIENCE)[0] == [nested]

    def test_closed_objects(self) -> None:
        one, _ = self.pair()
        number = one.fileno()
        one.close()
        with pytest.raises(ValueError):
            self.select.select([one], [], [], 0)
        with pytest.raises(OSError) as caught:
            self.select.select([number], [], [], 0)
        assert caught.value.errno == errno.EBADF


class TestKernelLists(Kernel, Lists):
    pass


class TestBarewireLists(Barewire, Lists):
    def test_more_than_the_kernel_takes(self) -> None:
        socks = [self.datagram(bound=False) for _ in range(2000)]
        assert self.select.select(socks, socks, socks, 0) == ([], socks, [])
        assert self.select.select(socks, [], [], 0.001) == ([], [], [])
