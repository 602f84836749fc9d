"""Who drives: handing on without a gap, the background thread, and what idling costs."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from barewire.nic_drivers import pipe_pair, with_late
from barewire.stack import ffi, lib

from .kit import A, B, Sock, Stack, Thread, asleep, pair, two_stacks, until


def quiet(stack: Stack, *names: str) -> bool:
    """Whether these figures stand still for a while."""
    before = stack.stats()
    threading.Event().wait(0.05)
    after = stack.stats()
    return all(before[n] == after[n] for n in names)


def test_request_and_response_take_no_other_thread() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)

        def serve() -> None:
            while data := there.recv():
                there.sendall(data)

        server = Thread(serve)
        here.spin = there.spin = 1_000_000
        for _ in range(50):
            here.sendall(b"x" * 64)
            assert here.recv_exactly(64) == b"x" * 64
        before = a.stats()
        for _ in range(500):
            here.sendall(b"x" * 64)
            assert here.recv_exactly(64) == b"x" * 64
        after = a.stats()
        here.shutdown(1)
        server.result()
        assert after["handoffs"] == before["handoffs"]
        assert after["driver_spins"] > before["driver_spins"]


def test_the_role_is_handed_on_without_a_gap() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        first = asleep(a, here.recv)
        second = asleep(a, here2.recv, role="follower")
        before = a.stats()
        there.sendall(b"one")
        assert first.result() == b"one"
        there2.sendall(b"two")
        assert second.result() == b"two"
        after = a.stats()
        assert after["handoffs"] == before["handoffs"] + 1
        assert after["background_takeovers"] == before["background_takeovers"]
        assert after["background_bursts"] == before["background_bursts"]


def test_a_driver_serves_the_others() -> None:
    """One thread drives for all: the followers get their data while it goes on waiting."""
    with two_stacks() as (a, b):
        pairs = [pair(a, b, port=port) for port in range(7, 12)]
        first = asleep(a, pairs[0][0].recv)
        others = [asleep(a, here.recv, role="follower") for here, _ in pairs[1:]]
        for i, (_, there) in enumerate(pairs[1:]):
            there.sendall(b"%d" % i)
        assert [t.result() for t in others] == [b"%d" % i for i in range(len(others))]
        assert not first.done
        pairs[0][1].sendall(b"last")
        assert first.result() == b"last"


def test_an_idle_waiter_takes_no_spinning_from_a_thread_that_comes_back_at_once() -> None:
    """A server whose listener waits in a thread of its own: the thread that answers takes the role from it,
    and keeps it between its calls. When it stops, the background thread hands the role on."""
    with two_stacks() as (a, b):
        listener = Sock(b).bind("0.0.0.0", 7).listen()
        here = Sock(a).connect(B, 7)
        there = listener.accept()
        idle = asleep(b, listener.accept)

        def serve() -> None:
            while data := there.recv():
                there.sendall(data)

        server = Thread(serve)
        before, rounds = b.stats(), 0

        def spins() -> bool:
            """After some more messages, for how fast they follow each other is the machine's affair."""
            nonlocal rounds
            for _ in range(100):
                here.sendall(b"x")
                assert here.recv() == b"x"
            rounds += 100
            return b.stats()["driver_spins"] - before["driver_spins"] > 50

        until(spins, "the thread that answers to spin")
        assert b.stats()["handoffs"] - before["handoffs"] < rounds // 2
        here.shutdown(1)
        server.result()
        assert not idle.done
        Sock(a).connect(B, 7)
        idle.result().close()


