"""Header prediction: what takes it, what does not, and that both ways leave the same connection."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from barewire import Stack
from barewire.nic_drivers import Faults

from tests.kit.clock import MS
from tests.kit.peer import Tcp
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World, lossy_pair

SIZE = 8 << 20
HITS, MISSES = "tcp_header_prediction_hits", "tcp_header_prediction_misses"


def hits(stack: Stack) -> float:
    """The share of a stack's segments, since it was made, that took the fast path."""
    found = stack.counters()
    return found[HITS] / (found[HITS] + found[MISSES])


def transfer(world: World, piece: int) -> tuple[Stack, Stack]:
    """One flow of SIZE to a program that reads `piece` bytes a ms: (the sender's stack, the reader's)."""
    a, b = lossy_pair(Faults(delay=MS))
    one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
    listener = Sock(two).bind("0.0.0.0", 7).listen()
    sender = Sock(one).connect("198.18.0.2", 7)
    world.run("10ms")
    reader = listener.accept()
    sent = got = 0
    while got < SIZE:
        if sender.writable and sent < SIZE:
            sent += sender.send(bytes(min(1 << 20, SIZE - sent)))
        world.run("1ms")
        if reader.readable:
            got += len(reader.recv(piece))
    return one, two


@pytest.mark.parametrize("piece", [16 << 10, 300 << 10], ids=["slow", "quick"])
def test_a_bulk_transfer_takes_the_fast_path_at_both_ends(piece: int) -> None:
    """The reader's window changes with nearly each ACK: it opens and closes as the program reads."""
    with World(1, header_prediction=True, buffer_bytes=64 << 20) as world:
        one, two = transfer(world, piece)
        assert hits(one) >= 0.9
        assert hits(two) >= 0.9


@pytest.mark.parametrize(
    ("said", "fast"),
    [
        ({"ack": 1001}, True),
        ({"ack": 1001, "wnd": 30_000}, True),
        ({"ack": 1001, "wnd": 60_000}, True),
        ({"ack": 1001, "wnd": 0}, True),
        ({"ack": 1, "wnd": 60_000}, True),
        ({"ack": 1, "wnd": 30_000}, True),
        ({"ack": 1, "len": 100}, True),
        ({"ack": 1001, "len": 100, "wnd": 30_000}, True),
        ({"ack": 1}, False),
        ({"ack": 1, "wnd": 0}, False),
        ({"ack": 1, "seq": 101, "len": 100}, False),
        ({"ack": 3001}, False),
        ({"flags": "FA", "ack": 1001}, False),
    ],
    ids=str,
)
def test_what_takes_it(said: dict[str, int], fast: bool) -> None:
    """Against a window of 40,000 and two segments in flight."""
    with World(1, header_prediction=True, buffer_bytes=64 << 20) as world:
        tcp = Tcp(Wire(world))
        sock = tcp.established(mss=1000, wnd=40_000)
        tcp.sends(sock, 2000)
        tcp.drain()
        with tcp.counts(HITS, int(fast)), tcp.counts(MISSES, int(not fast)):
            tcp.peer.sends(**said)  # type: ignore[arg-type]


def test_without_it_all_segments_are_misses() -> None:
    with World(1, header_prediction=False, buffer_bytes=64 << 20) as world:
        tcp = Tcp(Wire(world))
        tcp.established()
        with tcp.counts(HITS, 0), tcp.counts(MISSES, 2):
            tcp.peer.sends(len=100)
            tcp.peer.sends(len=100)


@pytest.mark.parametrize(
    "options", [{}, {"sack": True}, {"ts": True, "sack": True, "wscale": 2}], ids=str
)
@pytest.mark.parametrize("seed", range(6))
def test_both_paths_leave_the_same_connection(seed: int, options: dict[str, int]) -> None:
    """The same segments, most of them ordinary, with windows that change, shut and open again."""

    def run(header_prediction: bool) -> tuple[list[SimpleNamespace], int]:
        dice = random.Random(seed)
        with World(seed, header_prediction=header_prediction, buffer_bytes=64 << 20) as world:
            tcp = Tcp(Wire(world))
            sock = tcp.established(mss=1000, **options)  # type: ignore[arg-type]
            seen = []
            acked = 1
            for _ in range(60):
                if len(tcp.peer.stream) < 40_000:
                    tcp.sends(sock, dice.choice([0, 100, 3000]))
                tcp.drain()
                acked = min(tcp.peer.got, acked + dice.choice([0, 100, 1000, 2500]))
                window = dice.choice([tcp.peer.window, 0, 4000, 30_000, 50_000])
                tcp.peer.sends(ack=acked, wnd=window, len=dice.choice([0, 0, 10, 500]))
                tcp.run(dice.choice(["0ms", "1ms", "70ms"]))
                seen.append(sock.inside)
            return seen, tcp.stack.counters()[HITS]

    (fast, taken), (full, none) = run(True), run(False)
    assert fast == full
    assert taken > 20
    assert none == 0
