"""What a look at many sockets costs when one of them is ready: selectors, epoll and select.

In one process, one core; barewire's sockets are UDP sockets in a stack with nothing but its loopback, the
kernel's are AF_UNIX datagram sockets. Calls only look (time-out 0) and find one socket each time.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ... import Stack
from ... import select as our_select
from ... import selectors as our_selectors
from .report import Result, Samples

TESTS = ("waiting_selector", "waiting_epoll", "waiting_select")
COUNTS = (1, 10, 1_000, 5_000, 10_000)
CHUNK = 50  # calls between two looks at the clock
NUMBERS_A_SOCKET = 3  # descriptors that fileno() of one of our sockets takes at most
SPARE_NUMBERS = 200
FD_SETSIZE = 1024
clock = time.perf_counter_ns


def _ours(things: ExitStack, count: int) -> list[Any]:
    stack = things.enter_context(Stack(max_sockets=count + 16))
    socks = [things.enter_context(stack.socket(type=socket.SOCK_DGRAM)) for _ in range(count)]
    socks[0].bind(("127.0.0.1", 0))
    socks[0].sendto(b"x", socks[0].getsockname())
    return socks


def _kernels(things: ExitStack, count: int) -> list[Any]:
    pair = [things.enter_context(s) for s in socket.socketpair(type=socket.SOCK_DGRAM)]
    pair[1].send(b"x")
    kind = socket.AF_UNIX, socket.SOCK_DGRAM
    return [pair[0], *(things.enter_context(socket.socket(*kind)) for _ in range(count - 1))]


@contextmanager
def _call(name: str, socks: list[Any], polls: Any, chooses: Any) -> Iterator[Callable[[], Any]]:
    """One look, by this test's means."""
    if name == "waiting_select":
        yield lambda: polls.select(socks, [], [], 0)
    elif name == "waiting_epoll":
        with polls.epoll() as epoll:
            for sock in socks:
                epoll.register(sock, select.EPOLLIN)
            yield lambda: epoll.poll(0)
    else:
        with chooses.DefaultSelector() as selector:
            for sock in socks:
                selector.register(sock, selectors.EVENT_READ)
            yield lambda: selector.select(0)


def cost(call: Callable[[], Any], seconds: float) -> float:
    """ns a call: the median of chunks."""
    spent: list[float] = []
    end = clock() + int(seconds * 1e9)
    while clock() < end or len(spent) < 3:
        began = clock()
        for _ in range(CHUNK):
            call()
        spent.append((clock() - began) / CHUNK)
    return sorted(spent)[len(spent) // 2]


def contenders(name: str, count: int) -> list[str]:
    """Who can take part with so many sockets here."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_NUMBERS
    found = ["barewire"] if name != "waiting_epoll" or count * NUMBERS_A_SOCKET <= most else []
    fits = count <= most and (name != "waiting_select" or count < FD_SETSIZE)
    return [*found, "kernel"] if fits else found


def look(name: str, who: str, count: int, seconds: float) -> float | None:
    """ns a call; for select, of which the kernel takes no number above 1,023, None where one is."""
    with ExitStack() as things:
        ours = who == "barewire"
        socks = (_ours if ours else _kernels)(things, count)
        if not ours and name == "waiting_select" and socks[-1].fileno() >= FD_SETSIZE:
            return None
        polls, chooses = (our_select, our_selectors) if ours else (select, selectors)
        call = things.enter_context(_call(name, socks, polls, chooses))
        if sum(map(len, call())) < 1:
            raise RuntimeError("a readable socket was not found")
        return cost(call, seconds)


def measure(
    names: list[str], rounds: int, seconds: float, progress: Callable[[str], None]
) -> list[Result]:
    """Costs a call, and for select an object too; each contender in each round."""
    found: dict[tuple[str, str, str], dict[str, Samples]] = {}

    def note(name: str, count: int, metric: str, who: str, value: float) -> None:
        row = found.setdefault((name, f"{count:,}", metric), {})
        row.setdefault(who, Samples()).add(value)

    cores, limits = os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, {min(cores)})
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        for number in range(rounds):
            for name in names:
                progress(f"round {number + 1}/{rounds}: {name}")
                for count in COUNTS:
                    for who in contenders(name, count):
                        gc.collect()
                        value = look(name, who, count, seconds / 10)
                        if value is not None:
                            note(name, count, "call", who, value)
                        if value is not None and name == "waiting_select":
                            note(name, count, "object", who, value / count)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        os.sched_setaffinity(0, cores)
    return [
        Result(name, "loopback", count, metric, "ns", samples)
        for (name, count, metric), samples in found.items()
    ]
