"""What a stack shows of itself: counters as one snapshot, and its sockets without their handles."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import barewire
import pytest
from barewire.stack import ffi, lib

LOCAL = "127.0.0.1"


@pytest.fixture
def stack() -> Iterator[barewire.Stack]:
    with barewire.Stack(exit_linger=0) as made:
        yield made


def crossings(call: Callable[[], Any]) -> list[str]:
    """The functions of the engine's that it calls."""
    found: list[str] = []

    def note(frame: Any, event: str, arg: Any) -> None:
        if event == "c_call" and "_cffi_backend.Lib" in repr(arg):
            found.append(arg.__name__)

    call()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


def test_counters_are_read_in_one_call(stack: barewire.Stack) -> None:
    calls = crossings(stack.counters)
    assert calls.count("host_counters") == 1
    assert len(calls) <= 3, calls
    assert len(stack.counters()) > lib.bw_counter_count()


def test_stats_are_read_in_one_call(stack: barewire.Stack) -> None:
    assert crossings(stack.stats) == ["host_get_stats"]
    with stack.socket(), stack.socket():
        assert stack.stats()["sockets"] == 2


def test_counters_stay_when_the_stack_is_closed() -> None:
    with barewire.Stack() as stack, stack.socket(type=2) as sock:
        sock.bind((LOCAL, 0))
        sock.sendto(b"x", sock.getsockname())
    assert stack.counters()["udp_datagrams_sent"] == 1


def test_a_socket_of_each_state(stack: barewire.Stack) -> None:
    server = stack.create_server((LOCAL, 7), backlog=5)
    one = stack.create_connection((LOCAL, 7))
    udp = stack.socket(type=2)
    udp.bind((LOCAL, 9))
    with server, one, udp, stack.socket() as fresh:
        one.sendall(b"abc")
        rows = {(row.state, row.local): row for row in stack.sockets()}
        assert len(rows) == 5
        listener = rows["LISTEN", (LOCAL, 7)]
        assert (listener.recv_queue, listener.send_queue, listener.is_open) == (1, 5, True)
        waiting = rows["ESTAB", (LOCAL, 7)]
        assert (waiting.remote, waiting.recv_queue) == (one.getsockname(), 3)
        assert not waiting.is_open, "nobody has accepted it"
        assert rows["ESTAB", one.getsockname()].remote == (LOCAL, 7)
        datagrams = rows["UNCONN", (LOCAL, 9)]
        assert (datagrams.type, datagrams.remote) == (socket.SOCK_DGRAM, ("0.0.0.0", 0))
        assert rows["UNCONN", ("0.0.0.0", 0)].type == socket.SOCK_STREAM
        udp.sendto(b"12345", (LOCAL, 9))
        udp.connect((LOCAL, 9))
        [found] = [row for row in stack.sockets() if row.type == socket.SOCK_DGRAM]
        assert found.state == "ESTAB"
        assert fresh.fileno() >= 0
        there, _ = server.accept()
        there.shutdown(socket.SHUT_WR)
        assert one.recv(9) == b""
        states = {row.local: row.state for row in stack.sockets() if row.remote[1]}
        assert states[one.getsockname()] == "CLOSE-WAIT"
        there.recv(3)
        there.close()
        one.close()
        last = [row for row in stack.sockets() if row.state == "TIME-WAIT"]
        assert [row.is_open for row in last] == [False]


def test_ten_thousand_in_bounded_pieces() -> None:
    with barewire.Stack(clock=lambda: 0, max_sockets=10_000) as stack:
        socks = [stack.socket(type=2) for _ in range(10_000)]
        for sock in socks[:-1]:
            sock.close()
        rows = ffi.new("struct bw_sock_info[]", 16)
        at = ffi.new("uint32_t *", 0)
        pieces = [lib.host_list(stack.host, at, rows, 16)]
        assert at[0] == lib.BW_LIST_WALK, "places, not sockets"
        while at[0] != lib.BW_LIST_END:
            pieces.append(lib.host_list(stack.host, at, rows, 16))
        assert pieces == [0, 0, 1]
        assert len(list(stack.sockets())) == 1
        kept = [stack.socket(type=2) for _ in range(1000)]
        assert len(list(stack.sockets())) == 1001
        assert len(crossings(lambda: list(stack.sockets()))) <= 10_000 / lib.BW_LIST_WALK + 5
        for sock in [*kept, socks[-1]]:
            sock.close()


def test_none_of_a_stack_that_is_closed() -> None:
    stack = barewire.Stack()
    stack.close()
    with pytest.raises(OSError):
        list(stack.sockets())
