"""The control plane's thread: waits neither run nor await its pieces, no interrupt ends one half-way, no
mistake ends the thread."""

from __future__ import annotations

import logging
import select as kernel_select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from barewire import selectors
from barewire.nic_drivers import pipe_pair
from barewire.select import poll, select
from barewire.stack import worker

from tests.kit.flood import UNLIMITED, flood
from tests.kit.wire import Wire
from tests.kit.world import World

from .kit import PATIENCE, A, B, Stack, Thread, two_stacks, until

MANY = 200  # pieces, many more than a turn takes
SHORT = 0.02  # seconds


class Interrupted(BaseException):
    """What a handler raises, as KeyboardInterrupt: no `except Exception` catches it."""


@pytest.fixture
def stack() -> Iterator[Stack]:
    """One with an interface that nobody answers on."""
    mine, other = pipe_pair(layer=2)
    with other, Stack(mine, addresses=[f"{A}/24"]) as made:
        made.exit_linger = 0
        yield made


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Interrupts the main thread, wherever it is."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGALRM)
    signal.signal(signal.SIGALRM, before)


class Gate:
    """Holds the control plane's thread up in a piece."""

    def __init__(self) -> None:
        self.pieces = 0  # that have begun
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def before(self, piece: Callable[..., Any]) -> Callable[..., Any]:
        def held(*arguments: Any) -> Any:
            self.pieces += 1
            assert self._open.wait(PATIENCE)
            return piece(*arguments)

        return held


@contextmanager
def busy(stack: Stack) -> Iterator[Gate]:
    """MANY pieces of work wait, and the thread is held up in the first one."""
    gate, plane = Gate(), stack.control
    plane.on_punt = gate.before(plane.on_punt)  # type: ignore[method-assign]
    sock = stack.socket(type=2)
    try:
        for i in range(MANY):
            sock.sendto(b"x", (f"198.18.0.{i % 200 + 3}", 9))
        until(lambda: gate.pieces == 1, "the first piece to begin")
        yield gate
    finally:
        gate.open()
        sock.close()


# ---- waits ---------------------------------------------------------------------------------------


def waits(stack: Stack, opened: ExitStack) -> dict[str, Callable[[], Any]]:
    """Calls that wait for nothing, for SHORT; each raises TimeoutError or gives nothing."""
    silent = opened.enter_context(stack.socket(type=2))
    silent.bind(("127.0.0.1", 0))
    silent.settimeout(SHORT)
    server = opened.enter_context(stack.create_server(("127.0.0.1", 0)))
    server.settimeout(SHORT)
    full = opened.enter_context(stack.create_connection(server.getsockname()))
    opened.enter_context(server.accept()[0])  # reads nothing
    full.settimeout(SHORT)
    to_nobody = opened.enter_context(stack.socket())
    to_nobody.settimeout(SHORT)
    polled, selected = poll(), selectors.DefaultSelector()
    polled.register(silent, kernel_select.POLLIN)
    selected.register(silent, selectors.EVENT_READ)
    return {
        "recv": lambda: silent.recv(1),
        "recvfrom": lambda: silent.recvfrom(1),
        "accept": server.accept,
        "connect": lambda: to_nobody.connect(("198.18.0.254", 9)),
        "sendall": lambda: full.sendall(bytes(200 << 20)),
        "select": lambda: select([silent], [], [], SHORT)[0],
        "poll": lambda: polled.poll(SHORT * 1000),
        "selectors": lambda: selected.select(SHORT),
    }


@pytest.mark.parametrize(
    "name", ["recv", "recvfrom", "accept", "connect", "sendall", "select", "poll", "selectors"]
)
def test_a_timeout_is_kept_whatever_waits_for_python(stack: Stack, name: str) -> None:
    with ExitStack() as opened, busy(stack) as gate:
        call = waits(stack, opened)[name]
        try:
            assert not call()
        except TimeoutError:
            pass
        assert gate.pieces == 1


def test_data_passes_whatever_waits_for_python(stack: Stack) -> None:
    with ExitStack() as opened, busy(stack) as gate:
        server = opened.enter_context(stack.create_server(("127.0.0.1", 0)))
        client = opened.enter_context(stack.create_connection(server.getsockname()))
        there = opened.enter_context(server.accept()[0])
        client.sendall(b"hello")
        assert there.recv(5) == b"hello"
        there.sendall(b"world")
        assert client.recv(5) == b"world"
        assert gate.pieces == 1


def test_configuration_comes_between_two_pieces(stack: Stack) -> None:
    with busy(stack) as gate:
        call = Thread(stack.add_address, "192.0.2.1/24")
        until(lambda: len(stack._worker._calls) == 1, "the call to wait")
        plane, seen = stack.control, []
        add = plane.add_address
        plane.add_address = lambda *a: (seen.append(gate.pieces), add(*a))  # type: ignore
        gate.open()
        call.result()
        assert seen[0] <= worker.TURN_PUNTS + 1
    until(lambda: gate.pieces == MANY, "the rest")