@contextmanager
def one_that_stays_away() -> Iterator[tuple[Stack, Callable[[], None], Callable[[], None]]]:
    """A thread of b's answers twenty messages at once, then stays away, again and again; another one waits.
    Yields b, what lets the thread come back and sends those messages, and what has the other one answer."""
    with two_stacks() as (a, b):
        here, there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        back = threading.Semaphore(0)

        def serve() -> None:
            for number in range(1_000_000):
                if not (data := there.recv()):
                    break
                there.sendall(data)
                if number % 20 == 19:
                    back.acquire()

        def serve_slowly() -> None:
            while data := there2.recv():
                there2.sendall(data)

        def messages(sock: Sock, count: int) -> None:
            for _ in range(count):
                sock.sendall(b"x")
                assert sock.recv() == b"x"

        def twenty() -> None:
            back.release()
            messages(here, 20)

        there.spin = here.spin = 1_000_000
        server, other = Thread(serve), Thread(serve_slowly)
        messages(here, 20)
        yield b, twenty, lambda: messages(here2, 1)
        back.release()
        here.shutdown(1)
        here2.shutdown(1)
        server.result()
        other.result()


def test_who_stays_away_while_others_get_messages_keeps_the_role_less_often() -> None:
    """It has to come back at once 4 times in a row before it keeps the role, then 8, 16 and so on."""
    with one_that_stays_away() as (b, twenty, the_other_is_answered):
        for _ in range(40):
            the_other_is_answered()
            twenty()
        assert b.stats()["late_lapses"] <= 8


def test_who_stays_away_and_nobody_is_late_goes_on_keeping_the_role() -> None:
    with one_that_stays_away() as (b, twenty, _):

        def many() -> bool:
            twenty()
            threading.Event().wait(0.002)
            return b.stats()["lapses"] > 20

        until(many, "the role to be handed on for a thread that stays away")
        assert b.stats()["late_lapses"] == 0


def test_a_spin_lets_others_have_its_core() -> None:
    """Every 20 us: whom it has just answered may wait for that very core."""
    with two_stacks() as (a, b):
        here, _ = pair(a, b)
        before = a.stats()
        assert (
            lib.host_recv(a.host, here.handle, ffi.new("char[8]"), 8, 0, 1_000_000) == -errno.EAGAIN
        )
        assert 1 <= a.stats()["spin_yields"] - before["spin_yields"] <= 50


def test_spins_are_short_where_what_comes_waits_for_their_end() -> None:
    """A message that comes as soon as the spinning thread sleeps, twice: its sender had no core meanwhile."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        there.spin = 200_000

        def serve() -> None:
            while there.recv():
                pass

        pause = threading.Event()

        def in_vain() -> bool:
            for delay in range(150, 300, 10):
                for _ in range(3):
                    pause.wait(delay / 1e6)
                    here.sendall(b"x")
            return b.stats()["spins_in_vain"] > 0

        server = Thread(serve)
        until(in_vain, "two messages that came right after a spin")
        here.shutdown(1)
        server.result()


def test_the_background_covers_when_nobody_waits() -> None:
    """The peer's data is acknowledged while this side's program does something else."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        before = b.stats()["background_bursts"]
        here.sendall(bytes(50_000))
        until(lambda: lib.host_queued_bytes(a.host, here.handle, 1) == 0, "the acknowledgments")
        assert b.stats()["background_bursts"] > before
        assert there.recv_exactly(50_000) == bytes(50_000)


def test_the_background_keeps_time_when_nobody_waits() -> None:
    """A retransmission happens although the sender's program went away."""
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        b.remove_address(f"{B}/24")  # what is sent now is lost
        here.sendall(b"again")
        b.add_address(f"{B}/24")
        assert there.recv() == b"again"


def test_an_idle_stack_costs_nothing() -> None:
    with two_stacks() as (a, b):
        pair(a, b)
        figures = ("bursts", "naps", "background_bursts", "driver_sleeps")
        until(lambda: quiet(a, *figures), "a stack that does nothing at all")


def test_a_long_wait_costs_nothing() -> None:
    with two_stacks() as (a, b):
        here, there = pair(a, b)
        waiting = asleep(a, here.recv)
        figures = ("bursts", "naps", "background_bursts", "driver_sleeps")
        until(lambda: quiet(a, *figures), "a wait in which nothing moves")
        there.sendall(b"now")
        assert waiting.result() == b"now"
        here.sendall(b"and the background thread is back")
        until(lambda: quiet(a, *figures), "quiet again")
        there.sendall(b"x")
        until(lambda: here.readiness() & 1 == 1, "the background thread to receive")


