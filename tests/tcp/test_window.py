"""Windows are promises, and memory is bounded: the receive window, the common pool, and the chunk
that every connection has for itself."""

from __future__ import annotations

import random

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

CHUNK = 16_384
POOL = 64


@pytest.fixture
def small(world: World) -> Tcp:
    """A stack whose common pool has 64 chunks (1 MiB)."""
    return Tcp(Wire(world, buffer_bytes=POOL * CHUNK))


def fill(tcp: Tcp, percent: int) -> list[Sock]:
    """Takes so much of the common pool by datagrams that nobody reads; the first chunk of each
    socket is its own."""
    socks: list[Sock] = []
    for port in range(20_000, 20_200):
        if tcp.stack.stats()["memory_chunks"] // CHUNK - len(socks) >= POOL * percent // 100:
            return socks
        socks.append(tcp.wire.udp(port, "127.0.0.1").set(rcvbuf=1 << 20))
        for _ in range(8):
            socks[-1].sendto(bytes(8000), "127.0.0.1", port)
            tcp.run("0s")
    raise AssertionError(f"the pool never was {percent} % full")


def edges(tcp: Tcp, peer: TcpPeer, packets: list[object]) -> list[int]:
    found = []
    for p in packets:
        t = p.tcp  # type: ignore[attr-defined]
        found.append((t.ack - peer.iss & 0xFFFFFFFF) + (t.window << peer.stack_shift))
    return found


@pytest.mark.parametrize("wscale", [None, 7])
@pytest.mark.parametrize("seed", range(5))
def test_the_window_never_shrinks(tcp: Tcp, peer: TcpPeer, seed: int, wscale: int | None) -> None:
    """A scaled window can only be said in units of its scale: by less than one of them it may seem
    to shrink (RFC 7323 2.4), but what was said once is still accepted."""
    dice = random.Random(seed)
    sock = tcp.established(rcvbuf=dice.choice([3000, 20_000, 70_000]), wscale=wscale)
    unit = 1 << peer.stack_shift
    edge, sent, read = 0, 0, 0
    for _ in range(300):
        n = min(dice.randrange(1, 3000), edge - 1 - sent if edge else 1000)
        if n > 0 and dice.random() < 0.7:
            peer.sends(seq=1 + sent, len=n)
            sent += n
        if sock.unread and dice.random() < 0.4:
            n = dice.randrange(1, sock.unread + 1)
            tcp.reads(sock, n, at=read)
            read += n
        for right in edges(tcp, peer, tcp.drain("10ms")):  # type: ignore[arg-type]
            assert right > edge - unit, "the right edge moved to the left"
            edge = max(edge, right)
    assert tcp.stack.counters()["drop_tcp_out_of_window"] == 0
    assert read > 1000


@pytest.mark.parametrize("rcvbuf", [2304, 10_000, 100_000])
def test_the_buffer_bounds_what_waits(tcp: Tcp, peer: TcpPeer, rcvbuf: int) -> None:
    sock = tcp.established(rcvbuf=rcvbuf, wscale=7)
    for _ in range(200):
        peer.sends(len=1400)
    tcp.drain()
    assert sock.unread <= rcvbuf
    assert sock.inside.rcv_wnd < 256


