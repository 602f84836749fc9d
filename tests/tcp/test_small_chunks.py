"""A queue with little in it holds a small chunk (2 KiB), so that a crowd with a request each is cheap."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.races import runs_well
from tests.kit.wire import Wire
from tests.kit.world import World

SMALL, WHOLE = 2048, 16_384


def chunks(tcp: Tcp) -> int:
    return int(tcp.stack.stats()["memory_chunks"])


def test_the_queue_is_a_plain_array_of_bytes(tmp_path: Path) -> None:
    runs_well(tmp_path, ["tests/tcp/byteq.c"], ["-O1"])


def test_unread_requests_hold_a_small_chunk_each(tcp: Tcp) -> None:
    socks = []
    for i in range(40):
        peer = tcp.another_peer(6000 + i)
        socks.append(tcp.established(peer=peer))
        peer.sends(len=600)
        tcp.drain()
    assert chunks(tcp) == 40 * SMALL
    for sock in socks:
        tcp.reads(sock, 600)
    assert chunks(tcp) == 0


@pytest.mark.parametrize(("size", "held"), [(SMALL, SMALL), (SMALL + 1, WHOLE)])
def test_what_a_small_chunk_holds(tcp: Tcp, peer: TcpPeer, size: int, held: int) -> None:
    sock = tcp.established()
    peer.sends(len=1000)
    peer.sends(len=size - 1000)
    assert chunks(tcp) == held
    tcp.reads(sock, size)
    assert chunks(tcp) == 0


def test_a_queue_begins_as_large_as_it_was_before(tcp: Tcp, peer: TcpPeer) -> None:
    """A bulk flow does not copy its first bytes each time that its reader has caught up."""
    sock = tcp.established()
    held = []
    for size in (3000, 100, 100):
        first = min(size, 1000)
        at = sock.info.tcpi_bytes_received
        peer.sends(len=first)
        held.append(chunks(tcp))
        if size > first:
            peer.sends(len=size - first)
        tcp.reads(sock, size, at=at)
    assert held == [SMALL, WHOLE, SMALL]


def test_a_sender_outgrows_its_small_chunk_while_its_frames_wait(world: World) -> None:
    """What is queued at the device, or lost, is read from the chunk it was sent from, or from its copy."""
    tcp = Tcp(Wire(world, poison=True))
    sock = tcp.established(wnd=65_535)
    assert tcp.sends(sock, 1000) == 1000
    assert chunks(tcp) == SMALL
    tcp.sends(sock, 9000)
    assert chunks(tcp) == WHOLE
    tcp.drain("3s")  # lost, all of it, and sent again
    tcp.peer.sends()
    while sock.unacked:
        tcp.drain("1s")
        tcp.peer.sends()
    assert tcp.peer.got == 10_001
    assert chunks(tcp) == 0


def test_a_hole_beyond_the_small_chunk_is_filled(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(sack=True)
    for seq, size in (
        (101, 200),
        (5001, 500),
        (WHOLE + 1, 300),
        (1, 100),
        (301, 4700),
        (5501, WHOLE),
    ):
        peer.sends(seq=seq, len=size)
    tcp.drain()
    tcp.reads(sock, 5500 + WHOLE)
    assert chunks(tcp) == 0
