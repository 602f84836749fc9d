"""Ten thousand connections that somebody gave up half way: nothing of them stays."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable

from barewire.nic_drivers import Faults

from tests.kit.clock import MS
from tests.kit.sock import Sock
from tests.kit.world import World, lossy_pair

ROUNDS = 10_000
PORTS = (40_000, 41_023)
BATCH = 250  # rounds after which the world runs on until everything has ended
THERE = "198.18.0.2"


class Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    ]  # fmt: skip


def allocated() -> int:
    """Bytes that malloc has given out (the sanitizers' own allocator says 0)."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Mallinfo2
    return int(mallinfo2().uordblks)


def attempt(call: Callable[[], object]) -> None:
    try:
        call()
    except OSError:
        pass


def one_round(world: World, listener: Sock, client: Sock, kind: int) -> None:
    """A connection as far as `kind` lets it go; who is left over is closed by nobody but the stack."""
    attempt(lambda: client.connect(THERE, 7 if kind != 1 else 9))
    if kind == 0:
        client.close()  # in SYN-SENT
        return
    world.run(5 * MS)
    attempt(lambda: client.send(bytes(20_000)))
    server = None
    if kind != 2:  # 2: never accepted by hand
        try:
            server = listener.accept()
        except BlockingIOError:
            pass
    if kind == 3:
        client.set(linger=0)
    elif kind == 4:
        attempt(client.shutdown)
        world.run(5 * MS)
    elif kind == 5 and server is not None:
        attempt(lambda: server.send(bytes(30_000)))
        world.run(5 * MS)
    elif kind == 6 and server is not None:
        server.abort()
        server = None
    client.close()
    if kind == 7:
        world.run(5 * MS)
    if server is not None:
        attempt(server.recv)
        server.close()


def test_ten_thousand_abandoned_connections_leave_nothing() -> None:
    dice = random.Random(1)
    with World(1, buffer_bytes=32 << 20, max_sockets=4096) as world:
        a, b = lossy_pair(Faults(loss=0.02, delay=MS), seed=1)
        one = world.stack(a, "198.18.0.1/24", ports=PORTS)
        two = world.stack(b, f"{THERE}/24")
        listener = Sock(two).set(reuseaddr=1).bind("0.0.0.0", 7).listen(64)
        before = 0
        for i in range(ROUNDS):
            one_round(world, listener, Sock(one), dice.randrange(8))
            if i % BATCH == BATCH - 1:
                world.run("3min")
                while listener.readable:
                    listener.accept().close()
                world.run("1h")
                assert [s.stats()["sockets"] for s in (one, two)] == [0, 1]
                assert [s.stats()["memory_chunks"] for s in (one, two)] == [0, 0]
                assert [s.stats()["orphans"] for s in (one, two)] == [0, 0]
                before = before or allocated()
        assert allocated() - before < 1 << 20
        assert world.next_deadline() is None, "no timer is left"
        taken = [Sock(one).bind("0.0.0.0", 0) for _ in range(PORTS[0], PORTS[1] + 1)]
        assert len({sock.name[1] for sock in taken}) == len(taken), "every port is free again"
        for sock in taken:
            sock.close()
        listener.close()
        for stack in (one, two):
            assert stack.stats()["sockets"] == 0
            assert stack.counters()["tcp_bad_state_transition"] == 0
