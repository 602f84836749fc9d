"""Whole sessions: one connection, in each direction, and a peer that follows a bad script."""

from __future__ import annotations

from socket import SO_OOBINLINE, SOL_SOCKET

import pytest
from barewire.fuzz import strategies as s
from barewire.fuzz.peer import pattern
from barewire.fuzz.targets import MS, SECOND
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.world import World
from tests.kit.budget import budget

LISTEN, PORT = 80, 2000


def play(world: World, sock, flow, steps: list[tuple[s.PeerStep, int]]) -> None:
    """The script, with the socket read after each step; then the peer falls silent for ever."""
    got = b""
    for step, wait in steps:
        world.say(flow, step)
        world.advance(wait)
        try:
            while data := sock.recv(4096):
                got += data
        except OSError:
            pass
        assert got == pattern(0, len(got)), "not what the peer's stream holds"
    sock.close()
    world.advance(1000 * SECOND)


def established(world: World, role: str, options):
    """A connection the peer opened, or one it accepted: (socket, the peer's side of it)."""
    sock = world.stack.socket()
    sock.setblocking(False)
    if role == "connect":
        with pytest.raises(BlockingIOError):
            sock.connect((str(s.PEER), PORT))
        world.settle()
        (flow,) = world.flows.values()
        world.answer(flow, options)
        return sock, flow
    with sock as listener:
        listener.bind(("", LISTEN))
        listener.listen()
        flow = world.open(LISTEN, PORT, options)
        accepted, _ = listener.accept()
    return accepted, flow


timed_steps = st.lists(
    st.tuples(s.peer_steps, st.sampled_from([0, MS, 50 * MS, SECOND])), max_size=20
)


@pytest.mark.parametrize("role", ["accept", "connect"])
@budget(200)
@given(steps=timed_steps, options=s.syn_options, size=st.sampled_from([1, 5000, 200_000]))
def test_any_script_is_survived_and_leaves_nothing(role: str, steps, options, size: int) -> None:
    world = World()
    sock, flow = established(world, role, options)
    try:
        sock.setblocking(False)
        sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)  # urgent bytes are read where they stand
        sock.send(bytes(size))
        world.settle()
        play(world, sock, flow, steps)
        stats = world.stack.stats()
        assert (stats["sockets"], stats["memory_chunks"]) == (0, 0), stats
    finally:
        sock.close()
        world.close()
