"""Memory that runs out, for one socket and for the whole stack: windows close, writers wait, nothing
that was acknowledged is lost, and nothing is killed."""

from __future__ import annotations

from pathlib import Path

from barewire.nic_drivers import Faults

from tests.kit import frames
from tests.kit.clock import MS
from tests.kit.peer import Tcp
from tests.kit.races import runs_well
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World, lossy_pair

CHUNK = 16_384
POOL = 64 * CHUNK  # bytes of the common pool
FLOWS = 12
SIZE = 400_000  # bytes each sends: together more than four times the pool


class Reader:
    """A flow from one stack to another; its program reads only when it is told to."""

    def __init__(self, one: object, two: object, port: int) -> None:
        self.port = port
        self.listener = Sock(two).bind("0.0.0.0", port).listen()  # type: ignore[arg-type]
        self.sender = Sock(one).connect("198.18.0.2", port)  # type: ignore[arg-type]
        self.reader: Sock | None = None
        self.sent, self.reading = 0, False
        self.got = bytearray()

    def moves(self) -> bool:
        moved = False
        if self.sent < SIZE and self.sender.writable:
            part = frames.pattern(min(65_536, SIZE - self.sent), self.sent + self.port)
            self.sent += self.sender.send(part)
            moved = True
        if self.reader is None and self.listener.readable:
            self.reader = self.listener.accept()
        if self.reader is not None and self.reading:
            part = self.reader.read_all()
            self.got += part
            moved |= bool(part)
        return moved


def test_readers_that_stop_close_their_windows_and_lose_nothing(world: World) -> None:
    """Twelve flows towards programs that do not read fill the pool of the receiving stack; the
    senders wait, probing; when the programs read, every byte comes."""
    a, b = lossy_pair(Faults(delay=5 * MS))
    one = world.stack(a, "198.18.0.1/24", buffer_bytes=64 << 20)
    two = world.stack(b, "198.18.0.2/24", buffer_bytes=POOL)
    flows = [Reader(one, two, 8000 + i) for i in range(FLOWS)]
    for flow in flows:
        world.add_mover(flow.moves)
    world.run("5min")
    held = two.stats()["memory_chunks"]
    assert POOL * 3 // 4 <= held <= POOL + FLOWS * CHUNK, "no more than the pool and the guarantees"
    assert all(f.sender.inside.snd_wnd < CHUNK for f in flows), "the windows are closed"
    assert all(f.sender.state == "ESTABLISHED" for f in flows)
    before = two.counters()["tcp_segments_received"]
    world.run("1h")
    probes = two.counters()["tcp_segments_received"] - before
    assert 60 * FLOWS <= probes <= 70 * FLOWS, "one a minute each, and nobody gives up"
    for flow in flows:
        flow.reading = True
    world.run_until(lambda: all(len(f.got) == SIZE for f in flows), "2min")
    for flow in flows:
        assert flow.got == frames.pattern(SIZE, flow.port)
        assert flow.reader is not None
        assert (flow.sender.take_error(), flow.reader.take_error()) == (0, 0)
    assert two.stats()["memory_chunks"] == 0, "idle connections hold nothing"


def test_one_reader_that_stops_holds_its_own_bound_only(world: World) -> None:
    """One socket's limit: the window closes there, and other flows do not notice."""
    a, b = lossy_pair(Faults(delay=5 * MS))
    bounds = (2048, 50_000, 100_000)
    one = world.stack(a, "198.18.0.1/24")
    two = world.stack(b, "198.18.0.2/24", receive_buffer=bounds)
    stopped, other = Reader(one, two, 8000), Reader(one, two, 8001)
    other.reading = True
    for flow in (stopped, other):
        world.add_mover(flow.moves)
    world.run_until(lambda: len(other.got) == SIZE, "5s")
    assert stopped.reader is not None
    assert stopped.reader.unread <= 100_000
    assert two.stats()["memory_chunks"] <= 100_000 + 2 * CHUNK
    stopped.reading = True
    world.run_until(lambda: len(stopped.got) == SIZE, "60s")
    assert stopped.got == frames.pattern(SIZE, stopped.port)


def test_writers_wait_while_the_pool_is_full(world: World) -> None:
    """The sending side of the same limit: a peer that takes nothing lets programs write until the
    pool has no more for them, and then EAGAIN; each still has its chunk."""
    tcp = Tcp(Wire(world, buffer_bytes=POOL))
    socks = []
    for i in range(8):
        peer = tcp.another_peer(6000 + i)
        sock = tcp.established(wnd=0, peer=peer)
        taken = 0
        while sock.writable and taken < 1 << 20:
            taken += tcp.sends(sock, 1 << 16, to=peer)
        socks.append((peer, sock, taken))
    assert tcp.stack.stats()["memory_chunks"] <= POOL * 3 // 4 + 10 * CHUNK
    assert all(taken >= CHUNK for _, _, taken in socks), "the guaranteed chunk"
    for peer, sock, taken in socks:
        peer.sends(wnd=65_535)
        while sock.unacked:
            tcp.drain("1ms", to=peer)
            peer.sends(wnd=65_535)
        assert peer.got == taken + 1
        assert sock.take_error() == 0
    assert tcp.stack.stats()["memory_chunks"] == 0


def test_under_pressure_buffers_do_not_grow_by_themselves(world: World) -> None:
    """From half of the pool on a connection that reads or sends fast keeps its default."""
    tcp = Tcp(Wire(world, buffer_bytes=2 * POOL))
    hogs: list[Sock] = []
    while tcp.stack.stats()["memory_chunks"] < POOL + (4 + len(hogs)) * CHUNK:
        hogs.append(tcp.wire.udp(20_000 + len(hogs), "127.0.0.1"))
        for _ in range(8):
            hogs[-1].sendto(bytes(8000), "127.0.0.1", 19_999 + len(hogs))
            tcp.run("0s")
    sock = tcp.established(wscale=7, ts=True, wnd=1 << 20)
    for n in (50_000, 100_000, 200_000, 240_000, 240_000):
        for at in range(0, n, 1400):
            tcp.peer.sends(len=min(1400, n - at))
            sock.recv()
        tcp.drain("20ms")
    assert sock.inside.rcvbuf == 256 << 10
    for hog in hogs:
        hog.close()
    for n in (250_000, 250_000):
        for at in range(0, n, 1400):
            tcp.peer.sends(len=min(1400, n - at))
            sock.recv()
        tcp.drain("20ms")
    assert sock.inside.rcvbuf > 256 << 10


def test_a_queue_that_cannot_grow_is_told_of(tmp_path: Path) -> None:
    runs_well(tmp_path, ["tests/tcp/no_memory.c"], ["-O0"])
