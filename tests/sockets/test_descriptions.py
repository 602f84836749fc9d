"""What a number names: open descriptions that objects and numbers share, beside the kernel's; and foreign
code that takes a number for more than it is."""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pytest
from barewire import _registry

from tests.drive.kit import until
from tests.sockets.kit import SHORT, Barewire, Kernel, Network, background


def fails_with(number: int, call: Callable[[], Any]) -> bool:
    with pytest.raises(OSError) as caught:
        call()
    return caught.value.errno == number


class Descriptions(Network):
    def test_the_last_of_two_ends_the_connection(self) -> None:
        one, other = self.pair()
        two = self.keep(one.dup())
        assert two.fileno() != one.fileno()
        assert two.getpeername() == one.getpeername()
        one.sendall(b"a")
        two.sendall(b"b")
        assert other.recv(2, socket.MSG_WAITALL) == b"ab"
        one.close()
        two.sendall(b"c")
        assert other.recv(1) == b"c"
        other.sendall(b"d")
        assert two.recv(1) == b"d"
        other.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            other.recv(1)
        two.close()
        assert other.recv(1) == b""

    def test_a_socket_goes_on_when_its_copy_closes(self) -> None:
        one, other = self.pair()
        one.dup().close()
        one.sendall(b"a")
        assert other.recv(1) == b"a"

    def test_shutdown_is_of_the_connection(self) -> None:
        one, other = self.pair()
        two = self.keep(one.dup())
        two.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            one.send(b"x")

    def test_options_are_shared(self) -> None:
        one, _ = self.pair()
        two = self.keep(one.dup())
        two.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def test_the_timeout_is_the_objects(self) -> None:
        one, _ = self.pair()
        one.settimeout(3)
        two = self.keep(one.dup())
        assert two.gettimeout() == 3
        two.settimeout(5)
        assert one.gettimeout() == 3
        three = self.keep(self.socket.fromfd(one.fileno(), socket.AF_INET, socket.SOCK_STREAM))
        assert three.gettimeout() is None

    def test_o_nonblock_is_the_descriptions(self) -> None:
        one, _ = self.pair()
        one.settimeout(None)
        two = self.keep(one.dup())
        assert os.get_blocking(one.fileno()) and os.get_blocking(two.fileno())
        two.setblocking(False)
        assert one.gettimeout() is None
        assert not os.get_blocking(one.fileno())
        with pytest.raises(BlockingIOError):
            one.recv(1)
        two.settimeout(7)
        assert not os.get_blocking(one.fileno()), "a timeout sets it too"
        with pytest.raises(BlockingIOError):
            one.recv(1)
        one.setblocking(True)
        assert os.get_blocking(two.fileno())

    def test_fcntl_sets_it(self) -> None:
        one, _ = self.pair()
        one.settimeout(None)
        os.set_blocking(one.fileno(), False)
        with pytest.raises(BlockingIOError):
            one.recv(1)
        os.set_blocking(one.fileno(), True)
        one.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            one.recv(1)

    def test_an_object_without_timeout_waits_once_another_blocks(self) -> None:
        one, other = self.pair()
        one.setblocking(False)
        two = self.keep(one.dup())
        two.setblocking(True)
        assert one.gettimeout() == 0.0
        got: list[bytes] = []
        with background(lambda: got.append(one.recv(1))):
            other.sendall(b"x")
        assert got == [b"x"]

    def test_two_objects_on_one_number(self) -> None:
        one, other = self.pair()
        two = self.socket.socket(fileno=one.fileno())
        assert two.fileno() == one.fileno()
        two.sendall(b"a")
        one.sendall(b"b")
        assert other.recv(2, socket.MSG_WAITALL) == b"ab"
        two.close()
        assert other.recv(1) == b""
        assert fails_with(errno.EBADF, lambda: one.send(b"x"))
        assert fails_with(errno.EBADF, lambda: one.recv(1))
        assert fails_with(errno.EBADF, one.close)
        assert one.fileno() == -1

    def test_a_copy_lives_when_the_number_of_two_objects_goes(self) -> None:
        one, other = self.pair()
        two = self.socket.socket(fileno=one.fileno())
        copy = self.keep(one.dup())
        two.close()
        assert fails_with(errno.EBADF, lambda: one.send(b"x"))
        copy.sendall(b"x")
        assert other.recv(1) == b"x"
        assert fails_with(errno.EBADF, one.close)

    def test_close_by_number(self) -> None:
        one, other = self.pair()
        self.socket.close(one.fileno())
        assert other.recv(1) == b""
        assert fails_with(errno.EBADF, lambda: one.send(b"x"))
        assert fails_with(errno.EBADF, one.close)
        one.close()

    def test_numbers_without_objects(self) -> None:
        one, other = self.pair()
        number = self.socket.dup(one.fileno())
        one.close()
        other.sendall(b"x")
        two = self.socket.socket(fileno=number)
        assert two.recv(1) == b"x"
        assert two.detach() == number
        assert two.fileno() == -1
        self.socket.close(number)
        assert other.recv(1) == b""

    def test_a_number_that_os_dup_made(self) -> None:
        one, other = self.pair()
        two = self.socket.socket(fileno=os.dup(one.fileno()))
        one.close()
        two.sendall(b"x")
        assert other.recv(1) == b"x"
        two.close()
        assert other.recv(1) == b""

    def test_a_number_that_os_dup_made_shares_whether_calls_block(self) -> None:
        one, other = self.pair()
        one.setblocking(False)
        copy = self.keep(self.socket.socket(fileno=os.dup(one.fileno())))
        copy.settimeout(None)
        with background(lambda: (threading.Event().wait(SHORT), other.send(b"x"))):
            assert one.recv(1) == b"x"

    def test_an_interrupt_closes_no_number(self) -> None:
        """Wherever it falls while a number is looked up, which may be a socket of the kernel's."""
        one, _ = self.pair()
        assert one.fileno() >= 0
        theirs, peer = socket.socketpair()
        with theirs, peer:
            lines = 0

            def interrupt(frame: Any, event: str, arg: Any) -> Any:
                nonlocal left
                left -= event == "line"
                if left < 0:
                    raise KeyboardInterrupt
                return interrupt

            while True:
                left, lines, before = lines, lines + 1, sys.gettrace()
                sys.settrace(interrupt)
                try:
                    _registry.copied(theirs.fileno())
                    break
                except KeyboardInterrupt:
                    pass
                finally:
                    sys.settrace(before)
                os.fstat(theirs.fileno())
            assert lines > 3

    def test_two_threads_close_one_number(self) -> None:
        def close(number: int, errors: list[int | None]) -> None:
            try:
                self.socket.close(number)
                errors.append(None)
            except OSError as problem:
                errors.append(problem.errno)

        for _ in range(50):
            number, errors = self.datagram().detach(), list[int | None]()
            threads = [threading.Thread(target=close, args=(number, errors)) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(errors) == 2 and None in errors and set(errors) <= {None, errno.EBADF}

    def test_what_it_is_comes_with_the_number(self) -> None:
        one = self.datagram()
        two = self.keep(self.socket.socket(fileno=self.socket.dup(one.fileno())))
        assert (two.family, two.type) == (one.family, one.type)
        assert two.getsockname() == one.getsockname()
        one.sendto(b"x", one.getsockname())
        assert two.recv(1) == b"x"

    def test_a_listener_twice(self) -> None:
        one = self.listener()
        two = self.keep(one.dup())
        for listener in (two, one):
            here = self.stream()
            here.connect(one.getsockname())
            there, peer = listener.accept()
            self.keep(there)
            assert peer == here.getsockname()
        one.close()
        here = self.stream()
        here.connect(two.getsockname())

    def test_a_subclass(self) -> None:
        class Named(self.socket.socket):  # type: ignore[name-defined, misc]
            pass

        one, other = self.pair()
        two = self.keep(Named(fileno=self.socket.dup(one.fileno())))
        assert type(self.keep(two.dup())) is Named
        two.sendall(b"x")
        assert other.recv(1) == b"x"

    def test_waiting_on_copies(self) -> None:
        one, other = self.pair()
        two = self.keep(one.dup())
        number = self.socket.dup(one.fileno())
        try:
            assert self.select.select([one, two, number], [], [], 0) == ([], [], [])
            other.sendall(b"x")
            assert self.select.select([one], [], [], 10)[0] == [one]
            assert self.select.select([one, two, number], [], [], 10)[0] == [one, two, number]
            numbers = [one.fileno(), two.fileno(), number]
            assert select.select(numbers, [], [], 10)[0] == numbers
        finally:
            self.socket.close(number)

    def test_closed_sockets_have_no_copies(self) -> None:
        one, _ = self.pair()
        number = one.fileno()
        one.close()
        assert fails_with(errno.EBADF, one.dup)
        assert fails_with(errno.EBADF, lambda: self.socket.dup(number))


class TestKernelDescriptions(Kernel, Descriptions):
    pass


class TestBarewireDescriptions(Barewire, Descriptions):
    # ---- a number in foreign hands ---------------------------------------------------------------

    def refused(self, one: Any, other: Any, caplog: Any, said: str) -> None:
        """Both ends hear of it, and the log has a line."""
        with pytest.raises(ConnectionResetError):
            other.recv(10_000)
        assert fails_with(errno.ECONNABORTED, lambda: one.recv(1))
        until(lambda: said in caplog.text, "a line in the log")
        assert str(one.getsockname()[1]) in caplog.text
        assert caplog.records[-1].levelno == logging.ERROR

    def test_bytes_written_into_it_are_not_lost_in_silence(self, caplog: Any) -> None:
        one, other = self.pair()
        number = one.fileno()
        assert os.write(number, bytes(2000)) == 2000
        self.refused(one, other, caplog, f"2000 bytes were written into descriptor {number}")

    def test_nor_those_of_sendfile(self, caplog: Any) -> None:
        one, other = self.pair()
        with tempfile.TemporaryFile() as file:
            file.write(bytes(2000))
            file.flush()
            assert os.sendfile(one.fileno(), file.fileno(), 0, 2000) == 2000
        self.refused(one, other, caplog, "2000 bytes were written")

    def test_nor_those_of_a_child_process(self, caplog: Any) -> None:
        one, other = self.pair()
        child = "import os; os.write(1, b'from a child')"
        subprocess.run([sys.executable, "-c", child], stdout=one.fileno(), check=True)
        self.refused(one, other, caplog, "12 bytes were written")

    def test_nor_while_it_is_not_writable(self, caplog: Any) -> None:
        """What makes it so are bytes too, which are no one's."""
        one, other = self.pair()
        one.setblocking(False)
        number = one.fileno()
        with pytest.raises(BlockingIOError):
            while True:
                one.send(bytes(1 << 16))
        assert select.select([], [number], [], 0)[1] == []
        for _ in range(2000):
            other.recv(1 << 20)
            if select.select([], [number], [], 0)[1]:
                break
        assert "written" not in caplog.text
        os.write(number, b"x")
        until(lambda: "1 bytes were written" in caplog.text, "a line in the log")

    def test_a_byte_read_from_it_is_no_data(self, caplog: Any) -> None:
        one, other = self.pair()
        number = one.fileno()
        other.sendall(b"data")
        until(lambda: bool(select.select([number], [], [], 0)[0]), "readable")
        assert os.read(number, 10) == b"\0"
        assert one.recv(10) == b"data"
        with pytest.raises((BlockingIOError, ConnectionAbortedError)):
            one.setblocking(False)
            one.recv(1)
        with pytest.raises(ConnectionResetError):
            other.recv(1)
        until(lambda: f"something was read from descriptor {number}" in caplog.text, "a line")

    def test_a_datagram_socket_has_an_error_of_it(self, caplog: Any) -> None:
        one = self.datagram()
        os.write(one.fileno(), b"x")
        until(lambda: "1 bytes were written" in caplog.text, "a line in the log")
        assert fails_with(errno.ECONNABORTED, lambda: one.recv(1))

    def test_more_than_are_told_of_at_once_are_reset_all_the_same(self, caplog: Any) -> None:
        """HOST_FOREIGN wait to be logged at most."""
        pairs = [self.pair() for _ in range(40)]
        for one, _ in pairs:
            os.write(one.fileno(), b"x")
        for _, other in pairs:
            with pytest.raises(ConnectionResetError):
                other.recv(1)

    def test_threads_share_and_close(self) -> None:
        one, other = self.pair()

        def use() -> None:
            for _ in range(200):
                with one.dup() as copy:
                    copy.send(b"x")

        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        left = 600
        while left:
            left -= len(other.recv(left))
        for thread in threads:
            thread.join()
        one.close()
        assert other.recv(1) == b""