def test_a_call_wakes_a_driver_that_sleeps_too_long() -> None:
    """The follower's deadline is its own; a sender's retransmission timer is the driver's."""
    with two_stacks() as (a, b):
        here, _there = pair(a, b, port=7)
        here2, there2 = pair(a, b, port=8)
        driver = asleep(a, here.recv)
        b.remove_address(f"{B}/24")
        here2.sendall(b"again")
        b.add_address(f"{B}/24")
        assert there2.recv() == b"again"
        assert not driver.done
        here.close()
        try:
            driver.result()
        except OSError:
            pass


def test_many_threads_on_one_stack() -> None:
    """Echoing, opening, closing and waiting at once, over the loopback; every byte is right."""
    with Stack(max_sockets=4096) as stack:
        listener = Sock(stack).bind("127.0.0.1", 7).listen()

        def serve(sock: Sock) -> int:
            total = 0
            while data := sock.recv():
                sock.sendall(data)
                total += len(data)
            sock.close()
            return total

        def client(i: int) -> int:
            total = 0
            for turn in range(3):
                sock = Sock(stack).connect("127.0.0.1", 7)
                for n in range(30):
                    data = bytes([i, turn, n]) * (1 + (n * 977 + i * 31) % 3000)
                    sock.sendall(data)
                    assert sock.recv_exactly(len(data)) == data
                    total += len(data)
                sock.shutdown(1)
                assert sock.recv() == b""
                sock.close()
            return total

        clients = [Thread(client, i) for i in range(6)]
        servers = [Thread(serve, listener.accept()) for _ in range(6 * 3)]
        sent = sum(t.result() for t in clients)
        assert sum(t.result() for t in servers) == sent
        listener.close()


def test_waits_and_closes_cross() -> None:
    with Stack() as stack:
        listener = Sock(stack).bind("127.0.0.1", 7).listen()
        for _ in range(100):
            here = Sock(stack).connect("127.0.0.1", 7)
            there = listener.accept()
            waiting = [Thread(here.recv), Thread(here.recv)]
            here.close()
            for thread in waiting:
                try:
                    thread.result()
                except OSError as error:
                    assert error.errno == 9
            there.close()
        listener.close()


def echoes(a: Stack, b: Stack, rounds: int = 50) -> None:
    """A connection that exchanges messages of all sizes, both sides blocking."""
    here, there = pair(a, b)

    def serve() -> None:
        while data := there.recv():
            there.sendall(data)

    server = Thread(serve)
    for n in range(rounds):
        data = bytes([n]) * (1 + n * 997 % 20_000)
        here.sendall(data)
        assert here.recv_exactly(len(data)) == data
    here.shutdown(1)
    server.result()


def test_a_thread_bound_device_is_called_by_the_background_thread_alone() -> None:
    mine, other = pipe_pair(layer=3)
    mine.peek().caps |= lib.NETDEV_THREAD_BOUND
    with Stack(mine, addresses=[f"{A}/24"]) as a, Stack(other, addresses=[f"{B}/24"]) as b:
        echoes(a, b)
        stats = a.stats()
        assert stats["driver_sleeps"] == stats["driver_spins"] == stats["handoffs"] == 0
        assert stats["background_bursts"] > 0
        here, there = pair(a, b, port=9)
        here.sendall(b"drained by the thread")
        a.close()
        assert there.recv_exactly(21) == b"drained by the thread"


def test_a_device_that_completes_late_is_driven_by_its_own_deadlines() -> None:
    mine, other = pipe_pair(layer=3)
    with (
        Stack(with_late(mine), addresses=[f"{A}/24"]) as a,
        Stack(other, addresses=[f"{B}/24"]) as b,
    ):
        echoes(a, b)


def test_a_small_ring_makes_the_driver_wait_for_room() -> None:
    with two_stacks(ring=4) as (a, b):
        echoes(a, b)
        assert a.interface_stats()["tx_full"] + b.interface_stats()["tx_full"] > 0
