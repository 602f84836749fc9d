"""Delayed ACKs (RFC 9293 3.8.6.3): when they wait, and that no exchange waits for them."""

from __future__ import annotations

import pytest
from barewire.nic_drivers import Faults

from tests.kit.clock import MS
from tests.kit.peer import Tcp, TcpPeer
from tests.kit.sock import Sock
from tests.kit.world import World, lossy_pair


def past_quick_acks(tcp: Tcp, peer: TcpPeer, **options: int) -> Sock:
    """A connection that is past the first segments, which are acknowledged at once."""
    sock = tcp.established(**options)
    for i in range(16):
        peer.sends("PA", len=100)
        tcp.expects("A", ack=101 + 100 * i)
        tcp.reads(sock, 100, at=100 * i)
    return sock


def test_a_reader_that_works_lets_the_ack_wait(tcp: Tcp, peer: TcpPeer) -> None:
    sock = past_quick_acks(tcp, peer)
    peer.sends("PA", len=100)
    tcp.reads(sock, 100, at=1600)
    tcp.expects("A", ack=1701, after="40ms")


def test_an_answer_carries_it(tcp: Tcp, peer: TcpPeer) -> None:
    sock = past_quick_acks(tcp, peer)
    peer.sends("PA", len=100)
    tcp.reads(sock, 100, at=1600)
    tcp.sends(sock, 10)
    tcp.expects("A", len=10, ack=1701)
    tcp.expects_nothing("100ms")


def test_a_reader_that_waits_for_more_does_not(tcp: Tcp, peer: TcpPeer) -> None:
    """It has taken all of what was pushed and asks again: the peer may wait for our ACK."""
    sock = past_quick_acks(tcp, peer)
    peer.sends("PA", len=100)
    tcp.reads(sock, 100, at=1600)
    with pytest.raises(BlockingIOError):
        sock.recv()
    tcp.wire.world.rest()
    tcp.expects("A", ack=1701)
    tcp.expects_nothing("100ms")


def test_what_was_not_pushed_may_go_on(tcp: Tcp, peer: TcpPeer) -> None:
    sock = past_quick_acks(tcp, peer)
    peer.sends("A", len=100)
    tcp.reads(sock, 100, at=1600)
    with pytest.raises(BlockingIOError):
        sock.recv()
    tcp.expects("A", ack=1701, after="40ms")


@pytest.mark.parametrize("writes", [1, 2, 3])
@pytest.mark.parametrize("nagle", [True, False], ids=["nagle", "nodelay"])
def test_no_exchange_waits_for_a_delayed_ack(writes: int, nagle: bool) -> None:
    """Each side writes its message in pieces, then reads the other's; 100 times over 1 ms each way.
    Nagle holds the second piece back for a round trip, and no longer."""
    with World(3, buffer_bytes=16 << 20) as world:
        a, b = lossy_pair(Faults(delay=MS), seed=3)
        one, two = world.stack(a, "198.18.0.1/24"), world.stack(b, "198.18.0.2/24")
        listener = Sock(two).set(nodelay=int(not nagle)).bind("0.0.0.0", 7).listen()
        client = Sock(one).set(nodelay=int(not nagle)).connect("198.18.0.2", 7)
        world.run("100ms")
        server = listener.accept()
        begin = world.clock.now
        for _ in range(100):
            for sender, receiver in ((client, server), (server, client)):
                for _ in range(writes):
                    sender.send(b"piece")
                    world.rest()
                got = b""
                while len(got) < 5 * writes:
                    world.rest()
                    try:
                        got += receiver.recv()
                    except BlockingIOError:
                        assert world.step(world.clock.now + 1000 * MS)
        each = (world.clock.now - begin) / 100 / MS
    round_trips = 2 if nagle and writes > 1 else 1
    assert each <= 2.2 * round_trips * 2, f"{each} ms an exchange"