def test_the_send_buffer_bounds_what_waits(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(sndbuf=10_000, wnd=0)
    assert tcp.sends(sock, 50_000) == 10_000
    assert not sock.writable
    with pytest.raises(BlockingIOError):
        tcp.sends(sock, 1)


def test_writable_again_when_there_is_room(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(mss=1000, sndbuf=10_000)
    tcp.sends(sock, 10_000)
    tcp.drain()
    peer.sends(ack=2001)
    assert not sock.writable
    peer.sends(ack=5001)
    assert sock.writable


def test_an_idle_connection_holds_no_chunk(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.transfers(sock, 5000)
    peer.sends(len=5000)
    tcp.drain()
    tcp.reads(sock, 5000)
    assert tcp.stack.stats()["memory_chunks"] == 0


def test_above_75_percent_windows_grow_only_into_the_own_chunk(small: Tcp) -> None:
    peer = small.peer
    sock = small.established()
    fill(small, 80)
    sent = 0
    for _ in range(80):
        peer.sends(len=1000)
        sent += 1000
        small.drain("50ms")
    assert sock.unread <= 65_535 + CHUNK, "no more than was promised before, and a chunk"
    begin = sock.unread
    assert begin > 0


def test_a_promise_is_kept_under_pressure(small: Tcp) -> None:
    """What was announced before is still taken, from the chunks that pressure leaves."""
    peer = small.peer
    sock = small.established()
    promised = sock.inside.rcv_wnd
    fill(small, 76)
    at = 0
    while at + 1000 <= promised:
        peer.sends(len=1000)
        at += 1000
    small.drain()
    small.reads(sock, at)
    assert small.stack.counters()["tcp_announced_window_not_kept"] == 0


def test_above_90_percent_out_of_order_data_goes_first(small: Tcp) -> None:
    peer = small.peer
    sock = small.established(sack=True)
    hogs = fill(small, 92)
    with small.counts("drop_tcp_out_of_order_memory"):
        peer.sends(seq=1001, len=1000)
    small.expects("A", ack=1, sack=[])
    peer.sends(seq=1, len=1000)
    small.drain()
    small.reads(sock, 1000)
    for hog in hogs:
        hog.close()
    peer.sends(seq=3001, len=1000)
    small.expects("A", ack=1001, sack=[(3001, 4001)])


def test_in_order_data_beyond_all_memory_is_dropped_last_and_counted(small: Tcp) -> None:
    peer = small.peer
    sock = small.established()
    fill(small, 100)
    at = 0
    while not small.stack.counters()["drop_tcp_receive_memory"]:
        peer.sends(seq=1 + at, len=1000)
        at += 1000
        assert at < 60_000, "memory was bounded"
    assert small.stack.counters()["tcp_announced_window_not_kept"] > 0
    got = sock.recv(100_000)
    assert len(got) >= CHUNK - 1000, "the guaranteed chunk"
    small.drain()


def test_every_connection_moves_on_under_full_pressure(small: Tcp) -> None:
    """The guaranteed chunk in each direction: nobody starves, however full the pool is."""
    fill(small, 100)
    for i in range(5):
        peer = small.another_peer(6000 + i)
        sock = small.established(peer=peer)
        for round_ in range(3):
            peer.sends(len=4000)
            small.drain("50ms", to=peer)
            small.reads(sock, 4000, at=4000 * round_)
        assert small.sends(sock, 3000, to=peer) == 3000
        small.drain("50ms", to=peer)
        peer.sends()
        small.drain("50ms", to=peer)
        peer.sends()
        assert sock.unacked == 0


def test_the_send_side_has_its_chunk_too(small: Tcp) -> None:
    sock = small.established(wnd=0)
    fill(small, 100)
    assert small.sends(sock, 100_000) == CHUNK
    with pytest.raises(BlockingIOError):
        small.sends(sock, 1)


def test_memory_comes_back_after_pressure(small: Tcp) -> None:
    peer = small.peer
    sock = small.established(sack=True)
    hogs = fill(small, 100)
    peer.sends(len=1000)
    peer.sends(seq=5001, len=1000)
    small.drain()
    for hog in hogs:
        hog.close()
    small.reads(sock, 1000)
    sock.abort()
    small.run("1s")
    assert small.stack.stats()["memory_chunks"] == 0


def test_a_chunk_is_worth_announcing_whatever_the_segment_size(world: World) -> None:
    """With segments of 64 KB, silly-window avoidance must not wait for room for one."""
    wire = Wire(world, mtu=65_535, buffer_bytes=POOL * CHUNK)
    tcp = Tcp(wire)
    sock = tcp.established(mss=65_495)
    fill(tcp, 76)
    tcp.peer.sends(len=65_000)
    tcp.drain("50ms")
    tcp.reads(sock, 65_000)
    tcp.drain("50ms")
    assert sock.inside.rcv_wnd >= CHUNK // 2
