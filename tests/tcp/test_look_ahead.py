"""With many sockets a burst's flows are looked up ahead (look_ahead.c): it decides nothing."""

from __future__ import annotations

import random

import pytest

from tests.kit import frames
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World

CROWD = 300  # sockets, more than look_ahead.c takes the cache to hold


@pytest.fixture(params=[2, 3])
def crowded(world: World, request: pytest.FixtureRequest) -> Tcp:
    tcp = Tcp(Wire(world, layer=request.param, max_sockets=1024))
    for _ in range(CROWD):
        tcp.wire.udp().bind("0.0.0.0", 0)
    return tcp


def test_bursts_of_many_flows_and_of_noise_arrive_as_they_are(crowded: Tcp) -> None:
    """Each flow has its bytes in order, whatever stands between: fragments, options, other protocols, short
    frames, strangers, and a SYN with what follows it."""
    tcp, choose = crowded, random.Random(7)
    peers = [tcp.another_peer(6000 + i) for i in range(12)]
    socks = [tcp.established(peer=peer) for peer in peers]
    stranger = tcp.another_peer(7777)
    got = [b""] * len(peers)
    for _ in range(20):
        burst = []
        for _ in range(50):
            peer = choose.choice(peers)
            burst.append(peer.packet(len=choose.randrange(1, 90)))
        noise = [
            stranger.packet("A", seq=5, len=20),
            peers[0].packet(seq=1, len=3)[:39],
            frames.udp(tcp.wire.there, tcp.wire.here, 9, 9, b"?"),
            peers[1].packet(seq=1, len=9, mf=True),
        ]
        for packet in noise:
            burst.insert(choose.randrange(len(burst)), packet)
        tcp.wire.sends_burst(*burst)
        tcp.drain()
        for i, sock in enumerate(socks):
            got[i] += sock.recv(65_535) if sock.unread else b""
    for peer, data in zip(peers, got, strict=True):
        assert data == frames.pattern(peer.next - 1)


def test_a_connection_that_its_own_burst_opens_and_ends(crowded: Tcp, peer: TcpPeer) -> None:
    """Nothing that was found ahead is trusted: a reset in the burst frees what the next segment was for."""
    tcp = crowded
    one = tcp.another_peer(6000)
    sock = tcp.established(peer=one)
    with tcp.counts("drop_tcp_no_socket"):
        tcp.wire.sends_burst(one.packet(len=10), one.packet("R"), one.packet("A", len=10))
    assert sock.state == "CLOSED"