def test_all_that_waited_is_done(stack: Stack) -> None:
    with busy(stack) as gate:
        gate.open()
        until(lambda: gate.pieces == MANY, "all pieces")
    assert len(stack.control.neighbours) == 200


def test_a_turn_is_bounded_and_a_shift_is_followed_by_a_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In virtual time there is no thread: here the test is it, with a clock of its own."""
    with World() as world:
        wire = Wire(world, layer=2, ring=2048, punt_rates=UNLIMITED)
        pieces = flood(wire, "arp")
        for _ in range(MANY):
            next(pieces)
        clock, done, rests = [0], [0], []

        def piece(*arguments: Any) -> None:
            done[0] += 1
            clock[0] += worker.SHIFT // 40

        wire.stack.control.on_punt = piece  # type: ignore[method-assign]
        fake = SimpleNamespace(monotonic_ns=lambda: clock[0], sleep=rests.append)
        monkeypatch.setattr(worker, "time", fake)
        asleep = lambda *arguments: rests.append("asleep")  # noqa: E731
        monkeypatch.setattr(worker.ControlWorker, "_sleep", asleep)
        while "asleep" not in rests:
            before, began = done[0], clock[0]
            wire.stack._worker._work(-1)
            assert done[0] - before < 40 + worker.TURN_PUNTS
            if rests[-1] != "asleep":
                assert rests[-1] == (clock[0] - began) / 1e9, "half of the time is the program's"
        assert done[0] == MANY
        assert len(rests) > 3
        monkeypatch.undo()


# ---- interrupts ----------------------------------------------------------------------------------


def test_no_piece_runs_in_a_thread_of_the_program() -> None:
    """So no signal handler, which runs in the main thread, ends one half-way."""
    seen: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(("barewire.l2", "barewire.stack.")):
            seen.add((name, frame.f_code.co_name))

    with two_stacks(layer=2) as (a, b):
        server = b.create_server((B, 7))
        threading.setprofile(profile)
        sys.setprofile(profile)
        try:
            accepted = Thread(server.accept)
            client = a.create_connection((B, 7))
            there, _ = accepted.result()
            client.sendall(b"hello")
            assert there.recv(5) == b"hello"
            a.add_address("192.0.2.1/24")
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        assert a.counters()["neigh_solicitations"] == 1
        for sock in (client, there, server):
            sock.close()
    seen -= {("barewire.stack.worker", "call"), ("barewire.stack.control", "interfaces")}
    assert not seen, "the program's threads ask for pieces and look; they run none"


def test_an_interrupted_call_that_waits_is_not_made(
    stack: Stack, interrupt: Callable[[], None]
) -> None:
    with busy(stack) as gate:

        def kill() -> None:
            until(lambda: len(stack._worker._calls) == 1, "the call to wait")
            interrupt()

        killer = Thread(kill)
        with pytest.raises(Interrupted):
            stack.add_address("192.0.2.1/24")
        killer.result()
        gate.open()
        stack.add_address("192.0.2.2/24")
    assert [str(a.address) for a in stack.addresses][1:] == [f"{A}/24", "192.0.2.2/24"]


def test_an_interrupted_call_that_runs_is_made_to_its_end(
    stack: Stack, interrupt: Callable[[], None]
) -> None:
    gate, plane = Gate(), stack.control
    plane._publish = gate.before(plane._publish)  # type: ignore[method-assign]

    def kill() -> None:
        until(lambda: gate.pieces == 1, "the call to run")
        interrupt()

    killer = Thread(kill)
    with pytest.raises(Interrupted):
        stack.add_address("192.0.2.1/24")
    killer.result()
    gate.open()
    until(lambda: len(stack.addresses) == 3, "the address")
    stack.remove_address("192.0.2.1/24")
    assert len(stack.addresses) == 2


def test_interrupts_in_waits_lose_no_work() -> None:
    """A handler raises again and again while the first packets of both stacks are resolved."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with two_stacks(layer=2) as (a, b):
            there = b.socket(type=2)
            there.bind((B, 7))
            for i in range(20):
                sock = a.socket(type=2)
                a.add_address(f"198.18.0.{100 + i}/24")
                sock.bind((f"198.18.0.{100 + i}", 0))
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.0002 * (i + 1))
                    sock.sendto(b"%d" % i, (B, 7))
                    sock.recv(1)
                except Interrupted:
                    pass
                there.settimeout(PATIENCE)
                assert there.recv(10) == b"%d" % i
                sock.close()
            there.close()
            assert a.counters()["control_failures"] == b.counters()["control_failures"] == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_in_virtual_time_handlers_wait_for_the_end_of_a_turn(interrupt: Callable[[], None]) -> None:
    with World() as world:
        wire = Wire(world, layer=2)
        neighbours = wire.stack.control.neighbours
        resolve, ended = neighbours.resolve, []

        def interrupted(*arguments: Any) -> None:
            interrupt()
            resolve(*arguments)
            ended.append(True)

        neighbours.resolve = interrupted  # type: ignore[method-assign]
        wire.udp(4000).sendto(b"ours", wire.there, 9)
        with pytest.raises(Interrupted):
            wire.stack.poll()
        assert ended
        neighbours.resolve = resolve  # type: ignore[method-assign]
        world.run("1ms")
        assert [p.udp.payload for p in wire.drain() if p.udp] == [b"ours"]
        add = wire.stack.control.routes.add_address

        def interrupted_too(*arguments: Any, **named: Any) -> None:
            interrupt()
            add(*arguments, **named)

        wire.stack.control.routes.add_address = interrupted_too  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            wire.stack.add_address("192.0.2.1/24")
        assert "192.0.2.1/24" in [str(a.address) for a in wire.stack.addresses]
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_in_virtual_time_an_interrupted_piece_is_begun_again() -> None:
    with World() as world:
        wire = Wire(world, layer=2)
        plane = wire.stack.control
        on_punt = plane.on_punt

        def interrupted(*arguments: Any) -> None:
            plane.on_punt = on_punt  # type: ignore[method-assign]
            raise KeyboardInterrupt

        plane.on_punt = interrupted  # type: ignore[method-assign]
        wire.udp(4000).sendto(b"ours", wire.there, 9)
        with pytest.raises(KeyboardInterrupt):
            wire.stack.poll()
        world.run("1ms")
        assert [p.udp.payload for p in wire.drain() if p.udp] == [b"ours"]


