"""Out-of-order data is charged by the memory that it holds, and gives way: RFC 2018 section 8."""

from __future__ import annotations

import pytest

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

CHUNK = 16_384
POOL = 128  # chunks of the common pool
SPARSE = POOL // 8  # what data that uses less than half of its memory may hold of it
KEPT = "121s"  # longer than data is kept whose hole nobody fills
PRUNED = "tcp_out_of_order_pruned"


@pytest.fixture
def tcp(world: World) -> Tcp:
    return Tcp(Wire(world, buffer_bytes=POOL * CHUNK, max_sockets=1024, ring=1024))


def held(tcp: Tcp) -> int:
    """Chunks, the sockets' own included."""
    return int(tcp.stack.stats()["memory_chunks"]) // CHUNK


def opened(tcp: Tcp, n: int, port: int = 10_000) -> list[tuple[TcpPeer, Sock]]:
    made = []
    for i in range(n):
        peer = tcp.another_peer(port + i)
        made.append((peer, tcp.established(peer=peer, sack=True)))
    return made


def strew(tcp: Tcp, peer: TcpPeer) -> None:
    """Three bytes, each in a chunk of its own."""
    for i in (1, 2, 3):
        peer.sends(seq=1 + i * CHUNK, len=1)
    tcp.drain(to=peer)


def blocks(tcp: Tcp, peer: TcpPeer) -> list[tuple[int, int]]:
    """The SACK blocks of the last ACK, relative."""
    acks = [p.tcp for p in tcp.drain(to=peer) if p.tcp]
    return [(a - peer.iss & 0xFFFFFFFF, b - peer.iss & 0xFFFFFFFF) for a, b in acks[-1].sack]


def test_strewn_bytes_hold_an_eighth_of_the_pool_at_most(tcp: Tcp) -> None:
    """Each has a byte of unread data, so that its own chunk is in use and all it strews is the pool's."""
    tcp.listens(backlog=200)
    strewers = opened(tcp, 100)
    for peer, _ in strewers:
        peer.sends(seq=1, len=1)
        tcp.drain(to=peer)
        strew(tcp, peer)
    assert held(tcp) <= SPARSE + 100
    assert tcp.stack.counters()[PRUNED] >= 100 - SPARSE // 3


def test_strewn_bytes_without_anything_else_too(tcp: Tcp) -> None:
    tcp.listens(backlog=200)
    for peer, _ in opened(tcp, 100):
        strew(tcp, peer)
    assert held(tcp) <= SPARSE + 100


def test_what_nobody_completes_is_given_back_after_two_minutes(tcp: Tcp) -> None:
    tcp.listens(backlog=200)
    socks = opened(tcp, 12)
    for peer, _ in socks[:6]:
        strew(tcp, peer)
    for peer, _ in socks[6:]:
        peer.sends(seq=101, len=20_000)
        tcp.drain(to=peer)
    assert held(tcp) >= 6
    tcp.run(KEPT)
    assert held(tcp) == 0
    assert tcp.stack.next_deadline() is None or tcp.stack.stats()["memory_chunks"] == 0
    peer, sock = socks[7]
    peer.sends(seq=1, len=100)
    tcp.drain(to=peer)
    assert sock.unread == 100, "the rest comes again"
    peer.sends(seq=101, len=20_000)
    tcp.drain(to=peer)
    tcp.reads(sock, 20_100)


def test_a_hole_that_is_filled_in_time_keeps_its_data(tcp: Tcp) -> None:
    tcp.listens()
    ((peer, sock),) = opened(tcp, 1)
    peer.sends(seq=1001, len=30_000)
    tcp.run("110s")
    peer.sends(seq=1, len=1000)
    tcp.drain(to=peer)
    tcp.reads(sock, 31_000)
    assert tcp.stack.counters()[PRUNED] == 0
    assert held(tcp) == 0


def test_progress_is_what_counts_and_not_more_of_the_same(tcp: Tcp) -> None:
    """Who only strews on is the oldest all the same; who fills hole after hole is young."""
    tcp.listens()
    (strewer, _), (honest, sock) = opened(tcp, 2)
    for i in range(20):
        strewer.sends(seq=1 + CHUNK + 2 * i, len=1)
        honest.sends(seq=1 + 2000 * i + 1000, len=1000)
        tcp.run("10s")
        honest.sends(seq=1 + 2000 * i, len=1000)
    tcp.drain(to=honest)
    tcp.reads(sock, 40_000)
    assert tcp.stack.counters()[PRUNED] == 1


