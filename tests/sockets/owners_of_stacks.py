"""What programs keep of a stack: traces, sockets, waits, and memory that calls are in."""

from __future__ import annotations

import contextlib
import errno
import gc
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import barewire
from barewire import congestion, spsc
from barewire.nic_drivers import pipe_pair
from barewire.stack import lib

from .owners import case, connected, in_thread, quiet_stack, raises

# ---- traces --------------------------------------------------------------------------------------


def traced() -> barewire.Stack:
    stack = quiet_stack(trace=True)
    for sock in connected(stack):
        sock.close()
    return stack


@case
def trace_iterator() -> None:
    def records() -> Any:
        stack = traced()
        found = stack.trace()
        stack.close()
        return found

    found = records()
    gc.collect()
    assert len(list(found)) > 4


@case
def trace_iterator_half_way() -> None:
    stack = traced()
    found = stack.trace()
    next(found)
    stack.close()
    del stack
    gc.collect()
    assert list(found)


@case
def trace_iterator_in_a_cycle() -> None:
    stack = traced()
    found = stack.trace()
    next(found)
    stack.mine = found  # type: ignore[attr-defined]
    stack.close()

    class Last:
        def __init__(self, records: Any) -> None:
            self.records = records

        def __del__(self) -> None:
            list(self.records)

    stack.last = Last(found)  # type: ignore[attr-defined]
    del stack, found
    gc.collect()


@case
def recorder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        record = barewire.trace.Recorder(quiet_stack(), f"{folder}/trace")
        connected(record._stack)
        record._stack.close()
        gc.collect()
        record.close()
        assert list(barewire.trace.read(f"{folder}/trace"))


# ---- a stack's parts -----------------------------------------------------------------------------


@case
def control_plane() -> None:
    device, _peer = pipe_pair()
    stack = quiet_stack(device, addresses=["198.18.0.1/24"])
    plane, now = stack.control, stack.now()
    stack.close()
    del stack
    gc.collect()
    plane.on_timer(now + 10**12)
    plane.add_route("default", "198.18.0.9", None, None, 0, 0, False)


@case
def counters_of_a_closed_stack() -> None:
    stack = quiet_stack()
    stack.close()
    assert stack.counters() and stack.stats()
    raises(errno.EBADF, stack.interface_stats)
    raises(errno.EBADF, stack.next_deadline)
    raises(errno.EBADF, stack.socket)


def task_names() -> list[str]:
    """The names of the process's threads; one that is just ending may be missing."""
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            names.append((task / "comm").read_text())
    return names


def collected_on_its_own_thread(how: str) -> None:
    """What the control thread runs holds the last reference to the stack."""
    device, _peer = pipe_pair()
    held = [quiet_stack(device, addresses=["198.18.0.1/24"])]
    told, done = threading.Event(), threading.Event()
    plane = held[0].control
    thread = next(t for t in threading.enumerate() if t.name.startswith("barewire-control"))

    def let_go(*_: object) -> None:
        told.wait(20)
        if how == "cycle":
            held.append(held)  # type: ignore[arg-type]
        held.clear()
        gc.collect()
        done.set()

    host = held[0].host
    plane.on_timer = let_go  # type: ignore[method-assign]
    plane.next_deadline = lambda: None if done.is_set() else 0  # type: ignore[method-assign]
    lib.host_tell_work(host)
    told.set()
    assert done.wait(20)
    thread.join(20)
    assert not thread.is_alive()
    assert "barewire\n" not in task_names(), "the thread of C has ended, the stack is freed"


@case
def stack_collected_on_its_own_control_thread() -> None:
    collected_on_its_own_thread("reference")


@case
def stack_collected_on_its_own_control_thread_in_a_cycle() -> None:
    collected_on_its_own_thread("cycle")


@case
def congestion_control_that_lets_its_stack_go() -> None:
    held: list[Any] = []
    reports: list[Any] = []

    @congestion.register
    class Leaving:
        name = "leaving"

        def on_report(self, report: Any) -> None:
            reports.append(report)
            held.clear()
            gc.collect()

    held.append(quiet_stack(congestion="leaving"))
    here, there = connected(held[0])
    held += [here, there]
    here.sendall(bytes(100_000))
    del here, there
    for _ in range(2000):
        if reports:
            break
        threading.Event().wait(0.01)
    assert reports and reports[0].mss > 0


# ---- sockets -------------------------------------------------------------------------------------