# ---- mistakes ------------------------------------------------------------------------------------


class Mistake:
    """A function that raises `times` times, and then does what it always did."""

    def __init__(self, good: Callable[..., Any], error: BaseException, times: int = 1) -> None:
        self.good, self.error, self.left = good, error, times

    def __call__(self, *arguments: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return self.good(*arguments)


def failures(stack: Stack) -> int:
    return stack.counters()["control_failures"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("part", ["on_punt", "interface_down", "reports", "turn"])
def test_a_mistake_is_counted_and_the_thread_goes_on(part: str, error: type[BaseException]) -> None:
    with two_stacks(layer=2) as (a, b):
        if part == "turn":
            owner, name = a._worker, "_turn"
        elif part == "reports":
            owner, name = a._worker._congestion, "drain"
        else:
            owner, name = a.control, part
        mistake = Mistake(getattr(owner, name), error())
        setattr(owner, name, mistake)
        if part == "interface_down":
            b.close()
            until(lambda: failures(a) == 1, "the mistake")
        else:
            with a.socket(type=2) as sock, b.socket(type=2) as there:
                there.bind((B, 9))
                sock.sendto(b"x", (B, 9))
                until(lambda: failures(a) == 1, "the mistake")
                sock.sendto(b"y", (B, 9))
                assert there.recv(1) in (b"x", b"y")
        assert mistake.left == 0
        assert failures(a) == 1
        a.add_address("192.0.2.1/24")
        assert a._worker._thread is not None
        assert a._worker._thread.is_alive()


def test_mistakes_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    with World() as world, caplog.at_level(logging.ERROR, "barewire.control"):
        wire = Wire(world, layer=2, punt_rates=UNLIMITED)
        wire.stack.control.on_punt = Mistake(print, ValueError("mistake"), 1000)  # type: ignore
        pieces = flood(wire, "arp")
        for _ in range(MANY):
            next(pieces)
        wire.stack.poll()
        assert failures(wire.stack) == MANY
        assert [r.getMessage() for r in caplog.records] == [
            "control plane failed on a punt of class ARP (1 failures)"
        ]
        assert "ValueError: mistake" in caplog.text
        world.run("11s")
        next(pieces)
        wire.stack.poll()
        assert len(caplog.records) == 2


def test_timers_that_fail_are_tried_again_after_a_pause() -> None:
    with World() as world:
        wire = Wire(world, layer=2, arp=False)
        mistake = Mistake(wire.stack.control.on_timer, ValueError("mistake"), 3)
        wire.stack.control.on_timer = mistake  # type: ignore[method-assign]
        wire.udp(4000).sendto(b"x", wire.there, 9)
        world.run("1s")
        assert failures(wire.stack) == 1
        world.run("1s")
        assert failures(wire.stack) == 2
        world.run("10s")
        assert failures(wire.stack) == 3
        assert wire.stack.counters()["neigh_failed"] == 1


def test_an_exception_of_a_configuring_call_is_the_callers(stack: Stack) -> None:
    with pytest.raises(OSError, match="already there"):
        stack.add_address(f"{A}/24")
    with pytest.raises(SystemExit):
        stack._worker.call(lambda plane: sys.exit(3))
    assert failures(stack) == 0
    assert stack.next_deadline() is not None


def test_a_call_after_the_thread_has_ended_is_answered(stack: Stack) -> None:
    stack.close()
    assert stack._worker.call(lambda plane: plane) is stack.control