def test_an_honest_connections_data_survives_the_strewers(tcp: Tcp) -> None:
    """A window with its first segment missing: dense, and so not of the strewers' kind."""
    tcp.listens(backlog=200)
    ((honest, sock), *strewers) = opened(tcp, 101)
    for at in range(1000, 60_000, 1000):
        honest.sends(seq=1 + at, len=1000)
    tcp.drain(to=honest)
    for peer, _ in strewers:
        strew(tcp, peer)
    honest.sends(seq=1, len=1000)
    tcp.drain(to=honest)
    tcp.reads(sock, 60_000)


def test_an_honest_connection_with_little_data_survives_while_its_hole_is_young(tcp: Tcp) -> None:
    tcp.listens(backlog=200)
    ((honest, sock), *strewers) = opened(tcp, 101)
    for peer, _ in strewers[:90]:
        strew(tcp, peer)
    honest.sends(seq=1, len=CHUNK - 500)
    honest.sends(seq=1 + CHUNK + 500, len=1000)
    for peer, _ in strewers[90:92]:
        strew(tcp, peer)
    honest.sends(seq=1 + CHUNK - 500, len=1000)
    tcp.drain(to=honest)
    tcp.reads(sock, CHUNK + 1500)


def test_after_giving_up_no_sack_block_speaks_of_it_and_all_is_taken_again(tcp: Tcp) -> None:
    tcp.listens(backlog=200)
    ((honest, sock), *strewers) = opened(tcp, 101)
    honest.sends(seq=1, len=CHUNK)
    honest.sends(seq=1 + CHUNK + 1000, len=1000)
    assert blocks(tcp, honest) == [(1 + CHUNK + 1000, 1 + CHUNK + 2000)]
    for peer, _ in strewers:
        strew(tcp, peer)
    honest.sends(seq=1 + CHUNK + 3000, len=1000)
    assert blocks(tcp, honest) == [(1 + CHUNK + 3000, 1 + CHUNK + 4000)]
    honest.sends(seq=1 + CHUNK, len=1000)
    tcp.drain(to=honest)
    assert sock.unread == CHUNK + 1000, "what was given up is missing"
    honest.sends(seq=1 + CHUNK + 1000, len=2000)
    tcp.drain(to=honest)
    tcp.reads(sock, CHUNK + 4000)


def test_data_in_order_takes_the_place_of_dense_data_of_others(tcp: Tcp) -> None:
    """Windows whose first segment never comes fill the pool; who reads nothing and sends in order gets
    more than its own chunk, and everybody's data comes through in the end."""
    tcp.listens(backlog=200)
    ((honest, sock), *hogs) = opened(tcp, 61)
    for peer, _ in hogs:
        for at in range(1000, 60_000, 1000):
            peer.sends(seq=1 + at, len=1000)
        tcp.drain(to=peer)
    full = held(tcp)
    assert full >= POOL * 3 // 4
    for at in range(0, 60_000, 1000):
        honest.sends(seq=1 + at, len=1000)
    tcp.drain(to=honest)
    tcp.reads(sock, 60_000)
    assert held(tcp) < full
    peer, sock = hogs[0]
    for at in range(0, 60_000, 1000):
        peer.sends(seq=1 + at, len=1000)
    tcp.drain(to=peer)
    tcp.reads(sock, 60_000)


def test_a_store_that_fails_leaves_nothing(world: World) -> None:
    """A segment that needs three chunks where the pool has two: none is taken, no byte is counted."""
    tcp = Tcp(Wire(world, buffer_bytes=64 * CHUNK, ring=1024))
    tcp.listens()
    ((peer, sock),) = opened(tcp, 1)
    peer.sends(seq=1, len=1)
    peer.sends(seq=10, len=1)
    hog = tcp.wire.udp(7000).set(rcvbuf=4 << 20)
    while held(tcp) < 2 + 62:  # the sockets' own first chunks, and the pool but two
        tcp.wire.sends(frames.udp(tcp.wire.there, tcp.wire.here, 9, 7000, bytes(CHUNK // 2)))
    with tcp.counts("drop_tcp_receive_memory"):
        peer.sends(seq=2, len=60_000)
    assert held(tcp) == 2 + 62
    assert sock.unread == 10, "up to the byte that waited; of the rest nothing"
    tcp.drain(to=peer)
    hog.close()
    peer.sends(seq=11, len=59_991)
    tcp.drain(to=peer)
    tcp.reads(sock, 60_001)
    assert held(tcp) == 0


def test_a_connection_that_ends_holds_nothing_ahead(tcp: Tcp) -> None:
    """Its program has not closed it: unread data stays, what waits for a hole goes."""
    tcp.listens()
    ((peer, sock),) = opened(tcp, 1)
    peer.sends(seq=1, len=100)
    strew(tcp, peer)
    peer.sends("R", seq=101)
    assert held(tcp) == 1
    tcp.reads(sock, 100)
