"""Keepalive: RFC 9293 3.8.4 with Linux's options."""

from __future__ import annotations

import errno

from tests.kit.peer import Tcp, TcpPeer
from tests.kit.wire import Wire
from tests.kit.world import World

FAST = {"keepalive": 1, "keepidle": 10, "keepintvl": 2, "keepcnt": 3}


def test_off_by_default(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established()
    tcp.expects_nothing("30h")


def test_two_hours_by_default(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(keepalive=1)
    tcp.expects("A", seq=0, len=0, after="2h")


def test_probes_times_and_count(tcp: Tcp, peer: TcpPeer) -> None:
    """A probe repeats an old sequence number; the peer must answer it."""
    sock = tcp.established(**FAST)
    with tcp.counts("tcp_keepalive_probes", 3):
        tcp.expects("A", seq=0, ack=1, len=0, after="10s")
        tcp.expects("A", seq=0, after="2s")
        tcp.expects("A", seq=0, after="2s")
        tcp.expects("RA", seq=1, after="2s")
    assert (sock.state, sock.take_error()) == ("CLOSED", errno.ETIMEDOUT)


def test_an_answer_begins_anew(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(**FAST)
    for _ in range(5):
        tcp.expects("A", seq=0, after="10s")
        tcp.expects("A", seq=0, after="2s")
        peer.sends(ack=1)
    tcp.expects("A", seq=0, after="10s")


def test_traffic_puts_it_off(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established(**FAST)
    for _ in range(4):
        tcp.drain("9s")
        peer.sends(len=10)
    tcp.drain("9s")
    tcp.expects("A", seq=0, len=0, after="1s")


def test_data_in_flight_is_watched_by_retransmission(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(**FAST)
    tcp.sends(sock, 100)
    sent = tcp.drain("1min")
    assert all(p.tcp.payload for p in sent if p.tcp)
    assert sock.state == "ESTABLISHED"


def test_switched_on_later(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(keepidle=10)
    tcp.run("1h")
    sock.set(keepalive=1)
    tcp.expects("A", seq=0, after="10s")
    peer.sends()
    sock.set(keepalive=0)
    tcp.expects_nothing("10h")


def test_the_peers_probe_is_answered(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established()
    peer.sends(seq=0)
    tcp.expects("A", seq=1, ack=1)
    peer.sends(seq=0, data=b"\0")
    tcp.expects("A", seq=1, ack=1, why="the form with one byte of garbage")


def test_many_probes_are_answered_though_challenges_are_limited(tcp: Tcp, peer: TcpPeer) -> None:
    tcp.established()
    for _ in range(30):
        tcp.run("10s")
        peer.sends(seq=0)
        tcp.expects("A", ack=1)


def test_keepalive_in_close_wait(tcp: Tcp, peer: TcpPeer) -> None:
    sock = tcp.established(**FAST)
    peer.sends("FA")
    tcp.expects("A", ack=2)
    tcp.expects("A", seq=0, after="10s")
    tcp.drain("10s")
    assert sock.state == "CLOSED"


def test_sockets_that_are_not_connected_are_not_watched(tcp: Tcp, peer: TcpPeer) -> None:
    listener = tcp.listens(**FAST)
    fresh = tcp.wire.tcp().set(**FAST)
    with tcp.counts("tcp_keepalive_probes", 0):
        tcp.expects_nothing("1h")
    assert (listener.state, fresh.take_error()) == ("LISTEN", 0)


def test_every_probe_leaves_when_many_are_due_together(world: World) -> None:
    """More than a transmit queue takes: they go in turns, at one instant, and none is lost."""
    tcp = Tcp(Wire(world, ring=2048, max_sockets=2048))
    tcp.listens(backlog=1000)
    peers = [tcp.another_peer(10_000 + i) for i in range(600)]
    for peer in peers:
        tcp.established(peer=peer, keepalive=1, keepidle=10, keepintvl=2, keepcnt=3)
    begin = tcp.clock.now
    with tcp.counts("tcp_keepalive_probes", len(peers)):
        probes = [p for p in tcp.drain("10s") if p.tcp]
    assert {p.tcp.dport for p in probes if p.tcp} == {peer.port for peer in peers}
    assert len(probes) == len(peers)
    late = [p.time - begin - 10_000_000_000 for p in probes]
    assert min(late) >= 0 and max(late) <= 65_536, "at most a tick of the wheel, of so many"


def test_of_many_timers_the_earlier_ones_fire_first(world: World) -> None:
    tcp = Tcp(Wire(world, ring=2048, max_sockets=2048))
    tcp.listens(backlog=1000)
    peers = [tcp.another_peer(10_000 + i) for i in range(300)]
    for peer in peers:
        tcp.established(peer=peer, keepalive=1, keepidle=10)
        tcp.run("100us")
    tcp.clock.advance("11s")  # all are overdue at once
    probes = [p.tcp.dport for p in tcp.drain() if p.tcp]
    assert probes == [peer.port for peer in peers]