@case
def sockets_used_by_finalisers() -> None:
    """A stack and what it had go in one cycle, in any order; a finaliser uses all of it."""

    class Last:
        def __init__(self, *things: Any) -> None:
            self.things = things

        def __del__(self) -> None:
            for thing in self.things:
                for use in (
                    thing.fileno,
                    thing.getsockname,
                    lambda t=thing: t.recv(1),
                    thing.close,
                ):
                    try:
                        use()
                    except (OSError, ValueError):
                        pass

    for _ in range(5):
        stack = quiet_stack()
        here, there = connected(stack)
        here.setblocking(False)
        there.setblocking(False)
        here.close()
        file = there.makefile("rwb")
        things = Last(here, there, stack.socket(), stack.socket(type=2))
        for thing in things.things[2:]:
            thing.setblocking(False)
        cycle = [stack, here, there, file, things]
        cycle.append(cycle)
        del stack, here, there, file, things, cycle, thing
        gc.collect()


@case
def makefile_keeps_its_stack() -> None:
    def file() -> Any:
        here, there = connected(quiet_stack())
        there.sendall(b"line\n")
        there.close()
        return here.makefile("rb")

    found = file()
    gc.collect()
    assert found.readline() == b"line\n"


@case
def selectors_and_polls() -> None:
    made: list[Any] = []
    for kind in ("DefaultSelector", "PollSelector", "EpollSelector", "SelectSelector"):
        selector = getattr(barewire.selectors, kind)()
        stack = quiet_stack()
        selector.register(stack.socket(type=2), 1)
        made.append(lambda selector=selector: selector.select(0))
        stack.close()
    for poll in (barewire.select.poll(), barewire.select.epoll()):
        stack = quiet_stack()
        sock = stack.socket(type=2)
        poll.register(sock, 1)
        made.append(lambda poll=poll: poll.poll(0))
        sock.close() if len(made) % 2 else stack.close()
    del stack, sock, selector, poll
    gc.collect()
    for use in made:
        for _ in range(2):
            try:
                use()
            except (OSError, ValueError):
                pass


@case
def detached_number() -> None:
    number = quiet_stack().socket(type=2).detach()
    gc.collect()
    with barewire.socket.socket(fileno=number) as sock:
        sock.bind(("127.0.0.1", 0))


@case
def waits_whose_stack_is_closed() -> None:
    for _ in range(10):
        stack = quiet_stack()
        here, there = connected(stack)
        udp = stack.socket(type=2)
        udp.bind(("127.0.0.1", 0))

        def ended(call: Callable[[], Any]) -> None:
            try:
                call()
            except OSError:
                pass

        calls = [
            lambda here=here: here.recv(1),
            lambda there=there: there.recv_into(bytearray(9)),
            lambda udp=udp: udp.recv_batch(barewire.Batch(4, 64)),
            lambda here=here, there=there: barewire.select.select([here, there], [], []),
        ]
        threads = [in_thread(lambda call=call: ended(call)) for call in calls]
        stack.close()
        del stack, here, there, udp, calls
        gc.collect()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


# ---- memory of the program's ---------------------------------------------------------------------


@case
def batch_in_flight() -> None:
    stack = quiet_stack()
    a, b = stack.socket(type=2), stack.socket(type=2)
    a.bind(("127.0.0.1", 0))
    memory = bytearray(8 * 64)
    batches = [barewire.Batch(8, 64, data=memory)]
    got: list[int] = []
    thread = in_thread(lambda: got.append(a.recv_batch(batches.pop())))
    while batches:
        pass
    gc.collect()
    try:
        memory += bytes(1 << 20)
    except BufferError:
        pass
    else:
        raise AssertionError("a bytearray was resized under a call")
    del memory
    gc.collect()
    b.sendto(b"x" * 64, a.getsockname())
    thread.join(20)
    assert got == [1]
    stack.close()


@case
def batch_made_again() -> None:
    batch = barewire.Batch(4, 64)
    try:
        batch.__init__(8, 64)  # type: ignore[misc]
    except TypeError:
        return
    raise AssertionError("made again, under a call perhaps")


@case
def queue_and_its_views() -> None:
    queue = spsc.Queue(8, 4)
    queue.push(b"12345678" * 4)
    view = queue.peek()
    try:
        queue.__init__(8, 4)  # type: ignore[misc]
    except TypeError:
        pass
    else:
        raise AssertionError("made again, under a call perhaps")
    del queue
    gc.collect()
    assert bytes(view) == b"12345678" * 4


@case
def queue_that_is_waited_for() -> None:
    queue = spsc.Queue(8, 4)
    waits = [queue.wait]
    thread = in_thread(lambda: waits.pop()())
    while waits:
        pass
    close = queue.close
    del queue
    gc.collect()
    close()
    thread.join(20)
    assert not thread.is_alive()
