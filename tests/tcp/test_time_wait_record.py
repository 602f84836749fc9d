"""A connection in TIME-WAIT that nobody holds is a record of 128 bytes. It answers as the whole one would."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.wire import Wire
from tests.kit.world import World

RECORD = 128
SEGMENTS: list[dict[str, Any]] = [
    {"flags": "FA", "seq": 1, "ack": 2},  # its last ACK was lost
    {"flags": "A", "seq": 2, "ack": 2},
    {"flags": "A", "seq": 2, "ack": 2, "len": 10},
    {"flags": "A", "seq": 1, "ack": 2, "len": 1},  # seen
    {"flags": "A", "seq": 1, "ack": 2, "len": 50},  # in part
    {"flags": "FA", "seq": 1, "ack": 2, "len": 50},
    {"flags": "A", "seq": 2, "ack": 2, "len": 1000, "burst": 70},  # beyond the window
    {"flags": "A", "seq": 1_000_000, "ack": 2, "len": 5},
    {"flags": "A", "seq": 1_000_000, "ack": 2},
    {"flags": "A", "seq": 2, "ack": 9},
    {"flags": "A", "seq": 2, "ack": 1},
    {"flags": "A", "seq": 2, "ack": 0},
    {"flags": "A", "seq": 2, "ack": 0xFFFF0000},
    {"flags": "S", "seq": 1, "ack": 0, "old": 1_000_000},  # later ones would take the name
    {"flags": "SA", "seq": 2, "ack": 2},
    {"flags": "SFA", "seq": 2, "ack": 2},
    {"flags": "R", "seq": 2, "ack": 0},
    {"flags": "RA", "seq": 3, "ack": 2},
    {"flags": "R", "seq": 1, "ack": 0},
    {"flags": "", "seq": 2, "ack": 0, "len": 3},
    {"flags": "FPA", "seq": 2, "ack": 2, "len": 3},
    {"flags": "A", "seq": 2, "ack": 2, "old": 5, "len": 4},  # PAWS
    {"flags": "A", "seq": 2, "ack": 2, "old": 5},
    {"flags": "A", "seq": 2, "ack": 2, "old": -7},  # a later timestamp
]


def blocks(tcp: Tcp) -> int:
    return int(tcp.stack.stats()["memory_control_blocks"])


def time_wait(tcp: Tcp, peer: TcpPeer | None = None, **options: Any) -> Sock:
    peer = peer or tcp.peer
    sock = tcp.established(peer=peer, **options)
    sock.shutdown()
    tcp.expects("FA", seq=1, to=peer)
    peer.sends("FA", ack=2)
    tcp.expects("A", seq=2, ack=2, to=peer)
    return sock


def told(seed: int, held: bool, ts: bool, sack: bool) -> tuple[list[Any], dict[str, int]]:
    """What the stack answers to segments by chance, and what it counts."""
    choose = random.Random(seed)
    with World(seed) as world:
        tcp = Tcp(Wire(world))
        sock = time_wait(tcp, ts=ts, sack=sack)
        if not held:
            tcp.closes(sock)
        before, answers = tcp.stack.counters(), []
        for _ in range(60):
            segment = dict(choose.choice(SEGMENTS))
            old, length = segment.pop("old", 0), segment.pop("burst", 1) * segment.get("len", 0)
            segment["len"] = min(length, 65_000)
            stamp = ((tcp.peer.tsval - old) & 0xFFFFFFFF, 0) if ts else None
            tcp.peer.sends(ts=stamp, **segment)
            answers.append([p.tcp for p in tcp.drain(choose.choice([0, MS, 700 * MS]))])
        after = tcp.stack.counters()
        assert held == (blocks(tcp) > 1664 + RECORD)
        counted = {
            name: after[name] - before[name]
            for name in after
            if name.startswith(("drop_", "tcp_")) and "header_prediction" not in name
        }
        return answers, counted


@pytest.mark.parametrize("ts", [False, True])
@pytest.mark.parametrize("sack", [False, True])
def test_the_record_answers_as_the_whole_connection(ts: bool, sack: bool) -> None:
    for seed in range(8):
        assert told(seed, True, ts, sack) == told(seed, False, ts, sack), seed


def test_a_record_of_128_bytes_is_left(tcp: Tcp, peer: TcpPeer) -> None:
    sock = time_wait(tcp, peer)
    whole = blocks(tcp)
    tcp.closes(sock)
    assert blocks(tcp) == whole // 2 + RECORD
    assert tcp.stack.stats()["sockets"] == 2
    tcp.run("59s")
    assert blocks(tcp) == whole // 2 + RECORD
    tcp.run("2s")
    assert (blocks(tcp), tcp.stack.stats()["sockets"]) == (whole // 2, 1)
    assert tcp.stack.next_deadline() is None


def test_a_close_before_the_peers_fin_leaves_the_record_too(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    tcp.closes(sock)
    tcp.expects("FA", seq=1)
    peer.sends("FA", ack=2)
    tcp.expects("A", seq=2, ack=2)
    assert blocks(tcp) == 1664 + RECORD
    peer.sends("FA", seq=1, ack=2)
    tcp.expects("A", seq=2, ack=2)
    tcp.run("61s")
    assert blocks(tcp) == 1664


def test_a_fin_again_begins_the_minute_anew_and_ages_stay_in_order(tcp: Tcp) -> None:
    peers = [tcp.another_peer(6000 + i) for i in range(3)]
    for peer in peers:
        tcp.closes(time_wait(tcp, peer))
        tcp.run("1s")
    tcp.run("30s")
    peers[0].sends("FA", seq=1, ack=2)
    tcp.expects("A", seq=2, ack=2, to=peers[0])
    left = []
    for _ in range(4):
        tcp.run("15s")
        left.append(tcp.stack.stats()["sockets"] - 1)
    assert left == [3, 1, 1, 0]


def test_one_that_is_let_go_late_ends_when_it_would_have(tcp: Tcp) -> None:
    """Others have entered TIME-WAIT since, and are let go before it."""
    late, early = tcp.another_peer(6000), tcp.another_peer(6001)
    held = time_wait(tcp, late)
    tcp.run("20s")
    tcp.closes(time_wait(tcp, early))
    tcp.closes(held)
    assert blocks(tcp) == 1664 + 2 * RECORD
    tcp.run("41s")
    assert blocks(tcp) == 1664 + RECORD
    tcp.run("20s")
    assert blocks(tcp) == 1664


def test_at_the_bound_the_oldest_record_gives_way(world: World) -> None:
    """Records count as the sockets they were."""
    tcp = Tcp(Wire(world, max_sockets=6))
    peers = [tcp.another_peer(6000 + i) for i in range(5)]
    for peer in peers:
        tcp.closes(time_wait(tcp, peer))
    assert tcp.stack.stats()["sockets"] == 6
    with tcp.counts("tcp_time_wait_recycled"):
        sock = tcp.established(peer=tcp.another_peer(7000))
    assert sock.state == "ESTABLISHED" and tcp.stack.stats()["sockets"] == 6
    peers[0].sends("FA", seq=1, ack=2)
    tcp.expects("R", to=peers[0], why="it is forgotten")
    peers[1].sends("FA", seq=1, ack=2)
    tcp.expects("A", seq=2, ack=2, to=peers[1])


def test_a_crowd_ends_in_turns(world: World) -> None:
    """All of one instant: none is forgotten."""
    tcp = Tcp(Wire(world, max_sockets=1024, ring=2048))
    for i in range(300):
        tcp.closes(time_wait(tcp, tcp.another_peer(6000 + i)))
    assert blocks(tcp) == 1664 + 300 * RECORD
    tcp.run("61s")
    assert blocks(tcp) == 1664
    assert tcp.stack.next_deadline() is None


def test_its_name_is_taken_until_it_ends(tcp: Tcp, peer: TcpPeer) -> None:
    """As with the whole one: bind without SO_REUSEADDR finds the port in use, and with it not."""
    sock = tcp.established(active=True, reuseaddr=1)
    port = sock.name[1]
    sock.shutdown()
    tcp.expects("FA")
    peer.sends("FA", ack=2)
    tcp.expects("A")
    tcp.closes(sock)
    assert blocks(tcp) == RECORD
    with pytest.raises(OSError, match="in use"):
        tcp.wire.tcp().bind("198.18.0.1", port)
    tcp.wire.tcp().set(reuseaddr=1).bind("198.18.0.1", port)
    tcp.run("61s")
    assert blocks(tcp) == 2 * 1664
    tcp.wire.tcp().bind("198.18.0.1", port + 1)


def test_a_traced_one_stays_whole(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established()
    sock.set(trace=1)
    sock.shutdown()
    tcp.expects("FA", seq=1)
    peer.sends("FA", ack=2)
    tcp.expects("A", seq=2, ack=2)
    tcp.closes(sock)
    assert blocks(tcp) == 2 * 1664
    tcp.run("61s")
    assert blocks(tcp) == 1664
